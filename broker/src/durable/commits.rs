//! The flushes of a running broker: by the thread `wisp-sync`, which wakes the workers that wait.

use std::io;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::pauses::Pauses;
use super::store::{Durable, Flushed, RETRY};

/// Commits the changes of a running broker, until it is dropped. Then all that is left is written.
pub(crate) struct Commits {
    durable: Arc<Durable>,
    thread: Option<JoinHandle<()>>,
}

impl Commits {
    /// Begins. `wake` wakes a worker, and `fail` ends the broker.
    pub(crate) fn begin(
        durable: Arc<Durable>,
        wake: impl Fn(usize) + Send + 'static,
        fail: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::clone(&durable);
        let spawn = || wisp_net::spawn_thread("wisp-sync", move || run(&shared, wake, fail));
        let thread = durable.has_thread.then(spawn).transpose()?;
        Ok(Self { durable, thread })
    }

    /// Ends, when all workers have ended. Returns the reason why not all is written.
    pub(crate) fn end(self) -> Option<String> {
        let durable = Arc::clone(&self.durable);
        drop(self);
        durable.trouble().fatal.clone()
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.durable.wanted().end = true;
        self.durable.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the thread.
            let _ = thread.join();
        }
        self.durable.finish();
    }
}

/// The thread.
fn run(durable: &Durable, wake: impl Fn(usize), fail: impl Fn()) {
    let (mut is_late, mut pauses) = (false, Pauses::default());
    while wait(durable, is_late) {
        let has_paused = pauses.next().filter(|_| !is_late).is_some_and(|pause| durable.pause(pause));
        let (before, begun) = (durable.log.synced(), Instant::now());
        let flushed = durable.flush();
        pauses.note(&durable.log.stats(), begun.elapsed(), has_paused);
        // A ticket that is stored by now is compared with the flush here, or else by its worker.
        fence(Ordering::SeqCst);
        let after = durable.log.synced();
        let failed = flushed == Flushed::Failed;
        for (worker, ticket) in durable.tickets.iter().enumerate() {
            if ticket.load(Ordering::SeqCst) > before && (after > before || failed) {
                wake(worker);
            }
        }
        if failed {
            fail();
            return;
        }
        if std::mem::replace(&mut is_late, flushed == Flushed::Later) && !is_late {
            // The batch that had failed was written alone.
            durable.wanted().flush = true;
        }
    }
}

/// Waits until there is something to flush. False: the broker has ended.
fn wait(durable: &Durable, is_late: bool) -> bool {
    let pause = if is_late { Some(RETRY) } else { durable.tending_pause() };
    let until = pause.map(|pause| Instant::now() + pause);
    let mut wanted = durable.wanted();
    loop {
        if wanted.end {
            return false;
        }
        // Changes appended meanwhile make a full disk no emptier.
        if !is_late && std::mem::take(&mut wanted.flush) {
            return true;
        }
        let Some(until) = until else {
            wanted = durable.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        wanted = durable.changed.wait_timeout(wanted, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

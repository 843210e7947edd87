//! The flushes of a running broker: by the thread `wisp-sync`, which wakes the workers that wait.

use std::io;
use std::sync::Arc;

use super::store::Durable;

/// Commits the changes of a running broker, until it is dropped. Then all that is left is written.
pub(crate) struct Commits {
    durable: Arc<Durable>,
    #[cfg(any(not(target_family = "wasm"), target_feature = "atomics"))]
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Commits {
    /// Begins. `wake` wakes a worker, and `fail` ends the broker.
    #[cfg(any(not(target_family = "wasm"), target_feature = "atomics"))]
    pub(crate) fn begin(
        durable: Arc<Durable>,
        wake: impl Fn(usize) + Send + 'static,
        fail: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let thread = durable.has_thread.then(|| threads::spawn(Arc::clone(&durable), wake, fail)).transpose()?;
        Ok(Self { durable, thread })
    }

    /// Hosts without threads. A module for them is not to ask for the clock of a thread that waits.
    #[cfg(not(any(not(target_family = "wasm"), target_feature = "atomics")))]
    pub(crate) fn begin(durable: Arc<Durable>, _: impl Fn(usize), _: impl Fn()) -> io::Result<Self> {
        debug_assert!(!durable.has_thread, "the host has no threads");
        Ok(Self { durable })
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
        #[cfg(any(not(target_family = "wasm"), target_feature = "atomics"))]
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the thread.
            let _ = thread.join();
        }
        self.durable.finish();
    }
}

#[cfg(any(not(target_family = "wasm"), target_feature = "atomics"))]
mod threads {
    use std::io;
    use std::sync::atomic::{Ordering, fence};
    use std::sync::{Arc, PoisonError};
    use std::thread::{Builder, JoinHandle};
    use std::time::Instant;

    use crate::durable::store::{Durable, Flushed, RETRY};

    /// Begins the thread.
    pub(super) fn spawn(
        durable: Arc<Durable>,
        wake: impl Fn(usize) + Send + 'static,
        fail: impl Fn() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        Builder::new().name("wisp-sync".into()).spawn(move || run(&durable, wake, fail))
    }

    fn run(durable: &Durable, wake: impl Fn(usize), fail: impl Fn()) {
        let mut is_late = false;
        while wait(durable, is_late) {
            let before = durable.log.synced();
            let flushed = durable.flush();
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
            // What is appended meanwhile makes a full disk no emptier.
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
}

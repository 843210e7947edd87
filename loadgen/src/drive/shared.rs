//! State shared by the threads of a run and their supervisor: start, progress and failures.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long it is waited for threads to be ready before they are counted again: they say so themselves.
const READY_LOOK_EVERY: Duration = Duration::from_millis(100);

/// State shared by the threads of a run and their supervisor.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The threads that are ready.
    ready: AtomicUsize,
    /// When all of them started together.
    begun: OnceLock<Instant>,
    pub(crate) stop: AtomicBool,
    /// One for each thread.
    progress: Vec<Counters>,
    /// The first, and how many there were.
    failures: Mutex<(Option<String>, u64)>,
    supervisor: Thread,
}

/// How far one thread has come, for all to see. Alone in its cache lines, since it is written every round.
#[derive(Default, Debug)]
#[repr(align(128))]
struct Counters {
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    received: AtomicU64,
    confirmed: AtomicU64,
}

/// How far a run, or a thread of it, has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct ThreadProgress {
    /// Messages handed to sockets.
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    /// Different messages received.
    pub(crate) received: u64,
    /// Senders of which the broker has read everything.
    pub(crate) confirmed: u64,
}

impl Counters {
    fn tell(&self, done: &ThreadProgress) {
        self.sent.store(done.sent, Ordering::Relaxed);
        self.sent_bytes.store(done.sent_bytes, Ordering::Relaxed);
        self.received.store(done.received, Ordering::Relaxed);
        self.confirmed.store(done.confirmed, Ordering::Relaxed);
    }
}

impl Shared {
    /// For `threads` threads, supervised by the calling one.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            ready: AtomicUsize::new(0),
            begun: OnceLock::new(),
            stop: AtomicBool::new(false),
            progress: (0..threads).map(|_| Counters::default()).collect(),
            failures: Mutex::default(),
            supervisor: thread::current(),
        }
    }

    /// A thread is ready, and waits for the others. Gives when all of them began.
    pub(crate) fn wait_for_start(&self) -> Instant {
        self.ready.fetch_add(1, Ordering::Release);
        self.supervisor.unpark();
        *self.begun.wait()
    }

    /// Waits, as the supervisor, until all threads are ready, and lets them go.
    pub(crate) fn start(&self) {
        while self.ready.load(Ordering::Acquire) < self.progress.len() {
            thread::park_timeout(READY_LOOK_EVERY);
        }
        self.begun.get_or_init(Instant::now);
    }

    /// Releases the waiting threads, which then find that the run is over.
    pub(crate) fn abandon(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.begun.get_or_init(Instant::now);
    }

    /// How far all threads together have come.
    pub(crate) fn done(&self) -> ThreadProgress {
        self.progress.iter().fold(ThreadProgress::default(), |sum, progress| ThreadProgress {
            sent: sum.sent + progress.sent.load(Ordering::Relaxed),
            sent_bytes: sum.sent_bytes + progress.sent_bytes.load(Ordering::Relaxed),
            received: sum.received + progress.received.load(Ordering::Relaxed),
            confirmed: sum.confirmed + progress.confirmed.load(Ordering::Relaxed),
        })
    }

    /// Whether anything failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    /// The first failure of any thread, with the number of failed connections: all of them if the broker is gone.
    pub(crate) fn failure(&self, connections: u64) -> Option<String> {
        let (first, count) = &*self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let first = first.as_ref()?;
        Some(if *count > 1 { format!("{first}; {count} of {connections} connections failed") } else { first.clone() })
    }

    /// Tells how far the thread of this index has come.
    pub(crate) fn tell(&self, index: usize, done: &ThreadProgress) {
        self.progress[index].tell(done);
    }

    /// Notes a failure, and that the supervisor should look at once.
    pub(crate) fn fail(&self, why: String) {
        let (first, count) = &mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(why);
        *count += 1;
        self.supervisor.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_start_together_or_are_let_go() {
        for is_complete in [true, false] {
            let shared = Shared::new(2);
            let begun = thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..1 + usize::from(is_complete)).map(|_| scope.spawn(|| shared.wait_for_start())).collect();
                if is_complete {
                    shared.start();
                } else {
                    shared.abandon();
                }
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            assert!(begun.windows(2).all(|pair| pair[0] == pair[1]));
            assert_eq!(shared.stop.load(Ordering::Relaxed), !is_complete);
        }
    }

    #[test]
    fn the_first_failure_is_told_with_the_number_of_all() {
        let shared = Shared::new(1);
        assert!(!shared.has_failed() && shared.failure(3).is_none());
        shared.fail("sender 0: gone".to_owned());
        assert_eq!(shared.failure(3).as_deref(), Some("sender 0: gone"));
        shared.fail("receiver 1: gone".to_owned());
        assert_eq!(shared.failure(3).as_deref(), Some("sender 0: gone; 2 of 3 connections failed"));
        assert!(shared.has_failed());
    }
}

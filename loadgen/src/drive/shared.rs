//! What the threads of a run tell each other and their supervisor: when they began, how far they are, what failed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Instant;

/// What the threads of a run tell each other.
#[derive(Debug)]
pub(crate) struct Shared {
    /// All threads and the supervisor start together.
    start: Barrier,
    /// When they did.
    begun: OnceLock<Instant>,
    pub(crate) stop: AtomicBool,
    /// One for each thread.
    progress: Vec<Counters>,
    failure: Mutex<Option<String>>,
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
pub(crate) struct Done {
    /// Messages handed to sockets.
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    /// Different messages received.
    pub(crate) received: u64,
    /// Senders of which the broker has read everything.
    pub(crate) confirmed: u64,
}

impl Counters {
    fn tell(&self, done: &Done) {
        self.sent.store(done.sent, Ordering::Relaxed);
        self.sent_bytes.store(done.sent_bytes, Ordering::Relaxed);
        self.received.store(done.received, Ordering::Relaxed);
        self.confirmed.store(done.confirmed, Ordering::Relaxed);
    }
}

impl Shared {
    /// For so many threads, supervised by the calling one.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            start: Barrier::new(threads + 1),
            begun: OnceLock::new(),
            stop: AtomicBool::new(false),
            progress: (0..threads).map(|_| Counters::default()).collect(),
            failure: Mutex::new(None),
            supervisor: std::thread::current(),
        }
    }

    /// Waits until all threads and the supervisor do. Gives when the first of them came through.
    pub(crate) fn start(&self) -> Instant {
        self.start.wait();
        *self.begun.get_or_init(Instant::now)
    }

    /// How far all threads together have come.
    pub(crate) fn done(&self) -> Done {
        self.progress.iter().fold(Done::default(), |sum, progress| Done {
            sent: sum.sent + progress.sent.load(Ordering::Relaxed),
            sent_bytes: sum.sent_bytes + progress.sent_bytes.load(Ordering::Relaxed),
            received: sum.received + progress.received.load(Ordering::Relaxed),
            confirmed: sum.confirmed + progress.confirmed.load(Ordering::Relaxed),
        })
    }

    /// The first failure of any thread.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells how far the thread of this index has come.
    pub(crate) fn tell(&self, index: usize, done: &Done) {
        self.progress[index].tell(done);
    }

    /// Notes a failure, and that the supervisor should look at once.
    pub(crate) fn fail(&self, why: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.supervisor.unpark();
    }
}

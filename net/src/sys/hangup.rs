//! Reports the end of a stream that edge-triggered system pollers swallow: the one that arrives
//! together with the last bytes.
//!
//! Bytes and a hang-up that arrive together make one event. The contract promises another event, for
//! the end, to a reader that takes the bytes with a short read, but the system sees no new edge and
//! reports none. So the poller marks the stream when it reports a hang-up, and a short read on a marked
//! stream requests one more event. All other streams pay one load for a short read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Event, Token};

/// The streams of one poller, and the events that the system does not report for them.
#[derive(Debug, Default)]
pub(super) struct Hangups {
    /// Used only when a peer hangs up.
    streams: Mutex<HashMap<Token, Arc<Hangup>>>,
    owed: Mutex<Vec<Token>>,
    /// Whether `owed` has entries, so that most waits take no lock.
    any_owed: AtomicBool,
}

/// The state that a stream shares with its poller.
#[derive(Debug)]
pub(super) struct Hangup {
    token: Token,
    reported: AtomicBool,
}

impl Hangups {
    /// Call this before the system can report on the stream.
    pub(super) fn add(&self, token: Token) -> Arc<Hangup> {
        let hangup = Arc::new(Hangup { token, reported: AtomicBool::new(false) });
        lock(&self.streams).insert(token, Arc::clone(&hangup));
        hangup
    }

    pub(super) fn remove(&self, hangup: &Hangup) {
        lock(&self.streams).remove(&hangup.token);
        lock(&self.owed).retain(|token| *token != hangup.token);
    }

    /// The poller reports a hang-up or an error of the stream.
    pub(super) fn report(&self, token: Token) {
        if let Some(hangup) = lock(&self.streams).get(&token) {
            hangup.reported.store(true, Ordering::Relaxed);
        }
    }

    /// A read did not fill its buffer. True if the poller has an event for the stream now and must not
    /// sleep on it.
    pub(super) fn after_short_recv(&self, hangup: &Hangup) -> bool {
        if !hangup.reported.load(Ordering::Relaxed) {
            return false;
        }
        lock(&self.owed).push(hangup.token);
        self.any_owed.store(true, Ordering::Release);
        true
    }

    /// Adds the owed events to `events`.
    pub(super) fn drain_into(&self, events: &mut Vec<Event>) {
        if self.any_owed.swap(false, Ordering::Acquire) {
            let owed = std::mem::take(&mut *lock(&self.owed));
            events.extend(owed.into_iter().map(|token| Event { token, readable: true, writable: false }));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

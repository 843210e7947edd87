//! What edge-triggered system pollers leave out: the end of a stream that was reported together with
//! the last bytes.
//!
//! Bytes and a hang-up that arrive together make one event. A reader that takes the bytes with a short
//! read is owed another event, for the end, but the system sees no new edge and gives none. So the
//! poller marks the stream when it reports a hang-up, and a short read on a marked stream asks the
//! poller for one event more. Streams that nobody hangs up on pay one load for a short read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Event, Token};

/// The streams of one poller, and the events the system will not give for them.
#[derive(Debug, Default)]
pub(super) struct Hangups {
    /// Looked into when a peer hangs up, and at no other event.
    streams: Mutex<HashMap<Token, Arc<Hangup>>>,
    owed: Mutex<Vec<Token>>,
    /// Whether `owed` has anything, so that most waits need no lock.
    any_owed: AtomicBool,
}

/// What a stream shares with its poller.
#[derive(Debug)]
pub(super) struct Hangup {
    token: Token,
    reported: AtomicBool,
}

impl Hangups {
    /// To be called before the system can report on the stream.
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

    /// The stream was read to less than the buffer's length. True if the poller has an event for it
    /// now and must not sleep on it.
    pub(super) fn after_short_recv(&self, hangup: &Hangup) -> bool {
        if !hangup.reported.load(Ordering::Relaxed) {
            return false;
        }
        lock(&self.owed).push(hangup.token);
        self.any_owed.store(true, Ordering::Release);
        true
    }

    /// Gives the poller's owner the events that are owed.
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

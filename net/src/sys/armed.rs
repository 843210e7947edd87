//! Registrations with a poller that asks its host about each socket: the edges of the contract on hosts
//! that answer by level.
//!
//! Each registration keeps its armed directions in one atomic byte. The poller asks only about armed
//! directions and disarms the ones it reports; `recv` and `send` arm a direction again, from any thread,
//! when they would block or are short.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Event, Token};

pub(super) const READ: u8 = 1;
pub(super) const WRITE: u8 = 2;
/// The registration has ended; its descriptor may have been reused.
const ENDED: u8 = 4;

/// Holds a registration and ends it when dropped. It is the first field of its owner, so it is dropped
/// before the socket.
#[derive(Debug)]
pub(super) struct Slot<S>(Option<Arc<Registration<S>>>);

impl<S> Slot<S> {
    /// A socket that is not registered.
    pub(super) fn new() -> Slot<S> {
        Slot(None)
    }

    pub(super) fn arm(&self, direction: u8) {
        if let Some(registration) = &self.0 {
            // Ordered after the call that would have blocked; likewise the poller loads before its own
            // call.
            registration.state.fetch_or(direction, Ordering::Release);
        }
    }

    /// Ends the registration.
    pub(super) fn end(&self) -> io::Result<()> {
        let registration = self.0.as_ref().ok_or(io::ErrorKind::NotFound)?;
        registration.state.store(ENDED, Ordering::Release);
        Ok(())
    }
}

impl<S> Drop for Slot<S> {
    fn drop(&mut self) {
        // A socket that is not registered has nothing to end.
        let _ = self.end();
    }
}

/// The state that a stream or listener shares with its poller.
#[derive(Debug)]
pub(super) struct Registration<S> {
    /// How the poller names the socket to the host.
    pub(super) source: S,
    token: Token,
    state: AtomicU8,
}

impl<S> Registration<S> {
    pub(super) fn armed(&self) -> u8 {
        self.state.load(Ordering::Acquire) & (READ | WRITE)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) & ENDED != 0
    }

    /// Disarms the armed ones of `directions` and adds their event to `events`. The two events of one
    /// registration, one after the other, become one.
    pub(super) fn fire(&self, directions: u8, events: &mut Vec<Event>) {
        let before = self.state.fetch_and(!directions, Ordering::AcqRel);
        let fired = if before & ENDED == 0 { before & directions } else { 0 };
        if fired == 0 {
            return;
        }
        let event = Event { token: self.token, readable: fired & READ != 0, writable: fired & WRITE != 0 };
        match events.last_mut() {
            Some(last) if last.token == event.token => {
                last.readable |= event.readable;
                last.writable |= event.writable;
            }
            _ => events.push(event),
        }
    }
}

/// New registrations, from any thread to the poller's owner.
#[derive(Debug)]
pub(super) struct Inbox<S> {
    registrations: Mutex<Vec<Arc<Registration<S>>>>,
    /// Whether there are any, so that most waits take no lock.
    any: AtomicBool,
}

impl<S> Default for Inbox<S> {
    fn default() -> Inbox<S> {
        Inbox { registrations: Mutex::default(), any: AtomicBool::default() }
    }
}

impl<S> Inbox<S> {
    /// Registers a socket with its directions armed: `READ` for a listener, both for a stream.
    pub(super) fn register(&self, slot: &mut Slot<S>, source: S, token: Token, armed: u8) -> io::Result<()> {
        if slot.0.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let registration = slot.0.insert(Arc::new(Registration { source, token, state: AtomicU8::new(armed) }));
        self.registrations.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(registration));
        self.any.store(true, Ordering::Release);
        Ok(())
    }

    /// Brings the poller's list up to date: adds the new registrations and removes the ended ones.
    pub(super) fn update(&self, registrations: &mut Vec<Arc<Registration<S>>>) {
        if self.any.swap(false, Ordering::Acquire) {
            registrations.append(&mut self.registrations.lock().unwrap_or_else(PoisonError::into_inner));
        }
        registrations.retain(|registration| !registration.has_ended());
    }
}

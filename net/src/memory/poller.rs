//! Pollers of the in-memory host: a queue of events behind a condition variable, and the edges of the
//! streams that push into it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{MemoryListener, MemoryStream, lock};
use crate::{Event, Poller, Registrar, Token};

/// A poller of the in-memory host.
pub struct MemoryPoller(MemoryRegistrar);

impl MemoryPoller {
    pub(super) fn new() -> MemoryPoller {
        MemoryPoller(MemoryRegistrar(Arc::new(Inbox::default())))
    }
}

impl Poller for MemoryPoller {
    type Listener = MemoryListener;
    type Stream = MemoryStream;
    type Registrar = MemoryRegistrar;

    fn registrar(&self) -> MemoryRegistrar {
        self.0.clone()
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        // A timeout beyond the range of the clock is no limit.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let inbox = &self.0.0;
        let mut waiting = lock(&inbox.waiting);
        while waiting.events.is_empty() && !waiting.woken {
            let Some(deadline) = deadline else {
                waiting = inbox.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let result = inbox.filled.wait_timeout(waiting, left);
            waiting = result.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.woken = false;
        events.append(&mut waiting.events);
        Ok(())
    }
}

/// Registers with one poller of the in-memory host.
#[derive(Clone)]
pub struct MemoryRegistrar(Arc<Inbox>);

impl Registrar for MemoryRegistrar {
    type Listener = MemoryListener;
    type Stream = MemoryStream;

    fn add_listener(&self, listener: &mut MemoryListener, token: Token) -> io::Result<()> {
        listener.watch(Target { inbox: Arc::clone(&self.0), token })
    }

    fn add(&self, stream: &mut MemoryStream, token: Token) -> io::Result<()> {
        stream.incoming.watch_reader(Target { inbox: Arc::clone(&self.0), token })?;
        stream.outgoing.watch_writer(Target { inbox: Arc::clone(&self.0), token })
    }

    fn remove(&self, stream: &MemoryStream) -> io::Result<()> {
        let (reader, writer) = (stream.incoming.unwatch_reader(), stream.outgoing.unwatch_writer());
        match reader.or(writer) {
            Some(target) => target.forget(),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    fn wake(&self) -> bool {
        lock(&self.0.waiting).woken = true;
        self.0.filled.notify_one();
        true
    }
}

/// Events that the poller has not returned yet.
#[derive(Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    events: Vec<Event>,
    woken: bool,
}

/// The poller and the token that a registration reports to.
pub(super) struct Target {
    inbox: Arc<Inbox>,
    token: Token,
}

impl Target {
    fn fire(&self, readable: bool, writable: bool) {
        lock(&self.inbox.waiting).events.push(Event { token: self.token, readable, writable });
        self.inbox.filled.notify_one();
    }

    /// Drops pending events, so that the token can be reused.
    pub(super) fn forget(&self) {
        lock(&self.inbox.waiting).events.retain(|event| event.token != self.token);
    }
}

/// The direction of an edge.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Read,
    Write,
}

/// One direction of a registration. Once armed, it fires once.
pub(super) struct Edge {
    direction: Direction,
    target: Option<Target>,
    armed: bool,
}

impl Edge {
    pub(super) fn new(direction: Direction) -> Edge {
        Edge { direction, target: None, armed: false }
    }

    /// Registers and arms.
    pub(super) fn watch(&mut self, target: Target) -> io::Result<()> {
        if self.target.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.target = Some(target);
        self.armed = true;
        Ok(())
    }

    pub(super) fn unwatch(&mut self) -> Option<Target> {
        self.target.take()
    }

    pub(super) fn arm(&mut self) {
        self.armed = true;
    }

    /// Reports the event if the edge is armed.
    pub(super) fn fire(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.fire_always();
        }
    }

    /// Reports the event even if the edge is not armed, as for a hang-up.
    pub(super) fn fire_always(&mut self) {
        if let Some(target) = &self.target {
            target.fire(matches!(self.direction, Direction::Read), matches!(self.direction, Direction::Write));
        }
    }
}

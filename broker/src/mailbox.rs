//! The mailboxes by which the acceptor and other workers reach a worker.

use std::sync::Arc;

use wisp_engine::sync::{Mutex, rank};
use wisp_engine::{Mail, Origin};
use wisp_net::{Registrar, Stream};

use crate::output::SendHalf;
use crate::quota::Place;
use crate::transport::Transport;

/// The mailbox of one worker, and the registrar of its poller.
pub(crate) struct Mailbox<R, S: Stream> {
    pub(crate) registrar: R,
    messages: Mutex<Messages<S>, { rank::MAILBOX }>,
}

struct Messages<S: Stream> {
    waiting: Vec<WorkerMessage<S>>,
    /// The worker has ended.
    is_closed: bool,
}

/// A message to a worker.
pub(crate) enum WorkerMessage<S: Stream> {
    /// A connection for this worker. Its socket is registered with the worker's poller.
    NewConnection(NewConnection<S>),
    /// A message for the engine's worker.
    Mail(Mail),
}

/// A connection that was just accepted.
pub(crate) struct NewConnection<S: Stream> {
    pub(crate) half: Arc<SendHalf<S>>,
    pub(crate) transport: Arc<Transport<S>>,
    pub(crate) origin: Origin,
    pub(crate) place: Place,
}

impl<R: Registrar, S: Stream> Mailbox<R, S> {
    pub(crate) fn new(registrar: R) -> Self {
        Self { registrar, messages: Mutex::new(Messages { waiting: Vec::new(), is_closed: false }) }
    }

    /// Adds a message. If the host cannot wake the worker, it reads the message in its next turn. False if the worker has ended:
    /// then the message is dropped.
    pub(crate) fn send(&self, message: WorkerMessage<S>) -> bool {
        let mut messages = self.messages.lock();
        if messages.is_closed {
            return false;
        }
        messages.waiting.push(message);
        drop(messages);
        self.registrar.wake();
        true
    }

    /// Adds the message that `make` returns. The mailbox is locked meanwhile, so if `make` causes an event the worker
    /// finds the message with it.
    pub(crate) fn send_with<E>(&self, make: impl FnOnce() -> Result<WorkerMessage<S>, E>) -> Result<(), E> {
        let mut messages = self.messages.lock();
        messages.waiting.push(make()?);
        Ok(())
    }

    /// Takes all messages, in order.
    pub(crate) fn take(&self) -> Vec<WorkerMessage<S>> {
        std::mem::take(&mut self.messages.lock().waiting)
    }

    /// The worker ends: takes the last messages.
    pub(crate) fn close(&self) -> Vec<WorkerMessage<S>> {
        let mut messages = self.messages.lock();
        messages.is_closed = true;
        std::mem::take(&mut messages.waiting)
    }
}

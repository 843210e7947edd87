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
    messages: Mutex<Vec<WorkerMessage<S>>, { rank::MAILBOX }>,
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
        Self { registrar, messages: Mutex::default() }
    }

    /// Adds a message. If the host cannot wake the worker, it reads the message in its next turn.
    pub(crate) fn send(&self, message: WorkerMessage<S>) {
        self.messages.lock().push(message);
        self.registrar.wake();
    }

    /// Adds the message that `make` returns. The mailbox is locked meanwhile, so if `make` causes an event the worker
    /// finds the message with it.
    pub(crate) fn send_with<E>(&self, make: impl FnOnce() -> Result<WorkerMessage<S>, E>) -> Result<(), E> {
        let mut messages = self.messages.lock();
        messages.push(make()?);
        Ok(())
    }

    /// Takes all messages, in order.
    pub(crate) fn take(&self) -> Vec<WorkerMessage<S>> {
        std::mem::take(&mut self.messages.lock())
    }
}

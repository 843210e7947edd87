//! The per-call context passed to connections.

use std::collections::VecDeque;

use crate::event::Event;
use crate::ops::dispatch::Dispatcher;
use crate::state::shared::Shared;
use crate::store::journal::Recorder;

/// The worker's state, lent to a connection while it handles bytes.
pub(crate) struct Context<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) dispatcher: &'a mut Dispatcher,
    /// Packets for the connection itself, after those of other connections.
    pub(crate) replies: &'a mut Vec<u8>,
    pub(crate) events: &'a mut VecDeque<Event>,
    /// The worker's index.
    pub(crate) worker: usize,
    pub(crate) now_ms: u64,
}

impl Context<'_> {
    /// For changes of the objects that the store keeps. The replies to the packets handled together wait for them.
    pub(crate) fn recorder(&self) -> Recorder<'_> {
        self.shared.journal.recorder(self.worker)
    }
}

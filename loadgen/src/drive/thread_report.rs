//! The measurements of one thread of a run.

use std::time::Instant;

use crate::drive::busy::Times;
use crate::drive::checker::Checker;
use crate::drive::timing::Histograms;

/// The measurements of one thread.
#[derive(Default, Debug)]
pub(crate) struct ThreadReport {
    /// Of its receivers.
    pub(crate) checkers: Vec<Checker>,
    /// Messages handed to sockets, by sender.
    pub(crate) sent: Vec<(u32, u64)>,
    pub(crate) first_send: Option<Instant>,
    /// When messages were last handed to a socket.
    pub(crate) last_send: Option<Instant>,
    /// The least window of its senders.
    pub(crate) window: Option<u16>,
    /// When the last message came that had not come before.
    pub(crate) last_message: Option<Instant>,
    /// When the broker last said that it has read all of a sender's messages.
    pub(crate) last_answer: Option<Instant>,
    /// Latencies, where the run has a rate.
    pub(crate) histograms: Option<Histograms>,
    /// The thread's own times; None where the system does not count them.
    pub(crate) times: Option<Times>,
}

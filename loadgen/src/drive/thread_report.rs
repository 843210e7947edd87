//! The measurements of one thread of a run.

use std::time::Instant;

use crate::drive::busy::Times;
use crate::drive::checker::Checker;
use crate::drive::timing::Histograms;

/// What one thread found.
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
    /// What was measured, where the run has a rate.
    pub(crate) histograms: Option<Histograms>,
    /// What the thread itself did; None where the system does not tell.
    pub(crate) times: Option<Times>,
}

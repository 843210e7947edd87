//! Well-behaved clients that a case measures with: each group of clients has one thread.

mod clock;
mod probe;
mod publishers;
mod receivers;

pub(crate) use clock::Clock;
pub(crate) use probe::Probe;
pub(crate) use publishers::{Plan, Publishers};
pub(crate) use receivers::{Received, Receivers};

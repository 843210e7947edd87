//! Well-behaved clients that a case measures with: each group of clients has one thread.

mod probe;
mod publishers;
mod receivers;

use std::time::{Duration, Instant};

pub(crate) use probe::Probe;
pub(crate) use publishers::{Plan, Publishers};
pub(crate) use receivers::{Received, Receivers};

/// The time that all threads of a case count from. Messages carry it in their first eight bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Microseconds since the start.
    pub(crate) fn now_us(self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

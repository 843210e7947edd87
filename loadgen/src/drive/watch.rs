//! Somebody who looks on while a run goes, and may end it.

use std::time::Duration;

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Messages handed to sockets.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Since the first was sent.
    pub elapsed: Duration,
}

/// Somebody who looks on while a run goes, and may end it.
pub trait Watch: Sync {
    /// Told some ten times a second.
    fn progress(&self, progress: Progress);
    /// Whether the run is to end at once.
    fn is_interrupted(&self) -> bool;
}

/// Nobody.
impl Watch for () {
    fn progress(&self, _: Progress) {}

    fn is_interrupted(&self) -> bool {
        false
    }
}

//! The progress of a run, for its caller, and the caller's way to end it early.

use std::time::Duration;

/// How far a run has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Messages handed to sockets.
    pub sent: u64,
    /// Different messages received.
    pub received: u64,
    /// Since all was connected and the sending began.
    pub elapsed: Duration,
}

/// Follows a run, and may end it. `()` lets it be.
pub trait Watch: Sync {
    /// All is connected and subscribed, and the first message is about to be sent.
    fn begins(&self) {}

    /// All has come, or the run was given up; nothing is closed yet.
    fn ends(&self) {}

    /// Called about ten times a second while messages are sent and received, from the thread that called [`run`](crate::drive::run::run).
    fn progress(&self, progress: Progress);

    /// Whether the run should end now. It then returns its results so far, with an error that says so; if not all
    /// clients are connected yet, it fails. Called often, so it must be fast.
    fn is_interrupted(&self) -> bool;
}

impl Watch for () {
    fn progress(&self, _: Progress) {}

    fn is_interrupted(&self) -> bool {
        false
    }
}

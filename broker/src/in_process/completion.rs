//! The broker's answer to a request, for the thread that waits for it.

use std::time::{Duration, Instant};

use wisp_engine::sync::{Condvar, Mutex, rank};

use super::error::ClientEnd;

/// An answer that comes once.
#[derive(Debug)]
pub(super) struct Completion<T> {
    outcome: Mutex<Option<Outcome<T>>, { rank::LEAF }>,
    is_done: Condvar,
}

/// The answer, or the end of the connection before it.
pub(super) type Outcome<T> = Result<T, ClientEnd>;

impl<T> Default for Completion<T> {
    fn default() -> Self {
        Self { outcome: Mutex::new(None), is_done: Condvar::default() }
    }
}

impl<T: Clone> Completion<T> {
    pub(super) fn complete(&self, outcome: Outcome<T>) {
        *self.outcome.lock() = Some(outcome);
        self.is_done.notify_all();
    }

    /// The answer if it is there.
    pub(super) fn outcome(&self) -> Option<Outcome<T>> {
        self.outcome.lock().clone()
    }

    pub(super) fn wait(&self) -> Outcome<T> {
        let mut outcome = self.outcome.lock();
        loop {
            match &*outcome {
                Some(outcome) => return outcome.clone(),
                None => outcome = self.is_done.wait(outcome),
            }
        }
    }

    /// The answer if it comes within `timeout`.
    pub(super) fn wait_timeout(&self, timeout: Duration) -> Option<Outcome<T>> {
        // A timeout beyond the range of the clock is no limit.
        let Some(deadline) = Instant::now().checked_add(timeout) else { return Some(self.wait()) };
        let mut outcome = self.outcome.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if outcome.is_some() || left.is_zero() {
                return outcome.clone();
            }
            outcome = self.is_done.wait_timeout(outcome, left);
        }
    }
}

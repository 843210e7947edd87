//! The broker's answer to a request, for the thread that waits for it.

use std::time::{Duration, Instant};

use wisp_engine::sync::{Condvar, Mutex, rank};

use super::error::ClientEnd;

/// An answer that comes once.
#[derive(Debug)]
pub(super) struct Completion<T> {
    state: Mutex<State<T>, { rank::LEAF }>,
    is_done: Condvar,
}

#[derive(Debug)]
struct State<T> {
    outcome: Option<Outcome<T>>,
    /// A thread waits. To notify none costs a system call too.
    is_awaited: bool,
}

/// The answer, or the end of the connection before it.
pub(super) type Outcome<T> = Result<T, ClientEnd>;

impl<T> Default for Completion<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { outcome: None, is_awaited: false }), is_done: Condvar::default() }
    }
}

impl<T: Clone> Completion<T> {
    pub(super) fn complete(&self, outcome: Outcome<T>) {
        let mut state = self.state.lock();
        state.outcome = Some(outcome);
        let is_awaited = state.is_awaited;
        drop(state);
        if is_awaited {
            self.is_done.notify_all();
        }
    }

    /// The answer if it is there.
    pub(super) fn outcome(&self) -> Option<Outcome<T>> {
        self.state.lock().outcome.clone()
    }

    pub(super) fn wait(&self) -> Outcome<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(outcome) = &state.outcome {
                return outcome.clone();
            }
            state.is_awaited = true;
            state = self.is_done.wait(state);
        }
    }

    /// The answer if it comes within `timeout`.
    pub(super) fn wait_timeout(&self, timeout: Duration) -> Option<Outcome<T>> {
        // A timeout beyond the range of the clock is no limit.
        let Some(deadline) = Instant::now().checked_add(timeout) else { return Some(self.wait()) };
        let mut state = self.state.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.outcome.is_some() || left.is_zero() {
                return state.outcome.clone();
            }
            state.is_awaited = true;
            state = self.is_done.wait_timeout(state, left);
        }
    }
}

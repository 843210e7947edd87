//! Waiting for conditions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen at once. It is only ever used up by a
/// failing test, and generous because WebAssembly hosts on a shared machine can be slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Asks until there is an answer.
///
/// # Panics
/// After [`PATIENCE`], saying what did not happen.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_or_report(what, ask, String::new)
}

/// Waits until the condition holds.
///
/// # Panics
/// After [`PATIENCE`], saying what did not happen.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// Asks until there is an answer, and ends a failing test with a report of its own.
///
/// # Panics
/// After [`PATIENCE`], saying what did not happen and what the report says.
pub fn wait_or_report<T>(what: &str, mut ask: impl FnMut() -> Option<T>, report: impl FnOnce() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        if Instant::now() >= deadline {
            panic!("waited {PATIENCE:?} in vain: {what}\n{}", report());
        }
        sleep(POLL_INTERVAL);
    }
}

/// Sets a flag when it is dropped, also when a test fails: so that the failure shows, instead of threads that go on.
pub struct SetAtTheEnd<'a>(pub &'a AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

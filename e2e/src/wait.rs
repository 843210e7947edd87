//! Waiting for conditions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time limit for a condition that should hold immediately. Only a failing test uses it up. It is generous
/// because WebAssembly hosts on a shared machine can be slow.
pub const TIMEOUT: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Calls `ask` until it returns a value.
///
/// # Panics
/// After [`TIMEOUT`], naming the condition.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_or_report(what, ask, String::new)
}

/// Waits until the condition holds.
///
/// # Panics
/// After [`TIMEOUT`], naming the condition.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// Calls `ask` until it returns a value, and adds a report to the message of a failing test.
///
/// # Panics
/// After [`TIMEOUT`], naming the condition, with the report.
pub fn wait_or_report<T>(what: &str, mut ask: impl FnMut() -> Option<T>, report: impl FnOnce() -> String) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        if Instant::now() >= deadline {
            panic!("waited {TIMEOUT:?} in vain: {what}\n{}", report());
        }
        sleep(POLL_INTERVAL);
    }
}

/// Sets a flag when dropped, also when a test fails, so that its threads end and the failure shows.
pub struct SetAtTheEnd<'a>(pub &'a AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

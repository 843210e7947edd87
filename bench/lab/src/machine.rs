//! This machine: its processors, its memory and how busy it is.

use std::thread;
use std::time::Duration;

use crate::proc::{self, ProcessorTicks};

/// How many processors this program may use.
#[must_use]
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// How long is looked whether the machine has something else to do.
const LOOK_FOR: Duration = Duration::from_millis(300);

/// The number of processors that are busy with anything, on average over a short time from now on; None where the
/// system does not tell. The load average would not do: it still contains the measurement before.
#[must_use]
pub fn busy_processors() -> Option<f64> {
    let before = proc::processor_ticks().ok()?;
    thread::sleep(LOOK_FOR);
    Some(busy_share(before, proc::processor_ticks().ok()?) * processors() as f64)
}

/// The busy share of the time between two readings.
fn busy_share(before: ProcessorTicks, after: ProcessorTicks) -> f64 {
    let passed = |now: u64, then: u64| now.saturating_sub(then) as f64;
    let (all, idle) = (passed(after.all, before.all), passed(after.idle, before.idle));
    if all > 0.0 { (1.0 - idle / all).clamp(0.0, 1.0) } else { 0.0 }
}

/// The model of the processors.
pub(crate) fn processor_model() -> Option<String> {
    proc::processor_model().ok()?
}

/// The size of the memory, as in `1.0 GiB`.
pub(crate) fn memory() -> Option<String> {
    let bytes = proc::memory_bytes().ok()? as f64;
    Some(format!("{:.1} GiB", bytes / 1024.0 / 1024.0 / 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_not_idle() {
        let before = ProcessorTicks { all: 100, idle: 80 };
        let after = ProcessorTicks { all: 200, idle: 135 };
        assert!((busy_share(before, after) - 45.0 / 100.0).abs() < 1e-9);
        assert!(busy_share(before, before) < f64::EPSILON);
    }
}

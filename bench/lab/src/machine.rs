//! This machine: its processors, its memory and how busy it is.

use std::fs;
use std::thread;
use std::time::Duration;

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
    let before = Ticks::now()?;
    thread::sleep(LOOK_FOR);
    Some(Ticks::now()?.busy_since(&before) * processors() as f64)
}

/// Time of all processors since the machine was started, in its own unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ticks {
    all: u64,
    idle: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The line `cpu user nice system idle iowait irq softirq steal ...`.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks = line.split_whitespace().take(8).map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        Some(Self { all: ticks.iter().sum(), idle: ticks.get(3)? + ticks.get(4)? })
    }

    /// The busy share of the time since `earlier`.
    fn busy_since(&self, earlier: &Self) -> f64 {
        let passed = |now: u64, then: u64| now.saturating_sub(then) as f64;
        let (all, idle) = (passed(self.all, earlier.all), passed(self.idle, earlier.idle));
        if all > 0.0 { (1.0 - idle / all).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The model of the processors.
pub(crate) fn processor_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    field(&text, "model name")
}

/// The size of the memory, as in `1.0 GiB`.
pub(crate) fn memory() -> Option<String> {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = field(&text, "MemTotal").and_then(|value| value.strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map(|kib| format!("{:.1} GiB", kib / 1024.0 / 1024.0))
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values.into_iter().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_not_idle() {
        let at = |line: &str| Ticks::parse(&format!("{line}\ncpu0 1 1 1 1 1 1 1 1 0 0\n")).unwrap();
        let (before, after) = (at("cpu  10 0 10 70 10 0 0 0 5 0"), at("cpu  30 5 20 120 15 5 5 0 9 0"));
        assert!((after.busy_since(&before) - 45.0 / 100.0).abs() < 1e-9);
        assert!(before.busy_since(&before) < f64::EPSILON);
        assert_eq!(Ticks::parse("cpu0 1 2 3 4 5"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 2\nmodel name\t: A processor\nMemTotal:  1024 kB\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A processor"));
        assert_eq!(field(text, "MemTotal").as_deref(), Some("1024 kB"));
        assert_eq!(field(text, "name"), None);
    }
}

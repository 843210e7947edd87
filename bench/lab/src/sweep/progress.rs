//! The display of progress: a bar on a terminal, a line for each sample elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::failure::Interrupt;
use crate::sweep::order::Sample;
use wisp_loadgen::{Progress, Watch};
use wisp_report::folder::{self, Record};
use wisp_report::table::thousands;
use wisp_report::units::Unit;

/// Until a sample has ended, nobody knows how long the others take.
const FIRST_STYLE: &str = "{bar:24} {pos}/{len}, {wide_msg}";
const SWEEP_STYLE: &str = "{bar:24} {pos}/{len}, {eta} left, {wide_msg}";
const RUN_STYLE: &str = "{spinner} {elapsed}, {wide_msg}";
/// How often the time left is counted down while nothing else changes.
const TICK: Duration = Duration::from_millis(500);

/// Shows the rate of the current run, on a terminal.
pub(crate) struct Live {
    interrupt: Interrupt,
    /// None where standard error is no terminal.
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    title: String,
    last: Progress,
}

impl Live {
    /// For a single run.
    pub(crate) fn of_run(interrupt: Interrupt) -> Self {
        let live = Self::new(interrupt, ProgressBar::no_length, RUN_STYLE);
        live.begin("connecting".to_owned());
        live
    }

    fn new(interrupt: Interrupt, bar: impl FnOnce() -> ProgressBar, style: &str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = bar();
            bar.set_style(styled(style));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { interrupt, bar, state: Mutex::default() }
    }

    fn begin(&self, title: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(title.clone());
        }
        *self.state.lock().expect("nobody panics who has it") = State { title, last: Progress::default() };
    }

    /// Writes a line, above the bar if there is one.
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Live {
    fn progress(&self, progress: Progress) {
        let Some(bar) = &self.bar else { return };
        let mut state = self.state.lock().expect("nobody panics who has it");
        // The run after a warm-up starts at zero again.
        let last = if progress.elapsed < state.last.elapsed { Progress::default() } else { state.last };
        let counted = |progress: Progress| if progress.received > 0 { progress.received } else { progress.sent };
        let seconds = (progress.elapsed - last.elapsed).as_secs_f64();
        if seconds > 0.0 {
            let rate = counted(progress).saturating_sub(counted(last)) as f64 / seconds;
            bar.set_message(format!("{}: {} msg/s", state.title, thousands(rate)));
        }
        state.last = progress;
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt.is_set()
    }
}

/// Shows how far a sweep is.
pub(super) struct Display {
    pub(super) live: Live,
    samples: usize,
    ended: usize,
}

impl Display {
    pub(super) fn new(samples: usize, interrupt: Interrupt) -> Self {
        Self { live: Live::new(interrupt, || ProgressBar::new(samples as u64), FIRST_STYLE), samples, ended: 0 }
    }

    pub(super) fn begin(&self, sample: &Sample) {
        self.live.begin(title(sample));
    }

    /// Says how a sample ended: nothing on a terminal, where the bar moves on, unless something was wrong with it.
    pub(super) fn end(&mut self, program: &str, sample: &Sample, record: &Record) {
        self.ended += 1;
        let fault = folder::fault(record);
        match &self.live.bar {
            Some(bar) => {
                bar.set_style(styled(SWEEP_STYLE));
                bar.inc(1);
            }
            None if fault.is_none() => {
                let width = self.samples.to_string().len();
                self.live.say(&format!(
                    "[{:>width$}/{}] {}: {}",
                    self.ended,
                    self.samples,
                    title(sample),
                    headline(record)
                ));
            }
            None => {}
        }
        let Some(fault) = fault else { return };
        self.live.say(&format!("{program}: {}: {fault}", title(sample)));
        let first = record.get(folder::FIRST_FAULTS).and_then(Value::as_array).into_iter().flatten();
        for case in first.filter_map(Value::as_str) {
            self.live.say(&format!("{program}:   {case}"));
        }
    }
}

fn styled(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

fn title(sample: &Sample) -> String {
    let Sample { point, repetition } = sample;
    match point.title() {
        "" => format!("repetition {repetition}"),
        told => format!("{told}, repetition {repetition}"),
    }
}

/// A sample in a few words.
fn headline(record: &Record) -> String {
    let number = |name: &str| record.get(name).and_then(Value::as_f64);
    let kind = record.get("kind").and_then(Value::as_str).unwrap_or_default();
    let per_s = |name: &str, unit: &str| number(name).map(|rate| format!("{} {unit}/s", thousands(rate)));
    let latency = || {
        let within = |name: &str| number(name).map(|ns| Unit::of(name).text(ns));
        Some(format!("half within {}, 99 of 100 within {}", within("latency_p50_ns")?, within("latency_p99_ns")?))
    };
    let said = match kind {
        "latency" => latency(),
        "connections" => per_s("connections_per_s", "connections"),
        "start" => number("startup_ms").map(|ms| format!("{ms:.1} ms")),
        _ => per_s("messages_per_s", "msg").or_else(|| number("seconds").map(|seconds| format!("{seconds:.3} s"))),
    };
    let said = said.unwrap_or_else(|| "done".to_owned());
    if folder::is_saturated(record) { format!("{said}, and the generator was the limit") } else { said }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_has_its_headline() {
        for (record, said) in [
            (json!({"kind": "throughput", "messages_per_s": 1234.5}), "1,234 msg/s"),
            (
                json!({"kind": "transfer", "messages_per_s": 10.0, "is_generator_saturated": true}),
                "10 msg/s, and the generator was the limit",
            ),
            (
                json!({"kind": "latency", "latency_p50_ns": 1500, "latency_p99_ns": 20_000}),
                "half within 1.50 µs, 99 of 100 within 20.0 µs",
            ),
            (json!({"kind": "connections", "connections_per_s": 5000.0}), "5,000 connections/s"),
            (json!({"kind": "start", "startup_ms": 12.34}), "12.3 ms"),
            (json!({"kind": "compute", "seconds": 1.5}), "1.500 s"),
            (json!({"kind": "compute"}), "done"),
        ] {
            assert_eq!(headline(&serde_json::from_value(record).unwrap()), said);
        }
    }
}

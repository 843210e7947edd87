//! What a person sees while samples are taken: a bar on a terminal, a line for each sample elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::drive::watch::{Progress, Watch};
use crate::failure::Interrupt;
use crate::folder::{self, Record};
use crate::sweep::order::Sample;
use crate::table::thousands;

const STYLE: &str = "{bar:24} {pos}/{len}, {eta} left, {wide_msg}";
/// How often the time left is counted down while nothing else changes.
const TICK: Duration = Duration::from_millis(500);

/// Shows how far the sweep is.
pub(super) struct Display {
    interrupt: Interrupt,
    /// None where standard error is no terminal.
    bar: Option<ProgressBar>,
    samples: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ended: usize,
    title: String,
    last: Progress,
}

impl Display {
    pub(super) fn new(samples: usize, interrupt: Interrupt) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(samples as u64);
            bar.set_style(ProgressStyle::with_template(STYLE).expect("the template is well-formed"));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { interrupt, bar, samples, state: Mutex::default() }
    }

    pub(super) fn begin(&mut self, sample: &Sample) {
        let state = self.state.get_mut().expect("nobody panics who has it");
        state.title = format!("{}, repetition {}", sample.point.title(), sample.repetition);
        state.last = Progress::default();
        if let Some(bar) = &self.bar {
            bar.set_message(state.title.clone());
        }
    }

    /// Says how a sample ended, and what was wrong with it if anything was.
    pub(super) fn end(&mut self, program: &str, sample: &Sample, record: &Record) {
        let state = self.state.get_mut().expect("nobody panics who has it");
        state.ended += 1;
        let fault = folder::fault(record);
        let width = self.samples.to_string().len();
        match &self.bar {
            Some(bar) => bar.inc(1),
            None => {
                let said = fault.clone().unwrap_or_else(|| headline(record));
                eprintln!("[{:>width$}/{}] {}: {said}", state.ended, self.samples, state.title);
            }
        }
        let mut warnings = Vec::new();
        if let Some(fault) = &fault {
            warnings.push(format!("{program}: {}, repetition {}: {fault}", sample.point.title(), sample.repetition));
            let first = record.get(folder::FIRST_FAULTS).and_then(Value::as_array).into_iter().flatten();
            warnings.extend(first.filter_map(Value::as_str).map(|case| format!("{program}:   {case}")));
        }
        for warning in warnings {
            match &self.bar {
                Some(bar) => bar.suspend(|| eprintln!("{warning}")),
                None => eprintln!("{warning}"),
            }
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Display {
    fn progress(&self, progress: Progress) {
        let Some(bar) = &self.bar else { return };
        let mut state = self.state.lock().expect("nobody panics who has it");
        // A warm-up before the sample begins again at nothing.
        let last = if progress.elapsed < state.last.elapsed { Progress::default() } else { state.last };
        let seconds = (progress.elapsed - last.elapsed).as_secs_f64();
        let counted = |progress: &Progress| if progress.received > 0 { progress.received } else { progress.sent };
        if seconds > 0.0 {
            let rate = counted(&progress).saturating_sub(counted(&last)) as f64 / seconds;
            bar.set_message(format!("{}: {} msg/s", state.title, thousands(rate)));
        }
        state.last = progress;
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt.check().is_err()
    }
}

/// A sample in a few words.
pub(super) fn headline(record: &Record) -> String {
    let number = |name: &str| record.get(name).and_then(Value::as_f64);
    let kind = record.get("kind").and_then(Value::as_str).unwrap_or_default();
    let per_s = |name: &str, unit: &str| number(name).map(|rate| format!("{} {unit}/s", thousands(rate)));
    let latency = || {
        let microseconds = |name: &str| number(name).map(|ns| ns / 1000.0);
        let (half, most) = (microseconds("latency_p50_ns")?, microseconds("latency_p99_ns")?);
        Some(format!("half within {half:.1} µs, 99 % within {most:.1} µs"))
    };
    let said = match kind {
        "latency" => latency(),
        "connections" => per_s("connections_per_s", "connections"),
        "start" => number("startup_ms").map(|ms| format!("{ms:.1} ms")),
        _ => per_s("messages_per_s", "msg").or_else(|| number("seconds").map(|seconds| format!("{seconds:.3} s"))),
    };
    said.unwrap_or_else(|| "done".to_owned())
}

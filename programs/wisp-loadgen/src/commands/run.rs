//! `run`: a single run.

use std::process::ExitCode;
use std::time::Duration;

use wisp_lab::failure::Failure;
use wisp_lab::measured::Measured;
use wisp_lab::single::{Driven, SingleRun, StartedFigures};
use wisp_lab::sweep;

use crate::args::Run;
use crate::commands::terminal::{PROGRAM, on_signals, print};

pub(super) fn run(options: &Run) -> Result<ExitCode, Failure> {
    let interrupt = on_signals()?;
    let single = SingleRun::new(options.load(), options.tls.options())?;
    if let (true, Some(version)) = (single.is_nats(), options.mqtt_version) {
        let what = format!("{version} is not what NATS servers speak: leave out --mqtt-version");
        return Err(Failure::Setup(what));
    }
    let driven = single.drive(options.duration_max_s.map(Duration::from_secs), &interrupt)?;
    say(options, &driven)?;
    if let Some(folder) = &options.out {
        single
            .keep(&driven, folder, sweep::command(PROGRAM))
            .map_err(|error| Failure::Setup(format!("cannot write into {}: {error}", folder.display())))?;
        wisp_report::write(folder).map_err(Failure::setup)?;
    }
    let is_good = driven.results.is_good();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(Failure::Broken(String::new()).status()) })
}

fn say(options: &Run, driven: &Driven) -> Result<(), Failure> {
    let Driven { results, broker } = driven;
    if let Some(error) = &results.error {
        eprintln!("{PROGRAM}: {error}");
    }
    match (&broker.started, options.json) {
        // By way of fields, which are there once.
        (Some(_), true) => print(&Measured::of(driven).to_string()),
        (None, true) => print(&results.to_json()),
        (Some(started), false) => print(&format!("{results}\n{}", broker_line(started))),
        (None, false) => print(&results.to_string()),
    }
}

/// The broker's usage in a line for people.
fn broker_line(started: &StartedFigures) -> String {
    let StartedFigures { broker, broker_version, startup_ms, usage } = started;
    let mut line = format!("{broker} ({broker_version}), {startup_ms:.1} ms to start");
    if let Some(usage) = usage {
        if let Some(cpu_s) = usage.broker_cpu_s {
            line += &format!(", {cpu_s:.3} s of processors");
        }
        let (peak_mb, threads) = (usage.broker_peak_rss_bytes as f64 / 1e6, usage.broker_threads);
        line += &format!(", {peak_mb:.1} MB of memory at most, {threads} threads");
    }
    line
}

//! `run`: a single run.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value};
use wisp_lab::failure::Failure;
use wisp_lab::single::SingleRun;
use wisp_lab::sweep;
use wisp_loadgen::drive::results::Results;

use crate::args::Run;
use crate::commands::{PROGRAM, on_signals, print};

pub(super) fn run(options: &Run) -> Result<ExitCode, Failure> {
    let interrupt = on_signals()?;
    let single = SingleRun::new(options.point(), &options.url)?;
    if let (true, Some(version)) = (single.is_nats(), options.mqtt_version) {
        let what = format!("{version} is not what NATS servers speak: leave out --mqtt-version");
        return Err(Failure::Setup(what));
    }
    let driven = single.drive(options.duration_max_s.map(Duration::from_secs), &interrupt)?;
    say(options, &driven.results, &driven.broker)?;
    if let Some(folder) = &options.out {
        single
            .keep(&driven, folder, sweep::command(PROGRAM))
            .map_err(|error| Failure::Setup(format!("cannot write into {}: {error}", folder.display())))?;
        wisp_report::write(folder).map_err(Failure::Setup)?;
    }
    let is_good = driven.results.is_good();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(Failure::Broken(String::new()).status()) })
}

fn say(options: &Run, results: &Results, broker: &Map<String, Value>) -> Result<(), Failure> {
    if let Some(error) = &results.error {
        eprintln!("{PROGRAM}: {error}");
    }
    let is_started = broker.contains_key("startup_ms");
    if options.json && is_started {
        let mut all = Map::new();
        if let Ok(Value::Object(results)) = serde_json::to_value(results) {
            all.extend(results);
        }
        all.extend(broker.clone());
        return print(&Value::Object(all).to_string());
    }
    print(&if options.json { results.to_json() } else { results.to_string() })?;
    if is_started && !options.json {
        print(&broker_line(broker))?;
    }
    Ok(())
}

/// The broker's usage in a line for people.
fn broker_line(broker: &Map<String, Value>) -> String {
    let number = |name: &str| broker.get(name).and_then(Value::as_f64);
    let text = |name: &str| broker.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut line = format!("{} ({})", text("broker"), text("broker_version"));
    for (name, unit, parts, digits) in [
        ("startup_ms", "ms to start", 1.0, 1),
        ("broker_cpu_s", "s of processors", 1.0, 3),
        ("broker_peak_rss_bytes", "MB of memory at most", 1e6, 1),
        ("broker_threads", "threads", 1.0, 0),
    ] {
        if let Some(value) = number(name) {
            line += &format!(", {:.digits$} {unit}", value / parts);
        }
    }
    line
}

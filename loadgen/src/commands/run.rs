//! `run`: one run, of which nothing but itself is measured.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::args::Run;
use crate::broker::CpuMeter;
use crate::commands::{PROGRAM, on_signals, print};
use crate::drive::config::Config;
use crate::drive::results::Results;
use crate::drive::run;
use crate::failure::{Failure, Interrupt};
use crate::folder::{self, Record, Writer};
use crate::machine::Facts;
use crate::paths::Scratch;
use crate::plan::{Point, default_figures};
use crate::report;
use crate::sweep::load::subject::{Choice, Subject};
use crate::sweep::load::{config, record};
use crate::sweep::progress::Live;

/// The plan that the records of single runs have.
const PLAN: &str = "run";

pub(super) fn run(options: &Run) -> Result<ExitCode, Failure> {
    let interrupt = on_signals()?;
    let point = options.point();
    point.check().map_err(Failure::Setup)?;
    let choice = Choice::of(&point, Some(&options.url))?;
    if let (true, Some(version)) = (choice.is_nats(), options.mqtt_version) {
        let what = format!("{version} is not what NATS servers speak: leave out --mqtt-version");
        return Err(Failure::Setup(what));
    }
    let scratch =
        Scratch::new().map_err(|error| Failure::Setup(format!("cannot make a folder for temporary files: {error}")))?;
    let (results, broker) = drive(options, &point, &choice, &scratch, &interrupt)?;
    say(options, &results, &broker)?;
    if let Some(folder) = &options.out {
        let mut record = record(&point, &results);
        record.extend(broker);
        keep(folder, &choice, &point, record)
            .map_err(|error| Failure::Setup(format!("cannot write into {}: {error}", folder.display())))?;
        report::write(folder).map_err(Failure::Setup)?;
    }
    Ok(if results.is_good() { ExitCode::SUCCESS } else { ExitCode::from(Failure::Broken(String::new()).status()) })
}

/// Gives what was found, and what is known of the broker.
fn drive(
    options: &Run,
    point: &Point,
    choice: &Choice,
    scratch: &Scratch,
    interrupt: &Interrupt,
) -> Result<(Results, Map<String, Value>), Failure> {
    let subject: Subject = choice.start(scratch, interrupt)?;
    let version = match choice {
        Choice::Start(broker, _) => broker.version(),
        Choice::Running(_) => String::new(),
    };
    let config = Config {
        duration_max: options.duration_max_s.map(Duration::from_secs),
        ..config(point, subject.target.clone(), options.rate)?
    };
    let live = Live::of_run(interrupt.clone());
    let meter = CpuMeter::new(&live, subject.running());
    let results = run::run(&config, &meter);
    live.finish();
    interrupt.check()?;
    let mut results = results.map_err(|error| Failure::Setup(subject.has_died().unwrap_or(error)))?;
    if let Some(death) = subject.has_died() {
        results.error = Some(death);
    }
    let fields = subject.fields(&version, meter.cpu_s());
    Ok((results, fields))
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

/// What a broker has used, for people.
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

/// Adds the record to those of the folder, as the next repetition of its point.
fn keep(folder: &Path, choice: &Choice, point: &Point, mut record: Record) -> io::Result<()> {
    let key = Value::from(point.key());
    // Nobody else's record comes between what is counted and what is written.
    let mut writer = Writer::open(folder)?;
    let before = match folder::read_records(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let is_same =
        |record: &&Record| record.get(folder::PLAN) == Some(&PLAN.into()) && record.get(folder::POINT) == Some(&key);
    let repetition = before.iter().filter(is_same).count() + 1;
    let now = folder::universal_time(SystemTime::now());
    for (name, value) in [
        (folder::PLAN, PLAN.into()),
        (folder::REPETITION, repetition.into()),
        (folder::POINT, key.clone()),
        (folder::TAKEN_AT, now.clone().into()),
    ] {
        record.insert(name.to_owned(), value);
    }
    let brokers = match choice {
        Choice::Start(broker, _) => vec![broker.clone()],
        Choice::Running(_) => Vec::new(),
    };
    let facts = Facts::gather(&brokers);
    let named = |(name, value): (&str, String)| (name.to_owned(), value);
    writer.run().machine = facts.machine.into_iter().map(named).collect();
    writer.run().versions.extend(facts.versions.into_iter().map(named));
    let info = writer.plan(PLAN);
    info.title = "Single runs".to_owned();
    info.about = "Each without a warm-up.".to_owned();
    info.command = crate::sweep::command(PROGRAM);
    for figure in default_figures(point.kind(), std::slice::from_ref(point)) {
        if info.figures.iter().all(|known| known.name != figure.name) {
            info.figures.push(figure);
        }
    }
    if info.started.is_empty() {
        info.started.clone_from(&now);
    }
    info.ended = now;
    info.is_complete = true;
    writer.append(&record)?;
    writer.save()
}

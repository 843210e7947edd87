//! A single run outside of any plan: without a warm-up, and recorded only if the caller wants it.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use wisp_client::TlsOptions;
use wisp_loadgen::{Config, Results, run};
use wisp_report::folder::{self, Writer};
use wisp_report::time;

use crate::broker::CpuMeter;
use crate::failure::{Failure, Interrupt};
use crate::paths::Scratch;
use crate::plan::{BrokerChoice, Load, Point, SettingError, Settings, default_figures};
pub use crate::sweep::load::subject::{BrokerFigures, StartedFigures, UsageFigures};
use crate::sweep::load::subject::{Choice, KnownBroker, Subject};
use crate::sweep::load::{config, measured};
use crate::sweep::progress::Live;
use crate::versions::{self, Facts};

/// The plan that the records of single runs have.
const PLAN: &str = "run";

/// A run that can be driven.
pub struct SingleRun {
    load: Load,
    point: Point,
    choice: Choice,
}

/// The findings of a run, under the names that records have.
#[derive(Serialize)]
pub struct Driven {
    /// The generator's results.
    #[serde(flatten)]
    pub results: Results,
    /// The figures of the broker; the protocol alone if it was not started here.
    #[serde(flatten)]
    pub broker: BrokerFigures,
}

impl SingleRun {
    /// A run of a load; one at a rate measures latency. `tls` is for a broker that runs already.
    ///
    /// # Errors
    /// If the settings do not go together.
    pub fn new(load: Load, tls: TlsOptions) -> Result<Self, SettingError> {
        let settings = if load.rate_per_s.is_some() { Settings::Latency } else { Settings::Throughput };
        let point = Point::new(settings(load.clone()));
        point.check()?;
        let known = match &load.broker.choice {
            BrokerChoice::Running(target) => Some(KnownBroker { target: target.clone(), tls }),
            BrokerChoice::Start(_) => None,
        };
        let choice = Choice::of(&load.broker, known.as_ref());
        Ok(Self { load, point, choice })
    }

    /// Whether the broker speaks NATS.
    #[must_use]
    pub fn is_nats(&self) -> bool {
        self.choice.is_nats()
    }

    /// Drives the broker once. `duration_max` bounds the run with its connecting.
    ///
    /// # Errors
    /// If the run could not start, or was interrupted.
    pub fn drive(&self, duration_max: Option<Duration>, interrupt: &Interrupt) -> Result<Driven, Failure> {
        let scratch = Scratch::new()
            .map_err(|error| Failure::Setup(format!("cannot make a folder for temporary files: {error}")))?;
        let subject: Subject = self.choice.start(&scratch, interrupt)?;
        let version = match &self.choice {
            Choice::Start(broker, _) => versions::version_of(broker),
            Choice::Running(_) => String::new(),
        };
        let config = Config {
            duration_max,
            ..config(&self.load, subject.target.clone(), subject.tls.clone(), self.load.rate_per_s)
        };
        let live = Live::of_run(interrupt.clone());
        let meter = CpuMeter::new(&live, subject.running());
        let results = run(&config, &meter);
        live.finish();
        interrupt.check()?;
        let mut results =
            results.map_err(|error| Failure::Setup(subject.has_died().unwrap_or_else(|| error.to_string())))?;
        if let Some(death) = subject.has_died() {
            results.error = Some(death);
        }
        let broker = subject.figures(&version, meter.cpu_s());
        Ok(Driven { results, broker })
    }

    /// Adds the record to a folder, as the next repetition of its point. `command` is the command that runs it again.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn keep(&self, driven: &Driven, folder: &Path, command: String) -> io::Result<()> {
        let mut record = measured(driven).record(&self.point);
        let key = serde_json::Value::from(self.point.key());
        // The writer locks the folder, so that no other record comes between counting and writing.
        let mut writer = Writer::open(folder)?;
        let before = match folder::read_records(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let is_same = |record: &&folder::Record| {
            record.get(folder::PLAN) == Some(&PLAN.into()) && record.get(folder::POINT) == Some(&key)
        };
        let repetition = before.iter().filter(is_same).count() + 1;
        let now = time::now();
        for (name, value) in [
            (folder::PLAN, PLAN.into()),
            (folder::REPETITION, repetition.into()),
            (folder::POINT, key.clone()),
            (folder::TAKEN_AT, now.clone().into()),
        ] {
            record.insert(name.to_owned(), value);
        }
        self.describe(&mut writer, command, &now);
        writer.append(&record)?;
        writer.save()
    }

    /// Notes the circumstances of the record, and the figures to draw.
    fn describe(&self, writer: &mut Writer, command: String, now: &str) {
        let brokers = match &self.choice {
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
        info.command = command;
        for figure in default_figures(self.point.kind(), std::slice::from_ref(&self.point)) {
            if info.figures.iter().all(|known| known.name != figure.name) {
                info.figures.push(figure);
            }
        }
        if info.started.is_empty() {
            now.clone_into(&mut info.started);
        }
        now.clone_into(&mut info.ended);
        info.is_complete = true;
    }
}

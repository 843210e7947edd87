//! A single run outside of any plan: without a warm-up, and recorded only if the caller wants it.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use wisp_loadgen::drive::config::Config;
use wisp_loadgen::drive::results::Results;
use wisp_loadgen::drive::run;
use wisp_loadgen::drive::target::Target;
use wisp_report::folder::{self, Writer};
use wisp_report::time;

use crate::broker::CpuMeter;
use crate::failure::{Failure, Interrupt};
use crate::paths::Scratch;
use crate::plan::{Point, default_figures};
use crate::sweep::load::subject::{Choice, Subject};
use crate::sweep::load::{config, record};
use crate::sweep::progress::Live;
use crate::versions::{self, Facts};

/// The plan that the records of single runs have.
const PLAN: &str = "run";

/// A run that can be driven.
pub struct SingleRun {
    point: Point,
    choice: Choice,
}

/// The findings of a run.
pub struct Driven {
    /// The generator's results.
    pub results: Results,
    /// The facts about the broker, under the names of record fields; the protocol alone if it was not started here.
    pub broker: Map<String, Value>,
}

impl SingleRun {
    /// A run with the settings of a point. `url` is the broker's address from the command line, with its password.
    ///
    /// # Errors
    /// If the settings do not go together or name no broker.
    pub fn new(point: Point, url: &Target) -> Result<Self, Failure> {
        point.check().map_err(Failure::Setup)?;
        let choice = Choice::of(&point, Some(url))?;
        Ok(Self { point, choice })
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
        let rate_per_s = self.point.number("rate_per_s");
        let config = Config { duration_max, ..config(&self.point, subject.target.clone(), rate_per_s)? };
        let live = Live::of_run(interrupt.clone());
        let meter = CpuMeter::new(&live, subject.running());
        let results = run::run(&config, &meter);
        live.finish();
        interrupt.check()?;
        let mut results =
            results.map_err(|error| Failure::Setup(subject.has_died().unwrap_or_else(|| error.to_string())))?;
        if let Some(death) = subject.has_died() {
            results.error = Some(death);
        }
        let broker = subject.fields(&version, meter.cpu_s());
        Ok(Driven { results, broker })
    }

    /// Adds the record to a folder, as the next repetition of its point. `command` is the command that runs it again.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn keep(&self, driven: &Driven, folder: &Path, command: String) -> io::Result<()> {
        let mut record = record(&self.point, &driven.results);
        record.extend(driven.broker.clone());
        let key = Value::from(self.point.key());
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

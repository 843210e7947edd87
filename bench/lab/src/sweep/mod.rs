//! Takes the samples of a plan: in shuffled order, each written at once, so that a sweep that ends early has lost one at most.
//!
//! ```text
//!   phase 1: repetition 1, all points shuffled ---> repetition 2, shuffled anew ---> ...      phase 2: the same
//!                              |
//!                 Sampler::sample, one sample ---> a record ---> results.jsonl, Sampler::observe
//! ```
//!
//! A [`Sampler`] takes the samples and knows brokers and programs; the sweep knows the order, the files and the
//! terminal.

pub mod load;
mod options;
mod order;
mod outcome;
pub(crate) mod progress;
mod resume_check;

use crate::versions::Facts;
use std::collections::{BTreeMap, HashMap};
use std::io;

use serde_json::Value;

use crate::failure::{Failure, Interrupt};
use crate::machine;
use crate::measured::Measured;
use crate::plan::{Plan, Point};
pub use options::Options;
use order::{Sample, samples};
pub use outcome::{Outcome, command, present};
use progress::Display;
use resume_check::Circumstances;
pub use wisp_loadgen::{Progress, Watch};
use wisp_report::folder::{self, Record, Writer};
use wisp_report::time;

/// Beyond this share of the processors the machine has something else to do.
const BUSY_MAX: f64 = 0.2;

/// Takes samples.
pub trait Sampler {
    /// Checks before anything is measured that everything is there that the plan needs. Each missing thing is named in
    /// a line.
    ///
    /// # Errors
    /// [`Failure::Setup`] with the missing things; or if interrupted.
    fn prepare(&mut self, plan: &Plan, interrupt: &Interrupt) -> Result<(), Failure> {
        let _ = plan;
        interrupt.check()
    }

    /// Takes one sample. The sweep adds the point's settings, plan, repetition, point and time. It ends soon once `watch`
    /// says that it is interrupted, and its result is then dropped. `watch` may be told the progress, which is shown on the
    /// terminal.
    ///
    /// # Errors
    /// The reason if there is no sample: it is recorded as failed, and the sweep continues.
    fn sample(&mut self, point: &Point, repetition: u32, watch: &dyn Watch) -> Result<Measured, Failure>;

    /// Sees every record of the plan: the ones that a resumed sweep finds, and each new one.
    fn observe(&mut self, record: &Record) {
        let _ = record;
    }

    /// The versions of all programs, by name; asked once, after `prepare`.
    fn versions(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

/// Takes all samples of a plan that are not there yet.
///
/// # Errors
/// When it cannot begin, or the folder can no longer be written to. Neither a sample that is bad nor an interrupt is
/// an error: both are in the outcome.
pub fn run(
    plan: &Plan,
    options: &Options,
    sampler: &mut dyn Sampler,
    interrupt: &Interrupt,
) -> Result<Outcome, Failure> {
    let unwritable =
        |error: io::Error| Failure::Setup(format!("cannot write into {}: {error}", options.folder.display()));
    let open = || Writer::open(&options.folder).map_err(unwritable);
    // A locked folder is noticed before brokers are started. If there is no folder, it is not made yet.
    let has_records = options.folder.join(folder::RECORDS_FILE).exists();
    let held = has_records.then(open).transpose()?;
    resume_check::records(plan, options)?;
    // Before brokers are started to see whether they are there.
    let busy = machine::busy_processors();
    sampler.prepare(plan, interrupt)?;
    let mut writer = held.map_or_else(open, Ok)?;
    let found = resume_check::records(plan, options)?;
    let now = Circumstances { machine: this_machine(), versions: sampler.versions() };
    // Of a plan that is done nothing is measured that could depend on them.
    if !divide(samples(plan, 0), &found).0.is_empty() {
        resume_check::check(plan, options, &found, writer.run(), &now)?;
        note(plan, options, &mut writer, now);
    }
    let seed = begin(plan, options, &mut writer, busy);
    writer.save().map_err(unwritable)?;
    let (left, records) = divide(samples(plan, seed), &found);
    for record in &records {
        sampler.observe(record);
    }
    let skipped = records.len();
    let mut sweep = Sweep { options, writer, records, display: Display::new(left.len(), interrupt.clone()) };
    let ended = sweep.take_all(plan, &left, sampler, interrupt);
    sweep.display.live.finish();
    let is_interrupted = match ended {
        Err(Failure::Interrupted) => true,
        other => other.map(|()| false)?,
    };
    let info = sweep.writer.plan(&plan.name);
    info.is_complete = !is_interrupted;
    info.ended = time::now();
    sweep.writer.save().map_err(unwritable)?;
    Ok(Outcome { folder: options.folder.clone(), records: sweep.records, skipped, is_interrupted })
}

fn this_machine() -> BTreeMap<String, String> {
    Facts::gather(&[]).machine.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The samples still to take, and the records of the others, as the folder has them. Failed samples are taken again:
/// the reason may have passed.
fn divide(samples: Vec<Sample>, found: &[Record]) -> (Vec<Sample>, Vec<Record>) {
    let is_whole = |record: &&Record| !folder::is_to_be_taken_again(record);
    let found: HashMap<_, _> =
        found.iter().filter(is_whole).filter_map(|record| Some((folder::identity(record)?, record))).collect();
    let (mut left, mut records) = (Vec::new(), Vec::new());
    for sample in samples {
        match found.get(&(sample.point.key().as_str(), u64::from(sample.repetition))) {
            Some(record) => records.push((*record).clone()),
            None => left.push(sample),
        }
    }
    (left, records)
}

/// Notes the circumstances of the records to come.
fn note(plan: &Plan, options: &Options, writer: &mut Writer, now: Circumstances) {
    let run = writer.run();
    run.machine = now.machine;
    run.versions.extend(now.versions.clone());
    let info = writer.plan(&plan.name);
    info.versions.extend(now.versions);
    info.command.clone_from(&options.command);
}

/// Notes the plan and the start of its measurement. Returns the seed.
fn begin(plan: &Plan, options: &Options, writer: &mut Writer, busy: Option<f64>) -> u64 {
    if let Some(busy) = busy.filter(|busy| *busy > BUSY_MAX * machine::processors() as f64) {
        eprintln!(
            "{}: the machine is busy with other things ({busy:.1} processors): figures will be low and uneven",
            options.program
        );
    }
    let info = writer.plan(&plan.name);
    let seed = options.seed.or(info.seed).unwrap_or_else(|| fastrand::u64(..1 << 32));
    info.title.clone_from(&plan.title);
    info.about.clone_from(&plan.about);
    info.figures.clone_from(&plan.figures);
    info.seed = Some(seed);
    info.is_complete = false;
    if info.started.is_empty() {
        info.started = time::now();
        info.busy_processors = busy;
    }
    seed
}

struct Sweep<'a> {
    options: &'a Options,
    writer: Writer,
    records: Vec<Record>,
    display: Display,
}

impl Sweep<'_> {
    fn take_all(
        &mut self,
        plan: &Plan,
        samples: &[Sample],
        sampler: &mut dyn Sampler,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        for sample in samples {
            interrupt.check()?;
            self.display.begin(sample);
            let Sample { point, repetition } = sample;
            let taken = sampler.sample(point, *repetition, &self.display.live);
            // An interrupted sample is no measurement, even if it looks like one.
            interrupt.check()?;
            let measured = taken.or_else(|failure| match failure {
                Failure::Interrupted => Err(failure),
                Failure::Broken(what) | Failure::Setup(what) => Ok(Measured::failed(what)),
            })?;
            let mut record = measured.record(point);
            record.insert(folder::PLAN.to_owned(), Value::from(plan.name.clone()));
            record.insert(folder::REPETITION.to_owned(), Value::from(*repetition));
            record.insert(folder::POINT.to_owned(), Value::from(point.key()));
            record.insert(folder::TAKEN_AT.to_owned(), Value::from(time::now()));
            self.writer.append(&record).map_err(|error| {
                Failure::Setup(format!("cannot write into {}: {error}", self.options.folder.display()))
            })?;
            sampler.observe(&record);
            self.display.end(self.options.program, sample, &record);
            self.records.push(record);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

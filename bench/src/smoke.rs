//! The benchmark: checks that everything is there, takes the samples, prints and writes the results.

use std::io;
use std::path::PathBuf;
use wisp_lab::versions::Facts;
use wisp_report::time;

use crate::PROGRAM;
use crate::args::Smoke;
use crate::baseline::Baseline;
use crate::loadgen::{self, Load};
use crate::plan::{Case, Plan, Turn};
use crate::results;
use crate::statistics::Sample;
use crate::summary;
use wisp_lab::broker::StartOptions;
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::machine;
use wisp_lab::paths::{self, Scratch};
use wisp_report::table::thousands;

/// Beyond this share of the processors the machine has something else to do.
const BUSY_MAX: f64 = 0.2;

/// The state shared by all samples.
struct Bench {
    plan: Plan,
    scratch: Scratch,
    interrupt: Interrupt,
}

/// Measures the plan of the options.
///
/// # Errors
/// If something is missing or a message was lost; a missed goal is no error.
pub fn run(options: &Smoke) -> Result<(), Failure> {
    let system = |error: io::Error| Failure::Setup(format!("cannot prepare the run: {error}"));
    let interrupt = Interrupt::on_signals(PROGRAM).map_err(system)?;
    let bench =
        Bench { plan: options.plan(machine::processors()), scratch: Scratch::new().map_err(system)?, interrupt };
    bench.look_around()?;
    let baseline = Baseline::newest(&results_folder())?;
    let facts = Facts::gather(&bench.plan.brokers);
    warn_if_busy();
    let samples = bench.take_samples()?;
    let date = time::today();
    println!("\n{}", summary::tables(&bench.plan, &samples, baseline.as_ref()));
    let Some(folder) = folder(options, &bench.plan, &date) else {
        println!("Not written, since the run is not the usual one: --out DIR says where to.");
        return Ok(());
    };
    results::write(&folder, &samples, &summary::page(&bench.plan, &samples, baseline.as_ref(), &facts, &date))
        .map_err(|error| Failure::Setup(format!("cannot write into {}: {error}", folder.display())))?;
    println!("Written to {}", folder.display());
    Ok(())
}

/// Where results go. Only the usual run has a folder of its own, so that no attempt with a few messages takes its place.
fn folder(options: &Smoke, plan: &Plan, date: &str) -> Option<PathBuf> {
    let usual = || {
        let is_usual = *plan == Plan::everything(machine::processors());
        is_usual.then(|| results_folder().join(format!("{date}-smoke")))
    };
    options.out.clone().or_else(usual)
}

fn results_folder() -> PathBuf {
    paths::repository().join("docs").join("results")
}

pub(crate) fn warn_if_busy() {
    if let Some(busy) = machine::busy_processors().filter(|busy| *busy > BUSY_MAX * machine::processors() as f64) {
        println!("The machine is busy with other things ({busy:.1} processors): figures will be low and uneven.");
    }
}

impl Bench {
    /// Starts each broker once, so that everything that is missing is known before anything is measured.
    fn look_around(&self) -> Result<(), Failure> {
        let mut missing = Vec::new();
        if let Err(failure) = paths::native_program("wisp-loadgen") {
            missing.push(failure.to_string());
        }
        for broker in &self.plan.brokers {
            match broker.start(&StartOptions::with_workers(self.plan.workers), &self.scratch, &self.interrupt) {
                Ok(running) => running.stop()?,
                Err(Failure::Setup(what)) => missing.push(what),
                Err(failure) => return Err(failure),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        missing.push("or leave brokers out with --brokers".to_owned());
        Err(Failure::Setup(missing.join("\nwisp-bench: ")))
    }

    fn take_samples(&self) -> Result<Vec<Sample>, Failure> {
        let turns = self.plan.turns();
        let mut samples = Vec::with_capacity(turns.len());
        for (index, turn) in turns.iter().enumerate() {
            let sample = self.take_sample(turn)?;
            println!(
                "[{:>3}/{}] QoS {} repetition {} {:>9} {:<9} {:>9} msg/s",
                index + 1,
                turns.len(),
                turn.case.qos,
                turn.repetition,
                turn.case.point.title(),
                turn.broker.title(),
                thousands(sample.report.messages_per_s)
            );
            samples.push(sample);
        }
        Ok(samples)
    }

    /// Measures a broker that was started for this sample alone, so that none of the others is there to disturb it.
    fn take_sample(&self, turn: &Turn) -> Result<Sample, Failure> {
        let Plan { window, workers, .. } = self.plan;
        let Turn { repetition, case, broker } = turn.clone();
        let running = broker.start(&StartOptions::with_workers(workers), &self.scratch, &self.interrupt)?;
        let drive = |messages| loadgen::drive(&running.url(), &Load { case, window, messages }, &self.interrupt);
        let warm_up_messages = self.plan.warm_up_messages(case.qos);
        let driven = drive(warm_up_messages).and_then(|_| drive(self.plan.messages(case.qos)));
        let stopped = running.stop();
        let report = driven.map_err(|failure| blame(failure, turn, stopped.as_ref().err()))?;
        stopped?;
        Ok(Sample { workers: broker.workers(workers), broker, repetition, warm_up_messages, report })
    }
}

/// Says whose messages were lost, and where; and that the broker had died, if that is why.
fn blame(failure: Failure, turn: &Turn, death: Option<&Failure>) -> Failure {
    let Failure::Broken(what) = failure else { return failure };
    let death = death.map(|death| format!("; {death}")).unwrap_or_default();
    let Turn { repetition, case: Case { qos, point }, broker } = turn;
    let point = point.title();
    Failure::Broken(format!("{broker} at QoS {qos} and {point} in repetition {repetition}: {what}{death}"))
}

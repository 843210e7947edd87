//! One pair of samples: both builds under the same load, slice by slice.
//!
//! ```text
//!   this build   ---> broker ---> warm-up | slice 1     |     | slice 2 | slice 3 |     ...
//!   other build  ---> broker ---> warm-up |     slice 1 | slice 2 |     |     | slice 3 ...
//! ```
//!
//! [`alternate`] says why.

use serde::Serialize;

use crate::alternate::{SLICES, alternate, uncounted};
use crate::loadgen::drive_here;
use crate::plan::{Case, Plan};
use wisp_lab::broker::{Broker, Build, Running, StartOptions};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::paths::Scratch;
use wisp_loadgen::Results;

/// How much longer than usual a sample is, unless the command line gives its messages: a difference of 3 % needs
/// more than a second.
const LENGTH: u64 = 4;

/// A slice with its settings. As JSON, one line.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(crate) struct Slice {
    /// `this` or `other`.
    pub(crate) build: &'static str,
    /// The pair it belongs to, counted from 1.
    pub(crate) pair: usize,
    /// Its number in the sample, counted from 1.
    pub(crate) slice: u64,
    /// The host.
    pub(crate) broker: Broker,
    /// The broker's workers.
    pub(crate) workers: Option<usize>,
    /// Processor time of all the broker's threads, a runtime's included, from the first message to the last.
    pub(crate) broker_cpu_s: f64,
    /// The same for each message that was received.
    pub(crate) cpu_ns_per_message: f64,
    /// The load generator's results.
    #[serde(flatten)]
    pub(crate) report: Results,
}

/// The slices of one build in a pair.
pub(crate) struct Sample(pub(crate) Vec<Slice>);

impl Sample {
    /// The broker's processor time for each message, in nanoseconds.
    pub(crate) fn cpu_ns_per_message(&self) -> f64 {
        self.sum(|slice| slice.broker_cpu_s) * 1e9 / self.received()
    }

    /// Messages received a second while a slice ran.
    pub(crate) fn messages_per_s(&self) -> f64 {
        self.received() / self.sum(|slice| slice.report.received as f64 / slice.report.messages_per_s)
    }

    fn received(&self) -> f64 {
        self.sum(|slice| slice.report.received as f64)
    }

    fn sum(&self, of: impl Fn(&Slice) -> f64) -> f64 {
        self.0.iter().map(of).sum()
    }
}

/// Takes pairs of samples.
pub(crate) struct Driver<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) scratch: &'a Scratch,
    pub(crate) interrupt: &'a Interrupt,
}

/// A build under test, with its broker.
struct Subject<'a> {
    driver: &'a Driver<'a>,
    name: &'static str,
    broker: &'a Broker,
    running: Running,
    case: Case,
    pair: usize,
}

impl Driver<'_> {
    /// Starts a broker of each build, warms both up and measures them in alternating slices: this build's sample, and the
    /// other's. The build that is measured first changes with each slice and each pair.
    pub(crate) fn pair(
        &self,
        broker: &Broker,
        builds: &[Build; 2],
        case: Case,
        pair: usize,
    ) -> Result<[Sample; 2], Failure> {
        let start = |index: usize| -> Result<Subject<'_>, Failure> {
            let options =
                StartOptions { build: builds[index].clone(), ..StartOptions::with_workers(self.plan.workers) };
            let running = broker.start(&options, self.scratch, self.interrupt)?;
            Ok(Subject { driver: self, name: ["this", "other"][index], broker, running, case, pair })
        };
        let subjects = [start(0)?, start(1)?];
        for subject in &subjects {
            subject.drive(self.plan.warm_up_messages(case.qos))?;
        }
        let samples = alternate(pair, SLICES, |index, slice| subjects[index].slice(slice))?.map(Sample);
        for subject in subjects {
            subject.running.stop()?;
        }
        Ok(samples)
    }

    /// Messages of a sample at this QoS.
    fn messages(&self, qos: u8) -> u64 {
        self.plan.count.unwrap_or_else(|| self.plan.messages(qos) * LENGTH)
    }
}

impl Subject<'_> {
    fn slice(&self, slice: u64) -> Result<Slice, Failure> {
        let plan = self.driver.plan;
        let (report, cpu_s) = self.drive((self.driver.messages(self.case.qos) / SLICES).max(1))?;
        let broker_cpu_s = cpu_s.ok_or_else(uncounted)?;
        Ok(Slice {
            build: self.name,
            pair: self.pair,
            slice,
            broker: self.broker.clone(),
            workers: self.broker.workers(plan.workers),
            broker_cpu_s,
            cpu_ns_per_message: broker_cpu_s * 1e9 / report.received as f64,
            report,
        })
    }

    fn drive(&self, messages: u64) -> Result<(Results, Option<f64>), Failure> {
        let Driver { plan, interrupt, .. } = self.driver;
        drive_here(&self.running, self.case, plan.window, messages, interrupt).map_err(|failure| match failure {
            Failure::Broken(what) => Failure::Broken(format!(
                "{} ({} build) at QoS {} and {} in pair {}: {what}",
                self.broker,
                self.name,
                self.case.qos,
                self.case.point.title(),
                self.pair
            )),
            other => other,
        })
    }
}

//! One sample of one build.

use serde::Serialize;

use crate::loadgen::drive_here;
use crate::plan::{Case, Plan};
use wisp_lab::broker::{Broker, Build, StartOptions};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::paths::Scratch;
use wisp_loadgen::Results;

/// A measurement with its settings. As JSON, one line.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(crate) struct Sample {
    /// `this` or `other`.
    pub(crate) build: &'static str,
    /// The pair it belongs to, counted from 1.
    pub(crate) pair: usize,
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

/// Takes samples.
pub(crate) struct Driver<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) scratch: &'a Scratch,
    pub(crate) interrupt: &'a Interrupt,
}

impl Driver<'_> {
    /// Starts a broker for this sample alone, warms it up and measures it.
    pub(crate) fn sample(
        &self,
        broker: &Broker,
        build: &Build,
        case: Case,
        pair: usize,
        is_this: bool,
    ) -> Result<Sample, Failure> {
        let workers = self.plan.workers;
        let options = StartOptions { build: build.clone(), ..StartOptions::with_workers(workers) };
        let running = broker.start(&options, self.scratch, self.interrupt)?;
        let drive = |messages| drive_here(&running, case, self.plan.window, messages, self.interrupt);
        let driven = drive(self.plan.warm_up_messages(case.qos)).and_then(|_| drive(self.plan.messages(case.qos)));
        let name = if is_this { "this" } else { "other" };
        let (report, cpu_s) = driven.map_err(|failure| match failure {
            Failure::Broken(what) => Failure::Broken(format!(
                "{broker} ({name} build) at QoS {} and {} in pair {pair}: {what}",
                case.qos,
                case.point.title()
            )),
            other => other,
        })?;
        running.stop()?;
        let broker_cpu_s = cpu_s.ok_or_else(|| {
            Failure::Setup("this system does not count the processor time of another process".to_owned())
        })?;
        Ok(Sample {
            build: name,
            pair,
            broker: broker.clone(),
            workers: broker.workers(workers),
            broker_cpu_s,
            cpu_ns_per_message: broker_cpu_s * 1e9 / report.received as f64,
            report,
        })
    }
}

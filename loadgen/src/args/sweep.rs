//! The arguments of `sweep`, and those that sweeps have in common.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde_json::Value;

use crate::args::settings::{BrokerSettings, LoadSettings, numbers, set};
use crate::folder::universal_time;
use crate::machine;
use crate::plan::{Changes, Kind, Plan, Settings};

/// How often a point is measured if no plan says it.
const REPETITIONS: u32 = 5;

/// The arguments of `sweep`.
#[derive(Args, Debug)]
pub struct Sweep {
    /// A plan by its name (see `plans`), or the path of one; without, the flags are the plan
    pub plan: Option<String>,
    /// The bounded version of the plan
    #[arg(long, requires = "plan")]
    pub quick: bool,
    /// What broker.
    #[command(flatten)]
    pub broker: BrokerSettings,
    /// What load.
    #[command(flatten)]
    pub load: LoadSettings,
    /// Send so many messages a second, all senders together, and measure latency [default: as fast as the broker takes them]
    #[arg(long, value_name = "MSG_PER_S", value_parser = numbers("rate_per_s"))]
    pub rate: Option<Value>,
    /// Where to, and how often.
    #[command(flatten)]
    pub place: Place,
}

/// How often samples are taken, and where they go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Samples")]
pub struct Place {
    /// How often each combination is measured [default: as the plan says, else 5]
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repetitions: Option<u32>,
    /// The folder for records, plots and the report [default: results/NAME-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Take only the samples that the folder does not have yet, and those that failed
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// What the order of samples is shuffled with [default: a new number, which is recorded]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

impl Place {
    /// How often each combination is measured, where no plan says it.
    #[must_use]
    pub fn repetitions(&self) -> u32 {
        self.repetitions.unwrap_or(REPETITIONS)
    }

    /// Where the records of a plan go.
    #[must_use]
    pub fn folder(&self, plan: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let now = universal_time(SystemTime::now()).replace(':', "");
            PathBuf::from("results").join(format!("{plan}-{}", now.trim_end_matches('Z')))
        })
    }
}

impl Sweep {
    /// What is to be measured.
    ///
    /// # Errors
    /// When there is no such plan, or something is wrong with it, in a line.
    pub fn plan(&self) -> Result<Plan, String> {
        let processors = machine::processors();
        let mut settings: Settings = self.broker.settings();
        settings.extend(self.load.settings());
        set(&mut settings, "rate_per_s", self.rate.as_ref());
        let Some(plan) = &self.plan else {
            let named = ("sweep", "Sweep");
            // At a rate it is latency that there is to see.
            let kind = if self.rate.is_some() { Kind::Latency } else { Kind::Throughput };
            return Plan::of_settings(named, kind, self.place.repetitions(), &settings, processors);
        };
        let changes = Changes { is_quick: self.quick, repetitions: self.place.repetitions, settings, processors };
        let plan = Plan::find(plan, &changes)?;
        if plan.kind.is_of_load() {
            Ok(plan)
        } else {
            Err(format!("{}: plans of the kind {} are run by wisp-bench", plan.name, plan.kind.name()))
        }
    }
}

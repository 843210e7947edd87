//! The arguments of `sweep`, and the ones that all sweeps share.

use clap::Args;
use serde_json::Value;

use crate::args::settings::{BrokerSettings, LoadSettings, numbers, set};
use wisp_lab::machine;
use wisp_lab::place::Place;
use wisp_lab::plan::{Changes, Kind, Plan, Settings};

/// The arguments of `sweep`.
#[derive(Args, Debug)]
pub(crate) struct Sweep {
    /// A plan by its name (see `plans`), or the path of one; without, the flags are the plan
    pub(crate) plan: Option<String>,
    /// The bounded version of the plan
    #[arg(long, requires = "plan")]
    pub(crate) quick: bool,
    /// The broker.
    #[command(flatten)]
    pub(crate) broker: BrokerSettings,
    /// The load.
    #[command(flatten)]
    pub(crate) load: LoadSettings,
    /// Send messages at this rate, all senders together, and measure latency [default: as fast as the broker takes
    /// them]
    #[arg(long, value_name = "MSG_PER_S", value_parser = numbers("rate_per_s"))]
    pub(crate) rate: Option<Value>,
    /// Where to, and how often.
    #[command(flatten)]
    pub(crate) place: Place,
}

impl Sweep {
    /// The plan of the options.
    ///
    /// # Errors
    /// If there is no such plan, or a mistake in it, in one line.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
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

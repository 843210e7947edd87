//! The arguments of `sweep`, and the ones that all sweeps share.

use clap::Args;

use crate::args::settings::{BrokerSettings, LoadSettings, numbers, set};
use wisp_lab::machine;
use wisp_lab::place::Place;
use wisp_lab::plan::{Changes, Kind, Plan, PlanError, Setting, Written};

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
    #[arg(long, value_name = "MSG_PER_S", value_parser = numbers(Kind::Latency, Setting::RatePerS))]
    pub(crate) rate: Option<Written>,
    /// Where to, and how often.
    #[command(flatten)]
    pub(crate) place: Place,
}

impl Sweep {
    /// The plan of the options.
    ///
    /// # Errors
    /// If there is no such plan, or a mistake in it, in one line.
    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        let processors = machine::processors();
        let mut settings = self.broker.settings();
        settings.extend(self.load.settings());
        set(&mut settings, Setting::RatePerS, self.rate.as_ref());
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
            Err(PlanError::OtherProgram { plan: plan.name, kind: plan.kind, program: "wisp-bench" })
        }
    }
}

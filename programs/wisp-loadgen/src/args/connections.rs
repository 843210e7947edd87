//! The arguments of `connections`.

use clap::Args;

use crate::args::settings::{BrokerSettings, numbers, set};
use wisp_lab::machine;
use wisp_lab::place::Place;
use wisp_lab::plan::{Kind, Plan, PlanError, Setting, Written};

/// The arguments of `connections`.
#[derive(Args, Debug)]
pub(crate) struct Connections {
    /// How many are opened, one after the other [default: 1000]
    #[arg(long, value_name = "COUNTS", value_parser = numbers(Kind::Connections, Setting::Connections))]
    pub(crate) count: Option<Written>,
    /// Connections a second [default: the next one as soon as the last one is taken]
    #[arg(long, value_name = "PER_S", value_parser = numbers(Kind::Connections, Setting::RatePerS))]
    pub(crate) rate: Option<Written>,
    /// The broker.
    #[command(flatten)]
    pub(crate) broker: BrokerSettings,
    /// Where to, and how often.
    #[command(flatten)]
    pub(crate) place: Place,
}

impl Connections {
    /// The plan of the options.
    ///
    /// # Errors
    /// The mistake in the settings, in one line.
    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        let mut settings = self.broker.settings();
        set(&mut settings, Setting::Connections, self.count.as_ref());
        set(&mut settings, Setting::RatePerS, self.rate.as_ref());
        let named = ("connections", "Connections");
        let repetitions = self.place.repetitions();
        let mut plan = Plan::of_settings(named, Kind::Connections, repetitions, &settings, machine::processors())?;
        plan.about =
            "Connections opened one after the other and kept; each has taken from TCP's first packet to CONNACK."
                .to_owned();
        Ok(plan)
    }
}

//! The arguments of `latency`.

use clap::Args;

use crate::args::settings::{BrokerSettings, LoadSettings, numbers, set};
use wisp_lab::machine;
use wisp_lab::place::Place;
use wisp_lab::plan::{Kind, Plan, PlanError, Setting, Written};

/// Shares of the maximum, unless others are given.
const LOADS_PERCENT: [f64; 3] = [10.0, 50.0, 80.0];
/// Seconds of a sample, unless something else is given.
const SECONDS: f64 = 5.0;

/// The arguments of `latency`.
#[derive(Args, Debug)]
pub(crate) struct Latency {
    /// Shares of the broker's own maximum, which is measured first [default: 10,50,80]
    #[arg(long, value_name = "PERCENT", value_parser = numbers(Kind::Latency, Setting::LoadPercent), conflicts_with = "rate")]
    pub(crate) load: Option<Written>,
    /// Messages a second, all senders together, in place of --load
    #[arg(long, value_name = "MSG_PER_S", value_parser = numbers(Kind::Latency, Setting::RatePerS))]
    pub(crate) rate: Option<Written>,
    /// The broker.
    #[command(flatten)]
    pub(crate) broker: BrokerSettings,
    /// The load.
    #[command(flatten)]
    pub(crate) settings: LoadSettings,
    /// Where to, and how often.
    #[command(flatten)]
    pub(crate) place: Place,
}

impl Latency {
    /// The plan of the options.
    ///
    /// # Errors
    /// The mistake in the settings, in one line.
    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        let mut settings = self.broker.settings();
        settings.extend(self.settings.settings());
        if !settings.contains_key(&Setting::Messages) {
            settings.entry(Setting::Seconds).or_insert(Written::Number(SECONDS));
        }
        set(&mut settings, Setting::RatePerS, self.rate.as_ref());
        let usual = || Written::List(LOADS_PERCENT.map(Written::Number).to_vec());
        let loads = self.load.clone().or_else(|| self.rate.is_none().then(usual));
        set(&mut settings, Setting::LoadPercent, loads.as_ref());
        let named = ("latency", "Latency");
        let repetitions = self.place.repetitions();
        let mut plan = Plan::of_settings(named, Kind::Latency, repetitions, &settings, machine::processors())?;
        plan.about = "From the moment at which a message was due to its receipt.".to_owned();
        Ok(plan)
    }
}

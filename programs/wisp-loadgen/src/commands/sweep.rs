//! `sweep`, `latency` and `connections`: plans that this program measures.

use std::process::ExitCode;

use wisp_lab::place::Place;

use crate::args::BrokerSettings;
use crate::commands::terminal::{PROGRAM, on_signals};
use wisp_lab::failure::Failure;
use wisp_lab::plan::{Plan, PlanError};
use wisp_lab::sweep::load::{KnownBroker, LoadSampler};
use wisp_lab::sweep::{self, Options};

/// Measures a plan, and shows the results.
pub(super) fn run(plan: Result<Plan, PlanError>, broker: &BrokerSettings, place: &Place) -> Result<ExitCode, Failure> {
    let plan = plan?;
    let interrupt = on_signals()?;
    let known = broker.url.clone().map(|target| KnownBroker { target, tls: broker.tls.options() });
    let mut sampler = LoadSampler::new(PROGRAM, known, interrupt.clone())?;
    let options = Options {
        program: PROGRAM,
        folder: place.folder(&plan.name),
        is_resumed: place.resume,
        seed: place.seed,
        command: sweep::command(PROGRAM),
    };
    let outcome = sweep::run(&plan, &options, &mut sampler, &interrupt)?;
    sweep::present(&plan, &options, &outcome)?;
    Ok(ExitCode::from(outcome.status()))
}

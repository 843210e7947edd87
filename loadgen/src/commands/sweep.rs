//! `sweep`, `latency` and `connections`: plans that this program measures.

use std::process::ExitCode;

use crate::args::{BrokerSettings, Place};
use crate::commands::{PROGRAM, on_signals};
use crate::failure::Failure;
use crate::plan::Plan;
use crate::sweep::load::LoadSampler;
use crate::sweep::{self, Options};

/// Measures a plan, and shows what came out.
pub(super) fn run(plan: Result<Plan, String>, broker: &BrokerSettings, place: &Place) -> Result<ExitCode, Failure> {
    let plan = plan.map_err(Failure::Setup)?;
    let interrupt = on_signals()?;
    let mut sampler = LoadSampler::new(PROGRAM, broker.url.clone(), interrupt.clone())?;
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

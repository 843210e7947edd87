//! The cost of TLS, WebSocket and access rules in the broker, beside plain TCP and beside mosquitto.
//!
//! ```text
//!   rows ---> subjects    each repetition, in shuffled order:
//!               messages    a broker and a transport ---> processor time of the broker for each message
//!               connections a broker over TLS ----------> processor time for each connection, memory of an idle one
//!               rules       two brokers in turns -------> processor time for each message, with and without rules
//! ```
//!
//! The generator's own TLS takes its share of the same processors, so rates say little: the broker's processor time is the
//! measure. A row of the table compares two subjects within each repetition, and takes the median of the ratios.

pub mod case;
mod rows;
mod sample;
mod table;

use std::io;

use wisp_lab::broker::Broker;
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::paths::{self, Scratch};
use wisp_lab::versions::{Facts, version_of_program};
use wisp_loadgen::{DESCRIPTORS_EXTRA, allow_descriptors};
use wisp_report::time;

use crate::PROGRAM;
use crate::args::Secure;
use crate::results;
use crate::smoke::warn_if_busy;
use sample::{Driver, Sample, Subject};

/// Measures everything.
///
/// # Errors
/// If something is missing, or a message was lost; a missed target is no error.
pub fn run(options: &Secure) -> Result<(), Failure> {
    let system = |error: io::Error| Failure::Setup(format!("cannot prepare the run: {error}"));
    let interrupt = Interrupt::on_signals(PROGRAM).map_err(system)?;
    allow_descriptors(options.connections + DESCRIPTORS_EXTRA).map_err(|error| Failure::Setup(error.to_string()))?;
    let scratch = Scratch::new().map_err(system)?;
    let driver = Driver { options, scratch: &scratch, interrupt: &interrupt };
    let rows = rows::of(&options.cases, &options.brokers);
    if rows.is_empty() {
        return Err(Failure::Setup("no row is left: its case needs brokers that --brokers leaves out".to_owned()));
    }
    let facts = facts(options);
    warn_if_busy();
    let subjects = rows::subjects(&rows);
    let repetitions = options.repetitions.get();
    let mut samples: Vec<Sample> = Vec::new();
    for repetition in 1..=repetitions {
        for together in Subject::shuffled(&subjects, repetition) {
            for sample in driver.samples(&together, repetition)? {
                println!("[{repetition}/{repetitions}] {sample}");
                samples.push(sample);
            }
        }
    }
    let text = table::text(&samples);
    let date = time::today();
    println!("\n{text}");
    let usual =
        || options.is_usual().then(|| paths::repository().join("docs").join("results").join(format!("{date}-secure")));
    let Some(folder) = options.out.clone().or_else(usual) else {
        println!("Not written, since the run is not the usual one: --out DIR says where to.");
        return Ok(());
    };
    let page = table::page(&text, &samples, &facts, &date);
    results::write(&folder, &samples, &page)
        .map_err(|error| Failure::Setup(format!("cannot write into {}: {error}", folder.display())))?;
    println!("Written to {}", folder.display());
    Ok(())
}

/// The machine and the versions.
fn facts(options: &Secure) -> Facts {
    let is_peer = |broker: &Broker| *broker == Broker::Mosquitto;
    let (peers, wisp): (Vec<_>, Vec<_>) = options.brokers.iter().cloned().partition(is_peer);
    let mut facts = Facts::gather(&wisp);
    if !peers.is_empty()
        && let Ok(program) = options.mosquitto()
    {
        facts.versions.push(("mosquitto", version_of_program(&program, &["-h"])));
    }
    facts
}

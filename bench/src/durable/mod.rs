//! The cost of keeping what was acknowledged: Wisp with a data folder beside memory only, and beside peers that store messages.
//!
//! ```text
//!   rows ---> subjects    each repetition, in shuffled order, each with a broker and a folder of its own:
//!               away        10 senders ---> 10 kept sessions whose clients are away      (also mosquitto, JetStream, Wasmer)
//!               forwarding  10 senders ---> 10 connected kept sessions
//!               queue       10 senders ---> a topic queue ---> 10 receivers              (also JetStream); bytes to disk
//!               one         1 sender, one message in flight, and a sync of the disk before and after
//!               unkept      QoS 0 to two brokers in turns, with a folder and without ---> processor time for each message
//! ```
//!
//! A row of the table compares two subjects within each repetition, and takes the median of the ratios. A slow disk would be
//! all that they show, so the table judges them only where a sync takes half a millisecond at most.

mod away;
mod brokers;
pub mod case;
mod disk;
mod jetstream;
mod rows;
mod sample;
mod subject;
mod table;

use std::io;

use wisp_lab::broker::Broker;
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::paths::{self, Scratch};
use wisp_lab::versions::{Facts, version_of_program};
use wisp_report::statistics::median;
use wisp_report::time;

use crate::PROGRAM;
use crate::args::Durable;
use crate::results;
use crate::smoke::warn_if_busy;
use sample::{Driver, Sample};
use subject::Subject;

/// Measures everything.
///
/// # Errors
/// If something is missing, or a message was lost; a missed target is no error.
pub fn run(options: &Durable) -> Result<(), Failure> {
    let system = |error: io::Error| Failure::Setup(format!("cannot prepare the run: {error}"));
    let interrupt = Interrupt::on_signals(PROGRAM).map_err(system)?;
    let root = options.data_root.clone().unwrap_or_else(|| paths::repository().join("target"));
    let scratch = Scratch::within(&root).map_err(system)?;
    let rows = rows::of(&options.cases, &options.brokers);
    if rows.is_empty() {
        return Err(Failure::Setup("no row is left: its case needs brokers that --brokers leaves out".to_owned()));
    }
    let driver = Driver { options, scratch: &scratch, interrupt: &interrupt };
    let facts = facts(options);
    warn_if_busy();
    let subjects = rows::subjects(&rows);
    let repetitions = options.repetitions.get();
    let (mut samples, mut syncs_us) = (Vec::<Sample>::new(), Vec::new());
    for repetition in 1..=repetitions {
        let sync_us = disk::sync_p50_us(&scratch.file(""))?;
        println!("[{repetition}/{repetitions}] a sync of the disk takes {sync_us:.0} us");
        syncs_us.push(sync_us);
        for together in Subject::shuffled(&subjects, repetition) {
            for sample in driver.samples(&together, repetition)? {
                println!("[{repetition}/{repetitions}] {sample}");
                samples.push(sample);
            }
        }
    }
    let text = table::text(&rows, &samples, median(&syncs_us).unwrap_or_default());
    let date = time::today();
    println!("\n{text}");
    let usual =
        || options.is_usual().then(|| paths::repository().join("docs").join("results").join(format!("{date}-durable")));
    let Some(folder) = options.out.clone().or_else(usual) else {
        println!("Not written, since the run is not the usual one: --out DIR says where to.");
        return Ok(());
    };
    let page = table::page(&text, repetitions, &facts, &date);
    results::write(&folder, &samples, &page)
        .map_err(|error| Failure::Setup(format!("cannot write into {}: {error}", folder.display())))?;
    println!("Written to {}", folder.display());
    Ok(())
}

/// The machine and the versions.
fn facts(options: &Durable) -> Facts {
    let wisp: Vec<_> = options.brokers.iter().filter(|broker| broker.is_wisp()).cloned().collect();
    let mut facts = Facts::gather(&wisp);
    for (broker, name, program, ask) in [
        (Broker::Mosquitto, "mosquitto", options.mosquitto(), "-h"),
        (Broker::NatsServer, "nats-server", options.nats_server(), "--version"),
    ] {
        if let Some(program) = program.ok().filter(|_| options.brokers.contains(&broker)) {
            facts.versions.push((name, version_of_program(&program, &[ask])));
        }
    }
    facts
}

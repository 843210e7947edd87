//! The command line.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Parser;

use crate::case::Case;
use crate::cases::CASES;
use crate::subject::Kind;

/// The prefix of error messages.
pub(crate) const PROGRAM: &str = "wisp-isolation";
/// The repetitions of a full run.
pub(crate) const REPETITIONS: u32 = 3;
/// The main part of the cases about receivers takes so long.
pub(crate) const SECONDS: u64 = 60;
const SECONDS_QUICK: u64 = 6;

/// Attack Wisp and its peers with bad clients, and measure the harm to the others
///
/// Needs a release build of wisp-broker; for a WebAssembly runtime its module compiled ahead of time; for the peers
/// bench/isolation/peers. A missing peer is named and left out. Records are added to results.jsonl in the folder of
/// --out, and summary.md is made from all records there, so that a long run can be made in parts.
#[derive(Parser, Debug)]
#[command(name = "wisp-isolation", version)]
pub(crate) struct Arguments {
    /// Only these cases, separated by commas [default: all; --list shows them]
    #[arg(long = "case", value_name = "NAMES", value_delimiter = ',', value_parser = parse_case)]
    pub(crate) cases: Vec<&'static str>,
    /// Only these brokers, separated by commas: wisp, wasmer, wasmtime, wasmedge, mosquitto, nats
    #[arg(long = "broker", value_name = "NAMES", value_delimiter = ',', value_parser = parse_kind, default_value = "wisp,mosquitto,nats")]
    pub(crate) brokers: Vec<Kind>,
    /// Small cases that take seconds, once each; their figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// How long the main part of a case about receivers takes [default: 60, with --quick 6]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(6..=600))]
    pub(crate) seconds: Option<u64>,
    /// How often each broker is attacked in each case [default: 3, with --quick 1]
    #[arg(long, value_name = "TIMES")]
    pub(crate) repetitions: Option<NonZeroU32>,
    /// Another native wisp-broker than the release build
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) program: Option<PathBuf>,
    /// Where the results go [default: docs/results/DATE-isolation, if nothing was left out or changed]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print the cases with their questions and targets, and exit
    #[arg(long)]
    pub(crate) list: bool,
}

impl Arguments {
    /// The cases to run, in the order of the page.
    pub(crate) fn cases(&self) -> Vec<&'static Case> {
        CASES.iter().filter(|case| self.cases.is_empty() || self.cases.contains(&case.name)).collect()
    }

    pub(crate) fn repetitions(&self) -> u32 {
        self.repetitions.map_or(if self.quick { 1 } else { REPETITIONS }, NonZeroU32::get)
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.quick { SECONDS_QUICK } else { SECONDS })
    }

    /// Whether nothing was left out or changed, so that the results go to the folder of the day.
    pub(crate) fn is_usual(&self) -> bool {
        let is_short = self.quick || self.seconds.is_some() || self.repetitions.is_some();
        self.cases.is_empty() && !is_short && self.program.is_none() && self.brokers == usual_brokers()
    }
}

fn usual_brokers() -> [Kind; 3] {
    use crate::peers::Peer;
    use wisp_lab::broker::Broker;
    [Kind::Wisp(Broker::Native), Kind::Peer(Peer::Mosquitto), Kind::Peer(Peer::Nats)]
}

fn parse_case(name: &str) -> Result<&'static str, String> {
    let found = CASES.iter().find(|case| case.name == name).map(|case| case.name);
    found.ok_or_else(|| format!("use one of {}", CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ")))
}

fn parse_kind(name: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| format!("use one of {}", Kind::ALL.iter().map(Kind::name).collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn parse(arguments: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["wisp-isolation"].into_iter().chain(arguments.split_whitespace()))
    }

    #[test]
    fn without_options_every_case_is_run_as_usual() {
        let usual = parse("").unwrap();
        assert!(usual.is_usual());
        assert_eq!((usual.cases().len(), usual.repetitions(), usual.seconds()), (CASES.len(), 3, 60));
    }

    #[test]
    fn a_part_or_a_changed_run_is_not_the_usual_one() {
        let quick = parse("--quick").unwrap();
        assert_eq!((quick.repetitions(), quick.seconds()), (1, 6));
        let name = CASES[1].name;
        let part = parse(&format!("--case {name} --broker wisp,wasmer")).unwrap();
        assert_eq!(part.cases().iter().map(|case| case.name).collect::<Vec<_>>(), [name]);
        for changed in [quick, part, parse("--seconds 20").unwrap(), parse("--program /a").unwrap()] {
            assert!(!changed.is_usual(), "{changed:?}");
        }
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let message = |arguments: &str| parse(arguments).unwrap_err().to_string();
        assert!(message("--case nothing").contains(CASES[0].name));
        assert!(message("--broker nothing").contains("mosquitto"));
        assert!(parse("--seconds 5").is_err() && parse("--repetitions 0").is_err());
    }
}

//! The program `wisp-bench`: measures the Wisp broker against its peers, on one machine and in one run.
//!
//! ```text
//!   plan ---> smoke ---> broker   started for each sample, stopped after it
//!   cases      |  `---> loadgen  drives it: a warm-up, then the sample
//!               v
//!            samples ---> summary ---> terminal, and a folder of docs/results
//!                           ^
//!               goals, machine, versions
//! ```
//!
//! [`compare`] measures two builds of Wisp against each other. [`experiment`] runs plans without a load: Wisp's own
//! programs that transfer messages or compute, on each host, and [`start`], the cost of having a broker at all.
//! [`memory`] measures the cost of idle clients, and of sessions whose clients are away, in the native broker.
//!
//! A benchmark is no test: a goal that is missed is printed and nothing more. A message that is lost, doubled or
//! out of order ends the run at once, since a rate without it would be no rate.

/// The prefix of error messages.
const PROGRAM: &str = "wisp-bench";

mod alternate;
pub mod args;
pub mod baseline;
pub mod compare;
pub mod compute;
pub mod durable;
pub mod experiment;
pub mod footprint;
pub mod goals;
pub mod idle;
pub mod loadgen;
pub mod memory;
pub mod plan;
pub mod program;
pub mod resident;
pub mod results;
pub mod secure;
pub mod smoke;
pub mod start;
pub mod statistics;
pub mod summary;
pub mod transfer;

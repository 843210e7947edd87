//! The laboratory: starts brokers, runs plans of measurements and records them.
//!
//! ```text
//!   plan ---> sweep ---> broker        started for each sample, stopped after it
//!               |  `---> wisp-loadgen  drives it: a warm-up, then the sample
//!               v
//!            folder of records ---> wisp-report: tables, CSV, SVG plots, a page
//! ```
//!
//! The programs `wisp-loadgen` and `wisp-bench` stand above it: each brings a [`Sampler`](sweep::Sampler) for its kinds
//! of measurement, and a command line.

pub mod broker;
pub mod failure;
pub mod host;
pub mod machine;
pub mod measured;
pub mod paths;
pub mod place;
pub mod plan;
pub mod proc;
pub mod process;
pub mod single;
pub mod sweep;
pub mod versions;

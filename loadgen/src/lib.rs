//! The program `wisp-loadgen`: starts and drives an MQTT broker, checks what comes back, and draws what was measured.
//!
//! ```text
//!   plan ---> sweep ---> broker   started for each sample, stopped after it
//!   what, when   |  `--> drive    one run against it: a warm-up, then the sample
//!                v
//!             folder of records ---> report: tables, CSV, SVG plots, a page
//! ```
//!
//! [`run`](drive::run::run) is one run against a broker, [`Sink`](sink::Sink) a broker that forwards nothing, against which
//! the generator measures itself.

pub mod args;
pub mod broker;
mod children;
pub mod commands;
pub mod drive;
pub mod failure;
pub mod figure;
pub mod folder;
pub mod machine;
mod measures;
pub mod paths;
pub mod plan;
pub mod report;
pub mod sink;
pub mod sweep;
pub mod table;

//! One run against a broker: connections, threads, messages, checks.
//!
//! ```text
//!   pattern --> outgoing ---> worker --socket--> broker --socket--> worker ---> inbound ---> checker
//!   order of      encoded       one thread's                                      packets      lost, doubled,
//!   messages      packets       event loop                                        found        out of order
//! ```
//!
//! At QoS 1 and 2 each sender keeps at most a window of unacknowledged messages, and receivers acknowledge all messages
//! of a read with one write. A NATS server is driven like a broker at QoS 0 (`protocol`, `nats`).
//!
//! The generator must not limit a run: the work for each message touches a few cache lines and allocates nothing, and
//! each system call carries many messages.

pub(crate) mod acks;
mod busy;
pub mod cases;
pub mod checker;
pub mod config;
mod connection;
pub mod connections;
pub mod crc;
pub mod deadline;
pub mod error;
mod inbound;
pub mod latency;
mod messages;
pub(crate) mod nats;
mod opened;
pub mod outgoing;
pub mod pattern;
pub mod payload;
pub mod preflight;
pub(crate) mod protocol;
pub(crate) mod replies;
pub mod results;
pub mod run;
pub mod schedule;
pub mod seen;
mod sending;
pub mod setup;
mod shared;
pub mod spread;
mod supervise;
pub mod target;
mod thread_report;
mod timing;
pub mod topics;
pub mod watch;
mod worker;

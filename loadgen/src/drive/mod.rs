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
pub(crate) mod cases;
pub(crate) mod checker;
pub(crate) mod config;
mod connection;
pub(crate) mod connections;
pub(crate) mod crc;
pub(crate) mod deadline;
pub(crate) mod error;
mod inbound;
pub(crate) mod latency;
mod messages;
pub(crate) mod nats;
mod opened;
pub(crate) mod outgoing;
pub(crate) mod pattern;
pub(crate) mod payload;
pub(crate) mod preflight;
pub(crate) mod protocol;
pub(crate) mod replies;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod seen;
mod sending;
pub(crate) mod setup;
mod shared;
pub(crate) mod spread;
mod supervise;
pub(crate) mod target;
mod thread_report;
mod timing;
pub(crate) mod topics;
pub(crate) mod watch;
mod worker;

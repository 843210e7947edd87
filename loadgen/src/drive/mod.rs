//! One run against a broker: connections, threads, messages, checks.
//!
//! ```text
//!   pattern --> outgoing ---> worker --socket--> broker --socket--> worker ---> inbound ---> checker
//!   who sends   encoded       one thread's                                      packets      lost, doubled,
//!   what, where packets       event loop                                        found        out of order
//! ```
//!
//! At QoS 1 and 2 each sender keeps at most a window of messages that are not acknowledged, and receivers answer all messages of a
//! read with one write. A server of NATS is driven as a broker at QoS 0 is (`protocol`, `nats`).
//!
//! The generator must not be what limits a run: whatever is done for each message touches a few cache lines and allocates
//! nothing, and each system call carries many messages.

pub(crate) mod acks;
mod busy;
pub mod cases;
pub mod checker;
pub mod config;
mod connection;
pub mod connections;
pub mod crc;
pub mod deadline;
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

//! One run against a broker: connections, threads, messages, checks.
//!
//! ```text
//!   spread ---> outgoing ---> worker --socket--> broker --socket--> worker ---> inbound ---> checker
//!   who sends   encoded       one thread's                                      packets      lost, doubled,
//!   what        packets       event loop                                        found        out of order
//! ```
//!
//! At QoS 1 and 2 each sender keeps at most a window of messages that are not acknowledged, and receivers answer all messages of a
//! read with one write. The generator must not be what limits a run: whatever is done for each message touches a few cache
//! lines and allocates nothing, and each system call carries many messages.

pub(crate) mod acks;
mod busy;
pub mod checker;
mod inbound;
pub mod latency;
mod messages;
pub mod nats;
pub mod outgoing;
pub mod payload;
pub(crate) mod replies;
pub mod results;
pub mod run;
pub mod schedule;
mod sending;
pub(crate) mod setup;
mod shared;
pub mod spread;
mod supervise;
pub mod target;
mod timing;
mod worker;

//! The program `wisp-loadgen`: drives an MQTT broker at full speed and checks what comes back.
//!
//! ```text
//!   spread ---> outgoing ---> worker --socket--> broker --socket--> worker ---> inbound ---> checker
//!   who sends   encoded       one thread's                                      packets      lost, doubled,
//!   what        packets       event loop                                        found        out of order
//! ```
//!
//! [`run`](run::run) is one run against a broker, [`Sink`](sink::Sink) a broker that forwards nothing, against which
//! the generator measures itself. At QoS 1 and 2 each sender keeps at most a window of messages that are not acknowledged, and
//! receivers answer all messages of a read with one write. The generator must not be what limits a run: whatever is done for each
//! message touches a few cache lines and allocates nothing, and each system call carries many messages.

mod acks;
pub mod args;
pub mod checker;
mod inbound;
mod messages;
pub mod outgoing;
pub mod payload;
mod replies;
pub mod report;
pub mod run;
mod sending;
mod setup;
pub mod sink;
pub mod spread;
mod worker;

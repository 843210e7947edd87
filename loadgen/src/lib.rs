//! Drives an MQTT broker or a server of core NATS from this process, and checks every message that comes back.
//!
//! ```text
//!   Config ---> run ---> Results            one run: messages from senders to receivers, at full speed or at a rate
//!                |
//!              Watch                        tells the caller how far the run is, and lets it end the run
//!
//!   connections ---> Opened                 how fast a broker takes connections
//!   Sink                                    a broker that forwards nothing, to measure the generator itself
//! ```
//!
//! This crate starts no broker, reads no plan and writes no file: the crate `wisp-lab` does, and the program `wisp-loadgen`
//! stands above both.

pub mod drive;
pub mod sink;

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

mod drive;
mod sink;

pub use drive::checker::Tally;
pub use drive::config::Config;
pub use drive::connections::{Connections, Opened};
pub use drive::crc::of as crc32;
pub use drive::deadline::Stopped;
pub use drive::error::{DescriptorError, RunError};
pub use drive::latency::{Latency, end_to_end};
pub use drive::pattern::{Layout, LayoutError, Pattern, UnknownPattern};
pub use drive::payload::HEADER_BYTES;
pub use drive::preflight::{Unreachable, local_address, payload_bytes_max};
pub use drive::results::Results;
pub use drive::run::run;
pub use drive::setup::{DESCRIPTORS_EXTRA, allow_descriptors};
pub use drive::spread::Spread;
pub use drive::target::{InvalidTarget, NatsUrl, Target};
pub use drive::topics::TopicError;
pub use drive::watch::{Progress, Watch};
pub use sink::{Burst, Sink};

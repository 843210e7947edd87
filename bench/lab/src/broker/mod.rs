//! The brokers under test: how each is started, awaited and stopped, and its cost.
//!
//! ```text
//!   Broker + StartOptions ---> commands ---> Running  ---> url, usage, startup
//!                              settings        ^
//!                                            readiness: polled until it accepts clients
//! ```

mod build;
mod commands;
mod cpu_meter;
mod files;
mod kinds;
mod options;
mod readiness;
mod running;
mod settings;
mod shell_words;
mod start;
mod transport;
mod usage;

pub use build::Build;
pub use cpu_meter::CpuMeter;
pub use files::free_address;
pub use kinds::{Broker, InvalidBroker, Mode, Protocol, UnknownMode};
pub use options::StartOptions;
pub use running::{Running, last_lines};
pub use settings::{MOSQUITTO_SETTINGS, NATS_SETTINGS, RUMQTTD_SETTINGS};
pub use shell_words::InvalidWords;
pub use transport::Transport;
pub use usage::Usage;

#[cfg(test)]
mod tests;

//! The Wisp MQTT broker as a library to embed. The program `wisp-broker` is a crate of its own around it.
//!
//! This crate is the server around the engine: it owns the sockets, the clock and the threads.
//!
//! ```no_run
//! use wisp_broker::{Broker, Config};
//!
//! let broker = Broker::start(Config::default())?;
//! println!("listening on {:?}", broker.local_addrs());
//! broker.shutdown();
//! # Ok::<(), wisp_broker::StartError>(())
//! ```
//!
//! The way of a message through it: [`wisp_net`] tells a worker that a socket is ready, `input` reads and decodes, the
//! engine routes, `output` sends.

mod acceptor;
mod config;
mod input;
mod output;
mod pace;
mod peer;
mod server;
mod shared;
mod worker;

pub use config::{Config, MQTT_PORT, is_mqtt_text};
pub use server::{Broker, StartError, run};
pub use wisp_engine::{
    FullPolicy, InvalidQueue, Limits, PACKET_BYTES_CEILING, QueueSettings, StallPolicy, StatsSnapshot,
    TOPIC_LEVELS_CEILING,
};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

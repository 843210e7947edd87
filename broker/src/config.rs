//! What a broker is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;

use wisp_engine::Limits;

/// The port IANA registered for MQTT.
pub const MQTT_PORT: u16 = 1883;

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on; port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// Worker threads. `None`: one for each core, or one alone on hosts without threads.
    pub workers: Option<NonZeroUsize>,
    /// The limits.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, MQTT_PORT))],
            workers: None,
            limits: Limits::DEFAULT,
        }
    }
}

//! What a broker is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;

use wisp_engine::{Limits, QueueSettings};

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
    /// Topic queues that are there from the start. Others are made by use.
    pub queues: Vec<QueueSettings>,
    /// What clients of MQTT 5 that ask for it are told to make response topics of; a text for which [`is_mqtt_text`].
    pub response_information: Option<Box<str>>,
}

/// Whether MQTT can carry `text`: it has at most 65535 bytes and no U+0000 [MQTT-1.5.4-2].
pub fn is_mqtt_text(text: &str) -> bool {
    text.len() <= usize::from(u16::MAX) && !text.contains('\0')
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, MQTT_PORT))],
            workers: None,
            limits: Limits::DEFAULT,
            queues: Vec::new(),
            response_information: None,
        }
    }
}

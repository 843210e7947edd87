//! What a broker is started with.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use wisp_engine::{AllowAll, Event, Limits, MemoryStore, Policy, QueueSettings, Store};

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
    /// Who may connect, publish and subscribe. Everyone by default.
    pub policy: Arc<dyn Policy>,
    /// What is kept beyond the process. Nothing by default.
    pub store: Arc<dyn Store>,
    /// Called with each event, by the worker on which it happens. It must not block.
    pub observer: Option<Observer>,
}

/// A callback for events.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(&Event) + Send + Sync>);

impl Observer {
    /// Calls `observe` with each event.
    pub fn new(observe: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    pub(crate) fn observe(&self, event: &Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
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
            policy: Arc::new(AllowAll),
            store: Arc::new(MemoryStore),
            observer: None,
        }
    }
}

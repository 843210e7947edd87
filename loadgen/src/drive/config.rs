//! The settings of one run.

use std::time::Duration;

use wisp_client::{ProtocolVersion, QoS, TlsOptions};

use crate::drive::pattern::Pattern;
use crate::drive::schedule::Schedule;
use crate::drive::target::Target;

/// The settings of a run. Start from [`Config::new`] and change fields.
#[derive(Clone, Debug)]
pub struct Config {
    /// The broker, and its protocol.
    pub target: Target,
    /// The certificates, where the transport is TLS.
    pub tls: TlsOptions,
    /// The MQTT version to speak, where that is the protocol.
    pub version: ProtocolVersion,
    /// The QoS to send and to subscribe with. NATS has 0 alone.
    pub qos: QoS,
    /// At QoS 1 and 2, messages of each sender that may be unacknowledged at once; at least one.
    pub window: u16,
    /// Connections that send; at least one.
    pub senders: u32,
    /// Connections that receive.
    pub receivers: u32,
    /// Whether the sessions of receivers outlive their connections, where the protocol is MQTT.
    pub kept_sessions: bool,
    /// The way of messages from senders to receivers.
    pub pattern: Pattern,
    /// How many topics there are; by default as many as the pattern needs.
    pub topics: Option<u32>,
    /// Bytes of each message; at least [`HEADER_BYTES`](crate::drive::payload::HEADER_BYTES).
    pub size: usize,
    /// Messages of all senders together.
    pub messages: u64,
    /// Threads of the generator; at least one.
    pub threads: usize,
    /// The first levels of all topics; by default unique to the run.
    pub topic_prefix: Option<String>,
    /// Messages a second of all senders together, each at its time, and with latency; above zero. None for full speed, where a
    /// latency would tell only how much waits in the broker's buffers.
    pub rate_per_s: Option<f64>,
    /// How long nothing may move before the run is given up.
    pub timeout: Duration,
    /// How long the run may take, with connecting, before it is given up, whether something moves or not.
    pub duration_max: Option<Duration>,
}

impl Config {
    /// 1000 messages of 100 bytes from one sender to one receiver, with MQTT 3.1.1 at QoS 0 where that is the protocol, as fast
    /// as they go, by two threads. It is given up when nothing has moved for a minute.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            tls: TlsOptions::default(),
            version: ProtocolVersion::Mqtt311,
            qos: QoS::AtMostOnce,
            window: 1000,
            senders: 1,
            kept_sessions: false,
            receivers: 1,
            pattern: Pattern::OneToOne,
            topics: None,
            size: 100,
            messages: 1000,
            threads: 2,
            topic_prefix: None,
            rate_per_s: None,
            timeout: Duration::from_secs(60),
            duration_max: None,
        }
    }

    /// When messages are due, where there is a rate.
    pub(crate) fn schedule(&self) -> Option<Schedule> {
        self.rate_per_s.map(|rate_per_s| Schedule::new(rate_per_s, self.senders))
    }
}

//! The differences between the protocols when sending, receiving and closing.

use wisp_wire::{EncodeError, ProtocolVersion, QoS};

use crate::drive::config::Config;
use crate::drive::error::RunError;
use crate::drive::nats;
use crate::drive::outgoing::Template;
use crate::drive::payload::PayloadFormat;
use crate::drive::target::Target;
use crate::drive::topics::{Naming, Topics};

/// DISCONNECT without a reason, the same in every version.
const DISCONNECT: &[u8] = &[0xE0, 0x00];

/// The protocol of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Mqtt(ProtocolVersion),
    /// Core NATS, which has only the equivalent of QoS 0.
    Nats,
}

impl Protocol {
    /// The protocol of a run.
    ///
    /// # Errors
    /// If the protocol does not have the run's QoS.
    pub(crate) fn of(config: &Config) -> Result<Self, RunError> {
        match config.target {
            Target::Mqtt(_) => Ok(Self::Mqtt(config.version)),
            Target::Nats(_) if config.qos == QoS::AtMostOnce => Ok(Self::Nats),
            Target::Nats(_) => Err(RunError::NatsQos(config.qos as u8)),
        }
    }

    /// How topics are written.
    pub(crate) fn naming(self) -> Naming {
        match self {
            Self::Mqtt(_) => Naming::MQTT,
            Self::Nats => nats::NAMING,
        }
    }

    /// The messages that senders send.
    ///
    /// # Errors
    /// When none can be so large.
    pub(crate) fn sent(self, topics: &Topics, payloads: &PayloadFormat, qos: QoS) -> Result<Template, EncodeError> {
        match self {
            Self::Mqtt(version) => Template::new(topics, 0, payloads, version, qos),
            Self::Nats => Ok(nats::published(topics, payloads)),
        }
    }

    /// The messages for a receiver of this topic, subscribed by name or by a filter.
    ///
    /// # Errors
    /// If no message can be as large.
    pub(crate) fn received(
        self,
        topics: &Topics,
        topic: u32,
        payloads: &PayloadFormat,
        qos: QoS,
    ) -> Result<Template, EncodeError> {
        match self {
            Self::Mqtt(version) => Template::new(topics, topic, payloads, version, qos),
            Self::Nats => Ok(nats::delivered(topics, topic, payloads)),
        }
    }

    /// The last packet before a connection is closed.
    pub(crate) fn goodbye(self) -> Option<&'static [u8]> {
        match self {
            Self::Mqtt(_) => Some(DISCONNECT),
            Self::Nats => None,
        }
    }
}

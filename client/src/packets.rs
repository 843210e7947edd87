//! The packets of a broker, decoded from the input: each as a value of its own, or as the rule that it violates.

use std::num::{NonZeroU16, NonZeroU32};

use wisp_wire::{Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode};

use crate::error::{Error, Fault};
use crate::message::{Delivered, Message};

/// A packet from the broker.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Incoming {
    Publish(Published),
    PubAck(PublishAnswer),
    PubRec(PublishAnswer),
    PubRel(PacketId),
    PubComp(PublishAnswer),
    ConnAck(ConnectAnswer),
    SubAck(FilterAnswer),
    UnsubAck(FilterAnswer),
    PingResp,
    Disconnect { code: ReasonCode, reason: Option<String> },
}

/// A message as it stands in a PUBLISH.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Published {
    /// The topic is empty if the alias replaces it.
    pub(crate) delivered: Delivered,
    pub(crate) topic_alias: Option<NonZeroU16>,
}

/// The broker's answer to CONNECT, with its limits.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct ConnectAnswer {
    pub(crate) session_present: bool,
    pub(crate) code: ReasonCode,
    pub(crate) reason: Option<String>,
    pub(crate) assigned_client_id: Option<String>,
    pub(crate) server_keep_alive_s: Option<u16>,
    pub(crate) limits: ServerLimits,
}

/// The limits in CONNACK that published messages have to keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ServerLimits {
    /// Messages with QoS 1 and 2 that the broker has not acknowledged, at one time.
    pub(crate) receive_max: u16,
    pub(crate) qos_max: QoS,
    pub(crate) retain_available: bool,
    pub(crate) topic_alias_max: u16,
    pub(crate) packet_bytes_max: u32,
}

impl ServerLimits {
    /// The limits of a broker that names none.
    pub(crate) const NONE: Self = Self {
        receive_max: u16::MAX,
        qos_max: QoS::ExactlyOnce,
        retain_available: true,
        topic_alias_max: 0,
        packet_bytes_max: u32::MAX,
    };
}

/// An acknowledgement of a message of this client.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct PublishAnswer {
    pub(crate) packet_id: PacketId,
    pub(crate) code: ReasonCode,
    pub(crate) reason: Option<String>,
}

/// The broker's answer to SUBSCRIBE or UNSUBSCRIBE. Only MQTT 5 has codes in UNSUBACK.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct FilterAnswer {
    pub(crate) packet_id: PacketId,
    pub(crate) codes: Vec<ReasonCode>,
}

/// A rule that the broker violated, with the code that reports it to the broker.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) error: Error,
    pub(crate) code: ReasonCode,
}

impl Violation {
    /// Of a rule that has no code of its own.
    pub(crate) fn of_protocol(rule: impl Into<String>) -> Self {
        Self { error: Error::Protocol(rule.into()), code: ReasonCode::ProtocolError }
    }
}

/// Decodes the first packet of `input` and returns it with its length, or `None` while it is incomplete.
pub(crate) fn decode(
    input: &[u8],
    version: ProtocolVersion,
    packet_bytes_max: u32,
) -> Result<Option<(Incoming, usize)>, Violation> {
    match wisp_wire::decode(input, version, packet_bytes_max) {
        Ok(None) => Ok(None),
        Ok(Some((packet, length))) => Ok(Some((incoming(packet).map_err(Violation::of_protocol)?, length))),
        Err(error) => Err(Violation { code: error.reason_code(), error: Error::Protocol(error.to_string()) }),
    }
}

/// The error of a broker whose first bytes are of another protocol than MQTT, if they are known.
pub(crate) fn other_protocol(input: &[u8]) -> Option<Error> {
    let fault = Fault::Caller;
    if input.starts_with(&[0x15, 0x03]) {
        let text = "the port speaks TLS: use mqtts://, or wss:// for WebSocket".to_owned();
        Some(Error::Tls { fault, text })
    } else if input.starts_with(b"HTTP/") {
        let text = "the port speaks HTTP: use ws://, or wss:// over TLS".to_owned();
        Some(Error::WebSocket { fault, text })
    } else {
        None
    }
}

/// The packet as a value, or the rule that it violates by coming from a broker.
fn incoming(packet: Packet<'_>) -> Result<Incoming, &'static str> {
    Ok(match packet {
        Packet::Publish(publish) => Incoming::Publish(published(&publish)),
        Packet::ConnAck(ack) => Incoming::ConnAck(connect_answer(ack.session_present, ack.code, ack.properties)),
        Packet::SubAck(ack) => {
            Incoming::SubAck(FilterAnswer { packet_id: ack.packet_id, codes: ack.codes.iter().collect() })
        }
        Packet::UnsubAck(ack) => {
            Incoming::UnsubAck(FilterAnswer { packet_id: ack.packet_id, codes: ack.codes.iter().collect() })
        }
        Packet::PingResp => Incoming::PingResp,
        Packet::Disconnect(disconnect) => {
            Incoming::Disconnect { code: disconnect.code, reason: reason_of(disconnect.properties) }
        }
        Packet::PubAck(ack) => Incoming::PubAck(publish_answer(ack.packet_id, ack.code, ack.properties)),
        Packet::PubRec(ack) => Incoming::PubRec(publish_answer(ack.packet_id, ack.code, ack.properties)),
        Packet::PubRel(ack) => Incoming::PubRel(ack.packet_id),
        Packet::PubComp(ack) => Incoming::PubComp(publish_answer(ack.packet_id, ack.code, ack.properties)),
        Packet::Auth(_) => return Err("it sent AUTH although CONNECT named no method"),
        Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {
            return Err("it sent a packet that only clients may send");
        }
    })
}

fn published(publish: &Publish<'_>) -> Published {
    let subscription_ids = publish.properties.iter().filter_map(|property| match property {
        Property::SubscriptionIdentifier(id) => Some(id.get()),
        _ => None,
    });
    let message = Message {
        topic: publish.topic.map(|topic| topic.as_str().to_owned()).unwrap_or_default(),
        payload: publish.payload.to_vec(),
        qos: publish.qos,
        dup: publish.dup,
        retain: publish.retain,
        subscription_ids: subscription_ids.collect(),
    };
    Published {
        delivered: Delivered { message, packet_id: publish.packet_id },
        topic_alias: publish.properties.topic_alias(),
    }
}

fn publish_answer(packet_id: PacketId, code: ReasonCode, properties: Properties<'_>) -> PublishAnswer {
    PublishAnswer { packet_id, code, reason: reason_of(properties) }
}

fn connect_answer(session_present: bool, code: ReasonCode, properties: Properties<'_>) -> ConnectAnswer {
    ConnectAnswer {
        session_present,
        code,
        reason: reason_of(properties),
        assigned_client_id: properties.assigned_client_identifier().map(str::to_owned),
        server_keep_alive_s: properties.server_keep_alive_s(),
        limits: ServerLimits {
            receive_max: properties.receive_maximum().map_or(u16::MAX, NonZeroU16::get),
            qos_max: properties.maximum_qos().unwrap_or(QoS::ExactlyOnce),
            retain_available: properties.retain_available().unwrap_or(true),
            topic_alias_max: properties.topic_alias_maximum().unwrap_or(0),
            packet_bytes_max: properties.maximum_packet_size().map_or(u32::MAX, NonZeroU32::get),
        },
    }
}

fn reason_of(properties: Properties<'_>) -> Option<String> {
    properties.reason_string().filter(|reason| !reason.is_empty()).map(str::to_owned)
}

//! What a broker says, out of the input buffer: each packet as a value of its own, or the reason why a
//! broker must not send it.

use std::num::{NonZeroU16, NonZeroU32};

use wisp_wire::{Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode};

use crate::Error;

/// A message that was received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The topic it was published to.
    pub topic: String,
    /// What was published.
    pub payload: Vec<u8>,
    /// The QoS it was delivered with.
    pub qos: QoS,
    /// Whether the broker may have delivered it before.
    pub dup: bool,
    /// Whether the broker had kept it from before the subscription, or, where the subscription asked for that, whether
    /// it was published to be kept.
    pub retain: bool,
    /// The identifiers of the subscriptions it came by (MQTT 5).
    pub subscription_ids: Vec<u32>,
}

impl Message {
    /// What it counts for against the limit of kept bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.topic.len() + self.payload.len() + size_of_val(self.subscription_ids.as_slice())
    }
}

/// A message on its way to the caller, who acknowledges it by taking it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Delivered {
    /// Its topic is empty where an alias stands for it.
    pub(crate) message: Message,
    pub(crate) topic_alias: Option<NonZeroU16>,
    /// There with QoS 1 and 2.
    pub(crate) packet_id: Option<PacketId>,
}

/// A packet from the broker.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Incoming {
    Message(Delivered),
    PubAck(Receipt),
    PubRec(Receipt),
    PubRel(PacketId),
    PubComp(Receipt),
    /// Not a packet: what the last of a message's acknowledgements comes to.
    Settled(Receipt),
    ConnAck(ConnAnswer),
    SubAck(Ack),
    UnsubAck(Ack),
    PingResp,
    Disconnect {
        code: ReasonCode,
        reason: Option<String>,
    },
}

/// The broker's answer to CONNECT, with the limits it sets.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct ConnAnswer {
    pub(crate) session_present: bool,
    pub(crate) code: ReasonCode,
    pub(crate) reason: Option<String>,
    pub(crate) assigned_client_id: Option<String>,
    pub(crate) server_keep_alive_s: Option<u16>,
    pub(crate) packet_bytes_max: Option<u32>,
    pub(crate) limits: ServerLimits,
}

/// What the broker says in CONNACK that it takes of published messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ServerLimits {
    /// Messages with QoS 1 and 2 on their way at once.
    pub(crate) receive_max: u16,
    pub(crate) qos_max: QoS,
    pub(crate) retain_available: bool,
    pub(crate) topic_alias_max: u16,
}

/// The broker's answer to a message with QoS 1 or 2.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Receipt {
    pub(crate) packet_id: PacketId,
    pub(crate) code: ReasonCode,
    pub(crate) reason: Option<String>,
}

/// The broker's answer to SUBSCRIBE or UNSUBSCRIBE. In UNSUBACK, only MQTT 5 has codes.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Ack {
    pub(crate) packet_id: PacketId,
    pub(crate) codes: Vec<ReasonCode>,
}

/// Takes the first packet off `input`, with its length; `None` while it is not complete. An error comes with the
/// code that tells the broker.
pub(crate) fn decode(
    input: &[u8],
    version: ProtocolVersion,
    packet_bytes_max: u32,
) -> Result<Option<(Incoming, usize)>, (Error, ReasonCode)> {
    match wisp_wire::decode(input, version, packet_bytes_max) {
        Ok(None) => Ok(None),
        Ok(Some((packet, length))) => match incoming(packet) {
            Ok(incoming) => Ok(Some((incoming, length))),
            Err(rule) => Err((Error::Protocol(rule.to_owned()), ReasonCode::ProtocolError)),
        },
        Err(error) => Err((Error::Protocol(error.to_string()), error.reason_code())),
    }
}

/// The packet as a value, or the rule that it breaks by coming from a broker to this client.
fn incoming(packet: Packet<'_>) -> Result<Incoming, &'static str> {
    Ok(match packet {
        Packet::Publish(publish) => Incoming::Message(message(&publish)),
        Packet::ConnAck(ack) => Incoming::ConnAck(conn_answer(ack.session_present, ack.code, ack.properties)),
        Packet::SubAck(ack) => Incoming::SubAck(Ack { packet_id: ack.packet_id, codes: ack.codes.iter().collect() }),
        Packet::UnsubAck(ack) => {
            Incoming::UnsubAck(Ack { packet_id: ack.packet_id, codes: ack.codes.iter().collect() })
        }
        Packet::PingResp => Incoming::PingResp,
        Packet::Disconnect(disconnect) => {
            Incoming::Disconnect { code: disconnect.code, reason: reason_of(disconnect.properties) }
        }
        Packet::PubAck(ack) => Incoming::PubAck(receipt(ack.packet_id, ack.code, ack.properties)),
        Packet::PubRec(ack) => Incoming::PubRec(receipt(ack.packet_id, ack.code, ack.properties)),
        Packet::PubRel(ack) => Incoming::PubRel(ack.packet_id),
        Packet::PubComp(ack) => Incoming::PubComp(receipt(ack.packet_id, ack.code, ack.properties)),
        Packet::Auth(_) => return Err("it sent AUTH although CONNECT named no method"),
        Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {
            return Err("it sent a packet that only clients may send");
        }
    })
}

fn message(publish: &Publish<'_>) -> Delivered {
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
    Delivered { message, topic_alias: publish.properties.topic_alias(), packet_id: publish.packet_id }
}

fn receipt(packet_id: PacketId, code: ReasonCode, properties: Properties<'_>) -> Receipt {
    Receipt { packet_id, code, reason: reason_of(properties) }
}

fn conn_answer(session_present: bool, code: ReasonCode, properties: Properties<'_>) -> ConnAnswer {
    ConnAnswer {
        session_present,
        code,
        reason: reason_of(properties),
        assigned_client_id: properties.assigned_client_identifier().map(str::to_owned),
        server_keep_alive_s: properties.server_keep_alive_s(),
        packet_bytes_max: properties.maximum_packet_size().map(NonZeroU32::get),
        limits: ServerLimits {
            receive_max: properties.receive_maximum().map_or(u16::MAX, NonZeroU16::get),
            qos_max: properties.maximum_qos().unwrap_or(QoS::ExactlyOnce),
            retain_available: properties.retain_available().unwrap_or(true),
            topic_alias_max: properties.topic_alias_maximum().unwrap_or(0),
        },
    }
}

fn reason_of(properties: Properties<'_>) -> Option<String> {
    properties.reason_string().map(str::to_owned)
}

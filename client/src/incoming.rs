//! What a broker says, out of the input buffer: each packet as a value of its own, or the reason why a
//! broker must not send it.

use std::num::NonZeroU32;

use wisp_wire::{Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, ReasonCode};

use crate::Error;

/// A message that was received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The topic it was published to.
    pub topic: String,
    /// What was published.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it from before the subscription.
    pub retain: bool,
}

impl Message {
    /// What it counts for against the limit of kept bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.topic.len() + self.payload.len()
    }
}

/// A packet from the broker.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Incoming {
    Message(Message),
    ConnAck(ConnAnswer),
    SubAck(Ack),
    UnsubAck(Ack),
    PingResp,
    Disconnect { code: ReasonCode, reason: Option<String> },
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
        Packet::Publish(publish) => Incoming::Message(message(&publish)?),
        Packet::ConnAck(ack) => Incoming::ConnAck(conn_answer(ack.session_present, ack.code, ack.properties)),
        Packet::SubAck(ack) => Incoming::SubAck(Ack { packet_id: ack.packet_id, codes: ack.codes.iter().collect() }),
        Packet::UnsubAck(ack) => {
            Incoming::UnsubAck(Ack { packet_id: ack.packet_id, codes: ack.codes.iter().collect() })
        }
        Packet::PingResp => Incoming::PingResp,
        Packet::Disconnect(disconnect) => {
            Incoming::Disconnect { code: disconnect.code, reason: reason_of(disconnect.properties) }
        }
        Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
            return Err("it acknowledged a message although none was sent with QoS 1 or 2");
        }
        Packet::Auth(_) => return Err("it sent AUTH although CONNECT named no method"),
        Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {
            return Err("it sent a packet that only clients may send");
        }
    })
}

fn message(publish: &Publish<'_>) -> Result<Message, &'static str> {
    if publish.qos != QoS::AtMostOnce {
        return Err("it sent a message with QoS 1 or 2 although only QoS 0 was subscribed");
    }
    let topic = publish.topic.ok_or("it used a topic alias although CONNECT allowed none [MQTT-3.1.2-27]")?;
    Ok(Message { topic: topic.as_str().to_owned(), payload: publish.payload.to_vec(), retain: publish.retain })
}

fn conn_answer(session_present: bool, code: ReasonCode, properties: Properties<'_>) -> ConnAnswer {
    ConnAnswer {
        session_present,
        code,
        reason: reason_of(properties),
        assigned_client_id: properties.assigned_client_identifier().map(str::to_owned),
        server_keep_alive_s: properties.server_keep_alive_s(),
        packet_bytes_max: properties.maximum_packet_size().map(NonZeroU32::get),
    }
}

fn reason_of(properties: Properties<'_>) -> Option<String> {
    properties.reason_string().map(str::to_owned)
}

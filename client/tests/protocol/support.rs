//! A client's protocol state, with its bytes and its time in the hands of the test.

use std::time::{Duration, Instant};

use wisp_client::protocol::{Event, Protocol};
use wisp_client::{ConnectOptions, PacketId, ProtocolVersion, ReasonCode};
use wisp_wire::{ConnAck, Packet, Properties, Property, Publish, QoS, TopicName};

pub(crate) const V311: ProtocolVersion = ProtocolVersion::Mqtt311;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::Mqtt5;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn options(version: ProtocolVersion) -> ConnectOptions {
    let mut options = ConnectOptions::new(version);
    options.connect_timeout = 7 * SECOND;
    options.answer_timeout = 3 * SECOND;
    options.keep_alive_s = 10;
    options
}

/// A connection that the broker has accepted with these properties, at `now`.
pub(crate) fn connected(options: &ConnectOptions, properties: &[Property<'_>], now: Instant) -> Protocol {
    let mut protocol = Protocol::new(options, now).unwrap();
    let version = options.version;
    assert!(matches!(sent(&mut protocol, version, now)[..], [Sent::Connect]));
    let ack =
        ConnAck { session_present: false, code: ReasonCode::Success, properties: Properties::from_slice(properties) };
    receive(&mut protocol, &encoded(version, &Packet::ConnAck(ack)));
    assert_eq!(protocol.poll_event(now), Some(Event::Connected));
    protocol
}

pub(crate) fn encoded(version: ProtocolVersion, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).unwrap();
    bytes
}

/// A PUBLISH of the broker.
pub(crate) fn message(version: ProtocolVersion, qos: QoS, id: u16, payload: &[u8], dup: bool) -> Vec<u8> {
    let packet_id = PacketId::new(id).filter(|_| qos > QoS::AtMostOnce);
    let publish = Publish::new(TopicName::new("t").unwrap(), payload);
    encoded(version, &Packet::Publish(Publish { qos, dup, packet_id, ..publish }))
}

/// Gives bytes of the broker to the client.
pub(crate) fn receive(protocol: &mut Protocol, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = protocol.input_buffer();
        let length = space.len().min(bytes.len());
        space[..length].copy_from_slice(&bytes[..length]);
        protocol.handle_input(length);
        bytes = &bytes[length..];
    }
}

/// A packet of the client, as far as the tests look at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    Connect,
    Ping,
    Publish { qos: QoS, id: u16, payload: Vec<u8> },
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Subscribe { id: u16, filters: usize },
    Unsubscribe { id: u16, filters: usize },
    Disconnect(ReasonCode),
}

/// Takes the bytes that the client sends, all of which have to be whole packets.
pub(crate) fn sent(protocol: &mut Protocol, version: ProtocolVersion, now: Instant) -> Vec<Sent> {
    let mut bytes = protocol.poll_transmit().to_vec();
    protocol.handle_sent(bytes.len(), now);
    let packets = take_packets(&mut bytes, version);
    assert!(bytes.is_empty());
    packets
}

/// Takes the complete packets off the front of `bytes`.
pub(crate) fn take_packets(bytes: &mut Vec<u8>, version: ProtocolVersion) -> Vec<Sent> {
    let mut packets = Vec::new();
    while let Some((packet, length)) = wisp_wire::decode(bytes, version, u32::MAX).unwrap() {
        packets.push(match packet {
            Packet::Connect(_) => Sent::Connect,
            Packet::PingReq => Sent::Ping,
            Packet::Publish(publish) => Sent::Publish {
                qos: publish.qos,
                id: publish.packet_id.map_or(0, PacketId::get),
                payload: publish.payload.to_vec(),
            },
            Packet::PubAck(ack) => Sent::PubAck(ack.packet_id.get()),
            Packet::PubRec(ack) => Sent::PubRec(ack.packet_id.get()),
            Packet::PubRel(ack) => Sent::PubRel(ack.packet_id.get()),
            Packet::PubComp(ack) => Sent::PubComp(ack.packet_id.get()),
            Packet::Subscribe(subscribe) => {
                Sent::Subscribe { id: subscribe.packet_id.get(), filters: subscribe.filters.iter().count() }
            }
            Packet::Unsubscribe(unsubscribe) => {
                Sent::Unsubscribe { id: unsubscribe.packet_id.get(), filters: unsubscribe.filters.iter().count() }
            }
            Packet::Disconnect(disconnect) => Sent::Disconnect(disconnect.code),
            other => panic!("a client sent {other:?}"),
        });
        bytes.drain(..length);
    }
    packets
}

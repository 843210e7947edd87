//! Short helpers for packets of MQTT 5 clients at QoS 1 and 2, and for their effects.

use wisp_wire::{Connect, PacketId, Properties, Property, Publish, QoS, SubscriptionOptions, TopicName, packet_len};

use crate::events::{Event, Message};
use crate::support::{Peer, V5, World, encoded, plain, subscribe_with};

pub(crate) const QOS_0: QoS = QoS::AtMostOnce;
pub(crate) const QOS_1: QoS = QoS::AtLeastOnce;
pub(crate) const QOS_2: QoS = QoS::ExactlyOnce;

/// The session stays for a while.
pub(crate) const STAYS: Property<'static> = Property::SessionExpiryInterval(100);

pub(crate) fn receive_maximum(most: u16) -> Property<'static> {
    Property::ReceiveMaximum(most.try_into().unwrap())
}

impl World {
    /// A client that resumes its session, and whether there was one.
    pub(crate) fn returns(&mut self, id: &str, properties: &[Property<'_>]) -> (Peer, bool) {
        let connect = Connect { clean_start: false, properties: Properties::from_slice(properties), ..plain(V5, id) };
        let mut peer = self.accept();
        let outcome = self.feed(&mut peer, &encoded(|out| connect.encode(V5, out)));
        assert!(outcome.end.is_none(), "{outcome:?}");
        let Some(Event::ConnAck { present }) = peer.next_event() else { panic!("CONNACK is the first packet") };
        (peer, present)
    }

    /// A client with a session that outlives it, subscribed to `filters`.
    pub(crate) fn receiver(&mut self, id: &str, qos: QoS, filters: &[&str], properties: &[Property<'_>]) -> Peer {
        let (mut peer, _) = self.returns(id, &[&[STAYS], properties].concat());
        self.feed(&mut peer, &subscribe_at(qos, filters));
        peer.skip_suback();
        peer
    }

    /// A client with no other properties than a session that ends with its connection.
    pub(crate) fn sender(&mut self) -> Peer {
        self.connected(V5, "sender")
    }
}

pub(crate) fn subscribe_at(qos: QoS, filters: &[&str]) -> Vec<u8> {
    subscribe_with(V5, filters, SubscriptionOptions::new(qos), &[])
}

/// A PUBLISH; at QoS 0 the identifier is ignored.
pub(crate) fn message(qos: QoS, id: u16, topic: &str, payload: &str) -> Vec<u8> {
    message_with(qos, id, topic, payload, false, &[])
}

pub(crate) fn message_with(
    qos: QoS,
    id: u16,
    topic: &str,
    payload: &str,
    retain: bool,
    properties: &[Property<'_>],
) -> Vec<u8> {
    let publish = Publish {
        qos,
        retain,
        packet_id: PacketId::new(id).filter(|_| qos != QOS_0),
        properties: Properties::from_slice(properties),
        ..Publish::new(TopicName::new(topic).unwrap(), payload.as_bytes())
    };
    encoded(|out| publish.encode(V5, out))
}

/// The same PUBLISH, repeated with DUP.
pub(crate) fn again(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 0x08;
    publish
}

/// Messages at QoS 1 with payloads `from` to `to`.
pub(crate) fn numbered(topic: &str, from: u16, to: u16) -> Vec<u8> {
    (from..=to).flat_map(|number| message(QOS_1, number, topic, &number.to_string())).collect()
}

fn acknowledgement(first_byte: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![first_byte, 2, high, low]
}

pub(crate) fn puback(id: u16) -> Vec<u8> {
    acknowledgement(0x40, id)
}

pub(crate) fn pubrec(id: u16) -> Vec<u8> {
    acknowledgement(0x50, id)
}

pub(crate) fn pubrel(id: u16) -> Vec<u8> {
    acknowledgement(0x62, id)
}

pub(crate) fn pubcomp(id: u16) -> Vec<u8> {
    acknowledgement(0x70, id)
}

/// PUBACK or PUBREC with a reason not to take the message.
pub(crate) fn refusal(first_byte: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![first_byte, 3, high, low, 0x80]
}

pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Packet identifier, DUP and payload of each message.
pub(crate) fn heard(messages: &[Message]) -> Vec<(u16, bool, String)> {
    let text = |message: &Message| String::from_utf8(message.payload.clone()).unwrap();
    messages.iter().map(|message| (message.id, message.dup, text(message))).collect()
}

impl Peer {
    /// Skips the SUBACK, which messages may have overtaken.
    fn skip_suback(&mut self) {
        let bytes = self.take();
        let mut rest = &bytes[..];
        while let Ok(Some(len)) = packet_len(rest, u32::MAX >> 4) {
            let (packet, others) = rest.split_at(len);
            rest = others;
            if packet[0] != 0x90 {
                self.received.extend(packet);
            }
        }
    }

    /// Packet identifier, DUP and payload of each message since the last call.
    pub(crate) fn heard(&mut self) -> Vec<(u16, bool, String)> {
        heard(&self.publishes())
    }

    /// Payloads of the messages since the last call.
    pub(crate) fn payloads(&mut self) -> Vec<String> {
        self.heard().into_iter().map(|(_, _, payload)| payload).collect()
    }
}

//! The packets that a client receives, with topic aliases resolved.

use wisp_wire::{Packet, PacketId, Property, QoS, ReasonCode, SubscriptionId, decode};

use crate::support::Peer;

/// A PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// 0 at QoS 0.
    pub(crate) id: u16,
    /// In ascending order.
    pub(crate) subscription_ids: Vec<u32>,
    pub(crate) expiry_s: Option<u32>,
}

/// A packet from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    ConnAck { present: bool },
    Message(Message),
    PubAck(u16, ReasonCode),
    PubRec(u16, ReasonCode),
    PubRel(u16, ReasonCode),
    PubComp(u16, ReasonCode),
    SubAck(Vec<ReasonCode>),
    UnsubAck(Vec<ReasonCode>),
    Disconnect(ReasonCode),
    PingResp,
}

impl Peer {
    /// The packets received since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next_event()).collect()
    }

    /// The next packet.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let mut bytes = self.take();
        let decoded = decode(&bytes, self.version(), u32::MAX >> 4).unwrap();
        let Some((packet, len)) = decoded else {
            assert!(bytes.is_empty(), "half a packet was delivered");
            return None;
        };
        let event = self.event(&packet);
        self.received = bytes.split_off(len);
        Some(event)
    }

    /// The messages received since the last call, without other packets.
    pub(crate) fn publishes(&mut self) -> Vec<Message> {
        let message = |event| if let Event::Message(message) = event { Some(message) } else { None };
        self.events().into_iter().filter_map(message).collect()
    }

    fn event(&mut self, packet: &Packet<'_>) -> Event {
        match packet {
            Packet::ConnAck(ack) => {
                assert_eq!(ack.code, ReasonCode::Success);
                Event::ConnAck { present: ack.session_present }
            }
            Packet::PubAck(ack) => Event::PubAck(ack.packet_id.get(), ack.code),
            Packet::PubRec(ack) => Event::PubRec(ack.packet_id.get(), ack.code),
            Packet::PubRel(ack) => Event::PubRel(ack.packet_id.get(), ack.code),
            Packet::PubComp(ack) => Event::PubComp(ack.packet_id.get(), ack.code),
            Packet::SubAck(ack) => Event::SubAck(ack.codes.iter().collect()),
            Packet::UnsubAck(ack) => Event::UnsubAck(ack.codes.iter().collect()),
            Packet::Disconnect(disconnect) => Event::Disconnect(disconnect.code),
            Packet::PingResp => Event::PingResp,
            Packet::Publish(publish) => {
                let alias = publish.properties.topic_alias().map(std::num::NonZeroU16::get);
                let topic = match (publish.topic, alias) {
                    (Some(topic), None) => topic.as_str().to_owned(),
                    (Some(topic), Some(alias)) => {
                        let other = self.aliases.insert(alias, topic.as_str().to_owned());
                        assert!(other.is_none(), "the server gives an alias to one topic");
                        topic.as_str().to_owned()
                    }
                    (None, alias) => self.aliases[&alias.unwrap()].clone(),
                };
                let id = |property| if let Property::SubscriptionIdentifier(id) = property { Some(id) } else { None };
                let ids = publish.properties.iter().filter_map(id).map(SubscriptionId::get);
                let mut subscription_ids: Vec<u32> = ids.collect();
                subscription_ids.sort_unstable();
                Event::Message(Message {
                    topic,
                    payload: publish.payload.to_vec(),
                    qos: publish.qos,
                    retain: publish.retain,
                    dup: publish.dup,
                    id: publish.packet_id.map_or(0, PacketId::get),
                    subscription_ids,
                    expiry_s: publish.properties.message_expiry_interval_s(),
                })
            }
            other => panic!("{other:?} from the server"),
        }
    }
}

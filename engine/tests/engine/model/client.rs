//! A client as the standard describes it, with the state of the messages that it sends and receives.

use std::collections::BTreeSet;

use proptest::prelude::*;
use wisp_wire::{PacketId, Properties, Property, ProtocolVersion, Publish, QoS, TopicName};

use super::broker::Content;
use crate::events::Event;
use crate::support::encoded;

/// The answer to a packet that the client has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the packets are called so")]
pub(crate) enum Answer {
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
}

/// A message that the client has sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: u16,
    pub(crate) content: Content,
    /// PUBREC was received.
    pub(crate) received: bool,
}

/// One client, across its connections.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// In the order of their first sending.
    pub(crate) outgoing: Vec<Outgoing>,
    /// Packet identifiers at QoS 2 between PUBLISH and PUBREL.
    incoming: BTreeSet<u16>,
    pub(crate) answers: Vec<Answer>,
    last_id: u16,
}

impl Client {
    pub(crate) fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % 20 + 1;
            if self.outgoing.iter().all(|outgoing| outgoing.id != self.last_id) {
                return self.last_id;
            }
        }
    }

    /// The connection is gone: the server will send unanswered packets again.
    pub(crate) fn lose_connection(&mut self) {
        self.answers.clear();
    }

    /// The server has no session: drops the state of the old one.
    pub(crate) fn forget(&mut self) {
        self.outgoing.clear();
        self.incoming.clear();
    }

    /// Handles a packet. True if it is a message that is new to the application.
    pub(crate) fn see(&mut self, event: &Event) -> Result<bool, TestCaseError> {
        match event {
            Event::Message(message) => {
                let id = message.id;
                match message.qos {
                    QoS::AtMostOnce => return Ok(true),
                    QoS::AtLeastOnce => {
                        self.answers.push(Answer::PubAck(id));
                        return Ok(true);
                    }
                    QoS::ExactlyOnce => {
                        self.answers.push(Answer::PubRec(id));
                        return Ok(self.incoming.insert(id));
                    }
                }
            }
            Event::PubRel(id, _) => {
                self.incoming.remove(id);
                self.answers.push(Answer::PubComp(*id));
            }
            Event::PubAck(id, _) | Event::PubComp(id, _) => {
                let before = self.outgoing.len();
                self.outgoing.retain(|outgoing| outgoing.id != *id);
                prop_assert!(self.outgoing.len() < before, "{event:?} for nothing");
            }
            Event::PubRec(id, _) => {
                let outgoing = self.outgoing.iter_mut().find(|outgoing| outgoing.id == *id);
                prop_assert!(outgoing.is_some(), "{event:?} for nothing");
                outgoing.unwrap().received = true;
                self.answers.push(Answer::PubRel(*id));
            }
            _ => {}
        }
        Ok(false)
    }

    /// Forgets a refused message, which will not be repeated under this identifier.
    pub(crate) fn refused(&mut self, id: u16) {
        self.incoming.remove(&id);
    }
}

impl Content {
    /// The PUBLISH of an outgoing message.
    pub(crate) fn packet(&self, version: ProtocolVersion, id: u16, dup: bool) -> Vec<u8> {
        let expiry: Vec<Property<'_>> =
            self.expiry_s.filter(|_| version.is_v5()).map(Property::MessageExpiryInterval).into_iter().collect();
        let publish = Publish {
            dup,
            qos: self.qos,
            retain: self.retain,
            packet_id: PacketId::new(id).filter(|_| self.qos != QoS::AtMostOnce),
            properties: Properties::from_slice(&expiry),
            ..Publish::new(TopicName::new(self.topic).unwrap(), &self.payload)
        };
        encoded(|out| publish.encode(version, out))
    }
}

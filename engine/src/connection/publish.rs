//! PUBLISH in: checked, routed, and acknowledged as its QoS asks (MQTT 5 sections 3.3.4 and 4.3).

use wisp_wire::{PacketId, Properties, Property, PubAck, PubRec, Publish, QoS, ReasonCode, TopicName};

use super::{Client, Connection, End, EndReason, Next, Phase, Raw, reply};
use crate::delivery::aliases::AliasError;
use crate::delivery::outbox::Outbox;
use crate::ops::dispatch::forms::Received;
use crate::ops::dispatch::{Dispatcher, Routed};
use crate::state::session::NotOwner;
use crate::state::shared::Shared;

/// What is to be said to the sender of a message.
enum Answer {
    Accepted {
        matched: bool,
    },
    /// With a reason that MQTT 5 has a code for.
    Refused(ReasonCode),
    Blocked(std::sync::Arc<crate::base::capacity::Capacity>),
    End(EndReason),
}

impl From<Routed> for Answer {
    fn from(routed: Routed) -> Self {
        match routed {
            Routed::Done(matched) => Self::Accepted { matched },
            Routed::Refused(code) => Self::Refused(code),
            Routed::Blocked(capacity) => Self::Blocked(capacity),
        }
    }
}

impl Connection {
    pub(super) fn publish(
        &mut self,
        publish: &Publish<'_>,
        raw: Raw<'_>,
        dispatcher: &mut Dispatcher,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        let answer = match client.check(publish, self.shared.limits.topic_alias_max) {
            Err(reason) => Answer::End(reason),
            Ok(()) if !publish.payload_keeps_format() => Answer::Refused(ReasonCode::PayloadFormatInvalid),
            Ok(()) => match client.topic_of(publish, self.shared.limits.topic_alias_max) {
                Ok(topic) => client.route(publish, topic, raw, (&self.shared, &self.outbox), dispatcher, now_ms),
                Err(AliasError::AboveMaximum) => Answer::End(EndReason::TopicAlias),
                Err(AliasError::Unknown | AliasError::TooMuch) => Answer::End(EndReason::TopicMissing),
            },
        };
        let version = client.version;
        match (answer, publish.packet_id) {
            (Answer::Blocked(capacity), _) => return Ok(Next::Blocked(capacity)),
            (Answer::End(reason), _) => return Err(self.end(reason, out)),
            (Answer::Accepted { .. }, None) => {}
            (Answer::Accepted { matched }, Some(id)) => {
                let silent = matched || !version.is_v5();
                let code = if silent { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
                client.acknowledge_publish(publish.qos, id, code, out);
            }
            (Answer::Refused(code), Some(id)) if version.is_v5() => {
                client.acknowledge_publish(publish.qos, id, code, out);
            }
            // Counted. The sender of a message at QoS 0 is not told of a full queue, and sends on.
            (Answer::Refused(ReasonCode::QuotaExceeded), None) => {}
            // The others cannot be told but by an end: nothing was acknowledged, so nothing is lost.
            (Answer::Refused(code), _) => return Err(self.end(EndReason::PublishRefused(code), out)),
        }
        Ok(Next::Continue)
    }
}

impl Client {
    /// What no client may send. An alias that comes with a name is learned.
    fn check(&mut self, publish: &Publish<'_>, aliases_max: u16) -> Result<(), EndReason> {
        if publish.properties.is_empty() {
            return if publish.topic.is_none() { Err(EndReason::TopicMissing) } else { Ok(()) };
        }
        for property in publish.properties.iter() {
            match (property, publish.topic) {
                (Property::TopicAlias(alias), Some(topic)) => {
                    self.aliases.learn(alias, topic, aliases_max).map_err(|error| match error {
                        AliasError::TooMuch => EndReason::BuffersExhausted,
                        AliasError::AboveMaximum | AliasError::Unknown => EndReason::TopicAlias,
                    })?;
                }
                (Property::SubscriptionIdentifier(_), _) => return Err(EndReason::SubscriptionIdentifierFromClient),
                _ => {}
            }
        }
        Ok(())
    }

    fn topic_of<'a>(&'a self, publish: &Publish<'a>, aliases_max: u16) -> Result<TopicName<'a>, AliasError> {
        match (publish.topic, publish.properties.topic_alias()) {
            (Some(topic), _) => Ok(topic),
            (None, Some(alias)) => self.aliases.resolve(alias, aliases_max),
            (None, None) => Err(AliasError::Unknown),
        }
    }

    fn route(
        &self,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        raw: Raw<'_>,
        (shared, outbox): (&Shared, &Outbox),
        dispatcher: &mut Dispatcher,
        now_ms: u64,
    ) -> Answer {
        let received = Received {
            publish: *publish,
            topic,
            raw: raw.bytes,
            in_scratch: raw.in_scratch,
            format: self.version.into(),
            client_id: self.session.client_id(),
            is_will: false,
        };
        let (QoS::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id) else {
            return dispatcher.publish(shared, &received, now_ms).into();
        };
        // The session cannot change hands between the routing and the note that the message has been received.
        let mut incoming = match self.session.incoming(outbox.connection()) {
            Ok(incoming) => incoming,
            Err(NotOwner) => return Answer::End(EndReason::TakenOver),
        };
        if incoming.contains(id) {
            // It has come before [MQTT-4.3.3-10].
            return Answer::Accepted { matched: true };
        }
        if self.version.is_v5() && incoming.unreleased() >= usize::from(shared.limits.receive_maximum) {
            return Answer::End(EndReason::ReceiveMaximum);
        }
        let routed = dispatcher.publish(shared, &received, now_ms);
        if let Routed::Done(_) = routed {
            incoming.insert(id);
        }
        routed.into()
    }

    fn acknowledge_publish(&self, qos: QoS, packet_id: PacketId, code: ReasonCode, out: &mut Vec<u8>) {
        let reasons = [Property::ReasonString(match code {
            ReasonCode::QuotaExceeded => "there is no capacity for the message where it should go",
            ReasonCode::TopicNameInvalid => "the topic name has more levels or bytes than this server allows",
            ReasonCode::PayloadFormatInvalid => "the payload is not the UTF-8 text it is said to be",
            _ => "",
        })];
        let tells = code.is_error() && self.wants_reasons && self.packet_bytes_max >= 256;
        let properties = if tells { Properties::from_slice(&reasons) } else { Properties::EMPTY };
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => reply(PubAck { packet_id, code, properties }.encode(self.version, out)),
            QoS::ExactlyOnce => reply(PubRec { packet_id, code, properties }.encode(self.version, out)),
        }
    }
}

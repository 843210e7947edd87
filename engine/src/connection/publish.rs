//! PUBLISH: checked, routed, and acknowledged as its QoS requires (MQTT 5 sections 3.3.4 and 4.3).

use std::sync::Arc;

use wisp_wire::{PacketId, Properties, Property, PubAck, PubRec, Publish, QoS, ReasonCode, TopicName};

use super::context::Context;
use super::disconnect::{End, EndReason};
use super::protocol::{Client, Next, Phase, Protocol, Raw, reply};
use crate::base::capacity::Capacity;
use crate::base::denials::DeniedUse;
use crate::base::limits::Limits;
use crate::base::reached::LimitName;
use crate::base::reserved::is_reserved;
use crate::delivery::aliases::AliasError;
use crate::delivery::outbox::Outbox;
use crate::ops::dispatch::Routed;
use crate::ops::dispatch::forms::Received;
use crate::ops::routes::RESERVED;
use crate::policy::{Answers, PendingDecision, PublishRequest, Verdict};
use crate::state::session::NotOwner;

/// The reason string of a message that the store does not take.
const STORE_FULL: &str = "the data folder takes no more";

/// The outcome of a PUBLISH for its sender.
enum Outcome {
    Accepted {
        matched: bool,
    },
    /// It is refused, with a reason code of MQTT 5.
    Refused(ReasonCode),
    /// It is refused since the store has taken no more for too long.
    StoreFull,
    /// The client has as many messages at QoS 2 under way as allowed.
    AboveReceiveMaximum,
    /// A receiver with this capacity is full, or the store if there is none.
    Blocked(Option<Arc<Capacity>>),
    Undecided(Arc<PendingDecision>),
    /// The policy has denied it.
    Denied(ReasonCode),
    End(EndReason),
}

impl From<Routed> for Outcome {
    fn from(routed: Routed) -> Self {
        match routed {
            Routed::Done(matched) => Self::Accepted { matched },
            Routed::Refused(code) => Self::Refused(code),
            Routed::Blocked(capacity) => Self::Blocked(capacity),
            Routed::StoreFull => Self::StoreFull,
        }
    }
}

impl Protocol {
    pub(super) fn publish(
        &mut self,
        publish: &Publish<'_>,
        raw: Raw<'_>,
        answers: &mut Option<Box<Answers>>,
        context: &mut Context<'_>,
    ) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        let limits = &context.shared.limits;
        let aliases_max = client.aliases_max;
        let outcome = match client.check(publish, limits) {
            Err(reason) => Outcome::End(reason),
            Ok(()) if !publish.payload_keeps_format() => Outcome::Refused(ReasonCode::PayloadFormatInvalid),
            Ok(()) => match client.topic_of(publish, aliases_max) {
                Ok(topic) => match client.check_policy(publish, topic, answers, context) {
                    Some(denied) => denied,
                    None => client.route(publish, topic, raw, &self.outbox, context),
                },
                Err(AliasError::AboveMaximum) => Outcome::End(EndReason::TopicAlias),
                Err(AliasError::Unknown | AliasError::TooMuch) => Outcome::End(EndReason::TopicMissing),
            },
        };
        let version = client.version;
        match (outcome, publish.packet_id) {
            (Outcome::Blocked(capacity), _) => return Ok(Next::Blocked(capacity)),
            (Outcome::Undecided(pending), _) => return Ok(Next::Undecided(pending)),
            (Outcome::End(reason), _) => return Err(self.end(reason, context.replies)),
            (Outcome::Accepted { .. }, None) => {}
            (Outcome::Accepted { matched }, Some(id)) => {
                let silent = matched || !version.is_v5();
                let code = if silent { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
                client.acknowledge_publish(publish.qos, id, code, "", context.replies);
            }
            (Outcome::AboveReceiveMaximum, id) => {
                let text = "more messages at QoS 2 are under way than the Receive Maximum in CONNACK allows";
                if let Some(id) = id {
                    client.acknowledge_publish(publish.qos, id, ReasonCode::QuotaExceeded, text, context.replies);
                }
            }
            (Outcome::Refused(RESERVED), id) => {
                client.note_reserved(publish, context);
                if let Some(id) = id {
                    let code = if version.is_v5() { RESERVED } else { ReasonCode::Success };
                    client.acknowledge_publish(publish.qos, id, code, refusal_text(code), context.replies);
                }
            }
            (Outcome::Refused(code), Some(id)) if version.is_v5() => {
                client.acknowledge_publish(publish.qos, id, code, refusal_text(code), context.replies);
            }
            (Outcome::StoreFull, Some(id)) if version.is_v5() => {
                client.acknowledge_publish(publish.qos, id, ReasonCode::QuotaExceeded, STORE_FULL, context.replies);
            }
            (Outcome::StoreFull, None) => {}
            (Outcome::StoreFull, Some(_)) => {
                return Err(self.end(EndReason::PublishRefused(ReasonCode::QuotaExceeded), context.replies));
            }
            // Counted. A sender at QoS 0 has no acknowledgement that could carry the refusal, and continues.
            (Outcome::Refused(ReasonCode::QuotaExceeded), None) => {}
            // The other refusals can only end the connection. Nothing was acknowledged, so nothing is lost.
            (Outcome::Refused(code), _) => return Err(self.end(EndReason::PublishRefused(code), context.replies)),
            (Outcome::Denied(_), None) => {}
            (Outcome::Denied(code), Some(id)) => {
                // Before MQTT 5 there is no code for it. As in mosquitto, the message is acknowledged and dropped.
                let code = if version.is_v5() { code } else { ReasonCode::Success };
                client.acknowledge_publish(publish.qos, id, code, refusal_text(code), context.replies);
            }
        }
        Ok(Next::Continue)
    }
}

impl Client {
    /// Checks the topic and properties of a PUBLISH. Stores an alias that comes with a topic name.
    fn check(&mut self, publish: &Publish<'_>, limits: &Limits) -> Result<(), EndReason> {
        if publish.retain && self.version.is_v5() && !limits.retains() {
            return Err(EndReason::RetainUnavailable);
        }
        if publish.properties.is_empty() {
            return if publish.topic.is_none() { Err(EndReason::TopicMissing) } else { Ok(()) };
        }
        if publish.properties.subscription_identifier().is_some() {
            return Err(EndReason::SubscriptionIdentifierFromClient);
        }
        let (Some(alias), Some(topic)) = (publish.properties.topic_alias(), publish.topic) else { return Ok(()) };
        self.aliases.assign(alias, topic, self.aliases_max).map_err(|error| match error {
            AliasError::TooMuch => EndReason::BuffersExhausted,
            AliasError::AboveMaximum | AliasError::Unknown => EndReason::TopicAlias,
        })
    }

    /// Asks rights and policy. `None` if they allow the message.
    fn check_policy(
        &self,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        answers: &mut Option<Box<Answers>>,
        context: &mut Context<'_>,
    ) -> Option<Outcome> {
        if !self.is_restricted {
            return None;
        }
        let shared = context.shared;
        if !self.grant.as_ref().is_none_or(|grant| grant.may_publish(topic.as_str())) {
            return Some(self.denied(topic, ReasonCode::NotAuthorized, context));
        }
        if !shared.restricts_messages {
            return None;
        }
        let client_id = &**self.session.client_id();
        let request = PublishRequest { client_id, topic: topic.as_str(), qos: publish.qos, retain: publish.retain };
        match answers.get_or_insert_default().ask(|| shared.policy.publish(&request)) {
            Ok(Verdict::Allow | Verdict::AllowAs(_)) => None,
            Ok(Verdict::Deny(code)) => Some(self.denied(topic, code, context)),
            Err(pending) => Some(Outcome::Undecided(pending)),
        }
    }

    #[cold]
    fn note_reserved(&self, publish: &Publish<'_>, context: &mut Context<'_>) {
        // Not `topic_of`: with a second caller it would no longer be a part of its first, which each message takes.
        let by_alias = || self.aliases.resolve(publish.properties.topic_alias()?, self.aliases_max).ok();
        if let Some(topic) = publish.topic.or_else(by_alias) {
            self.denied(topic, RESERVED, context);
        }
    }

    fn denied(&self, topic: TopicName<'_>, code: ReasonCode, context: &mut Context<'_>) -> Outcome {
        context.dispatcher.counts().publishes_denied += 1;
        let user = self.grant.as_ref().and_then(|grant| grant.rights.user());
        let denied = if is_reserved(topic) { DeniedUse::Reserved } else { DeniedUse::Publish };
        context.shared.denials.note(denied, self.session.client_id(), user, topic.as_str());
        Outcome::Denied(code)
    }

    fn topic_of<'a>(&'a self, publish: &Publish<'a>, aliases_max: u16) -> Result<TopicName<'a>, AliasError> {
        match publish.topic {
            Some(topic) => Ok(topic),
            None => {
                let alias = publish.properties.topic_alias().ok_or(AliasError::Unknown)?;
                self.aliases.resolve(alias, aliases_max)
            }
        }
    }

    fn route(
        &self,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        raw: Raw<'_>,
        outbox: &Outbox,
        context: &mut Context<'_>,
    ) -> Outcome {
        let client_id = self.session.client_id();
        let mut received = Received {
            publish: *publish,
            topic,
            raw: raw.bytes,
            in_scratch: raw.in_scratch,
            format: self.version.into(),
            client_id,
            is_will: false,
            incoming: None,
        };
        let Some(packet_id) = publish.packet_id else {
            return context.dispatcher.publish(context.shared, &received, context.now_ms).into();
        };
        if publish.qos == QoS::AtLeastOnce {
            return context.dispatcher.publish(context.shared, &received, context.now_ms).into();
        }
        // While this is locked the session keeps its connection, so routing and recording the identifier are one step.
        let mut incoming = match self.session.incoming(outbox.connection()) {
            Ok(incoming) => incoming,
            Err(NotOwner) => return Outcome::End(EndReason::TakenOver),
        };
        if incoming.contains(packet_id) {
            // The message has been received before [MQTT-4.3.3-10].
            return Outcome::Accepted { matched: true };
        }
        if self.version.is_v5() && incoming.unreleased() >= usize::from(context.shared.limits.receive_maximum) {
            // Refused at once, the message is none of those that wait for an answer of the server (section 3.3.4).
            context.shared.reached.note(LimitName::ReceiveMaximum, Some(client_id));
            return Outcome::AboveReceiveMaximum;
        }
        received.incoming = self.session.key();
        let routed = context.dispatcher.publish(context.shared, &received, context.now_ms);
        if let Routed::Done(_) = routed {
            incoming.insert(packet_id, &context.shared.stored);
        }
        routed.into()
    }

    fn acknowledge_publish(&self, qos: QoS, packet_id: PacketId, code: ReasonCode, text: &str, out: &mut Vec<u8>) {
        let reasons = [Property::ReasonString(text)];
        let has_reason = code.is_error() && !text.is_empty() && self.wants_reasons && self.packet_bytes_max >= 256;
        let properties = if has_reason { Properties::from_slice(&reasons) } else { Properties::EMPTY };
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => reply(PubAck { packet_id, code, properties }.encode(self.version, out)),
            QoS::ExactlyOnce => reply(PubRec { packet_id, code, properties }.encode(self.version, out)),
        }
    }
}

/// The reason string of a refusal.
fn refusal_text(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::QuotaExceeded => "receiver queue full",
        ReasonCode::NotAuthorized => "this server does not let the client publish to the topic",
        ReasonCode::TopicNameInvalid => "the topic name has more levels or bytes than this server allows",
        ReasonCode::PayloadFormatInvalid => "the payload is not UTF-8, although its format indicator says so",
        _ => "",
    }
}

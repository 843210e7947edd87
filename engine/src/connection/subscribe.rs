//! SUBSCRIBE and UNSUBSCRIBE: changes of the topic tree and queues, and the acknowledgements (MQTT 5 sections 3.8 to
//! 3.11).

use std::sync::Arc;

use wisp_wire::{
    Properties, ReasonCode, ReasonCodes, RetainHandling, SubAck, Subscribe, SubscriptionOptions, TopicFilter, UnsubAck,
    Unsubscribe,
};

use super::context::Context;
use super::disconnect::{End, EndReason};
use super::protocol::{Client, Next, Phase, Protocol, reply};
use crate::base::reached::LimitName;
use crate::event::Event;
use crate::ops::subscriptions::{FilterKind, subscription_ids};
use crate::policy::{Answers, PendingDecision, SubscribeRequest, Verdict};
use crate::state::retained::ReplayCursor;
use crate::state::session::Subscription;
use crate::state::session::subscriptions::{Subscriptions, footprint_bytes};
use crate::state::shared::Shared;
use crate::state::topic_tree::TopicTooLarge;
use crate::store::Object;

impl Protocol {
    pub(super) fn subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        answers: &mut Option<Box<Answers>>,
        context: &mut Context<'_>,
    ) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        // One packet can name millions of filters, or the same one over and over.
        let most = context.shared.limits.subscriptions_count_max as usize;
        let verdicts = match client.verdicts(subscribe, most, answers, context) {
            Ok(verdicts) => verdicts,
            Err(pending) => return Ok(Next::Undecided(pending)),
        };
        let id = subscribe.properties.subscription_identifier();
        if subscribe.filters.iter().nth(most).is_some() {
            context.shared.reached.note(LimitName::Subscriptions, Some(client.session.client_id()));
        }
        let codes: Vec<ReasonCode> = subscribe
            .filters
            .iter()
            .enumerate()
            .map(|(number, (filter, options))| match verdicts.get(number) {
                _ if number >= most => ReasonCode::QuotaExceeded,
                Some(Verdict::Deny(code)) => {
                    context.dispatcher.counts().subscribes_denied += 1;
                    *code
                }
                Some(Verdict::Allow | Verdict::AllowAs(_)) | None => {
                    let options = if client.is_bridge { bridged(options) } else { options };
                    client.grant(filter, Subscription { options, id }, context)
                }
            })
            .collect();
        let acknowledgement = SubAck {
            packet_id: subscribe.packet_id,
            properties: Properties::EMPTY,
            codes: ReasonCodes::from_slice(&codes),
        };
        reply(acknowledgement.encode(client.version, context.replies));
        Ok(Next::Continue)
    }

    pub(super) fn unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        context: &mut Context<'_>,
    ) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        let codes: Vec<ReasonCode> =
            unsubscribe.filters.iter().map(|filter| client.remove(filter.as_str(), context)).collect();
        let acknowledgement = UnsubAck {
            packet_id: unsubscribe.packet_id,
            properties: Properties::EMPTY,
            codes: ReasonCodes::from_slice(&codes),
        };
        reply(acknowledgement.encode(client.version, context.replies));
        Ok(Next::Continue)
    }
}

impl Client {
    /// The policy's answer about each filter; empty if it allows all.
    fn verdicts(
        &self,
        subscribe: &Subscribe<'_>,
        most: usize,
        answers: &mut Option<Box<Answers>>,
        context: &Context<'_>,
    ) -> Result<Vec<Verdict>, Arc<PendingDecision>> {
        if !context.shared.restricts_messages {
            return Ok(Vec::new());
        }
        let (client_id, answers) = (&**self.session.client_id(), answers.get_or_insert_default());
        let ask = |(filter, options): (TopicFilter<'_>, SubscriptionOptions)| {
            let request = SubscribeRequest { client_id, filter: filter.as_str(), qos: options.qos };
            answers.ask(|| context.shared.policy.subscribe(&request))
        };
        subscribe.filters.iter().take(most).map(ask).collect()
    }

    fn remove(&mut self, filter: &str, context: &mut Context<'_>) -> ReasonCode {
        let client_id = self.session.client_id();
        let mut subscriptions = self.session.subscriptions();
        context.recorder().delete_all(subscriptions.key_of(filter).into_iter());
        // The tree is changed only for an existing subscription, since every change makes all workers resolve their
        // routes again.
        if !subscriptions.remove(filter) {
            return ReasonCode::NoSubscriptionExisted;
        }
        context.shared.remove_subscription(filter, &self.session, context.recorder(), context.now_ms);
        drop(subscriptions);
        self.replays.retain(|replay| *replay.filter != *filter);
        context.events.push_back(Event::Unsubscribed { client_id: Arc::clone(client_id), filter: filter.into() });
        ReasonCode::Success
    }

    /// Subscribes, or returns the code of the refusal.
    fn grant(&mut self, filter: TopicFilter<'_>, wanted: Subscription, context: &mut Context<'_>) -> ReasonCode {
        let shared = context.shared;
        let text = filter.as_str();
        let client_id = Arc::clone(self.session.client_id());
        let refuse = |limit, code| {
            shared.reached.note(limit, Some(&client_id));
            code
        };
        if let Err(too_large) = TopicTooLarge::check(text, &shared.limits) {
            return refuse(too_large.limit(), ReasonCode::TopicFilterInvalid);
        }
        let Some(kind) = FilterKind::of(filter) else { return ReasonCode::TopicFilterInvalid };
        let mut subscriptions = self.session.subscriptions();
        if subscriptions.is_ended() {
            // The session has just ended. The connection is about to end as well.
            return ReasonCode::UnspecifiedError;
        }
        let is_new = !subscriptions.contains(text);
        if is_new && let Some(limit) = full(&subscriptions, text, shared) {
            return refuse(limit, ReasonCode::QuotaExceeded);
        }
        if shared.add_subscription((text, kind), &self.session, wanted).is_err() {
            return refuse(LimitName::TopicQueues, ReasonCode::QuotaExceeded);
        }
        if is_new {
            shared.charge_subscription(text, kind);
        }
        let key = self.session.key().map(|session| {
            let recorder = context.recorder();
            let key = subscriptions.key_of(text).unwrap_or_else(|| recorder.new_key());
            let Subscription { options, id } = wanted;
            recorder.put(key, Object::Subscription { session, filter: text, options, id });
            key
        });
        subscriptions.insert(text, key);
        drop(subscriptions);
        let qos = wanted.options.qos;
        context.events.push_back(Event::Subscribed { client_id, filter: text.into(), qos });
        match kind {
            FilterKind::Plain(filter) => self.replay_retained(filter, wanted, is_new),
            // Its waiting messages are sent after SUBACK.
            FilterKind::Group(_) | FilterKind::Queue => self.can_send_more = true,
        }
        match wanted.options.qos {
            wisp_wire::QoS::AtMostOnce => ReasonCode::GRANTED_QOS0,
            wisp_wire::QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
            wisp_wire::QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
        }
    }

    fn replay_retained(&mut self, filter: TopicFilter<'_>, wanted: Subscription, is_new: bool) {
        let replays = match wanted.options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        if replays {
            // The new replay includes an unfinished one of the same filter.
            self.replays.retain(|replay| *replay.filter != *filter.as_str());
            self.replays.push(ReplayCursor {
                filter: filter.as_str().into(),
                qos: wanted.options.qos,
                no_local: wanted.options.no_local,
                subscription_ids: subscription_ids(wanted.id),
                after: None,
            });
        }
    }
}

/// The options of a bridge's subscription. It would send its own messages back for ever otherwise.
fn bridged(options: SubscriptionOptions) -> SubscriptionOptions {
    SubscriptionOptions { no_local: true, retain_as_published: true, ..options }
}

/// The limit that leaves no room for another subscription.
fn full(subscriptions: &Subscriptions, filter: &str, shared: &Shared) -> Option<LimitName> {
    let limits = &shared.limits;
    if subscriptions.len() >= limits.subscriptions_count_max as usize {
        Some(LimitName::Subscriptions)
    } else if subscriptions.bytes() + footprint_bytes(filter) > limits.client_subscription_bytes_max {
        Some(LimitName::ClientSubscriptionBytes)
    } else {
        shared.subscriptions.is_scarce().then_some(LimitName::SubscriptionBytes)
    }
}

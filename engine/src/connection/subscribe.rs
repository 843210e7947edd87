//! SUBSCRIBE and UNSUBSCRIBE in, changes of the router and acknowledgements out (MQTT 5 sections 3.8 to 3.11).

use wisp_wire::{
    Properties, ReasonCode, ReasonCodes, RetainHandling, SubAck, Subscribe, TopicFilter, UnsubAck, Unsubscribe,
};

use super::{Client, Connection, End, EndReason, Next, Phase, reply};
use crate::ops::subscriptions::{FilterKind, subscription_ids};
use crate::state::retained::ReplayCursor;
use crate::state::session::Subscription;
use crate::state::shared::Shared;
use crate::state::topic_tree::TopicTooLarge;

impl Connection {
    pub(super) fn subscribe(&mut self, subscribe: &Subscribe<'_>, out: &mut Vec<u8>) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        let id = subscribe.properties.subscription_identifier();
        // One packet can name millions of filters, the same one over and over.
        let most = self.shared.limits.subscriptions_count_max as usize;
        let codes: Vec<ReasonCode> = subscribe
            .filters
            .iter()
            .enumerate()
            .map(|(number, (filter, options))| match number < most {
                true => client.grant(&self.shared, filter, Subscription { options, id }),
                false => ReasonCode::QuotaExceeded,
            })
            .collect();
        let acknowledgement = SubAck {
            packet_id: subscribe.packet_id,
            properties: Properties::EMPTY,
            codes: ReasonCodes::from_slice(&codes),
        };
        reply(acknowledgement.encode(client.version, out));
        Ok(Next::Continue)
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>, out: &mut Vec<u8>) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        let codes: Vec<ReasonCode> = unsubscribe
            .filters
            .iter()
            .map(|filter| {
                let mut subscriptions = client.session.subscriptions();
                // The router is asked only for what is there: a change of it costs every worker its routes.
                if !subscriptions.remove(filter.as_str()) {
                    return ReasonCode::NoSubscriptionExisted;
                }
                self.shared.remove_subscription(filter.as_str(), &client.session);
                client.replays.retain(|replay| *replay.filter != *filter.as_str());
                ReasonCode::Success
            })
            .collect();
        let acknowledgement = UnsubAck {
            packet_id: unsubscribe.packet_id,
            properties: Properties::EMPTY,
            codes: ReasonCodes::from_slice(&codes),
        };
        reply(acknowledgement.encode(client.version, out));
        Ok(Next::Continue)
    }
}

impl Client {
    /// Subscribes, or says why not.
    fn grant(&mut self, shared: &Shared, filter: TopicFilter<'_>, wanted: Subscription) -> ReasonCode {
        let text = filter.as_str();
        if let Err(TopicTooLarge::Levels | TopicTooLarge::Bytes) = TopicTooLarge::check(text, &shared.limits) {
            return ReasonCode::TopicFilterInvalid;
        }
        let Some(kind) = FilterKind::of(filter) else { return ReasonCode::TopicFilterInvalid };
        let mut subscriptions = self.session.subscriptions();
        if subscriptions.ended {
            // The session has just ended under this connection, which will hear of it.
            return ReasonCode::UnspecifiedError;
        }
        let is_new = !subscriptions.contains(text);
        if is_new {
            let count = subscriptions.len();
            if count >= shared.limits.subscriptions_count_max as usize || shared.subscriptions.is_scarce() {
                return ReasonCode::QuotaExceeded;
            }
        }
        if shared.add_subscription((text, kind), &self.session, wanted).is_err() {
            return ReasonCode::QuotaExceeded;
        }
        if is_new {
            shared.charge_subscription(text);
        }
        subscriptions.insert(text);
        drop(subscriptions);
        match kind {
            FilterKind::Plain(filter) => self.replay_retained(filter, wanted, is_new),
            // What waits there comes after SUBACK.
            FilterKind::Group(_) | FilterKind::Queue => self.has_news = true,
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
            // What is left of an earlier one to the same filter is part of this one.
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

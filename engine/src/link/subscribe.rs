//! SUBSCRIBE and UNSUBSCRIBE in, changes of the router and acknowledgements out (MQTT 5 sections 3.8 to 3.11).

use std::sync::Arc;

use wisp_wire::{
    Properties, ReasonCode, ReasonCodes, RetainHandling, SubAck, Subscribe, SubscriptionId, TopicFilter, UnsubAck,
    Unsubscribe,
};

use super::{Client, End, EndReason, Link, Next, Phase, reply};
use crate::bundles::Indexed;
use crate::core::Core;
use crate::replay::Replay;
use crate::router::{Receiving, Subscriber, TopicTooLarge};
use crate::session::{Session, Subscription};
use crate::topic_queue::{Receiver, queue_name};

/// What a filter is a subscription to.
#[derive(Clone, Copy)]
enum Kind<'a> {
    /// Everything that matches.
    Plain(TopicFilter<'a>),
    /// A share of what matches the filter within.
    Group(TopicFilter<'a>),
    /// A share of a topic queue.
    Queue,
}

impl<'a> Kind<'a> {
    /// None if it has the form of a share or a queue and is none.
    fn of(filter: TopicFilter<'a>) -> Option<Self> {
        let text = filter.as_str();
        match filter.shared() {
            Some(_) if text.starts_with("$queue/") => None,
            Some((_, within)) if within.as_str().starts_with("$queue/") => None,
            Some((_, within)) => Some(Self::Group(within)),
            None if queue_name(text).is_some() && !text.contains(['+', '#']) => Some(Self::Queue),
            None if text.starts_with("$queue/") => None,
            None => Some(Self::Plain(filter)),
        }
    }
}

impl Link {
    pub(super) fn subscribe(&mut self, subscribe: &Subscribe<'_>, out: &mut Vec<u8>) -> Result<Next, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        let id = subscribe.properties.subscription_identifier();
        // One packet can name millions of filters, the same one over and over.
        let most = self.core.limits.subscriptions_count_max as usize;
        let codes: Vec<ReasonCode> = subscribe
            .filters
            .iter()
            .enumerate()
            .map(|(number, (filter, options))| match number < most {
                true => client.grant(&self.core, filter, Subscription { options, id }),
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
                self.core.remove_subscription(filter.as_str(), &client.session);
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
    fn grant(&mut self, core: &Core, filter: TopicFilter<'_>, wanted: Subscription) -> ReasonCode {
        let text = filter.as_str();
        if let Err(TopicTooLarge::Levels | TopicTooLarge::Bytes) = TopicTooLarge::check(text, &core.limits) {
            return ReasonCode::TopicFilterInvalid;
        }
        let Some(kind) = Kind::of(filter) else { return ReasonCode::TopicFilterInvalid };
        let mut subscriptions = self.session.subscriptions();
        if subscriptions.ended {
            // The session has just ended under this connection, which will hear of it.
            return ReasonCode::UnspecifiedError;
        }
        let is_new = !subscriptions.contains(text);
        if is_new {
            let count = subscriptions.len();
            if count >= core.limits.subscriptions_count_max as usize || core.subscriptions.is_scarce() {
                return ReasonCode::QuotaExceeded;
            }
        }
        match kind {
            Kind::Plain(filter) => {
                let receiving = Receiving::Session(Arc::clone(&self.session));
                core.router.subscribe(filter, Subscriber { receiving, options: wanted.options, id: wanted.id });
            }
            Kind::Group(_) | Kind::Queue => {
                let within = if let Kind::Group(within) = kind { Some(within) } else { None };
                if core.join_queue(text, within, receiver(&self.session, wanted)).is_err() {
                    return ReasonCode::QuotaExceeded;
                }
            }
        }
        if is_new {
            core.subscriptions.charge(footprint_bytes(text));
        }
        subscriptions.insert(text);
        drop(subscriptions);
        match kind {
            Kind::Plain(filter) => self.replay_retained(filter, wanted, is_new),
            // What waits there comes after SUBACK.
            Kind::Group(_) | Kind::Queue => self.has_news = true,
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
            self.replays.push(Replay {
                filter: filter.as_str().into(),
                qos: wanted.options.qos,
                no_local: wanted.options.no_local,
                subscription_ids: ids(wanted.id),
                after: None,
            });
        }
    }
}

fn ids(id: Option<SubscriptionId>) -> Option<Arc<[SubscriptionId]>> {
    id.map(|id| Arc::from([id]))
}

fn receiver(session: &Arc<Session>, wanted: Subscription) -> Receiver {
    Receiver {
        session: Arc::clone(session),
        qos: wanted.options.qos,
        retain_as_published: wanted.options.retain_as_published,
        subscription_ids: ids(wanted.id),
    }
}

/// About what a subscription takes: the filter, kept with its client and level by level in the tree, and the tree's nodes,
/// as if no other filter shared them.
fn footprint_bytes(filter: &str) -> usize {
    const LEVEL_BYTES: usize = 256;
    2 * filter.len() + LEVEL_BYTES * filter.split('/').count()
}

impl Core {
    /// Takes a subscription that the session has no longer out of the router or its queue.
    pub(crate) fn remove_subscription(&self, filter: &str, session: &Session) {
        let parsed = TopicFilter::new(filter).expect("only legal filters are kept");
        match Kind::of(parsed) {
            Some(Kind::Plain(filter)) => {
                let removed = self.router.unsubscribe(filter, session.index());
                debug_assert!(removed, "the router has every filter of a session");
            }
            Some(Kind::Group(within)) => self.leave_queue(filter, Some(within), session),
            Some(Kind::Queue) => self.leave_queue(filter, None, session),
            None => debug_assert!(false, "only filters that stand for something are kept"),
        }
        self.subscriptions.release(footprint_bytes(filter));
    }
}

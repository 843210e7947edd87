//! SUBSCRIBE and UNSUBSCRIBE in, changes of the router and acknowledgements out.

use std::sync::Arc;

use wisp_wire::{
    Properties, ReasonCode, ReasonCodes, SubAck, Subscribe, SubscriptionOptions, TopicFilter, UnsubAck, Unsubscribe,
};

use super::{Client, End, EndReason, Next, Phase, Session, reply};
use crate::core::Core;
use crate::queue::Queue;
use crate::router::{Target, TopicTooLarge};

impl Session {
    pub(super) fn subscribe<'a>(&mut self, subscribe: &Subscribe<'_>, out: &mut Vec<u8>) -> Result<Next<'a>, End> {
        if subscribe.properties.subscription_identifier().is_some() {
            return Err(self.end(EndReason::SubscriptionIdentifier, out));
        }
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        // One packet can name millions of filters, the same one over and over.
        let most = self.core.limits.subscriptions_count_max as usize;
        let codes: Vec<ReasonCode> = subscribe
            .filters
            .iter()
            .enumerate()
            .map(|(number, (filter, options))| match number < most {
                true => grant(&self.core, &self.queue, client, filter, options),
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

    pub(super) fn unsubscribe<'a>(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Next<'a>, End> {
        let Phase::Connected(client) = &mut self.phase else { return Err(End::silent(EndReason::Closed)) };
        let codes: Vec<ReasonCode> = unsubscribe
            .filters
            .iter()
            .map(|filter| {
                // The router is asked only for what is there: a change of it costs every worker its routes.
                if !client.filters.remove(filter.as_str()) {
                    return ReasonCode::NoSubscriptionExisted;
                }
                self.core.subscriptions.release(footprint_bytes(filter));
                let removed = self.core.router.unsubscribe(filter, &self.queue);
                debug_assert!(removed, "the router has every filter of a client");
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

    pub(super) fn unsubscribe_all(&self, client: &Client) {
        for filter in &client.filters {
            let filter = TopicFilter::new(filter).expect("only legal filters are kept");
            self.core.router.unsubscribe(filter, &self.queue);
            self.core.subscriptions.release(footprint_bytes(filter));
        }
    }
}

/// About what a subscription takes: the filter, kept with its client and level by level in the tree, and the tree's nodes,
/// as if no other filter shared them.
fn footprint_bytes(filter: TopicFilter<'_>) -> usize {
    const LEVEL_BYTES: usize = 256;
    2 * filter.as_str().len() + LEVEL_BYTES * filter.levels().count()
}

/// Subscribes at QoS 0, whatever was asked for, or says why not.
fn grant(
    core: &Core,
    queue: &Arc<Queue>,
    client: &mut Client,
    filter: TopicFilter<'_>,
    options: SubscriptionOptions,
) -> ReasonCode {
    let text = filter.as_str();
    match TopicTooLarge::check(text, &core.limits) {
        Err(TopicTooLarge::Levels | TopicTooLarge::Bytes) => return ReasonCode::TopicFilterInvalid,
        Ok(()) if filter.shared().is_some() => return ReasonCode::SharedSubscriptionsNotSupported,
        Ok(()) => {}
    }
    if !client.filters.contains(text) {
        let count = client.filters.len();
        if count >= core.limits.subscriptions_count_max as usize || core.subscriptions.is_scarce() {
            return ReasonCode::QuotaExceeded;
        }
        core.subscriptions.charge(footprint_bytes(filter));
        client.filters.insert(text.into());
    }
    core.router.subscribe(filter, Target { queue: Arc::clone(queue), no_local: options.no_local });
    ReasonCode::GRANTED_QOS0
}

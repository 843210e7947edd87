//! Messages of the broker itself, for the topics of `$SYS`. They hold no sender back and wait for no receiver.

use std::sync::Arc;

use wisp_wire::{PacketId, Publish, QoS, TopicName};

use super::Dispatcher;
use crate::delivery::addressed::{Delivery, write_message};
use crate::delivery::loan::Queued;
use crate::delivery::message::{Head, Message};
use crate::delivery::outbox::Outbox;
use crate::ops::routes::{Route, Target};
use crate::state::shared::Shared;

impl Dispatcher {
    /// Retains a message and stages it for its receivers. A receiver whose queue is full does not get it, which is
    /// counted. Nothing else is staged yet.
    pub(crate) fn publish_own(&mut self, shared: &Shared, topic: TopicName<'_>, payload: &[u8], now_ms: u64) {
        let publish = Publish {
            qos: QoS::ExactlyOnce,
            retain: true,
            packet_id: PacketId::new(1),
            ..Publish::new(topic, payload)
        };
        let message = Message::from_publish(&publish, topic, now_ms);
        shared.retained.store_own(message.clone());
        let route = Route::of_own(shared, topic);
        self.counts.deliveries_denied += route.denied;
        let bytes = message.cost_bytes();
        for target in &route.targets {
            match (&target.outbox, target.qos) {
                // Messages at QoS 0 are not kept for a client that is away.
                (None, QoS::AtMostOnce) => {}
                (Some(outbox), QoS::AtMostOnce) => self.push_own(shared, &message, (target, outbox), now_ms),
                (outbox, qos) => {
                    let (capacity, (staged_bytes, staged)) =
                        (target.session.capacity(), self.deliveries.staged_for(&target.session));
                    // A client that is away drops messages by itself.
                    if outbox.is_some() && capacity.is_full_with(staged_bytes + bytes, staged + 1) {
                        capacity.count_dropped(1);
                        self.counts.messages_dropped += 1;
                        continue;
                    }
                    let (retain, ids) = (target.retain_as_published, target.subscription_ids.clone());
                    self.deliveries.stage(&target.session, Delivery::new(message.clone(), qos, retain, ids), bytes);
                    self.counts.messages_delivered += 1;
                }
            }
        }
        for queue in &route.queues {
            let (staged_bytes, staged) = self.queued.staged_for(queue);
            if queue.capacity().is_full_with(staged_bytes + bytes, staged + 1) {
                self.counts.messages_dropped += 1;
            } else {
                self.queued.stage(queue, Queued::new(message.clone()), bytes);
            }
        }
    }

    /// Pushes a message at QoS 0.
    fn push_own(&mut self, shared: &Shared, message: &Message, (target, outbox): (&Target, &Arc<Outbox>), now_ms: u64) {
        let head = Head {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: target.retain_as_published,
            packet_id: None,
            subscription_ids: target.subscription_ids.as_deref().unwrap_or_default(),
        };
        let mut context = self.context(shared, now_ms);
        if outbox.capacity().is_full_with(message.cost_bytes(), 1)
            || !write_message(message, &head, outbox, &mut context)
        {
            context.count_dropped(outbox.capacity());
            return;
        }
        outbox.push([context.buffer.as_slice()].into_iter(), context.buffer.len(), 1);
        context.buffer.clear();
        self.counts.messages_delivered += 1;
        self.mark_for_flush(outbox);
    }
}

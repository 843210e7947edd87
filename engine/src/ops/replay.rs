//! Replay: retained messages for a new subscription, as fast as the client takes them (MQTT 5 section 3.3.1.3).

use std::sync::Arc;

use wisp_wire::{QoS, TopicFilter};

use crate::delivery::addressed::{Delivery, DeliveryContext, write_message};
use crate::delivery::loan::SubscriptionIds;
use crate::delivery::message::{Head, Message};
use crate::delivery::outbox::Outbox;
use crate::ops::dispatch::Dispatcher;
use crate::state::retained::{ReplayCursor, Retained, Visited};
use crate::state::session::Session;
use crate::state::shared::Shared;
use crate::store::journal::Recorder;
use crate::store::{Change, Key, Object, Ticket, WaitingState};

/// The progress of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replayed {
    /// All messages were delivered.
    All,
    /// There may be more, and the client can take more.
    Some,
    /// The client has to read or acknowledge before it gets more.
    Blocked,
}

impl ReplayCursor {
    /// Delivers as many messages as the client can take, up to a bounded number.
    pub(crate) fn step(
        &mut self,
        shared: &Shared,
        session: &Arc<Session>,
        outbox: &Arc<Outbox>,
        dispatcher: &mut Dispatcher,
        now_ms: u64,
    ) -> Replayed {
        let Ok(filter) = TopicFilter::new(&self.filter) else { return Replayed::All };
        if outbox.is_closed() {
            // The replay continues on the next connection.
            return Replayed::Blocked;
        }
        let mut context = dispatcher.context(shared, now_ms);
        let (mut stepped, mut ticket) = (Replayed::Some, None);
        // Delivered while the store is locked. If the message were replaced in between, the new one, published live,
        // could arrive first.
        let visited = shared.retained.visit(filter, self.after.as_deref(), now_ms, |retained| {
            if self.no_local && retained.sender.as_ref() == Some(session.client_id()) {
                return true;
            }
            if shared.grants_rights && !session.may_receive(retained.message.topic().as_str()) {
                context.counts.deliveries_denied += 1;
                return true;
            }
            let delivered = match self.qos.min(retained.message.qos()) {
                QoS::AtMostOnce => self.send_at_most_once(retained, session, outbox, &mut context),
                qos => self.enqueue(retained, qos, session, &mut ticket, &mut context),
            };
            if !delivered {
                stepped = Replayed::Blocked;
            }
            delivered
        });
        dispatcher.resume_after(ticket, session);
        dispatcher.mark_for_flush(outbox);
        match visited {
            Visited::All => Replayed::All,
            Visited::UpTo(topic) => {
                self.after = topic;
                stepped
            }
        }
    }

    fn send_at_most_once(
        &self,
        retained: &Retained,
        session: &Session,
        outbox: &Outbox,
        context: &mut DeliveryContext<'_>,
    ) -> bool {
        if !outbox.capacity().admits_backlog(retained.message.cost_bytes(), 1) {
            return false;
        }
        let head = Head {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            packet_id: None,
            subscription_ids: self.subscription_ids.as_deref().unwrap_or_default(),
        };
        if write_message(&retained.message, &head, outbox, context) {
            outbox.push([context.buffer.as_slice()].into_iter(), context.buffer.len(), 1);
            context.buffer.clear();
        } else {
            context.count_dropped(session.capacity());
        }
        true
    }

    fn enqueue(
        &self,
        retained: &Retained,
        qos: QoS,
        session: &Session,
        ticket: &mut Option<Ticket>,
        context: &mut DeliveryContext<'_>,
    ) -> bool {
        if !session.capacity().admits_backlog(retained.message.cost_bytes(), 1) {
            return false;
        }
        let ids = self.subscription_ids.clone();
        let delivery = match session.key() {
            // The broker's own messages are out of date after a restart.
            Some(session) if retained.sender.is_some() => {
                keep(&retained.message, (qos, ids, session), context.recorder)
            }
            _ => Delivery::new(retained.message.clone(), qos, true, ids),
        };
        let mut deliveries = vec![delivery];
        let next = session.deliver(&mut deliveries, context);
        *ticket = ticket.or(next);
        context.recorder.delete_all(deliveries.iter().filter_map(Delivery::key));
        true
    }
}

/// The delivery of a message to a session that the store keeps. The message has a place of its own in the store, since other deliveries
/// of it come and go.
fn keep(message: &Message, (qos, ids, session): (QoS, SubscriptionIds, Key), recorder: Recorder<'_>) -> Delivery {
    let key = recorder.new_keys(2);
    let message = message.copy_with_key(key);
    let mut delivery = Delivery::new(message.clone(), qos, true, ids);
    delivery.set_ordinal(1);
    let put = Change::Put { key, object: Object::Message(message.as_object(recorder)) };
    let changes: Vec<Change<'_>> = [put].into_iter().chain(delivery.change(session, WaitingState::Pending)).collect();
    recorder.append(&changes);
    drop(changes);
    delivery
}

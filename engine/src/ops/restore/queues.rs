//! The messages of topic queues and groups. All connections have ended, so loans are as after the end of their connections: those of topic
//! queues have returned, and those of groups are still with the sessions that the store keeps.

use std::sync::Arc;

use wisp_wire::{QoS, TopicFilter};

use super::{RestoredLoan, RestoredQueued, Restoring, Taken, ordinal_of};
use crate::delivery::addressed::Delivery;
use crate::delivery::loan::{ConsumerOptions, QueueInfo, Queued};
use crate::ops::queues::queue_name;
use crate::ops::subscriptions::FilterKind;
use crate::state::session::inflight::Place;
use crate::state::topic_queue::TopicQueue;
use crate::store::{Change, Key, LoanObject, Object};

impl Restoring<'_> {
    pub(super) fn take_queued(
        &mut self,
        key: Key,
        queue: &str,
        (message, deliveries): (Key, u16),
        loan: Option<LoanObject<'_>>,
    ) -> Taken {
        let kind = TopicFilter::new(queue).ok().and_then(FilterKind::of);
        if !matches!(kind, Some(FilterKind::Queue | FilterKind::Group(_))) {
            return Taken::Illegal("queue");
        }
        let Some((message, is_used)) = self.messages.get_mut(&message) else { return Taken::Dropped };
        let Some(ordinal) = ordinal_of(key, message) else { return Taken::Illegal("key") };
        *is_used = true;
        let queued = Queued { message: message.clone(), deliveries, ordinal };
        let loan = loan.map(|LoanObject { session, qos, retain, packet_id, subscription_ids }| {
            let subscription_ids = (!subscription_ids.is_empty()).then(|| Arc::from(&*subscription_ids));
            let options = ConsumerOptions { qos, retain_as_published: retain, subscription_ids };
            RestoredLoan { session, packet_id, retain, options }
        });
        let restored = RestoredQueued { queued, loan };
        match self.queued.get_mut(queue) {
            Some(others) => others.push(restored),
            None => _ = self.queued.insert(queue.into(), vec![restored]),
        }
        Taken::Kept
    }

    /// Takes up all queued messages. Dead letters follow the messages that their queues have.
    pub(super) fn finish_queues(&mut self) {
        let mut dead = Vec::new();
        for (name, messages) in std::mem::take(&mut self.queued) {
            if queue_name(&name).is_none() {
                self.finish_group(&name, messages);
                continue;
            }
            let queue = self.shared.queues.restore(&name);
            for restored in messages {
                let queued = self.return_loan(&queue, restored);
                match queue.buries(&queued) {
                    Some(heir) => dead.push((heir.map(Box::<str>::from), queued)),
                    None => self.restore_queued(&queue, queued),
                }
            }
        }
        for (heir, queued) in dead {
            match heir {
                Some(name) => {
                    let heir = self.shared.queues.restore(&format!("$queue/{name}"));
                    let moved = queued.moved_to(heir.info(), self.recorder);
                    self.restore_queued(&heir, moved);
                }
                None => queued.key().into_iter().for_each(|key| self.drop_object(key)),
            }
        }
    }

    fn restore_queued(&mut self, queue: &TopicQueue, queued: Queued) {
        queue.restore(queued);
        self.done.messages += 1;
    }

    /// The message on loan from a topic queue has returned. The client may have it at QoS 2, so the identifier stays in use.
    fn return_loan(&mut self, queue: &TopicQueue, restored: RestoredQueued) -> Queued {
        let RestoredQueued { queued, loan } = restored;
        if let Some(RestoredLoan { session: Some(session), packet_id, options, .. }) = loan
            && options.qos == QoS::ExactlyOnce
            && let Some(lender) = self.sessions.get_mut(&session)
            && let (Some(key), Some(message)) = (queued.key(), queued.message.key())
        {
            let identifier = self.recorder.new_key();
            let queue = &queue.info().name;
            let returned = Object::Queued { queue, message, deliveries: queued.deliveries, loan: None };
            self.recorder.append(&[
                Change::Put { key, object: returned },
                Change::Put { key: identifier, object: Object::released(session, packet_id) },
            ]);
            lender.inflight.push((packet_id, Place::Released(Some(identifier))));
        }
        queued
    }

    fn finish_group(&mut self, name: &str, messages: Vec<RestoredQueued>) {
        let group = self.shared.queues.get(name);
        // Without members it has ended, but clients still get what was sent to them.
        let info =
            group.as_ref().map_or_else(|| Arc::new(self.shared.queues.info(name)), |group| Arc::clone(group.info()));
        for RestoredQueued { queued, loan } in messages {
            match (loan, &group) {
                (Some(loan), _) if self.holds(&loan) => self.restore_loan(queued, loan, &info),
                // [MQTT-4.8.2-5]
                (Some(loan), _) if loan.options.qos == QoS::ExactlyOnce => self.drop_queued(&queued),
                (_, Some(group)) => self.restore_queued(group, queued),
                (_, None) => self.drop_queued(&queued),
            }
        }
    }

    /// Whether the session that had the message on loan is there.
    fn holds(&self, loan: &RestoredLoan) -> bool {
        loan.session.is_some_and(|session| self.sessions.contains_key(&session))
    }

    fn restore_loan(&mut self, queued: Queued, loan: RestoredLoan, queue: &Arc<QueueInfo>) {
        let RestoredLoan { session, packet_id, retain, options } = loan;
        let Some(holder) = session.and_then(|session| self.sessions.get_mut(&session)) else { return };
        let deliveries = queued.deliveries.saturating_sub(1);
        let mut delivery = Delivery::on_loan(Queued { deliveries, ..queued }, queue, options.qos, &options);
        delivery.retain = retain;
        holder.inflight.push((packet_id, Place::Sent(delivery)));
        self.done.messages += 1;
    }

    fn drop_queued(&mut self, queued: &Queued) {
        queued.key().into_iter().for_each(|key| self.drop_object(key));
    }
}

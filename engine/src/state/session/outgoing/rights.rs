//! The rights of the client that has a session: which of the messages for it the client may be sent.
//!
//! Routes leave out sessions without the right to a topic, so messages are checked here only where a route may be older than
//! the rights: for a while after they have changed, and in queues that several consumers share.

use std::collections::VecDeque;
use std::sync::Arc;

use wisp_wire::QoS;

use super::super::granted::Granted;
use super::{OfferOutcome, Outgoing};
use crate::base::capacity::Capacity;
use crate::delivery::addressed::{Delivery, DeliveryContext};
use crate::delivery::loan::{ConsumerOptions, LoanPace, Offer, QueueInfo, Queued, Returned};
use crate::policy::Rights;

/// Most messages of a queue that a consumer without the right to them passes over at a time.
const PASSED_OVER_MAX: usize = 1024;

impl Outgoing {
    fn granted(&mut self) -> Option<&mut Granted> {
        self.cold.as_mut()?.granted.as_deref_mut()
    }

    /// The user name that the rights are about.
    pub(crate) fn user(&self) -> Option<&str> {
        self.cold.as_ref()?.granted.as_ref()?.rights.user()
    }

    /// Whether the client may not be sent every topic.
    pub(crate) fn is_restricted(&self) -> bool {
        self.cold.as_ref().and_then(|cold| cold.granted.as_ref()).is_some_and(|granted| granted.is_restricted)
    }

    /// Whether the client may be sent messages of a topic. The queues that a rights object is asked about are topics to it.
    pub(crate) fn may_receive(&mut self, topic: &str) -> bool {
        self.granted().is_none_or(|granted| granted.may_receive(topic))
    }

    /// Takes the rights of the client that takes the session. Of the messages that the client has no right to, those on loan
    /// are returned for their queues, and the others dropped.
    pub(crate) fn set_rights(
        &mut self,
        rights: Option<&Arc<dyn Rights>>,
        capacity: &Capacity,
        context: &mut DeliveryContext<'_>,
    ) -> Vec<Returned> {
        if rights.is_none() && self.cold.as_ref().is_none_or(|cold| cold.granted.is_none()) {
            return Vec::new();
        }
        let granted = rights.map(|rights| Box::new(Granted::new(Arc::clone(rights), context.now_ms)));
        self.update_cold(|cold| cold.granted = granted);
        self.drop_denied_pending(capacity, context);
        let Some(rights) = rights.filter(|rights| rights.restricts_messages()) else { return Vec::new() };
        // Sent on an earlier connection, and would be sent again.
        let (session, recorder) = (self.session, context.recorder);
        let denied = self.inflight.take_where(
            |sent| !rights.may_receive(sent.message.topic().as_str()),
            |id, sent| match sent.loan() {
                Some(_) => sent.record_returned(session, id, recorder),
                None => sent.key(),
            },
        );
        let (mut returned, mut loans) = (Vec::new(), 0);
        for (id, delivery) in denied {
            context.counts.deliveries_denied += 1;
            match delivery.loan() {
                Some(loan) => {
                    loans += usize::from(LoanPace::counts(&loan.queue));
                    returned.extend(delivery.into_returned());
                }
                // The client may have stored it at QoS 2, so the identifier stays in use.
                None if delivery.qos == QoS::ExactlyOnce => {
                    self.record_released(id, &delivery, context.recorder);
                    self.released.count(&delivery);
                }
                None => self.released.record(&delivery, context.recorder),
            }
        }
        if loans > 0 {
            self.update_cold(|cold| cold.loans.take_back(loans));
        }
        self.released.flush(capacity);
        returned
    }

    /// Takes the rights of a client that left before the broker started.
    pub(crate) fn restore_rights(&mut self, rights: Arc<dyn Rights>) {
        self.update_cold(|cold| cold.granted = Some(Box::new(Granted::new(rights, 0))));
    }

    /// Asks the rights anew. The client has the messages that were sent to it, but gets no others that it has no right to.
    pub(crate) fn refresh_rights(&mut self, capacity: &Capacity, context: &mut DeliveryContext<'_>) {
        let now_ms = context.now_ms;
        if let Some(granted) = self.granted() {
            *granted = Granted::new(Arc::clone(&granted.rights), now_ms);
            self.drop_denied_pending(capacity, context);
        }
    }

    fn drop_denied_pending(&mut self, capacity: &Capacity, context: &mut DeliveryContext<'_>) {
        let Self { pending, released, cold, .. } = self;
        let Some(granted) = cold.as_mut().and_then(|cold| cold.granted.as_mut()) else { return };
        pending.retain(|waiting| {
            let is_allowed = granted.may_receive(waiting.message.topic().as_str());
            if !is_allowed {
                context.counts.deliveries_denied += 1;
                released.record(waiting, context.recorder);
            }
            is_allowed
        });
        released.flush(capacity);
    }

    /// Drops arriving messages that the client has no right to, for a while after the rights have changed.
    pub(crate) fn drop_denied(&mut self, deliveries: &mut Vec<Delivery>, context: &mut DeliveryContext<'_>) {
        let Some(granted) = self.granted().filter(|granted| context.now_ms < granted.recheck_until_ms) else { return };
        deliveries.retain(|delivery| {
            let is_allowed = granted.may_receive(delivery.message.topic().as_str());
            if !is_allowed {
                context.counts.deliveries_denied += 1;
                context.recorder.delete_all(delivery.key().into_iter());
            }
            is_allowed
        });
    }

    /// Like [`Outgoing::take_from_front`], but passes over messages that the client has no right to: they are for other
    /// consumers.
    pub(crate) fn take_allowed(
        &mut self,
        queue: &Arc<QueueInfo>,
        messages: &mut VecDeque<Queued>,
        offer: Offer,
        options: &ConsumerOptions,
        (capacity, context): (&Capacity, &mut DeliveryContext<'_>),
    ) -> OfferOutcome {
        // Taking a message from a topic queue removes it for all, so the queue itself is subject to the rights as well.
        let most = if queue.is_group || self.may_receive(&queue.name) { offer.most } else { 0 };
        let in_front =
            messages.iter().take(most).take_while(|queued| self.may_receive(queued.message.topic().as_str()));
        let in_front = in_front.count();
        let first = Offer { most: in_front, ..offer };
        let mut offered = self.take_from_front(queue, messages, first, options, (capacity, context));
        if offered.is_away || offered.taken < in_front {
            return offered;
        }
        let mut place = 0;
        while offered.taken < most && place < messages.len().min(PASSED_OVER_MAX) {
            if !self.may_receive(messages[place].message.topic().as_str()) {
                place += 1;
                continue;
            }
            let mut next: VecDeque<Queued> = messages.remove(place).into_iter().collect();
            let one = Offer { most: 1, ..offer };
            let outcome = self.take_from_front(queue, &mut next, one, options, (capacity, context));
            offered.waits_for_outbox |= outcome.waits_for_outbox;
            offered.is_bounded |= outcome.is_bounded;
            offered.ticket = offered.ticket.or(outcome.ticket);
            if let Some(left) = next.pop_front() {
                messages.insert(place, left);
                break;
            }
            offered.taken += outcome.taken;
        }
        offered
    }
}

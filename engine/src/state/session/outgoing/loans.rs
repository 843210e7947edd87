//! Messages that the client takes from topic queues and groups.

use std::collections::VecDeque;
use std::sync::Arc;

use wisp_wire::QoS;

use super::{OfferOutcome, Outgoing};
use crate::base::capacity::Capacity;
use crate::delivery::addressed::{Delivery, DeliveryContext};
use crate::delivery::loan::{ConsumerOptions, LoanPace, Offer, QueueInfo, Queued};
use crate::delivery::outbox::Outbox;

impl Outgoing {
    /// Whether the client may have one more message of the queue on loan. One that has set its window has said how many
    /// it wants.
    fn admits_loan(&self, queue: &QueueInfo, offer: Offer, outbox: &Outbox) -> bool {
        !LoanPace::counts(queue)
            || outbox.receiver().sets_window
            || self.cold.as_ref().is_none_or(|cold| cold.loans.admits(offer.extra_loans))
    }

    /// Takes messages from the front of a queue, until window or outbox are full.
    pub(crate) fn take_from_front(
        &mut self,
        queue: &Arc<QueueInfo>,
        messages: &mut VecDeque<Queued>,
        offer: Offer,
        options: &ConsumerOptions,
        (capacity, context): (&Capacity, &mut DeliveryContext<'_>),
    ) -> OfferOutcome {
        let mut offered = OfferOutcome::default();
        // A closed outbox would accept messages and never deliver them.
        let Some(outbox) = self.outbox().filter(|outbox| !outbox.is_closed()).cloned() else {
            return OfferOutcome { is_away: true, ..offered };
        };
        // Messages that the session already has are older.
        self.send_waiting(capacity, context);
        self.note_time(context.now_ms);
        let (mut sent, mut is_numbering) = (0, false);
        while offered.taken < offer.most {
            let Some(next) = messages.front() else { break };
            let qos = options.qos.min(next.message.qos());
            let gone = qos == QoS::AtMostOnce || next.message.is_expired(context.now_ms);
            if !next.message.is_expired(context.now_ms) {
                let bytes = context.buffer.len() + next.message.cost_bytes();
                offered.waits_for_outbox = gone && !outbox.capacity().admits_backlog(bytes, sent + 1);
                let has_window = self.has_window_for_loan(is_numbering) && self.has_bytes_for(&next.message, context);
                offered.is_bounded = !gone && has_window && !self.admits_loan(queue, offer, &outbox);
                if offered.waits_for_outbox || offered.is_bounded || !(gone || has_window) {
                    break;
                }
            }
            let Some(queued) = messages.pop_front() else { break };
            offered.taken += 1;
            let delivery = Delivery::on_loan(queued, queue, qos, options);
            if gone {
                let expired = delivery.message.is_expired(context.now_ms);
                sent += usize::from(!expired && delivery.write(None, false, &outbox, context));
                self.released.record(&delivery, context.recorder);
            } else if is_numbering || self.gates_loan(&delivery) {
                is_numbering = true;
                self.lend(&delivery);
                self.number(delivery, context.recorder);
            } else {
                sent += usize::from(self.send(delivery, &outbox, capacity, context));
            }
        }
        context.push_buffer(&outbox, sent);
        if is_numbering {
            offered.ticket = self.close_gate(capacity, context);
        }
        offered
    }

    /// Whether the window admits one more message on loan. `is_numbering`: the ones before it wait for the store.
    fn has_window_for_loan(&self, is_numbering: bool) -> bool {
        if is_numbering {
            return self
                .attached
                .as_ref()
                .is_some_and(|attached| self.inflight.has_window_for_unsent(attached.window.into()));
        }
        self.has_window() && !self.has_unsent()
    }

    /// Counts a message on loan.
    pub(super) fn lend(&mut self, delivery: &Delivery) {
        if delivery.loan().is_some_and(|loan| LoanPace::counts(&loan.queue)) {
            self.update_cold(|cold| cold.loans.lend());
        }
    }
}

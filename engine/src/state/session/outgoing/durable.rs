//! The messages of a session that the store keeps.
//!
//! A message at QoS 2 is sent when the store has committed it and its packet identifier: if the broker crashed in between, the client
//! could get the message again with another identifier, as a new one. So messages get identifiers first, as many as the window admits,
//! and wait behind a *gate*:
//!
//! ```text
//!             window is free              committed
//!   pending ------------------> numbered ----------> inflight
//!                               '- gate -'
//! ```

use wisp_wire::PacketId;

use super::super::inflight::Place;
use super::Outgoing;
use crate::base::capacity::Capacity;
use crate::delivery::addressed::{Delivery, DeliveryContext};
use crate::store::journal::Recorder;
use crate::store::{Change, CommitState, Ticket, WaitingState};

impl Outgoing {
    /// Whether no messages wait for the store behind the gate.
    pub(super) fn is_past_gate(&mut self, context: &DeliveryContext<'_>) -> bool {
        let Some(ticket) = self.gate() else { return true };
        let is_past = context.recorder.state(ticket) == CommitState::Committed;
        if is_past {
            self.update_cold(|cold| cold.gate = None);
        }
        is_past
    }

    fn gate(&self) -> Option<Ticket> {
        self.cold.as_ref()?.gate
    }

    /// Gives packet identifiers to the next messages if the store keeps them and they are at QoS 2, as many as the window admits.
    /// Returns the ticket for sending them.
    pub(super) fn number_waiting(&mut self, context: &mut DeliveryContext<'_>) -> Option<Ticket> {
        let window = self.attached.as_ref().filter(|_| self.session.is_some())?.window;
        if self.gate().is_some() || !self.inflight.is_sent() {
            return None;
        }
        let mut any = false;
        while self.inflight.has_window_for_unsent(window.into())
            && let Some(next) = self.pending.front()
            && next.waits_for_store()
            && self.has_bytes_for(&next.message, context)
            && let Some(delivery) = self.pending.pop_front()
        {
            if delivery.message.is_expired(context.now_ms) {
                self.released.record(&delivery, context.recorder);
                continue;
            }
            any = true;
            self.number(delivery, context.recorder);
        }
        let ticket = any.then(|| context.recorder.commit())?;
        self.update_cold(|cold| cold.gate = Some(ticket));
        Some(ticket)
    }

    /// Appends that a message has a packet identifier.
    pub(super) fn record_sent(&self, id: PacketId, delivery: &Delivery, recorder: Recorder<'_>) {
        if !delivery.is_kept() {
            return;
        }
        let change = match (delivery.loan(), self.session) {
            (Some(loan), session) => delivery.lent_change(loan, session, id),
            (None, Some(session)) => delivery.change(session, WaitingState::Sent(id)),
            (None, None) => None,
        };
        change.iter().for_each(|change| recorder.append(std::slice::from_ref(change)));
    }

    /// Appends that the client has a message at QoS 2. One on loan has left its queue.
    pub(super) fn record_released(&self, id: PacketId, delivery: &Delivery, recorder: Recorder<'_>) {
        let change = match self.session {
            Some(session) => delivery.change(session, WaitingState::Released(id)),
            None => delivery.key().map(|key| Change::Delete { key }),
        };
        change.iter().for_each(|change| recorder.append(std::slice::from_ref(change)));
    }

    /// Whether a message on loan gets a packet identifier and waits for the store before it is sent.
    pub(super) fn gates_loan(&self, delivery: &Delivery) -> bool {
        self.session.is_some() && delivery.waits_for_store()
    }

    /// Gives the next packet identifier to a message that is sent when the gate opens.
    pub(super) fn number(&mut self, mut delivery: Delivery, recorder: Recorder<'_>) {
        let id = self.inflight.next_id();
        self.record_sent(id, &delivery, recorder);
        delivery.is_unsent = true;
        self.inflight.push_unsent(delivery);
    }

    /// Closes the gate behind numbered messages. Returns the ticket for sending them, unless they were sent at once.
    pub(super) fn close_gate(&mut self, capacity: &Capacity, context: &mut DeliveryContext<'_>) -> Option<Ticket> {
        let ticket = context.recorder.commit();
        self.update_cold(|cold| cold.gate = Some(ticket));
        if self.is_past_gate(context) {
            self.send_waiting(capacity, context);
        }
        self.gate()
    }

    /// Appends that the session has ended: it has no messages any more, except those on loan that return to their queues.
    pub(super) fn record_end(&self, recorder: Recorder<'_>) {
        if !recorder.is_durable() {
            return;
        }
        let ends = |place: &Place| match place {
            Place::Sent(delivery) => delivery.loan().is_none() || delivery.is_lost_with_session(),
            Place::Free | Place::Released(_) => true,
        };
        let inflight = self.inflight.places().filter(|place| ends(place)).filter_map(Place::key);
        recorder.delete_all(self.pending.iter().filter_map(Delivery::key).chain(inflight));
    }

    /// Takes a message that was restored and not sent.
    pub(crate) fn restore_pending(&mut self, delivery: Delivery, capacity: &Capacity) {
        capacity.add(delivery.message.cost_bytes(), 1);
        self.note_expiry(&delivery.message);
        self.pending.push_back(delivery);
    }

    /// Takes the packet identifiers that were in use, with their messages. No two are equal. The store does not know all identifiers of
    /// loans from groups, of which the client may have some at QoS 2, so the next ones are elsewhere.
    pub(crate) fn restore_inflight(&mut self, places: Vec<(PacketId, Place)>, capacity: &Capacity, start_ms: u64) {
        const SPREAD: u64 = 40_503;
        let has_groups = self.cold.as_ref().is_some_and(|cold| cold.sources.iter().any(|queue| queue.is_group));
        let skipped = if has_groups { (start_ms / 1000).wrapping_mul(SPREAD) as u16 | 1 } else { 0 };
        for (_, place) in &places {
            if let Place::Sent(delivery) = place {
                let capacity = delivery.loan().map_or(capacity, |loan| &loan.queue.capacity);
                capacity.add(delivery.message.cost_bytes(), 1);
            }
        }
        self.inflight.restore(places, usize::from(skipped));
        self.shrink();
    }
}

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
use crate::store::{CommitState, Ticket, WaitingState};

impl Outgoing {
    /// Whether no messages wait for the store behind the gate.
    pub(super) fn is_past_gate(&mut self, context: &DeliveryContext<'_>) -> bool {
        let Some(ticket) = self.gate else { return true };
        let is_past = context.recorder.state(ticket) == CommitState::Committed;
        if is_past {
            self.gate = None;
        }
        is_past
    }

    /// Gives packet identifiers to the next messages if the store keeps them and they are at QoS 2, as many as the window admits.
    /// Returns the ticket for sending them.
    pub(super) fn number_waiting(&mut self, context: &mut DeliveryContext<'_>) -> Option<Ticket> {
        let window = self.attached.as_ref().filter(|_| self.session.is_some())?.window;
        if self.gate.is_some() || !self.inflight.is_sent() {
            return None;
        }
        let mut any = false;
        while self.inflight.has_window_for_unsent(window)
            && let Some(next) = self.pending.front()
            && next.waits_for_store()
            && self.has_bytes_for(&next.message, context)
            && let Some(mut delivery) = self.pending.pop_front()
        {
            if delivery.message.is_expired(context.now_ms) {
                self.released.record(&delivery, context.recorder);
                continue;
            }
            any = true;
            let id = self.inflight.next_id();
            self.record_sent(id, &delivery, context.recorder);
            delivery.is_unsent = true;
            self.inflight.push_unsent(delivery);
        }
        self.gate = any.then(|| context.recorder.commit());
        self.gate
    }

    /// Appends that a message has a packet identifier.
    pub(super) fn record_sent(&self, id: PacketId, delivery: &Delivery, recorder: Recorder<'_>) {
        if let Some(session) = self.session {
            delivery
                .change(session, WaitingState::Sent(id))
                .iter()
                .for_each(|change| recorder.append(std::slice::from_ref(change)));
        }
    }

    /// Appends that the client has a message at QoS 2.
    pub(super) fn record_released(&self, id: PacketId, delivery: &Delivery, recorder: Recorder<'_>) {
        if let Some(session) = self.session {
            delivery
                .change(session, WaitingState::Released(id))
                .iter()
                .for_each(|change| recorder.append(std::slice::from_ref(change)));
        }
    }

    /// Takes a message that was restored and not sent.
    pub(crate) fn restore_pending(&mut self, delivery: Delivery, capacity: &Capacity) {
        capacity.add(delivery.message.cost_bytes(), 1);
        self.expires_ms.note(&delivery.message);
        self.pending.push_back(delivery);
    }

    /// Takes the packet identifiers that were in use, with their messages. No two are equal. The store does not know the identifiers of
    /// loans, of which the client may have some at QoS 2, so the next ones are elsewhere.
    pub(crate) fn restore_inflight(&mut self, places: Vec<(PacketId, Place)>, capacity: &Capacity, start_ms: u64) {
        const SPREAD: u64 = 40_503;
        let has_loans = self.cold.as_ref().is_some_and(|cold| !cold.sources.is_empty());
        let skipped = if has_loans { (start_ms / 1000).wrapping_mul(SPREAD) as u16 | 1 } else { 0 };
        for (_, place) in &places {
            if let Place::Sent(delivery) = place {
                capacity.add(delivery.message.cost_bytes(), 1);
            }
        }
        self.inflight.restore(places, usize::from(skipped));
        self.shrink();
    }
}

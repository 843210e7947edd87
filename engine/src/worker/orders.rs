//! The actions of an operator: carried out on a worker, since they change what its batches and its connections rely on, and a
//! bounded part in each turn, so that clients do not wait for them.
//!
//! ```text
//!  order --> begun --> more of it in later turns --> changed --> committed --> answered
//!              '-- refused                              '-- without a durable store
//! ```

use std::sync::Arc;

use wisp_wire::{Publish, QoS, TopicName};

use super::{Outputs, Worker};
use crate::base::reserved::is_reserved;
use crate::connection::disconnect::EndReason;
use crate::delivery::outbox::WireFormat;
use crate::event::{Event, Mail};
use crate::ops::dispatch::Routed;
use crate::ops::dispatch::forms::Received;
use crate::order::{Action, Done, Order, OrderError, Outcome, PendingOrder, Progress};
use crate::store::CommitState;

/// Most actions under way on one worker.
const ORDERS_MAX: usize = 1024;

/// Most actions that are looked at in one turn.
const ORDERS_A_TURN: usize = 64;

/// Most messages that one action removes in a turn.
const PURGED_A_TURN: usize = 1_000;

/// How long receivers, or the store, may hold a message back.
const HELD_BACK_MS: u64 = 2_000;

/// The state of an action after a turn.
enum Step {
    Finished(Outcome),
    Later(Progress),
}

impl Worker {
    /// Takes an action to carry out.
    pub(super) fn take_order(&mut self, order: Order, now_ms: u64) {
        if self.orders.len() >= ORDERS_MAX {
            self.answer(order, Err(OrderError::TooMany));
            return;
        }
        self.orders.push(PendingOrder { order, begun_ms: now_ms, progress: Progress::New });
    }

    /// Carries the actions on. Messages may be staged.
    pub(super) fn carry_out_orders(&mut self, now_ms: u64) {
        if self.orders.is_empty() {
            return;
        }
        self.outputs.dispatcher.set_patient(true);
        let mut orders = std::mem::take(&mut self.orders);
        let others = orders.split_off(orders.len().min(ORDERS_A_TURN));
        for pending in orders {
            let PendingOrder { order, begun_ms, progress } = pending;
            match self.step(&order.action, progress, now_ms - begun_ms, now_ms) {
                Step::Finished(outcome) => self.answer(order, outcome),
                Step::Later(progress) => self.orders.push(PendingOrder { order, begun_ms, progress }),
            }
        }
        // The others come first in the next turn.
        self.orders.splice(0..0, others);
    }

    fn answer(&mut self, order: Order, outcome: Outcome) {
        let asker = order.asker;
        order.finish(outcome);
        if let Some(asker) = asker {
            self.handle_readable(asker);
        }
    }

    fn step(&mut self, action: &Action, progress: Progress, waited_ms: u64, now_ms: u64) -> Step {
        if let Progress::Committing(ticket, done) = progress {
            let Outputs { shared, dispatcher, .. } = &self.outputs;
            return match dispatcher.recorder(shared).state(ticket) {
                CommitState::Pending => Step::Later(progress),
                CommitState::Committed => Step::Finished(Ok(done)),
                _ => Step::Finished(Err(OrderError::StoreFailed)),
            };
        }
        let outcome = match action {
            Action::Disconnect { client_id } => return Step::Finished(self.disconnect(client_id)),
            Action::ClearRetained { topic } => self.clear_retained(topic),
            Action::PurgeQueue { .. } | Action::PurgeSession { .. } => match self.purge(action, progress) {
                Ok(Step::Later(progress)) => return Step::Later(progress),
                Ok(Step::Finished(outcome)) => outcome,
                Err(error) => Err(error),
            },
            Action::Publish(message) => match message.as_publish().and_then(|publish| self.publish(&publish, now_ms)) {
                Ok(Routed::Done(has_receivers)) if message.qos == QoS::AtMostOnce => {
                    return Step::Finished(Ok(Done::Published { has_receivers }));
                }
                Ok(Routed::Done(has_receivers)) => Ok(Done::Published { has_receivers }),
                Ok(Routed::Blocked(_)) if waited_ms < HELD_BACK_MS => return Step::Later(progress),
                Ok(Routed::Blocked(_) | Routed::StoreFull) => Err(OrderError::HeldBack),
                Ok(Routed::Refused(code)) => Err(code.into()),
                Err(error) => Err(error),
            },
        };
        self.after_commit(outcome)
    }

    /// Has a result wait until the store has committed the change.
    fn after_commit(&self, outcome: Outcome) -> Step {
        let Outputs { shared, dispatcher, .. } = &self.outputs;
        match outcome {
            Ok(done) if shared.journal.is_durable() => {
                Step::Later(Progress::Committing(dispatcher.recorder(shared).commit(), done))
            }
            outcome => Step::Finished(outcome),
        }
    }

    fn disconnect(&mut self, client_id: &str) -> Outcome {
        let session = self.outputs.shared.registry.shard(client_id).get(client_id);
        let outbox = session.and_then(|session| session.outbox()).ok_or(OrderError::NotConnected)?;
        if outbox.worker() == self.outputs.index {
            self.end(outbox.connection(), EndReason::Administrative);
        } else {
            let end = Mail::End(outbox.connection(), EndReason::Administrative);
            self.outputs.events.push_back(Event::Mail(outbox.worker(), end));
        }
        Ok(Done::Disconnected)
    }

    fn clear_retained(&self, topic: &str) -> Outcome {
        let Outputs { shared, dispatcher, .. } = &self.outputs;
        let retained = shared.retained.get(topic).ok_or(OrderError::NotRetained)?;
        if retained.sender.is_none() {
            return Err(OrderError::Reserved);
        }
        shared.retained.remove(topic, dispatcher.recorder(shared));
        Ok(Done::Cleared)
    }

    /// Removes some of the messages that waited when the action began.
    fn purge(&mut self, action: &Action, progress: Progress) -> Result<Step, OrderError> {
        let Outputs { shared, dispatcher, .. } = &mut self.outputs;
        let recorder = dispatcher.recorder(shared);
        let (waiting, removed) = match action {
            Action::PurgeQueue { name } => {
                let queue = shared.queues.get(name).ok_or(OrderError::NoQueue)?;
                let waiting = queue.info().waiting();
                (waiting, queue.purge(part_of(progress, waiting), recorder))
            }
            Action::PurgeSession { client_id } => {
                let session = shared.registry.shard(client_id).get(client_id).ok_or(OrderError::NoSession)?;
                let (_, waiting) = session.outgoing().counts();
                (waiting, session.purge(part_of(progress, waiting), recorder))
            }
            _ => return Err(OrderError::NoQueue),
        };
        dispatcher.counts().messages_purged += removed as u64;
        let (before, left) = match progress {
            Progress::Purging { removed, left } => (removed, left),
            _ => (0, waiting),
        };
        let (messages, left) = (before + removed as u64, left.saturating_sub(removed));
        let is_done = left == 0 || removed == 0;
        Ok(if is_done {
            Step::Finished(Ok(Done::Purged { messages }))
        } else {
            Step::Later(Progress::Purging { removed: messages, left })
        })
    }

    fn publish(&mut self, publish: &Publish<'_>, now_ms: u64) -> Result<Routed, OrderError> {
        let Outputs { shared, dispatcher, .. } = &mut self.outputs;
        let topic: TopicName<'_> = publish.topic.ok_or(OrderError::Topic)?;
        if is_reserved(topic) {
            return Err(OrderError::Reserved);
        }
        if publish.retain && !shared.limits.retains() {
            return Err(OrderError::RetainUnavailable);
        }
        let mut packet = Vec::new();
        publish.encode(WireFormat::V5.version(), &mut packet).map_err(|_| OrderError::TooLong)?;
        if packet.len() > shared.limits.packet_bytes_max as usize {
            return Err(OrderError::TooLong);
        }
        // No client has an empty identifier.
        let client_id = &Arc::from("");
        let received = Received {
            publish: *publish,
            topic,
            raw: &packet,
            in_scratch: None,
            format: WireFormat::V5,
            client_id,
            is_will: false,
            incoming: None,
        };
        Ok(dispatcher.publish(shared, &received, now_ms))
    }
}

/// How many messages are removed in this turn.
fn part_of(progress: Progress, waiting: usize) -> usize {
    match progress {
        Progress::Purging { left, .. } => left,
        _ => waiting,
    }
    .min(PURGED_A_TURN)
}

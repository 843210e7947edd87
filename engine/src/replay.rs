//! Retained messages on their way to a new subscription, as fast as the client takes them (MQTT 5 section 3.3.1.3).

use std::sync::Arc;

use wisp_wire::{QoS, TopicFilter};

use crate::core::Core;
use crate::message::Head;
use crate::outbox::Outbox;
use crate::publish::Publisher;
use crate::retained::{Retained, Visited};
use crate::session::Session;
use crate::session::outgoing::{Delivery, SubscriptionIds, Turn, write_head};

/// The retained messages of one subscription that the client has not got yet.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) filter: Box<str>,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) subscription_ids: SubscriptionIds,
    /// The last topic that was looked at.
    pub(crate) after: Option<Box<str>>,
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replayed {
    /// Everything was delivered.
    All,
    /// There may be more, and room for it.
    Some,
    /// The client has to read or acknowledge first.
    NoRoom,
}

impl Replay {
    /// Delivers what there is room for, up to a bounded number.
    pub(crate) fn step(
        &mut self,
        core: &Core,
        session: &Session,
        outbox: &Arc<Outbox>,
        publisher: &mut Publisher,
        now_ms: u64,
    ) -> Replayed {
        let Ok(filter) = TopicFilter::new(&self.filter) else { return Replayed::All };
        if outbox.is_closed() {
            // The next connection goes on from here.
            return Replayed::NoRoom;
        }
        let mut turn = publisher.turn(&core.limits, now_ms);
        let mut stepped = Replayed::Some;
        // The message is handed over while the store is locked: were it replaced in between, the new one, published live,
        // could arrive first.
        let visited = core.retained.visit(filter, self.after.as_deref(), now_ms, |retained| {
            if self.no_local && retained.sender.as_ref() == Some(session.client_id()) {
                return true;
            }
            let delivered = match self.qos.min(retained.message.qos()) {
                QoS::AtMostOnce => self.send_at_most_once(retained, session, outbox, &mut turn),
                qos => self.enqueue(retained, qos, session, &mut turn),
            };
            if !delivered {
                stepped = Replayed::NoRoom;
            }
            delivered
        });
        publisher.batch().touch(outbox);
        match visited {
            Visited::All => Replayed::All,
            Visited::UpTo(topic) => {
                self.after = topic;
                stepped
            }
        }
    }

    fn send_at_most_once(&self, retained: &Retained, session: &Session, outbox: &Outbox, turn: &mut Turn<'_>) -> bool {
        if !outbox.room().has_room(retained.message.cost_bytes(), 1, turn.now_ms) {
            return false;
        }
        let head = Head {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            packet_id: None,
            subscription_ids: self.subscription_ids.as_deref().unwrap_or_default(),
        };
        if write_head(&retained.message, &head, outbox, turn) {
            outbox.push([turn.buffer.as_slice()].into_iter(), turn.buffer.len(), 1);
            turn.buffer.clear();
        } else {
            turn.count_dropped(session.room());
        }
        true
    }

    fn enqueue(&self, retained: &Retained, qos: QoS, session: &Session, turn: &mut Turn<'_>) -> bool {
        if !session.room().has_room(retained.message.cost_bytes(), 1, turn.now_ms) {
            return false;
        }
        let delivery = Delivery::new(retained.message.clone(), qos, true, self.subscription_ids.clone());
        session.deliver(&mut vec![delivery], turn);
        true
    }
}

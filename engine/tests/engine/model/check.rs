//! Compares the packets of the server with the ones that the model allows next.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wisp_wire::QoS;

use super::CLIENTS;
use super::broker::{Broker, Content, Due, InFlight, Loan, Session};
use crate::events::{Event, Message};

/// The place in each queue of the last message that a client got in this operation.
pub(crate) type Places = BTreeMap<(usize, &'static str), i64>;

impl Due {
    /// Whether `message` is this one, apart from DUP and packet identifier.
    fn is(&self, message: &Message, five: bool, now_ms: u64) -> bool {
        let content = &self.posted.content;
        let remaining_s = |at: u64| at.saturating_sub(now_ms).div_ceil(1000) as u32;
        message.topic == content.topic
            && message.payload == content.payload
            && (message.qos, message.retain) == (self.qos, self.retain)
            && message.subscription_ids == if five { &self.ids[..] } else { &[] }
            && message.expiry_s == self.posted.expires_at_ms.filter(|_| five).map(remaining_s)
    }
}

/// The queue from which a client of the model gets messages on a topic.
fn queue_for(client: usize, topic: &str) -> Option<&'static str> {
    match topic {
        "$g/a" => Some("$share/one/$g/a"),
        "$g/b/c" => Some("$share/two/$g/b/#"),
        "$queue/q" if client == CLIENTS - 1 => Some("$queue/dead"),
        "$queue/q" => Some("$queue/q"),
        _ => None,
    }
}

impl Broker {
    /// Checks that the model allows an event for a client, and updates the model.
    pub(crate) fn check(&mut self, client: usize, event: &Event, places: &mut Places) -> Result<(), TestCaseError> {
        let now_ms = self.now_ms;
        if let Event::Message(message) = event
            && let Some(queue) = queue_for(client, &message.topic)
            && !(message.dup && self.session(client).again.contains(&message.id))
        {
            return self.check_loan(client, queue, message, places);
        }
        let session = self.session(client);
        match event {
            Event::Message(message) => session.check_message(message, now_ms),
            Event::PubRel(id, _) if session.again.front() == Some(id) => {
                session.again.pop_front();
                let released = session.inflight.iter().any(|inflight| inflight.id == *id && inflight.due.is_none());
                prop_assert!(released, "PUBREL before PUBREC");
                Ok(())
            }
            _ => {
                let connection = session.connection.as_mut().unwrap();
                prop_assert_eq!(connection.replies.pop_front(), Some(event.clone()));
                Ok(())
            }
        }
    }

    fn check_loan(
        &mut self,
        client: usize,
        name: &'static str,
        message: &Message,
        places: &mut Places,
    ) -> Result<(), TestCaseError> {
        let now_ms = self.now_ms;
        let five = self.session(client).connection.as_ref().unwrap().five;
        let queue = self.queues.get_mut(name);
        prop_assert!(queue.is_some(), "{:?} from no queue", message);
        let queue = queue.unwrap();
        let wish = queue.members.get(&client);
        prop_assert!(wish.is_some(), "{:?} for a client that receives nothing from {}", message, name);
        let wish = wish.unwrap();
        let last = places.get(&(client, name)).copied().unwrap_or(i64::MIN);
        let in_doubt = queue.copies.values().any(|copies| *copies > 1);
        let next = |agrees: &dyn Fn(&Content) -> bool| {
            queue.waiting.iter().position(|waiting| {
                let fresh = !waiting.posted.is_expired(now_ms) && (waiting.place > last || in_doubt);
                let content = &waiting.posted.content;
                fresh && content.payload == message.payload && agrees(content)
            })
        };
        // A message that was sent again on a connection of MQTT 3 is there twice, once with an expiry interval and once without.
        let at = next(&|content| !five || content.expiry_s.is_some() == message.expiry_s.is_some())
            .or_else(|| next(&|_| true));
        prop_assert!(at.is_some(), "{:?} is not next in {} after {}", message, name, last);
        let waiting = queue.waiting.remove(at.unwrap()).unwrap();
        places.insert((client, name), waiting.place);
        let content = &waiting.posted.content;
        let due = Due {
            qos: wish.qos.min(content.qos),
            retain: content.retain && wish.retain_as_published,
            ids: wish.id.into_iter().collect(),
            batch: 0,
            loan: Some(Loan { queue: name, generation: queue.generation, deliveries: waiting.deliveries + 1 }),
            posted: waiting.posted,
        };
        let dup = name.starts_with("$queue/") && waiting.deliveries > 0 && due.qos != QoS::AtMostOnce;
        prop_assert_eq!(message.dup, dup, "{:?}", message);
        let session = self.session(client);
        prop_assert!(due.is(message, five, now_ms), "{:?} instead of {:?}", message, due);
        if due.qos == QoS::AtMostOnce {
            return Ok(());
        }
        prop_assert!(session.again.is_empty(), "a new message before the ones to send again");
        session.sent(message.id, due)
    }

    /// Checks that every message that can be sent was sent.
    pub(crate) fn check_settled(&mut self) -> Result<(), TestCaseError> {
        let now_ms = self.now_ms;
        for (client, session) in self.sessions.iter_mut().enumerate() {
            let Some(session) = session else { continue };
            session.pending.retain(|due| session.connection.is_none() || !due.posted.is_expired(now_ms));
            let Some(connection) = &session.connection else { continue };
            prop_assert!(
                connection.replies.is_empty(),
                "{} was not has_disconnect_packet {:?}",
                client,
                connection.replies
            );
            prop_assert!(connection.at_most_once.is_empty(), "{} did not get {:?}", client, connection.at_most_once);
            if session.has_window() {
                prop_assert!(session.again.is_empty(), "{} did not get {:?} again", client, session.again);
                let waits = session.pending.is_empty();
                prop_assert!(waits, "{} did not get {:?}", client, session.pending);
            }
        }
        for (name, queue) in &mut self.queues {
            let before = queue.waiting.len();
            queue.waiting.retain(|waiting| !waiting.posted.is_expired(now_ms));
            if queue.waiting.len() < before {
                queue.expired_ms = now_ms;
            }
            let Some(first) = queue.waiting.front() else { continue };
            for (client, wish) in &queue.members {
                let session = self.sessions[*client].as_ref().unwrap();
                // Messages behind an expired one are offered within a second.
                let at_most_once = wish.qos.min(first.posted.content.qos) == QoS::AtMostOnce
                    && self.reviewed_ms >= queue.expired_ms + 1_000;
                let could = session.connection.is_some()
                    && (at_most_once || session.has_window() && session.pending.is_empty());
                prop_assert!(!could, "{} could have got {:?} from {}", client, first, name);
            }
        }
        Ok(())
    }

    /// Checks that messages left queues from the head.
    pub(crate) fn check_heads(&self, places: &Places) -> Result<(), TestCaseError> {
        for ((client, name), place) in places {
            let first = self.queues.get(name).and_then(|queue| {
                queue.waiting.iter().find(|waiting| !waiting.posted.is_expired(self.now_ms)).map(|first| first.place)
            });
            prop_assert!(first.is_none_or(|first| first > *place), "{} got {} from within {}", client, place, name);
        }
        Ok(())
    }
}

impl Session {
    fn sent(&mut self, id: u16, due: Due) -> Result<(), TestCaseError> {
        prop_assert!(self.has_window(), "more than the client's Receive Maximum");
        prop_assert!(id != 0 && self.inflight.iter().all(|inflight| inflight.id != id), "{} is in use", id);
        self.inflight.push(InFlight { id, due: Some(due) });
        Ok(())
    }

    fn check_message(&mut self, message: &Message, now_ms: u64) -> Result<(), TestCaseError> {
        let connection = self.connection.as_mut().unwrap();
        let five = connection.five;
        if message.qos == QoS::AtMostOnce {
            prop_assert!(!message.dup);
            let found = take_next(&mut connection.at_most_once, |due| due.is(message, five, now_ms));
            prop_assert!(found.is_some(), "{:?} instead of {:?}", message, connection.at_most_once);
            return Ok(());
        }
        if message.dup {
            prop_assert!(self.has_window(), "more than the client's Receive Maximum");
            prop_assert_eq!(self.again.pop_front(), Some(message.id), "out of order");
            let inflight = self.inflight.iter().find(|inflight| inflight.id == message.id);
            let due = inflight.and_then(|inflight| inflight.due.as_ref());
            let same = due.is_some_and(|due| due.is(message, five, now_ms));
            prop_assert!(same, "{:?} again instead of {:?}", message, due);
            return Ok(());
        }
        prop_assert!(self.again.is_empty(), "a new message before the ones to send again");
        self.pending.retain(|due| !due.posted.is_expired(now_ms));
        let found = take_next(&mut self.pending, |due| due.is(message, five, now_ms));
        prop_assert!(found.is_some(), "{:?} instead of {:?}", message, self.pending.front());
        self.sent(message.id, found.unwrap())
    }
}

/// Takes the first message that fits, or a later one of its batch.
fn take_next(dues: &mut std::collections::VecDeque<Due>, is: impl Fn(&Due) -> bool) -> Option<Due> {
    let batch = dues.front()?.batch;
    let open = dues.iter().take_while(|due| due.batch == batch).count();
    let at = dues.iter().take(if batch == 0 { 1 } else { open }).position(is)?;
    dues.remove(at)
}

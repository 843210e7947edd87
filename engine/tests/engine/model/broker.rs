//! The simplest possible broker: the messages due to each session, in order, and the messages in each queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use wisp_wire::{QoS, ReasonCode, RetainHandling, TopicFilter, TopicName};

use super::{CLIENTS, Wish};
use crate::events::Event;

/// The content of a PUBLISH.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) topic: &'static str,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) sender: usize,
}

/// A published message and the time when it expires.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) content: Content,
    pub(crate) expires_at_ms: Option<u64>,
}

/// A message due to a session.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) posted: Rc<Posted>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) ids: Vec<u32>,
    /// Messages of the same batch may arrive in any order; 0 for none.
    pub(crate) batch: u32,
    /// The queue that it is on loan from.
    pub(crate) loan: Option<Loan>,
}

/// The queue of a message, and how often it was delivered.
#[derive(Clone, Debug)]
pub(crate) struct Loan {
    pub(crate) queue: &'static str,
    /// The number of the group, among successive groups of the same name.
    pub(crate) generation: u32,
    pub(crate) deliveries: u32,
}

/// A message that was sent and is not yet acknowledged completely.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) id: u16,
    /// `None` when only PUBCOMP is missing.
    pub(crate) due: Option<Due>,
}

#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) subscriptions: BTreeMap<&'static str, Wish>,
    /// At QoS 1 and 2, not yet sent.
    pub(crate) pending: VecDeque<Due>,
    /// In the order of their first sending.
    pub(crate) inflight: Vec<InFlight>,
    /// The ones that were not yet sent again on this connection.
    pub(crate) again: VecDeque<u16>,
    pub(crate) unreleased: BTreeSet<u16>,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<(Content, u32)>,
    pub(crate) will_at_ms: Option<u64>,
    pub(crate) ends_at_ms: Option<u64>,
    pub(crate) connection: Option<Connection>,
}

/// The state of the connection, apart from the session's.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) five: bool,
    pub(crate) window: usize,
    pub(crate) at_most_once: VecDeque<Due>,
    pub(crate) replies: VecDeque<Event>,
}

/// A message in a queue.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) posted: Rc<Posted>,
    pub(crate) deliveries: u32,
    /// The order in the queue.
    pub(crate) place: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) generation: u32,
    pub(crate) members: BTreeMap<usize, Wish>,
    pub(crate) waiting: VecDeque<Waiting>,
    /// When the last message was found to have expired.
    pub(crate) expired_ms: u64,
    /// The messages put into it, and how often. A sender without an acknowledgement sends a message again, and the
    /// copies are then indistinguishable.
    pub(crate) copies: BTreeMap<Vec<u8>, u32>,
    next_place: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Broker {
    pub(crate) now_ms: u64,
    /// When queues were last checked.
    pub(crate) reviewed_ms: u64,
    pub(crate) sessions: [Option<Session>; CLIENTS],
    pub(crate) queues: BTreeMap<&'static str, Queue>,
    pub(crate) retained: BTreeMap<&'static str, Rc<Posted>>,
    /// To be published at the end of the operation.
    wills: Vec<Content>,
    batches: u32,
    generations: u32,
}

/// The longest session expiry interval that the server grants.
pub(crate) const EXPIRY_S_MAX: u32 = 50;
/// The deliveries after which a message of `$queue/q` goes to `$queue/dead`.
pub(crate) const DELIVERIES_MAX: u32 = 2;

pub(crate) fn is_queue(filter: &str) -> bool {
    filter.starts_with("$queue/") || filter.starts_with("$share/")
}

fn matches(filter: &str, topic: &str) -> bool {
    let filter = TopicFilter::new(filter).unwrap();
    let within = filter.shared().map_or(filter, |(_, within)| within);
    within.matches(TopicName::new(topic).unwrap())
}

impl Posted {
    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at| now_ms > at)
    }
}

impl Session {
    /// Whether the window admits one more message.
    pub(crate) fn has_window(&self) -> bool {
        let window = self.connection.as_ref().map_or(0, |connection| connection.window);
        self.inflight.len() - self.again.len() < window
    }

    pub(crate) fn reply(&mut self, event: Event) {
        self.connection.as_mut().unwrap().replies.push_back(event);
    }
}

/// The parts of a CONNECT that concern the session.
pub(crate) struct Connecting {
    pub(crate) clean_start: bool,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<(Content, u32)>,
    pub(crate) connection: Connection,
}

impl Broker {
    pub(crate) fn session(&mut self, client: usize) -> &mut Session {
        self.sessions[client].as_mut().unwrap()
    }

    pub(crate) fn connect(&mut self, client: usize, connecting: Connecting) {
        let Connecting { clean_start, expiry_s, will, connection } = connecting;
        let present = self.sessions[client].as_ref().is_some_and(|old| !clean_start && old.expiry_s > 0);
        if !present {
            self.end_session(client);
            self.sessions[client] = Some(Session::default());
        }
        let session = self.sessions[client].as_mut().unwrap();
        let left = session.will.take();
        if session.connection.is_some() {
            self.wills.extend(left.filter(|(_, delay_s)| *delay_s == 0).map(|(content, _)| content));
        }
        session.again = session.inflight.iter().map(|inflight| inflight.id).collect();
        (session.expiry_s, session.will) = (expiry_s.min(EXPIRY_S_MAX), will);
        (session.will_at_ms, session.ends_at_ms) = (None, None);
        session.connection = Some(connection);
        session.reply(Event::ConnAck { present });
        self.publish_wills();
    }

    pub(crate) fn leave(&mut self, client: usize, with_will: bool, expiry_s: Option<u32>) {
        let now_ms = self.now_ms;
        let session = self.session(client);
        session.connection = None;
        session.again.clear();
        if !with_will {
            session.will = None;
        }
        session.expiry_s = expiry_s.map_or(session.expiry_s, |seconds| seconds.min(EXPIRY_S_MAX));
        let delay_s = session.will.as_ref().map(|(_, delay_s)| (*delay_s).min(session.expiry_s));
        session.will_at_ms = delay_s.map(|seconds| now_ms + u64::from(seconds) * 1000);
        session.ends_at_ms = Some(now_ms + u64::from(session.expiry_s) * 1000);
        let returned = take_loans(session, |queue| queue.starts_with("$queue/"));
        self.return_loans(returned);
        self.expire(client);
        self.publish_wills();
    }

    /// The next time at which something is due.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let sessions = self.sessions.iter().flatten().filter(|session| session.connection.is_none());
        sessions.flat_map(|session| session.will_at_ms.into_iter().chain(session.ends_at_ms)).min()
    }

    /// Handles everything that is due now.
    pub(crate) fn review_all(&mut self) {
        for client in 0..CLIENTS {
            if self.sessions[client].as_ref().is_some_and(|session| session.connection.is_none()) {
                self.expire(client);
            }
        }
        self.publish_wills();
    }

    fn expire(&mut self, client: usize) {
        let now_ms = self.now_ms;
        let session = self.session(client);
        if session.will_at_ms.is_some_and(|at| at <= now_ms) {
            session.will_at_ms = None;
            let will = session.will.take();
            self.wills.extend(will.map(|(content, _)| content));
        }
        if self.session(client).ends_at_ms.is_some_and(|at| at <= now_ms) {
            self.end_session(client);
        }
    }

    fn end_session(&mut self, client: usize) {
        let Some(mut session) = self.sessions[client].take() else { return };
        self.wills.extend(session.will.take().map(|(content, _)| content));
        for filter in session.subscriptions.keys() {
            self.leave_queue(client, filter);
        }
        // No other member gets a message that this client may have received exactly once [MQTT-4.8.2-5].
        session.inflight.retain(|inflight| {
            let twice = |due: &Due| {
                due.qos == QoS::ExactlyOnce && due.loan.as_ref().is_some_and(|loan| loan.queue.starts_with("$share/"))
            };
            !inflight.due.as_ref().is_some_and(twice)
        });
        let returned = take_loans(&mut session, |_| true);
        self.return_loans(returned);
    }

    fn leave_queue(&mut self, client: usize, filter: &str) {
        let Some(queue) = self.queues.get_mut(filter) else { return };
        queue.members.remove(&client);
        if filter.starts_with("$share/") && queue.members.is_empty() {
            self.queues.remove(filter);
        }
    }

    fn return_loans(&mut self, returned: Vec<Due>) {
        let mut dead = Vec::new();
        for due in returned.into_iter().rev() {
            let Loan { queue: name, generation, deliveries } = due.loan.unwrap();
            let Some(queue) = self.queues.get_mut(name).filter(|queue| queue.generation == generation) else {
                continue;
            };
            if name == "$queue/q" && deliveries >= DELIVERIES_MAX {
                dead.insert(0, due.posted);
            } else {
                let place = queue.waiting.front().map_or(queue.next_place, |first| first.place) - 1;
                queue.waiting.push_front(Waiting { posted: due.posted, deliveries, place });
            }
        }
        for posted in dead {
            self.queue("$queue/dead").push(posted);
        }
    }

    fn queue(&mut self, name: &'static str) -> &mut Queue {
        let generations = &mut self.generations;
        self.queues.entry(name).or_insert_with(|| {
            *generations += 1;
            Queue { generation: *generations, ..Queue::default() }
        })
    }

    fn publish_wills(&mut self) {
        for will in std::mem::take(&mut self.wills) {
            self.publish(will);
        }
    }

    /// Sends a message to all its receivers. False if it has none.
    pub(crate) fn publish(&mut self, content: Content) -> bool {
        let (topic, sender) = (content.topic, content.sender);
        let expires_at_ms = content.expiry_s.map(|seconds| self.now_ms + u64::from(seconds) * 1000);
        let posted = Rc::new(Posted { content, expires_at_ms });
        let content = &posted.content;
        if content.retain && !topic.starts_with("$queue/") {
            self.retained.remove(topic);
            if !content.payload.is_empty() {
                self.retained.insert(topic, Rc::clone(&posted));
            }
        }
        let mut matched = false;
        for (client, session) in self.sessions.iter_mut().enumerate() {
            let Some(session) = session else { continue };
            let matching = session.subscriptions.iter().filter(|(filter, wish)| {
                !is_queue(filter) && matches(filter, topic) && !(wish.no_local && client == sender)
            });
            let wishes: Vec<&Wish> = matching.map(|(_, wish)| wish).collect();
            let Some(granted) = wishes.iter().map(|wish| wish.qos).max() else { continue };
            matched = true;
            let mut ids: Vec<u32> = wishes.iter().filter_map(|wish| wish.id).collect();
            ids.sort_unstable();
            let retain = content.retain && wishes.iter().any(|wish| wish.retain_as_published);
            let qos = granted.min(content.qos);
            session.owe(Due { posted: Rc::clone(&posted), qos, retain, ids, batch: 0, loan: None });
        }
        if topic.starts_with("$queue/") {
            self.queue(topic);
        }
        for (_, queue) in self.queues.iter_mut().filter(|(name, _)| matches(name, topic)) {
            matched = true;
            queue.push(Rc::clone(&posted));
        }
        matched
    }

    pub(crate) fn subscribe(&mut self, client: usize, wanted: &[(&'static str, Wish)]) {
        self.batches += 1;
        let (batch, now_ms) = (self.batches, self.now_ms);
        let mut replayed: Vec<(&'static str, Wish)> = Vec::new();
        for (filter, wish) in wanted {
            let is_new = self.session(client).subscriptions.insert(filter, *wish).is_none();
            if is_queue(filter) {
                self.queue(filter).members.insert(client, *wish);
                continue;
            }
            let replays = match wish.handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => is_new,
                RetainHandling::DoNotSend => false,
            };
            if replays {
                replayed.retain(|(other, _)| other != filter);
                replayed.push((*filter, *wish));
            }
        }
        let session = self.sessions[client].as_mut().unwrap();
        for (filter, wish) in replayed {
            for (topic, posted) in &self.retained {
                let own = wish.no_local && posted.content.sender == client;
                if matches(filter, topic) && !posted.is_expired(now_ms) && !own {
                    let (posted, ids) = (Rc::clone(posted), wish.id.into_iter().collect());
                    let qos = wish.qos.min(posted.content.qos);
                    session.owe(Due { posted, qos, retain: true, ids, batch, loan: None });
                }
            }
        }
        let granted = wanted.iter().map(|(_, wish)| match wish.qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
            QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
        });
        session.reply(Event::SubAck(granted.collect()));
    }

    pub(crate) fn unsubscribe(&mut self, client: usize, filter: &'static str) {
        let session = self.session(client);
        let had = session.subscriptions.remove(filter).is_some();
        let code = if had { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted };
        let five = session.connection.as_ref().unwrap().five;
        session.reply(Event::UnsubAck(if five { vec![code] } else { Vec::new() }));
        self.leave_queue(client, filter);
    }
}

impl Session {
    fn owe(&mut self, due: Due) {
        match (&mut self.connection, due.qos) {
            (Some(connection), QoS::AtMostOnce) => connection.at_most_once.push_back(due),
            (None, QoS::AtMostOnce) => {}
            _ => self.pending.push_back(due),
        }
    }
}

impl Queue {
    fn push(&mut self, posted: Rc<Posted>) {
        *self.copies.entry(posted.content.payload.clone()).or_default() += 1;
        self.waiting.push_back(Waiting { posted, deliveries: 0, place: self.next_place });
        self.next_place += 1;
    }
}

/// Takes the messages on loan out of a session. At QoS 2 the client may have stored them, so their identifiers must
/// still be released.
fn take_loans(session: &mut Session, wanted: impl Fn(&str) -> bool) -> Vec<Due> {
    let mut taken = Vec::new();
    session.inflight.retain_mut(|inflight| {
        let is_wanted = |due: &mut Due| due.loan.as_ref().is_some_and(|loan| wanted(loan.queue));
        match inflight.due.take_if(is_wanted) {
            None => true,
            Some(due) => {
                let kept = due.qos == QoS::ExactlyOnce;
                taken.push(due);
                kept
            }
        }
    });
    taken
}

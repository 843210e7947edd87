//! The simplest broker one can write: what each session is owed, in order, and what each queue has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use wisp_wire::{QoS, ReasonCode, RetainHandling, TopicFilter, TopicName};

use super::{CLIENTS, Wish};
use crate::events::Event;

/// What a publisher said.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) topic: &'static str,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) sender: usize,
}

/// What was published, and until when it counts.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) content: Content,
    pub(crate) expires_at_ms: Option<u64>,
}

/// A message that a session is to get.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) posted: Rc<Posted>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) ids: Vec<u32>,
    /// Messages of the same batch may come in any order; 0 for none.
    pub(crate) batch: u32,
    /// The queue it is from.
    pub(crate) loan: Option<Loan>,
}

/// Where a message is from, and how often it was delivered.
#[derive(Clone, Debug)]
pub(crate) struct Loan {
    pub(crate) queue: &'static str,
    /// Which of the groups that had that name one after the other.
    pub(crate) generation: u32,
    pub(crate) deliveries: u32,
}

/// A message that was sent and not yet acknowledged to the end.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) id: u16,
    /// None when only PUBCOMP is to come.
    pub(crate) due: Option<Due>,
}

#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) subscriptions: BTreeMap<&'static str, Wish>,
    /// At QoS 1 and 2, never sent.
    pub(crate) pending: VecDeque<Due>,
    /// In the order they were sent first.
    pub(crate) inflight: Vec<InFlight>,
    /// Those of them that this connection has not got yet.
    pub(crate) again: VecDeque<u16>,
    pub(crate) unreleased: BTreeSet<u16>,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<(Content, u32)>,
    pub(crate) will_at_ms: Option<u64>,
    pub(crate) ends_at_ms: Option<u64>,
    pub(crate) connection: Option<Connection>,
}

/// What is of the connection and not of the session.
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
    /// What was put into it, and how often: a publisher that saw no acknowledgement sends again, and then nobody can tell
    /// the copies apart.
    pub(crate) copies: BTreeMap<Vec<u8>, u32>,
    next_place: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Broker {
    pub(crate) now_ms: u64,
    /// When queues were looked after last.
    pub(crate) reviewed_ms: u64,
    pub(crate) sessions: [Option<Session>; CLIENTS],
    pub(crate) queues: BTreeMap<&'static str, Queue>,
    pub(crate) retained: BTreeMap<&'static str, Rc<Posted>>,
    /// To be published at the end of the operation.
    wills: Vec<Content>,
    batches: u32,
    generations: u32,
}

/// The session expiry interval that the server grants at most.
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
    /// Whether something more may be sent at QoS 1 and 2.
    pub(crate) fn has_window(&self) -> bool {
        let window = self.connection.as_ref().map_or(0, |connection| connection.window);
        self.inflight.len() - self.again.len() < window
    }

    /// Whether a client that has acknowledged later messages and not an early one may be held back, though the window
    /// has room: the identifiers in use may be so many windows apart.
    pub(crate) fn is_held_back(&self) -> bool {
        const WINDOWS: usize = 4;
        let window = self.connection.as_ref().map_or(0, |connection| connection.window);
        let (Some(first), Some(last)) = (self.inflight.first(), self.inflight.last()) else { return false };
        usize::from(last.id.wrapping_sub(first.id)) + 1 >= WINDOWS * window
    }

    pub(crate) fn reply(&mut self, event: Event) {
        self.connection.as_mut().unwrap().replies.push_back(event);
    }
}

/// What of a CONNECT concerns the session.
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
        self.give_back(returned);
        self.expire(client);
        self.publish_wills();
    }

    /// When something is due next.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let sessions = self.sessions.iter().flatten().filter(|session| session.connection.is_none());
        sessions.flat_map(|session| session.will_at_ms.into_iter().chain(session.ends_at_ms)).min()
    }

    /// Has happen what is due now.
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
        // Nobody else gets what this client may have received exactly once [MQTT-4.8.2-5].
        session.inflight.retain(|inflight| {
            let twice = |due: &Due| {
                due.qos == QoS::ExactlyOnce && due.loan.as_ref().is_some_and(|loan| loan.queue.starts_with("$share/"))
            };
            !inflight.due.as_ref().is_some_and(twice)
        });
        let returned = take_loans(&mut session, |_| true);
        self.give_back(returned);
    }

    fn leave_queue(&mut self, client: usize, filter: &str) {
        let Some(queue) = self.queues.get_mut(filter) else { return };
        queue.members.remove(&client);
        if filter.starts_with("$share/") && queue.members.is_empty() {
            self.queues.remove(filter);
        }
    }

    fn give_back(&mut self, returned: Vec<Due>) {
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

    /// Sends a message to everyone who wants it. False if nobody does.
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

/// Takes what is on loan out of a session. The client may have stored what it got at QoS 2, so that is to be released.
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

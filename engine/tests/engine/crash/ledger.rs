//! The promises to clients, and the checks of the messages that arrive.

use std::collections::{BTreeMap, HashMap, HashSet};

use wisp_wire::{QoS, TopicFilter, TopicName};

/// A topic queue, and a group with the topic that it shares.
pub(super) const QUEUE: &str = "$queue/q";
pub(super) const GROUP: &str = "$share/g/s/0";
pub(super) const SHARED: &str = "s/0";

/// Whether each message of the topic goes to one of several clients.
fn is_common(topic: &str) -> bool {
    topic == QUEUE || topic == SHARED
}

/// A message, by its number.
#[derive(Debug)]
struct Publication {
    sender: usize,
    topic: &'static str,
    qos: QoS,
    sent: u64,
    /// It was sent more than once.
    is_repeated: bool,
    acknowledged: Option<u64>,
}

/// A subscription of a client with a kept session: from its acknowledgement until the client wants it no more.
#[derive(Debug)]
struct Interval {
    client: usize,
    filter: &'static str,
    qos: QoS,
    from: u64,
    until: Option<u64>,
}

impl Interval {
    fn matches(&self, topic: &str) -> bool {
        TopicFilter::new(self.filter).unwrap().matches(TopicName::new(topic).unwrap())
    }
}

/// The messages sent with RETAIN to one topic, in order: their numbers, or `None` for one that clears the topic.
#[derive(Debug, Default)]
struct RetainedTopic {
    sent: Vec<Option<usize>>,
    /// How many of them there were at the last acknowledgement.
    acknowledged: usize,
}

/// The promises of one life of several brokers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    clock: u64,
    publications: Vec<Publication>,
    intervals: Vec<Interval>,
    arrived: HashSet<(usize, usize)>,
    /// The last number that arrived for the first time, by receiver, sender, topic and QoS.
    last: HashMap<(usize, usize, &'static str, QoS), usize>,
    retained: BTreeMap<&'static str, RetainedTopic>,
    /// Messages of the queue and the group that came to some client.
    taken: HashSet<usize>,
    /// Messages of the group that a client has begun to receive at QoS 2.
    begun: HashSet<usize>,
    /// Messages at QoS 2 that a client has for good.
    done: HashSet<usize>,
    /// The last number of the queue that came without DUP, by receiver, sender and QoS, since a connection has ended.
    last_of_queue: HashMap<(usize, usize, QoS), usize>,
    /// When a session ended last.
    forgot: u64,
}

impl Ledger {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Notes a message and returns its number.
    pub(super) fn publish(&mut self, sender: usize, topic: &'static str, qos: QoS) -> usize {
        let sent = self.tick();
        self.publications.push(Publication { sender, topic, qos, sent, is_repeated: false, acknowledged: None });
        self.publications.len() - 1
    }

    /// Notes a message with RETAIN, or one that clears the topic.
    pub(super) fn retain(&mut self, topic: &'static str, number: Option<usize>) -> usize {
        let topic = self.retained.entry(topic).or_default();
        topic.sent.push(number);
        topic.sent.len()
    }

    /// The sender got the acknowledgement of the `count`th message with RETAIN.
    pub(super) fn acknowledge_retained(&mut self, topic: &'static str, count: usize) {
        let topic = self.retained.entry(topic).or_default();
        topic.acknowledged = topic.acknowledged.max(count);
    }

    pub(super) fn repeat(&mut self, number: usize) {
        self.publications[number].is_repeated = true;
    }

    pub(super) fn acknowledge(&mut self, number: usize) {
        let now = self.tick();
        self.publications[number].acknowledged.get_or_insert(now);
    }

    pub(super) fn subscribed(&mut self, client: usize, filter: &'static str, qos: QoS) {
        self.ends(client, filter);
        let from = self.tick();
        self.intervals.push(Interval { client, filter, qos, from, until: None });
    }

    /// The client asks for the end of a subscription.
    pub(super) fn ends(&mut self, client: usize, filter: &str) {
        let now = self.tick();
        let is_it = |interval: &&mut Interval| interval.client == client && interval.filter == filter;
        let open = self.intervals.iter_mut().filter(is_it).filter(|interval| interval.until.is_none());
        open.for_each(|interval| interval.until = Some(now));
    }

    /// The session of a client has ended, with the messages that it has not got.
    pub(super) fn forget(&mut self, client: usize) {
        self.intervals.retain(|interval| interval.client != client);
        self.forgot = self.tick();
    }

    /// A connection has ended: its messages return to the queue.
    pub(super) fn returned(&mut self) {
        self.last_of_queue.clear();
    }

    /// The broker has released a message at QoS 2 on the connection on which the client got it.
    pub(super) fn is_done(&mut self, number: usize) {
        self.done.insert(number);
    }

    fn take(&mut self, receiver: usize, (qos, dup): (QoS, bool), number: usize) {
        let Publication { sender, topic, qos: sent, is_repeated, .. } = self.publications[number];
        if sent == QoS::ExactlyOnce {
            assert!(!self.done.contains(&number), "message {number} came to {receiver} after a client had it for good");
        }
        if topic == SHARED && qos == QoS::ExactlyOnce {
            assert!(self.begun.insert(number), "message {number} came to {receiver} after another member had it");
        }
        let is_first = self.taken.insert(number);
        if topic == QUEUE && is_first && !dup && !(is_repeated && sent == QoS::AtLeastOnce) {
            let last = self.last_of_queue.entry((receiver, sender, sent)).or_insert(number);
            assert!(*last <= number, "message {number} of the queue came to {receiver} after {last}");
            *last = number;
        }
    }

    /// A client got a message, other than one that it has by its packet identifier.
    pub(super) fn arrive(&mut self, receiver: usize, topic: &str, (qos, dup): (QoS, bool), number: usize) {
        let publication = &self.publications[number];
        assert_eq!(topic, publication.topic);
        assert!(qos <= publication.qos);
        if is_common(topic) {
            return self.take(receiver, (qos, dup), number);
        }
        if !self.arrived.insert((receiver, number)) {
            assert!(qos < QoS::ExactlyOnce, "message {number} came to {receiver} twice: {publication:?}");
            return;
        }
        // A message missed at first may arrive when the sender repeats it.
        let is_late = publication.is_repeated && !self.is_owed(receiver, number);
        let last =
            self.last.entry((receiver, publication.sender, publication.topic, publication.qos)).or_insert(number);
        assert!(is_late || *last <= number, "message {number} came to {receiver} after {last}: {publication:?}");
        *last = number.max(*last);
    }

    /// Whether a client was subscribed, at a QoS with acknowledgement, from before the message was sent until it was acknowledged.
    fn is_owed(&self, client: usize, number: usize) -> bool {
        let publication = &self.publications[number];
        let accepted = publication.acknowledged.unwrap_or(self.clock);
        let mut intervals = self.intervals.iter().filter(|interval| interval.client == client);
        intervals.any(|interval| {
            let is_during = publication.sent > interval.from && interval.until.is_none_or(|until| accepted < until);
            is_during && interval.qos.min(publication.qos) > QoS::AtMostOnce && interval.matches(publication.topic)
        })
    }

    /// Whether some client has to get an acknowledged message: any of a queue; of a group one that has a member since before, unless
    /// a session has ended that may have begun to receive it at QoS 2.
    fn is_owed_to_any(&self, publication: &Publication) -> bool {
        let Publication { topic, sent, qos, .. } = *publication;
        let is_member =
            |interval: &Interval| interval.filter == GROUP && interval.until.is_none() && interval.from < sent;
        let may_be_lost = qos == QoS::ExactlyOnce && self.forgot > sent;
        topic == QUEUE || !may_be_lost && self.intervals.iter().any(is_member)
    }

    /// Everything that was acknowledged has arrived.
    pub(super) fn assert_complete(&self, clients: usize) {
        for (number, publication) in self.publications.iter().enumerate() {
            if publication.acknowledged.is_none() {
                continue;
            }
            if is_common(publication.topic) {
                let is_missing = self.is_owed_to_any(publication) && !self.taken.contains(&number);
                assert!(!is_missing, "message {number} was acknowledged and came to nobody: {publication:?}");
                continue;
            }
            for client in 0..clients {
                let is_missing = self.is_owed(client, number) && !self.arrived.contains(&(client, number));
                assert!(!is_missing, "message {number} was acknowledged and did not come to {client}: {publication:?}");
            }
        }
    }

    /// The retained messages are the last acknowledged ones, or later ones.
    pub(super) fn assert_retained(&self, found: &BTreeMap<String, usize>) {
        for (topic, RetainedTopic { sent, acknowledged }) in &self.retained {
            let found = found.get(*topic).copied();
            let may_be_empty = *acknowledged == 0 && found.is_none();
            let possible = &sent[acknowledged.saturating_sub(1)..];
            assert!(may_be_empty || possible.contains(&found), "{topic} has {found:?} and not one of {possible:?}");
        }
    }

    pub(super) fn arrivals(&self) -> usize {
        self.arrived.len()
    }

    /// Messages that a queue or group has given to a client.
    pub(super) fn taken(&self) -> usize {
        self.taken.len()
    }
}

//! The messages that were sent and acknowledged, and the checks of the messages that arrive.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wisp_wire::{QoS, TopicFilter, TopicName};

use super::store::{Kept, LateStore};

/// A message, by its number.
#[derive(Debug)]
struct Publication {
    sender: String,
    topic: &'static str,
    qos: QoS,
    payload: Vec<u8>,
    /// The policy refuses it.
    is_refused: bool,
    sent: u64,
    /// It was sent again, at QoS 1.
    is_repeated: bool,
    acknowledged: Option<u64>,
}

/// A subscription of a client with a session that is kept: from its acknowledgement until the client unsubscribes.
#[derive(Debug)]
struct Interval {
    client: String,
    filter: &'static str,
    qos: QoS,
    from: u64,
    until: Option<u64>,
}

impl Interval {
    /// Whether the message was sent after it began, and accepted at `accepted`, before it ended.
    fn covers(&self, publication: &Publication, accepted: u64) -> bool {
        let filter = TopicFilter::new(self.filter).expect("legal");
        let is_during = publication.sent > self.from && self.until.is_none_or(|until| accepted < until);
        is_during && filter.matches(TopicName::new(publication.topic).expect("legal"))
    }

    /// The same at a QoS with acknowledgement.
    fn owes(&self, publication: &Publication, accepted: u64) -> bool {
        self.qos.min(publication.qos) > QoS::AtMostOnce && self.covers(publication, accepted)
    }
}

/// The acknowledgements of one run, and the deliveries that they promise.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Arc<LateStore>,
    /// Counts events, so that their order is known.
    clock: u64,
    publications: Vec<Publication>,
    intervals: Vec<Interval>,
    arrived: HashSet<(String, usize)>,
    /// The last number that arrived for the first time, by receiver, sender, topic and QoS.
    last: HashMap<(String, String, &'static str, QoS), usize>,
    /// How often a change was acknowledged.
    acknowledged: HashMap<Kept, u32>,
}

impl Ledger {
    pub(super) fn new(store: Arc<LateStore>) -> Self {
        Self {
            store,
            clock: 0,
            publications: Vec::new(),
            intervals: Vec::new(),
            arrived: HashSet::new(),
            last: HashMap::new(),
            acknowledged: HashMap::new(),
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Notes a message and returns its number.
    pub(super) fn publish(
        &mut self,
        sender: &str,
        (topic, qos): (&'static str, QoS),
        padding: usize,
        is_refused: bool,
    ) -> usize {
        let (number, sent) = (self.publications.len(), self.tick());
        let mut payload = (number as u32).to_be_bytes().to_vec();
        payload.resize(4 + padding, number as u8);
        let sender = sender.to_owned();
        self.publications.push(Publication {
            sender,
            topic,
            qos,
            payload,
            is_refused,
            sent,
            is_repeated: false,
            acknowledged: None,
        });
        number
    }

    pub(super) fn payload(&self, number: usize) -> &[u8] {
        &self.publications[number].payload
    }

    /// A message is sent again.
    pub(super) fn repeat(&mut self, number: usize) {
        let publication = &mut self.publications[number];
        publication.is_repeated = publication.qos == QoS::AtLeastOnce;
    }

    /// The sender got an acknowledgement that accepts its message, or refuses it.
    pub(super) fn acknowledge(&mut self, number: usize, is_accepted: bool) {
        let now = self.tick();
        let publication = &mut self.publications[number];
        assert!(is_accepted || publication.is_refused, "message {number} was refused: {publication:?}");
        if publication.is_refused {
            return;
        }
        publication.acknowledged.get_or_insert(now);
        let publication = &self.publications[number];
        for interval in self.intervals.iter().filter(|interval| interval.owes(publication, now)) {
            let change = Kept::Waiting { client: interval.client.clone(), payload: publication.payload.clone() };
            assert!(
                self.store.count(&change) > 0,
                "message {number} was acknowledged before it was stored: {interval:?}"
            );
        }
    }

    /// A client got the acknowledgement of a change.
    pub(super) fn confirm(&mut self, change: Kept) {
        let committed = self.store.count(&change);
        let acknowledged = self.acknowledged.entry(change.clone()).or_default();
        *acknowledged += 1;
        assert!(committed >= *acknowledged, "{change:?} was acknowledged before the store had committed it");
    }

    /// A client got PUBCOMP. The store has had nothing to do for a message that was refused.
    pub(super) fn completed(&self, client: &str, packet_id: u16) {
        let change = Kept::Released { client: client.to_owned(), packet_id };
        assert!(self.store.has_settled(&change), "{change:?} was acknowledged before the store had committed it");
    }

    pub(super) fn subscribed(&mut self, client: &str, (filter, qos): (&'static str, QoS)) {
        let from = self.tick();
        self.intervals.push(Interval { client: client.to_owned(), filter, qos, from, until: None });
    }

    pub(super) fn unsubscribes(&mut self, client: &str, filter: &str) {
        let now = self.tick();
        let open = self.intervals.iter_mut().filter(|interval| interval.client == client && interval.filter == filter);
        open.for_each(|interval| interval.until = interval.until.or(Some(now)));
    }

    /// A client got a message, other than a repetition at QoS 2.
    pub(super) fn arrive(&mut self, receiver: &str, topic: &str, qos: QoS, payload: &[u8]) {
        let number = u32::from_be_bytes(payload[..4].try_into().expect("four bytes")) as usize;
        let publication = &self.publications[number];
        assert_eq!((topic, payload), (publication.topic, publication.payload.as_slice()));
        assert!(!publication.is_refused, "message {number} was refused, and {receiver} got it");
        let is_new = self.arrived.insert((receiver.to_owned(), number));
        if !is_new {
            // At QoS 1 the sender may repeat it, or the broker.
            let may_repeat = publication.qos == QoS::AtLeastOnce || qos == QoS::AtLeastOnce;
            assert!(may_repeat, "message {number} came to {receiver} twice");
            return;
        }
        // A message missed while the client was away or not subscribed may arrive when the sender repeats it.
        let is_late = publication.is_repeated && (qos == QoS::AtMostOnce || !self.is_subscribed(receiver, publication));
        let key = (receiver.to_owned(), publication.sender.clone(), publication.topic, publication.qos);
        let last = self.last.entry(key).or_insert(number);
        assert!(is_late || *last <= number, "message {number} came to {receiver} after {last}: {publication:?}");
        *last = number.max(*last);
    }

    /// Whether a client with a kept session has been subscribed since before the message was sent.
    fn is_subscribed(&self, client: &str, publication: &Publication) -> bool {
        let now = self.clock;
        self.intervals.iter().any(|interval| interval.client == client && interval.covers(publication, now))
    }

    /// Everything that was acknowledged has arrived.
    pub(super) fn assert_complete(&self) {
        for interval in &self.intervals {
            for (number, publication) in self.publications.iter().enumerate() {
                let Some(acknowledged) = publication.acknowledged else { continue };
                let is_owed = interval.owes(publication, acknowledged);
                assert!(
                    !is_owed || self.arrived.contains(&(interval.client.clone(), number)),
                    "message {number} was acknowledged and did not come: {publication:?} to {interval:?}"
                );
            }
        }
    }

    pub(super) fn arrivals(&self) -> usize {
        self.arrived.len()
    }
}

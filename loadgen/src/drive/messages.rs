//! The messages of one receiver: recognized by their first bytes, checked, and acknowledged at QoS 1 and 2.

use wisp_wire::{PacketId, Publish, QoS};

use crate::drive::cases::Fault;
use crate::drive::checker::Checker;
use crate::drive::outgoing::Template;
use crate::drive::payload::{Header, PayloadFormat};
use crate::drive::replies::{PUBACK, PUBCOMP, PUBREC, PUBREL, Replies, SHORT_BYTES, short};
use crate::drive::timing::Timing;
use crate::drive::topics::Topics;

/// The messages that a receiver expects.
#[derive(Debug)]
pub(crate) struct Messages {
    qos: QoS,
    payloads: PayloadFormat,
    topics: Topics,
    /// The first bytes of every message: with several topics, up to the tail of the topic's name; otherwise through it.
    lead: Vec<u8>,
    /// Where the topic ends, and the identifier is, if there is one.
    id_at: usize,
    /// The bytes between packet identifier and payload.
    after_id: Vec<u8>,
    header_at: usize,
    /// The bytes after the payload.
    after_payload: Vec<u8>,
    packet_bytes: usize,
    pub(crate) checker: Checker,
    /// Messages with QoS 2 that the broker has not released, by identifier.
    unreleased: IdSet,
}

/// Packet identifiers, a bit for each; empty until it is used.
#[derive(Default, Debug)]
struct IdSet(Vec<u64>);

impl IdSet {
    /// True if it was not there.
    #[inline]
    fn insert(&mut self, id: u16) -> bool {
        if self.0.is_empty() {
            self.0 = vec![0; (usize::from(u16::MAX) + 1) / 64];
        }
        let (word, bit) = (&mut self.0[usize::from(id) / 64], 1 << (id % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    #[inline]
    fn remove(&mut self, id: u16) {
        if let Some(word) = self.0.get_mut(usize::from(id) / 64) {
            *word &= !(1 << (id % 64));
        }
    }
}

/// Whether bytes are as expected, which may be none. Then nothing is compared: an empty vector points to nowhere, and a C
/// library that loads from there under an empty mask makes the processor take 200 ns for it.
#[inline]
fn is(bytes: &[u8], expected: &[u8]) -> bool {
    expected.is_empty() || bytes == expected
}

impl Messages {
    pub(crate) fn new(
        template: &Template,
        payloads: PayloadFormat,
        topics: Topics,
        qos: QoS,
        checker: Checker,
    ) -> Self {
        let (lead, after_id) = template.lead(checker.has_one_topic());
        let id_at = template.lead(true).0.len();
        Self {
            qos,
            payloads,
            topics,
            lead: lead.to_vec(),
            id_at,
            after_id: after_id.to_vec(),
            header_at: template.header_at,
            after_payload: template.after_payload(payloads.size()).to_vec(),
            packet_bytes: template.packet_bytes(),
            checker,
            unreleased: IdSet::default(),
        }
    }

    /// Takes the usual packets at the beginning of `bytes`, and says how long they were.
    pub(crate) fn take_usual(&mut self, bytes: &[u8], replies: &mut Replies, mut timing: Option<&mut Timing>) -> usize {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if rest.len() >= self.packet_bytes && rest.starts_with(&self.lead) {
                if !self.usual(&rest[..self.packet_bytes], replies, timing.as_deref_mut()) {
                    return at;
                }
                at += self.packet_bytes;
            } else if let Some((PUBREL, id)) = short(rest).filter(|_| self.qos == QoS::ExactlyOnce) {
                self.released(id, replies);
                at += SHORT_BYTES;
            } else {
                return at;
            }
        }
    }

    /// Checks a message, and measures it if it is one that had not come before.
    #[inline]
    fn check(&mut self, header: Header, timing: Option<&mut Timing>) {
        let received = self.checker.tally().received;
        self.checker.check(header);
        if let Some(timing) = timing
            && self.checker.tally().received > received
        {
            timing.received(header.sender, header.n);
        }
    }

    /// Takes a message that begins as all do. False if it does not go on as all do.
    #[inline]
    fn usual(&mut self, packet: &[u8], replies: &mut Replies, timing: Option<&mut Timing>) -> bool {
        let (before, payload) = packet.split_at(self.header_at);
        let (payload, after) = payload.split_at(self.payloads.size());
        if !is(&before[self.header_at - self.after_id.len()..], &self.after_id) || !is(after, &self.after_payload) {
            return false;
        }
        if self.qos > QoS::AtMostOnce {
            let id = before[self.id_at..].first_chunk().map(|id| u16::from_be_bytes(*id));
            let Some(id) = id.and_then(PacketId::new) else { return false };
            if !self.acknowledge(self.qos, id, replies) {
                return true;
            }
        }
        match self.payloads.verify(payload) {
            // With one topic, its name was compared with the lead.
            Ok(header) if self.checker.has_one_topic() || self.is_from(&header, &before[..self.id_at]) => {
                self.check(header, timing);
            }
            Ok(header) => self.checker.corrupt(Fault::OtherTopic(header)),
            Err(error) => self.checker.reject(error),
        }
        true
    }

    /// Whether a topic, by its end, is that to which a message was sent.
    #[inline]
    fn is_from(&self, header: &Header, topic: &[u8]) -> bool {
        topic.ends_with(self.topics.tail(self.topics.topic(header)))
    }

    /// Takes note of a message in another form: properties or flags that the broker added make another packet of the same
    /// message.
    pub(crate) fn take_other(&mut self, publish: &Publish<'_>, replies: &mut Replies, timing: Option<&mut Timing>) {
        if let Some(id) = publish.packet_id
            && !self.acknowledge(publish.qos, id, replies)
        {
            return;
        }
        let topic = publish.topic.map(|topic| topic.as_str().as_bytes()).unwrap_or_default();
        self.check_other(topic, publish.payload, publish.qos, timing);
    }

    /// Checks a message in another form than the usual one.
    pub(crate) fn check_other(&mut self, topic: &[u8], payload: &[u8], qos: QoS, timing: Option<&mut Timing>) {
        match self.payloads.verify(payload) {
            Ok(header) if !self.topics.is_name(self.topics.topic(&header), topic) => {
                self.checker.corrupt(Fault::OtherTopic(header));
            }
            Ok(header) if qos != self.qos => self.checker.corrupt(Fault::OtherQos(header)),
            Ok(header) => self.check(header, timing),
            Err(error) => self.checker.reject(error),
        }
    }

    /// Answers a message with QoS 1 or 2. False if it is one of QoS 2 that was answered before and is not released: the
    /// same message again, and no second one.
    #[inline]
    fn acknowledge(&mut self, qos: QoS, id: PacketId, replies: &mut Replies) -> bool {
        let exactly_once = qos == QoS::ExactlyOnce;
        replies.push(if exactly_once { PUBREC } else { PUBACK }, id.get());
        !exactly_once || self.unreleased.insert(id.get())
    }

    #[inline]
    pub(crate) fn released(&mut self, id: u16, replies: &mut Replies) {
        self.unreleased.remove(id);
        replies.push(PUBCOMP, id);
    }
}

//! What one receiver gets: messages told by their first bytes, checked, and acknowledged at QoS 1 and 2.

use wisp_wire::{PacketId, Publish, QoS};

use crate::drive::checker::Checker;
use crate::drive::outgoing::{ID_BYTES, Template};
use crate::drive::payload::Header;
use crate::drive::replies::{PUBACK, PUBCOMP, PUBREC, PUBREL, Replies, SHORT_BYTES, short};
use crate::drive::timing::Timing;

/// What a receiver is to get.
#[derive(Debug)]
pub(crate) struct Messages {
    qos: QoS,
    /// What each begins with, up to its identifier, if it has one, else up to its payload.
    lead: Vec<u8>,
    /// What stands between identifier and payload.
    after_id: Vec<u8>,
    header_at: usize,
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

impl Messages {
    pub(crate) fn new(template: &Template, qos: QoS, checker: Checker) -> Self {
        let (lead, after_id) = template.lead();
        let id_bytes = if qos == QoS::AtMostOnce { 0 } else { ID_BYTES };
        Self {
            qos,
            lead: lead.to_vec(),
            after_id: after_id.to_vec(),
            header_at: lead.len() + id_bytes + after_id.len(),
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
                let Some(header) = self.usual(rest, replies) else { return at };
                if let Some(header) = header {
                    self.check(header, timing.as_deref_mut());
                }
                at += self.packet_bytes;
            } else if let Some((PUBREL, id)) = short(rest) {
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
            timing.received(header.sender, header.sequence);
        }
    }

    /// The header of a message that begins as all do; `Some(None)` if it has come before under its identifier. None if it
    /// does not go on as all do.
    #[inline]
    fn usual(&mut self, packet: &[u8], replies: &mut Replies) -> Option<Option<Header>> {
        let header = Header::read(&packet[self.header_at..])?;
        if self.qos == QoS::AtMostOnce {
            return Some(Some(header));
        }
        let (id, rest) = packet[self.lead.len()..].split_first_chunk()?;
        if !rest.starts_with(&self.after_id) {
            return None;
        }
        let is_new = self.acknowledge(self.qos, PacketId::new(u16::from_be_bytes(*id))?, replies);
        Some(is_new.then_some(header))
    }

    /// Takes note of a message in another form: properties or flags that the broker added make another packet of the same
    /// message.
    pub(crate) fn take_other(&mut self, publish: &Publish<'_>, replies: &mut Replies, timing: Option<&mut Timing>) {
        if let Some(id) = publish.packet_id
            && !self.acknowledge(publish.qos, id, replies)
        {
            return;
        }
        let header = Header::read(publish.payload);
        let topic = publish.topic.map(|topic| topic.as_str().as_bytes());
        let same_topic = topic.is_some_and(|topic| self.lead.windows(topic.len()).any(|part| part == topic));
        let same_length = publish.payload.len() == self.packet_bytes - self.header_at;
        match header.filter(|_| same_topic && same_length && publish.qos == self.qos) {
            Some(header) => self.check(header, timing),
            None => self.checker.check_odd(header),
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

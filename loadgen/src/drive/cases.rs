//! The first cases of each fault, to be told to a person: a count says that something is wrong, and a case where to look.

use std::time::Instant;

use crate::drive::payload::{Damage, Header};
use crate::drive::topics::Topics;

/// How many cases are told, and how many of each kind a receiver keeps.
pub(crate) const CASES_MAX: usize = 10;

/// Something that happened to a message, and should not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Case {
    /// The time at which it was seen; None for a lost message, which is noticed only at the end.
    pub at: Option<Instant>,
    /// The receiver of the message; of a lost message, the receiver that should have got it.
    pub receiver: u32,
    /// The fault.
    pub fault: Fault,
}

/// A fault of a message. Senders, and the messages of each, are counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Messages of one sender to one topic did not come.
    Lost {
        /// The first of them.
        first: Header,
        /// The last of them.
        last: u64,
        /// How many they are.
        messages: u64,
    },
    /// Any of the receivers might have got it, and none has.
    LostByAll(Header),
    /// It came once more.
    Duplicated(Header),
    /// Another receiver of the shared subscription had received it before.
    DuplicatedByAll(Header),
    /// It came after one that was sent later.
    OutOfOrder {
        /// The message.
        header: Header,
        /// The latest that had come of its sender and topic.
        after: u64,
    },
    /// Its payload was changed.
    Damaged(Damage),
    /// It came from another topic than it was sent to.
    OtherTopic(Header),
    /// It came with another QoS than was asked for.
    OtherQos(Header),
    /// It says that it is a message that nobody sends.
    Unknown(Header),
}

impl Fault {
    /// Lost, duplicated, out of order, corrupt.
    fn kind(&self) -> usize {
        match self {
            Self::Lost { .. } | Self::LostByAll(_) => 0,
            Self::Duplicated(_) | Self::DuplicatedByAll(_) => 1,
            Self::OutOfOrder { .. } => 2,
            Self::Damaged(_) | Self::OtherTopic(_) | Self::OtherQos(_) | Self::Unknown(_) => 3,
        }
    }
}

const KINDS: usize = 4;

impl Case {
    /// In words.
    #[must_use]
    pub(crate) fn words(&self, topics: &Topics) -> String {
        let who = format!("receiver {}", self.receiver);
        let message = |Header { sender, n, .. }: &Header| format!("sender {sender}'s message {n}");
        let topic = |header: &Header| topics.name(topics.topic(header));
        let full = |header: &Header| format!("{} on topic {}", message(header), topic(header));
        match &self.fault {
            Fault::Lost { first, messages: 1, .. } => format!("{who} lost {}", full(first)),
            Fault::Lost { first, last, messages } => {
                let (sender, n, topic) = (first.sender, first.n, topic(first));
                format!("{who} lost {messages} messages of sender {sender} on topic {topic}, from {n} to {last}")
            }
            Fault::LostByAll(header) => format!("no receiver got {}", full(header)),
            Fault::Duplicated(header) => format!("{who} got {} again", full(header)),
            Fault::DuplicatedByAll(header) => {
                format!("{who} got {}, which it or another receiver had got before", full(header))
            }
            Fault::OutOfOrder { header, after } => format!("{who} got {} after message {after}", full(header)),
            Fault::Damaged(Damage::Length { bytes }) => {
                format!("{who} got a message of {bytes} bytes, a length that none was sent with")
            }
            Fault::Damaged(Damage::Header) => {
                format!("{who} got a message with a changed header: its checksum is wrong")
            }
            Fault::Damaged(Damage::Padding { header, at }) => {
                format!("{who} got sender {}'s message {} with its byte {at} changed", header.sender, header.n)
            }
            Fault::OtherTopic(header) => {
                format!("{who} got {} from another topic, though sent to {}", message(header), topic(header))
            }
            Fault::OtherQos(header) => format!("{who} got {} with another QoS than it was sent with", full(header)),
            Fault::Unknown(header) => format!("{who} got {}, which nobody sends", message(header)),
        }
    }
}

/// The first cases of each kind that one receiver saw.
#[derive(Default, Debug)]
pub(crate) struct Cases {
    found: Vec<Case>,
    /// By kind.
    counts: [usize; KINDS],
}

impl Cases {
    /// Takes note of a case, if there were not enough of its kind.
    pub(crate) fn note(&mut self, receiver: u32, fault: Fault) {
        let count = &mut self.counts[fault.kind()];
        if *count < CASES_MAX {
            *count += 1;
            let at = Some(Instant::now());
            self.found.push(Case { at, receiver, fault });
        }
    }

    /// All that were taken note of.
    #[must_use]
    pub(crate) fn found(&self) -> &[Case] {
        &self.found
    }
}

/// The first cases in words, [`CASES_MAX`] at most: the earliest ones, and at least some of each kind.
#[must_use]
pub(crate) fn first_in_words(mut cases: Vec<Case>, topics: &Topics) -> Vec<String> {
    // A lost message has no time; it is sorted by its place among the messages.
    cases.sort_by_key(|case| {
        let n = if let Fault::Lost { first, .. } | Fault::LostByAll(first) = case.fault { first.n } else { 0 };
        (case.at, n, case.receiver)
    });
    let mut kinds = [0; KINDS];
    let mut in_turn: Vec<_> = cases
        .iter()
        .map(|case| {
            let kind = case.fault.kind();
            kinds[kind] += 1;
            (kinds[kind], kind, case)
        })
        .collect();
    in_turn.sort_by_key(|(rank, kind, _)| (*rank, *kind));
    in_turn.truncate(CASES_MAX);
    in_turn.sort_by_key(|(rank, kind, _)| (*kind, *rank));
    in_turn.iter().map(|(_, _, case)| case.words(topics)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::pattern::{Layout, Pattern};
    use crate::drive::topics::Naming;

    fn topics() -> Topics {
        let layout = Layout::new(Pattern::FanOut, 2, 3, Some(2), 100).unwrap();
        Topics::new(&layout, "t", Naming::MQTT).unwrap()
    }

    #[test]
    fn each_fault_is_told_with_who_what_and_where() {
        let header = Header { run: 1, sender: 1, n: 6 };
        for (fault, words) in [
            (Fault::Lost { first: header, last: 6, messages: 1 }, "receiver 2 lost sender 1's message 6 on topic t/1"),
            (
                Fault::Lost { first: header, last: 10, messages: 3 },
                "receiver 2 lost 3 messages of sender 1 on topic t/1, from 6 to 10",
            ),
            (Fault::LostByAll(header), "no receiver got sender 1's message 6 on topic t/1"),
            (Fault::Duplicated(header), "receiver 2 got sender 1's message 6 on topic t/1 again"),
            (
                Fault::OutOfOrder { header, after: 8 },
                "receiver 2 got sender 1's message 6 on topic t/1 after message 8",
            ),
            (
                Fault::Damaged(Damage::Padding { header, at: 99 }),
                "receiver 2 got sender 1's message 6 with its byte 99 changed",
            ),
            (Fault::OtherTopic(header), "receiver 2 got sender 1's message 6 from another topic, though sent to t/1"),
            (Fault::Unknown(header), "receiver 2 got sender 1's message 6, which nobody sends"),
        ] {
            assert_eq!(Case { at: None, receiver: 2, fault }.words(&topics()), words);
        }
    }

    #[test]
    fn the_first_are_told_and_no_kind_hides_another() {
        let header = |n| Header { run: 1, sender: 0, n };
        let mut cases = Cases::default();
        for n in 0..50 {
            cases.note(0, Fault::Duplicated(header(n)));
        }
        for n in 50..53 {
            cases.note(0, Fault::OutOfOrder { header: header(n), after: 60 });
        }
        assert_eq!(cases.found().len(), CASES_MAX + 3);
        let mut all = cases.found().to_vec();
        all.push(Case { at: None, receiver: 1, fault: Fault::LostByAll(header(70)) });
        let words = first_in_words(all, &topics());
        let count = |word: &str| words.iter().filter(|words| words.contains(word)).count();
        assert_eq!((words.len(), count("no receiver"), count("again"), count("after")), (CASES_MAX, 1, 6, 3));
        assert!(words[1].contains("message 0 ") && words[6].contains("message 5 "), "{words:?}");
        assert!(first_in_words(Vec::new(), &topics()).is_empty());
    }
}

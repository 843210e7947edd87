//! Checks the messages of one receiver: each sender's messages must arrive once, and in order.
//!
//! A flow is all messages from one sender to one topic. If the next message of a flow is the expected one, the check is
//! a comparison and an addition. Otherwise the checker remembers the gap, so that it can tell a late message from a
//! duplicate.
//!
//! Where receivers share a subscription, each of them sees gaps in every flow. The messages must then be in order at
//! each receiver, and
//! all receivers together must get each message once, of which [`Seen`] keeps account.
//!
//! Memory: 16 bytes for a flow of each receiver, 100,000 gaps at most, and an eighth of a byte for a message that is shared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::drive::cases::{CASES_MAX, Case, Cases, Fault};
use crate::drive::pattern::Layout;
use crate::drive::payload::{Header, PayloadError};
use crate::drive::seen::Seen;
use crate::drive::spread::Spread;

/// The largest number of gaps remembered for one receiver. Beyond it, the oldest gaps of a flow are forgotten: their
/// messages count as lost, and as duplicates if they arrive after all.
const GAPS_MAX: usize = 100_000;
/// Lost messages that are looked at for the first ones among them: enough, however many there are.
const LOST_CASES_MAX: usize = 10_000;

/// Counts of messages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Different messages that came.
    pub received: u64,
    /// Came once more.
    pub duplicated: u64,
    /// Came after one that was sent later.
    pub out_of_order: u64,
    /// Belongs to this run but differs from every message sent: another length or topic, an unknown sender or sequence
    /// number.
    pub corrupt: u64,
    /// Not of this run: left behind by another one, or sent by somebody else.
    pub foreign: u64,
}

impl Tally {
    /// Adds the counts of another tally.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
    }
}

/// The checker of one receiver.
#[derive(Debug)]
pub(crate) struct Checker {
    receiver: u32,
    spread: Spread,
    /// The topics that it has: the first, and how many.
    first_topic: u32,
    topics: u32,
    /// By sender, and for each by topic.
    flows: Vec<Flow>,
    /// The messages that any receiver has got, if the receivers share a subscription.
    seen: Option<Arc<Seen>>,
    /// Sequence numbers that were skipped, by flow. Empty while nothing is missing, and for shared subscriptions.
    missing: HashMap<usize, Gaps>,
    gaps: usize,
    tally: Tally,
    cases: Cases,
}

/// The messages from one sender to one topic. Their numbers increase by the number of topics.
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// All of the flow below have come or are missing.
    next: u64,
    /// The sender has no message of this number or above.
    end: u64,
}

/// Sequences of a flow that were passed over: the first of each gap, and the one after its last. None is empty, and none
/// touch.
type Gaps = BTreeMap<u64, u64>;

impl Checker {
    /// The checker of a receiver. `seen` is shared by all receivers of a shared subscription.
    #[must_use]
    pub(crate) fn new(layout: &Layout, receiver: u32, seen: Option<Arc<Seen>>) -> Self {
        let (spread, topics) = (layout.spread, layout.topics_of(receiver));
        let mut flows = Vec::with_capacity(spread.senders as usize * topics.len());
        for sender in 0..spread.senders {
            let end = spread.of_sender(sender);
            flows.extend(topics.clone().map(|topic| Flow { next: spread.number(sender, topic, 0), end }));
        }
        Self {
            receiver,
            spread,
            first_topic: topics.start,
            topics: topics.end - topics.start,
            flows,
            seen,
            missing: HashMap::new(),
            gaps: 0,
            tally: Tally::default(),
            cases: Cases::default(),
        }
    }

    /// The counts so far.
    #[must_use]
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The first faults found, except for lost messages.
    #[must_use]
    pub(crate) fn cases(&self) -> &[Case] {
        self.cases.found()
    }

    /// Whether the receiver has one topic, so that a message that is expected can be on no other.
    #[must_use]
    pub(crate) fn has_one_topic(&self) -> bool {
        self.topics == 1
    }

    /// Takes note of a message that is whole, and came from the topic it was sent to.
    #[inline]
    pub(crate) fn check(&mut self, header: Header) {
        let flow = if self.topics == 1 { header.sender as usize } else { self.flow(&header).unwrap_or(usize::MAX) };
        let is_usual = self.flows.get_mut(flow).is_some_and(|flow| {
            let is_next = header.n < flow.end
                && match &self.seen {
                    None => header.n == flow.next,
                    // Other receivers may have got the messages in between.
                    Some(seen) => header.n >= flow.next && seen.insert(header.sender, header.n),
                };
            if is_next {
                flow.next = header.n + u64::from(self.spread.topics);
            }
            is_next
        });
        if is_usual {
            self.tally.received += 1;
        } else {
            self.unexpected(header);
        }
    }

    /// Takes note of a message that is not one of the run, or not as it was sent.
    pub(crate) fn reject(&mut self, error: PayloadError) {
        match error {
            PayloadError::Foreign => self.tally.foreign += 1,
            PayloadError::Damaged(damage) => self.corrupt(Fault::Damaged(damage)),
        }
    }

    /// Takes note of a message of the run to which this happened.
    pub(crate) fn corrupt(&mut self, fault: Fault) {
        self.tally.corrupt += 1;
        self.cases.note(self.receiver, fault);
    }

    /// Adds a case for each gap in the messages that were `sent` by each sender.
    pub(crate) fn add_lost(&self, sent: &[u64], cases: &mut Vec<Case>) {
        if self.seen.is_some() {
            return;
        }
        for (index, flow) in self.flows.iter().enumerate() {
            let (sender, topic) = self.flow_of(index);
            let end = sent.get(sender as usize).map_or(0, |sent| flow.end.min(*sent));
            let tail = (self.spread.place(sender, flow.next).1, self.sequences(sender, topic, end));
            let gaps = self.missing.get(&index).into_iter().flatten().map(|(first, end)| (*first, *end));
            for (first, end) in gaps.chain([tail]).filter(|(first, end)| first < end).take(CASES_MAX) {
                let number = |sequence| self.spread.number(sender, topic, sequence);
                let first_header = Header { run: 0, sender, n: number(first) };
                let fault = Fault::Lost { first: first_header, last: number(end - 1), messages: end - first };
                cases.push(Case { at: None, receiver: self.receiver, fault });
            }
            if cases.len() > LOST_CASES_MAX {
                return;
            }
        }
    }

    /// The flow of a message, if it is one of this receiver's.
    #[inline]
    fn flow(&self, header: &Header) -> Option<usize> {
        let (topic, _) = self.spread.place(header.sender, header.n);
        let topic = topic.checked_sub(self.first_topic).filter(|topic| *topic < self.topics)?;
        (header.sender < self.spread.senders).then(|| header.sender as usize * self.topics as usize + topic as usize)
    }

    /// The sender and the topic of a flow.
    fn flow_of(&self, index: usize) -> (u32, u32) {
        let topics = self.topics as usize;
        // Both were u32 before.
        ((index / topics) as u32, self.first_topic + (index % topics) as u32)
    }

    /// How many of a sender's first `messages` go to a topic.
    fn sequences(&self, sender: u32, topic: u32, messages: u64) -> u64 {
        messages.saturating_sub(self.spread.number(sender, topic, 0)).div_ceil(self.spread.topics.into())
    }

    #[inline(never)]
    fn unexpected(&mut self, header: Header) {
        let exists = header.sender < self.spread.senders && header.n < self.spread.of_sender(header.sender);
        let Some(index) = self.flow(&header) else {
            return self.corrupt(if exists { Fault::OtherTopic(header) } else { Fault::Unknown(header) });
        };
        if !exists {
            return self.corrupt(Fault::Unknown(header));
        }
        let flow = &mut self.flows[index];
        let (step, next) = (u64::from(self.spread.topics), flow.next);
        flow.next = next.max(header.n + step);
        if let Some(seen) = &self.seen {
            if !seen.insert(header.sender, header.n) {
                self.tally.duplicated += 1;
                self.cases.note(self.receiver, Fault::DuplicatedByAll(header));
                return;
            }
            self.tally.received += 1;
            if header.n < next {
                self.out_of_order(header, next - step);
            }
        } else if header.n < next {
            self.late(index, header, next - step);
        } else {
            self.tally.received += 1;
            self.remember(index, next / step, header.n / step);
        }
    }

    /// A message that was passed already: a missing one that comes late, or one that came before.
    fn late(&mut self, flow: usize, header: Header, after: u64) {
        let (_, sequence) = self.spread.place(header.sender, header.n);
        let gaps = self.missing.entry(flow).or_default();
        let gap = gaps.range(..=sequence).next_back().map(|(first, end)| (*first, *end));
        let Some((first, end)) = gap.filter(|(_, end)| sequence < *end) else {
            self.tally.duplicated += 1;
            self.cases.note(self.receiver, Fault::Duplicated(header));
            return;
        };
        gaps.remove(&first);
        self.gaps -= 1;
        for (first, end) in [(first, sequence), (sequence + 1, end)] {
            if first < end {
                gaps.insert(first, end);
                self.gaps += 1;
            }
        }
        self.tally.received += 1;
        self.out_of_order(header, after);
    }

    fn out_of_order(&mut self, header: Header, after: u64) {
        self.tally.out_of_order += 1;
        self.cases.note(self.receiver, Fault::OutOfOrder { header, after });
    }

    fn remember(&mut self, flow: usize, first: u64, end: u64) {
        debug_assert!(first < end, "else it was the expected one");
        let gaps = self.missing.entry(flow).or_default();
        gaps.insert(first, end);
        self.gaps += 1;
        if self.gaps > GAPS_MAX {
            gaps.pop_first();
            self.gaps -= 1;
        }
    }
}

/// Adds a case for each message that was `sent` and that no receiver of the shared subscription got.
pub(crate) fn add_lost_by_all(seen: &Seen, sent: &[u64], cases: &mut Vec<Case>) {
    for (sender, sent) in (0..).zip(sent) {
        for n in (0..*sent).filter(|n| !seen.has(sender, *n)).take(CASES_MAX) {
            let fault = Fault::LostByAll(Header { run: 0, sender, n });
            cases.push(Case { at: None, receiver: 0, fault });
        }
        if cases.len() > LOST_CASES_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::pattern::Pattern;
    use crate::drive::payload::Damage;
    use clap::ValueEnum;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const RUN: u32 = 7;

    fn checker(senders: u32, messages: u64) -> Checker {
        Checker::new(&Layout::new(Pattern::FanIn, senders, 1, None, messages).unwrap(), 0, None)
    }

    fn header(sender: u32, n: u64) -> Header {
        Header { run: RUN, sender, n }
    }

    /// Feeds messages of one sender, and gives (received, duplicated, out of order, corrupt, foreign).
    fn fed(messages: u64, numbers: &[u64]) -> (u64, u64, u64, u64, u64) {
        let mut checker = checker(1, messages);
        for n in numbers {
            checker.check(header(0, *n));
        }
        let Tally { received, duplicated, out_of_order, corrupt, foreign } = *checker.tally();
        (received, duplicated, out_of_order, corrupt, foreign)
    }

    #[test]
    fn loss_duplicates_and_disorder_are_told_apart() {
        for (what, sequences, expected) in [
            ("all well", &[0, 1, 2, 3, 4][..], (5, 0, 0, 0, 0)),
            ("nothing came", &[], (0, 0, 0, 0, 0)),
            ("first lost", &[1, 2, 3, 4], (4, 0, 0, 0, 0)),
            ("middle lost", &[0, 1, 4], (3, 0, 0, 0, 0)),
            ("last lost", &[0, 1, 2, 3], (4, 0, 0, 0, 0)),
            ("twice in a row", &[0, 1, 1, 2, 3, 4], (5, 1, 0, 0, 0)),
            ("twice, later", &[0, 1, 2, 3, 4, 0], (5, 1, 0, 0, 0)),
            ("twice, in a gap's place", &[0, 2, 2, 2], (2, 2, 0, 0, 0)),
            ("swapped", &[0, 2, 1, 3, 4], (5, 0, 1, 0, 0)),
            ("backwards", &[4, 3, 2, 1, 0], (5, 0, 4, 0, 0)),
            ("late and twice", &[0, 3, 1, 1, 2, 4], (5, 1, 2, 0, 0)),
            ("beyond the end", &[0, 1, 2, 3, 4, 5, 1 << 47], (5, 0, 0, 2, 0)),
        ] {
            assert_eq!(fed(5, sequences), expected, "{what}");
        }
    }

    #[test]
    fn strangers_are_not_counted_as_messages() {
        let mut checker = checker(2, 10);
        checker.check(header(2, 0));
        checker.reject(PayloadError::Damaged(Damage::Header));
        checker.reject(PayloadError::Foreign);
        assert_eq!(*checker.tally(), Tally { corrupt: 2, foreign: 1, ..Tally::default() });
        let faults: Vec<_> = checker.cases().iter().map(|case| case.fault).collect();
        assert_eq!(faults, [Fault::Unknown(header(2, 0)), Fault::Damaged(Damage::Header)]);
    }

    #[test]
    fn what_is_for_another_receiver_is_corrupt() {
        for pattern in [Pattern::OneToOne, Pattern::Wildcard] {
            let layout = Layout::new(pattern, 1, 2, None, 100).unwrap();
            let mut checker = Checker::new(&layout, 1, None);
            checker.check(header(0, 0));
            assert_eq!(checker.cases()[0].fault, Fault::OtherTopic(header(0, 0)));
            checker.check(header(0, layout.spread.number(0, layout.topics_of(1).start, 0)));
            assert_eq!(*checker.tally(), Tally { corrupt: 1, received: 1, ..Tally::default() });
        }
    }

    #[test]
    fn what_did_not_come_is_named_if_it_was_sent() {
        let layout = Layout::new(Pattern::FanOut, 2, 3, Some(2), 40).unwrap();
        let mut checker = Checker::new(&layout, 2, None);
        // From sender 0, messages 4 and 6 to topic 0 are missing, and all from 17 on to topic 1.
        for n in (0..20).filter(|n| ![4, 6, 17, 19].contains(n)) {
            checker.check(header(0, n));
        }
        (0..10).for_each(|n| checker.check(header(1, n)));
        let mut cases = Vec::new();
        checker.add_lost(&[20, 10], &mut cases);
        let lost =
            |first, last, messages| Fault::Lost { first: Header { run: 0, sender: 0, n: first }, last, messages };
        assert_eq!(cases.iter().map(|case| case.fault).collect::<Vec<_>>(), [lost(4, 6, 2), lost(17, 19, 2)]);
        assert!(cases.iter().all(|case| case.receiver == 2));
        cases.clear();
        checker.add_lost(&[18, 0], &mut cases);
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[1].fault, lost(17, 17, 1));
    }

    #[test]
    fn what_no_receiver_got_is_named() {
        let layout = Layout::new(Pattern::Shared, 2, 3, None, 40).unwrap();
        let seen = Seen::new(&layout.spread);
        for sender in 0..2 {
            (0..20).filter(|n| (sender, *n) != (1, 7)).for_each(|n| assert!(seen.insert(sender, n)));
        }
        let mut cases = Vec::new();
        add_lost_by_all(&seen, &[20, 20], &mut cases);
        assert_eq!(
            cases.iter().map(|case| case.fault).collect::<Vec<_>>(),
            [Fault::LostByAll(Header { run: 0, sender: 1, n: 7 })]
        );
    }

    /// The counts by a naive model that remembers every delivery of (receiver, sender, n).
    fn model(layout: &Layout, deliveries: &[(u32, u32, u64)]) -> Tally {
        let (mut seen, mut highest) = (HashSet::new(), HashMap::new());
        let mut tally = Tally::default();
        for (receiver, sender, n) in deliveries {
            let (topic, _) = layout.spread.place(*sender, *n);
            if *n >= layout.spread.of_sender(*sender) || !layout.topics_of(*receiver).contains(&topic) {
                tally.corrupt += 1;
                continue;
            }
            let who = if layout.pattern.is_shared() { None } else { Some(receiver) };
            let flow = highest.entry((receiver, sender, topic)).or_insert(0);
            if !seen.insert((who, sender, n)) {
                tally.duplicated += 1;
            } else {
                tally.received += 1;
                tally.out_of_order += u64::from(*n < *flow);
            }
            *flow = *n.max(flow);
        }
        tally
    }

    fn patterns() -> impl Strategy<Value = Layout> {
        let patterns = proptest::sample::select(Pattern::value_variants());
        (patterns, 1..4u32, 1..4u32, 1..4u32, 0..40u64).prop_filter_map("fits", |numbers| {
            let (pattern, senders, receivers, topics, messages) = numbers;
            let topics = if pattern == Pattern::OneToOne { receivers } else { topics };
            Layout::new(pattern, senders, receivers, Some(topics), messages).ok()
        })
    }

    proptest! {
        /// For any deliveries in any order.
        #[test]
        fn agrees_with_a_naive_model(
            layout in patterns(),
            deliveries in proptest::collection::vec((0..4u32, 0..3u32, 0..16u64), 0..80),
        ) {
            let deliveries: Vec<_> = deliveries
                .into_iter()
                .map(|(receiver, sender, n)| (receiver % layout.receivers, sender % layout.spread.senders, n))
                .collect();
            let seen = layout.pattern.is_shared().then(|| Arc::new(Seen::new(&layout.spread)));
            let mut checkers: Vec<_> =
                (0..layout.receivers).map(|receiver| Checker::new(&layout, receiver, seen.clone())).collect();
            for (receiver, sender, n) in &deliveries {
                checkers[*receiver as usize].check(header(*sender, *n));
            }
            let mut tally = Tally::default();
            checkers.iter().for_each(|checker| tally.add(checker.tally()));
            prop_assert_eq!(tally, model(&layout, &deliveries));
            // Exactly the messages that did not arrive are named as lost.
            let sent: Vec<_> = (0..layout.spread.senders).map(|sender| layout.spread.of_sender(sender)).collect();
            let mut cases = Vec::new();
            checkers.iter().for_each(|checker| checker.add_lost(&sent, &mut cases));
            let lost = cases.iter().map(|case| match case.fault {
                Fault::Lost { messages, .. } => messages,
                _ => 0,
            });
            if !layout.pattern.is_shared() {
                prop_assert_eq!(tally.received + lost.sum::<u64>(), layout.expected());
            }
        }

        /// Deliveries of a correct broker, each flow in order to its receiver, give no fault.
        #[test]
        fn finds_nothing_where_nothing_is_wrong(layout in patterns(), turns in proptest::collection::vec(0..3u32, 40)) {
            let seen = layout.pattern.is_shared().then(|| Arc::new(Seen::new(&layout.spread)));
            let mut checkers: Vec<_> =
                (0..layout.receivers).map(|receiver| Checker::new(&layout, receiver, seen.clone())).collect();
            for sender in 0..layout.spread.senders {
                for n in 0..layout.spread.of_sender(sender) {
                    let (topic, _) = layout.spread.place(sender, n);
                    let mut wanted = (0..layout.receivers).filter(|receiver| layout.topics_of(*receiver).contains(&topic));
                    if layout.pattern.is_shared() {
                        checkers[(turns[n as usize] % layout.receivers) as usize].check(header(sender, n));
                    } else {
                        wanted.by_ref().for_each(|receiver| checkers[receiver as usize].check(header(sender, n)));
                    }
                }
            }
            let mut tally = Tally::default();
            checkers.iter().for_each(|checker| tally.add(checker.tally()));
            prop_assert_eq!(tally, Tally { received: layout.expected(), ..Tally::default() });
        }
    }

    #[test]
    fn endless_gaps_do_not_take_endless_memory() {
        let messages = 10 * GAPS_MAX as u64;
        let mut checker = checker(1, messages);
        for n in (1..messages).step_by(2) {
            checker.check(header(0, n));
        }
        assert_eq!(checker.gaps, GAPS_MAX);
        assert_eq!(checker.missing[&0].len(), GAPS_MAX);
        assert_eq!(checker.tally().received, messages / 2);
    }
}

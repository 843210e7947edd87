//! Checks what one receiver gets: each sender's messages once, and in order.
//!
//! A flow is what one sender sends to one topic. In the best case its next sequence is the one that is expected, and
//! that is all the work there is. Else the checker remembers what is missing, so that a message that comes late
//! is told from one that comes twice.

use std::collections::{BTreeMap, HashMap};

use crate::drive::payload::Header;
use crate::drive::spread::Spread;

/// The gaps that are remembered for one receiver. When a broker leaves more, the oldest ones of a flow are forgotten:
/// they stay lost, and what comes of them after all counts as duplicated.
const GAPS_MAX: usize = 100_000;

/// What was found, in messages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Different messages that came.
    pub received: u64,
    /// Came once more.
    pub duplicated: u64,
    /// Came after one that was sent later.
    pub out_of_order: u64,
    /// Of this run, but not what was sent: another length or topic, a sender or sequence that does not exist.
    pub corrupt: u64,
    /// Not of this run: left behind by another one, or sent by somebody else.
    pub foreign: u64,
}

impl Tally {
    /// Adds what was found elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
    }
}

/// The checker of one receiver, which has one topic.
#[derive(Debug)]
pub struct Checker {
    run: u32,
    /// By sender.
    flows: Vec<Flow>,
    /// What was passed over, by sender; empty as long as all is well.
    missing: HashMap<u32, Gaps>,
    gaps: usize,
    tally: Tally,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    /// All sequences below have come or are missing.
    next: u64,
    /// How many there are: `next <= end`.
    end: u64,
}

/// Sequences that were passed over: the first of each gap, and the one after its last. None is empty, and none
/// touch.
type Gaps = BTreeMap<u64, u64>;

impl Checker {
    /// The checker for what comes from `topic`.
    #[must_use]
    pub fn new(run: u32, spread: &Spread, topic: u32) -> Self {
        let flows = (0..spread.senders).map(|sender| Flow { next: 0, end: spread.of_flow(sender, topic) });
        Self { run, flows: flows.collect(), missing: HashMap::new(), gaps: 0, tally: Tally::default() }
    }

    /// What was found so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes note of a message with the length and topic it should have.
    #[inline]
    pub fn check(&mut self, header: Header) {
        if let Some(flow) = self.flows.get_mut(header.sender as usize)
            && header.sequence == flow.next
            && header.sequence < flow.end
            && header.run == self.run
        {
            flow.next += 1;
            self.tally.received += 1;
        } else {
            self.unexpected(header);
        }
    }

    /// Takes note of a message that does not look like those of the run, by what its payload starts with.
    pub fn check_odd(&mut self, header: Option<Header>) {
        match header {
            Some(header) if header.run == self.run => self.tally.corrupt += 1,
            _ => self.tally.foreign += 1,
        }
    }

    #[cold]
    fn unexpected(&mut self, header: Header) {
        let Header { run, sender, sequence } = header;
        match self.flows.get_mut(sender as usize) {
            _ if run != self.run => self.tally.foreign += 1,
            Some(flow) if sequence < flow.next => self.late(sender, sequence),
            Some(flow) if sequence < flow.end => {
                let first = std::mem::replace(&mut flow.next, sequence + 1);
                self.tally.received += 1;
                self.remember(sender, first, sequence);
            }
            Some(_) | None => self.tally.corrupt += 1,
        }
    }

    /// A sequence that was passed already: a missing one that comes late, or one that came before.
    fn late(&mut self, sender: u32, sequence: u64) {
        let gaps = self.missing.entry(sender).or_default();
        let gap = gaps.range(..=sequence).next_back().map(|(first, end)| (*first, *end));
        let Some((first, end)) = gap.filter(|(_, end)| sequence < *end) else {
            self.tally.duplicated += 1;
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
        self.tally.out_of_order += 1;
    }

    fn remember(&mut self, sender: u32, first: u64, end: u64) {
        debug_assert!(first < end, "else it was the expected one");
        let gaps = self.missing.entry(sender).or_default();
        gaps.insert(first, end);
        self.gaps += 1;
        if self.gaps > GAPS_MAX {
            gaps.pop_first();
            self.gaps -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u32 = 7;

    fn checker(senders: u32, messages: u64) -> Checker {
        Checker::new(RUN, &Spread { senders, topics: 1, messages }, 0)
    }

    /// Feeds sequences of one sender, and gives (received, duplicated, out of order, corrupt, foreign).
    fn fed(messages: u64, sequences: &[u64]) -> (u64, u64, u64, u64, u64) {
        let mut checker = checker(1, messages);
        for sequence in sequences {
            checker.check(Header { run: RUN, sender: 0, sequence: *sequence });
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
            ("beyond the end", &[0, 1, 2, 3, 4, 5, u64::MAX], (5, 0, 0, 2, 0)),
        ] {
            assert_eq!(fed(5, sequences), expected, "{what}");
        }
    }

    #[test]
    fn strangers_are_not_counted_as_messages() {
        let mut checker = checker(2, 10);
        checker.check(Header { run: RUN + 1, sender: 0, sequence: 0 });
        checker.check(Header { run: RUN, sender: 2, sequence: 0 });
        checker.check_odd(None);
        checker.check_odd(Some(Header { run: RUN, sender: 0, sequence: 0 }));
        checker.check_odd(Some(Header { run: RUN + 1, sender: 0, sequence: 0 }));
        assert_eq!(*checker.tally(), Tally { corrupt: 2, foreign: 3, ..Tally::default() });
    }

    #[test]
    fn senders_do_not_disturb_each_other() {
        let mut checker = checker(2, 6);
        for (sender, sequence) in [(0, 0), (1, 0), (1, 1), (0, 1), (1, 2), (0, 2)] {
            checker.check(Header { run: RUN, sender, sequence });
        }
        assert_eq!(*checker.tally(), Tally { received: 6, ..Tally::default() });
    }

    /// Against a model that remembers everything.
    #[test]
    fn agrees_with_a_naive_model_on_random_disorder() {
        let mut chance = 1u64;
        let mut random = |below: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % below
        };
        for _ in 0..300 {
            let messages = 1 + random(20);
            let sequences: Vec<u64> = (0..random(40)).map(|_| random(messages)).collect();
            let (mut seen, mut highest) = (std::collections::HashSet::new(), None);
            let (mut duplicated, mut out_of_order) = (0, 0);
            for sequence in &sequences {
                if !seen.insert(*sequence) {
                    duplicated += 1;
                } else if highest.is_some_and(|highest| *sequence < highest) {
                    out_of_order += 1;
                }
                highest = highest.max(Some(*sequence));
            }
            let expected = (seen.len() as u64, duplicated, out_of_order, 0, 0);
            assert_eq!(fed(messages, &sequences), expected, "{sequences:?}");
        }
    }

    #[test]
    fn endless_gaps_do_not_take_endless_memory() {
        let messages = 10 * GAPS_MAX as u64;
        let mut checker = checker(1, messages);
        for sequence in (1..messages).step_by(2) {
            checker.check(Header { run: RUN, sender: 0, sequence });
        }
        assert_eq!(checker.gaps, GAPS_MAX);
        assert_eq!(checker.missing[&0].len(), GAPS_MAX);
        assert_eq!(checker.tally().received, messages / 2);
    }
}

//! The consumers of a queue: those that may be connected in front, the others behind.
//!
//! ```text
//!   [ take turns | away ]
//!                ^ present
//! ```
//!
//! A group may have thousands of members of which two are connected. A consumer moves behind when it is found to be away,
//! and back when its client has connected. Both happen while the queue is locked, and the client connects before it moves
//! back, so no connected consumer stays behind.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::delivery::addressed::DeliveryContext;
use crate::delivery::bundles::Indexed;
use crate::delivery::loan::{ConsumerOptions, LOANS_MIN, Offer, QueueInfo, Queued};
use crate::state::session::Session;
use crate::state::session::outgoing::OfferOutcome;

/// A session that receives from the queue, and its options.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) session: Arc<Session>,
    pub(crate) options: ConsumerOptions,
}

/// The consumers of one queue.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    all: Vec<Member>,
    /// The number of consumers in front.
    present: usize,
    /// The place of each session, by its index.
    places: HashMap<usize, usize, RandomState>,
    /// The place of the next consumer to get messages.
    next: usize,
    /// Numbers the rounds.
    round: u64,
    /// The number of consumers in front that had their turn in this round.
    had_turn: usize,
    /// A consumer may have more than the fewest loans.
    have_grown: bool,
}

/// How long no consumer takes messages until the ones that are at their bound of loans may have twice as many.
pub(super) const GROW_MS: u64 = 1_000;

/// The same for a consumer that acknowledges a few of its messages at a time: it works, and is only slow.
pub(super) const GROW_SLOW_MS: u64 = 30_000;

#[derive(Debug)]
pub(super) struct Member {
    consumer: Consumer,
    /// The last round in which it had its turn.
    round: u64,
    /// The loans that it may have beyond the fewest.
    extra_loans: usize,
    /// When it last acknowledged at its bound, that were fewer than half of its loans.
    is_slow: bool,
}

impl Consumers {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The number of consumers, connected or not.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The options of a consumer.
    pub(super) fn options_of(&self, session: &Session) -> Option<&ConsumerOptions> {
        self.places.get(&session.index()).map(|place| &self.all[*place].consumer.options)
    }

    /// The number of consumers that may be connected.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    /// Whether `is_wanted` is true of the session of a consumer, connected or not.
    pub(super) fn any(&self, is_wanted: impl Fn(&Session) -> bool) -> bool {
        self.all.iter().any(|member| is_wanted(&member.consumer.session))
    }

    pub(super) fn get_mut(&mut self, session: &Session) -> Option<&mut Member> {
        self.places.get(&session.index()).map(|place| &mut self.all[*place])
    }

    /// No consumer has taken a message for `idle_ms`, and messages wait for consumers at their bound: they may have twice
    /// as many. True if there was one.
    pub(super) fn grow(&mut self, idle_ms: u64) -> bool {
        let mut any = false;
        for member in &mut self.all[..self.present] {
            if idle_ms >= if member.is_slow { GROW_SLOW_MS } else { GROW_MS } {
                member.extra_loans = (2 * member.extra_loans + LOANS_MIN).min(usize::from(u16::MAX));
                member.is_slow = false;
                any = true;
            }
        }
        self.have_grown |= any;
        any
    }

    /// Another consumer may take the messages: all have the same bound again.
    fn shrink_loans(&mut self) {
        if std::mem::take(&mut self.have_grown) {
            self.all.iter_mut().for_each(|member| (member.extra_loans, member.is_slow) = (0, false));
        }
    }

    /// Adds a consumer, which may be connected, or replaces its options. True if it was there.
    pub(super) fn insert(&mut self, consumer: Consumer) -> bool {
        let index = consumer.session.index();
        let known = self.places.get(&index).copied();
        match known {
            Some(place) => self.all[place].consumer = consumer,
            None => {
                self.shrink_loans();
                self.places.insert(index, self.all.len());
                self.all.push(Member { consumer, round: 0, extra_loans: 0, is_slow: false });
            }
        }
        self.move_to_front(index);
        known.is_some()
    }

    /// Removes a consumer. False if it was not there.
    pub(super) fn remove(&mut self, session: &Session) -> bool {
        self.move_behind(session.index());
        let Some(place) = self.places.remove(&session.index()) else { return false };
        self.all.swap_remove(place);
        if let Some(moved) = self.all.get(place) {
            self.places.insert(moved.index(), place);
        }
        true
    }

    /// Begins a round, in which each consumer that may be connected has one turn.
    pub(super) fn begin_round(&mut self) {
        self.round += 1;
        self.had_turn = 0;
    }

    /// The consumer whose turn it is. `None` at the end of the round.
    pub(super) fn take_turn(&mut self) -> Option<&mut Member> {
        while self.had_turn < self.present {
            let place = self.next % self.present;
            self.next = place + 1;
            if self.all[place].round != self.round {
                self.all[place].round = self.round;
                self.had_turn += 1;
                return Some(&mut self.all[place]);
            }
        }
        None
    }

    /// The consumer that had the last turn is away.
    pub(super) fn last_is_away(&mut self) {
        if let Some(index) = self.next.checked_sub(1).and_then(|place| self.all.get(place)).map(Member::index) {
            self.move_behind(index);
        }
    }

    /// The session may be connected again.
    pub(super) fn move_to_front(&mut self, index: usize) {
        if let Some(place) = self.places.get(&index).copied().filter(|place| *place >= self.present) {
            self.shrink_loans();
            self.swap(place, self.present);
            self.had_turn += usize::from(self.all[self.present].round == self.round);
            self.present += 1;
        }
    }

    fn move_behind(&mut self, index: usize) {
        let Some(place) = self.places.get(&index).copied().filter(|place| *place < self.present) else { return };
        self.present -= 1;
        self.had_turn -= usize::from(self.all[place].round == self.round);
        self.swap(place, self.present);
        if place + 1 == self.next {
            // The consumer that is in this place now may not have had its turn.
            self.next = place;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.all.swap(one, other);
        for place in [one, other] {
            self.places.insert(self.all[place].index(), place);
        }
    }
}

impl Member {
    /// Has the consumer take up to `most` messages from the front of the queue.
    pub(super) fn take_from(
        &mut self,
        queue: &Arc<QueueInfo>,
        messages: &mut VecDeque<Queued>,
        most: usize,
        context: &mut DeliveryContext<'_>,
    ) -> OfferOutcome {
        let offer = Offer { most, extra_loans: self.extra_loans };
        self.consumer.session.take_from(queue, messages, offer, &self.consumer.options, context)
    }

    /// The session.
    pub(super) fn session(&self) -> &Arc<Session> {
        &self.consumer.session
    }

    /// The consumer has acknowledged, and has taken as many messages as its bound allows again.
    pub(super) fn note_acknowledged(&mut self, taken: usize) {
        self.is_slow = 2 * taken < LOANS_MIN + self.extra_loans;
    }

    fn index(&self) -> usize {
        self.consumer.session.index()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use wisp_wire::QoS;

    use super::*;
    use crate::test_receivers::session;

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Insert(usize),
        Remove(usize),
        Turn { is_away: bool },
        Round,
        Back(usize),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            (0..8_usize).prop_map(Change::Insert),
            (0..8_usize).prop_map(Change::Remove),
            any::<bool>().prop_map(|is_away| Change::Turn { is_away }),
            Just(Change::Round),
            (0..8_usize).prop_map(Change::Back),
        ]
    }

    proptest! {
        /// Each consumer that may be connected has one turn in a round, whichever ones leave, come back or are found away.
        #[test]
        fn present_consumers_take_turns(changes in prop::collection::vec(change(), 0..40)) {
            let sessions: Vec<Arc<Session>> = (0..8).map(|_| session()).collect();
            let options = ConsumerOptions { qos: QoS::AtLeastOnce, retain_as_published: false, subscription_ids: None };
            let mut consumers = Consumers::default();
            let (mut model, mut had_turn) = (BTreeMap::<usize, bool>::new(), BTreeSet::new());
            consumers.begin_round();
            for change in changes {
                match change {
                    Change::Insert(at) => {
                        let session = Arc::clone(&sessions[at]);
                        let known = model.insert(session.index(), true).is_some();
                        prop_assert_eq!(consumers.insert(Consumer { session, options: options.clone() }), known);
                    }
                    Change::Remove(at) => {
                        let known = model.remove(&sessions[at].index()).is_some();
                        had_turn.remove(&sessions[at].index());
                        prop_assert_eq!(consumers.remove(&sessions[at]), known);
                    }
                    Change::Turn { is_away } => {
                        let index = consumers.take_turn().map(|member| member.index());
                        prop_assert!(index.is_none_or(|index| model[&index] && had_turn.insert(index)));
                        if is_away && let Some(index) = index {
                            consumers.last_is_away();
                            model.insert(index, false);
                        }
                    }
                    Change::Round => {
                        consumers.begin_round();
                        had_turn.clear();
                    }
                    Change::Back(at) => {
                        consumers.move_to_front(sessions[at].index());
                        model.entry(sessions[at].index()).and_modify(|present| *present = true);
                    }
                }
                prop_assert!(sessions.iter().all(|session| consumers.get_mut(session).is_some() == model.contains_key(&session.index())));
            }
            let present: BTreeSet<usize> = model.iter().filter(|(_, present)| **present).map(|(index, _)| *index).collect();
            while let Some(member) = consumers.take_turn() {
                prop_assert!(had_turn.insert(member.index()));
            }
            prop_assert!(had_turn.is_superset(&present));
        }
    }
}

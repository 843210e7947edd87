//! The sessions of clients that are away, in the order in which they give way to new ones. Found by a look at all
//! sessions when the first is needed, and kept for the next ones.

use std::sync::Arc;

/// Most sessions that one look at all of them finds.
const FOUND_MAX: usize = 1024;

/// The shortest time between two looks that find only a few sessions.
const SEARCH_MS: u64 = 1_000;

/// A session that can be ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    /// It has subscriptions, messages or a will.
    pub(crate) holds_something: bool,
    /// When its client has left.
    pub(crate) left_ms: u64,
    pub(crate) client_id: Arc<str>,
}

/// The sessions found by the last look that are not used up.
#[derive(Debug, Default)]
pub(crate) struct Evictable {
    /// The last one goes first.
    found: Vec<Candidate>,
    /// Before this time a look would find nothing new.
    search_at_ms: u64,
}

impl Evictable {
    /// The next session to end.
    pub(crate) fn pop(&mut self) -> Option<Candidate> {
        self.found.pop()
    }

    /// Whether to look at all sessions. The caller then calls [`Evictable::fill`].
    pub(crate) fn begins_search(&mut self, now_ms: u64) -> bool {
        let begins = now_ms >= self.search_at_ms;
        if begins {
            self.search_at_ms = now_ms + SEARCH_MS;
        }
        begins
    }

    /// Takes the sessions that a look has found.
    pub(crate) fn fill(&mut self, mut found: Vec<Candidate>) {
        if found.len() > FOUND_MAX {
            found.select_nth_unstable(FOUND_MAX);
            found.truncate(FOUND_MAX);
            // There are more, for the time when these are used up.
            self.search_at_ms = 0;
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        self.found = found;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(holds_something: bool, left_ms: u64) -> Candidate {
        Candidate { holds_something, left_ms, client_id: left_ms.to_string().into() }
    }

    #[test]
    fn sessions_that_hold_nothing_go_first_and_then_the_longest_away() {
        let mut evictable = Evictable::default();
        evictable.fill([(true, 3), (false, 5), (true, 1), (false, 4)].map(|(holds, ms)| candidate(holds, ms)).into());
        let order: Vec<u64> = std::iter::from_fn(|| evictable.pop()).map(|candidate| candidate.left_ms).collect();
        assert_eq!(order, [4, 5, 1, 3]);
    }

    #[test]
    fn all_sessions_are_looked_at_again_when_many_are_used_up_or_after_a_time() {
        let mut evictable = Evictable::default();
        assert!(evictable.begins_search(0));
        evictable.fill((0..FOUND_MAX as u64 + 9).map(|ms| candidate(true, ms)).collect());
        let all: Vec<u64> = std::iter::from_fn(|| evictable.pop()).map(|candidate| candidate.left_ms).collect();
        assert!(all.into_iter().eq(0..FOUND_MAX as u64));
        assert!(evictable.begins_search(1));
        evictable.fill(vec![candidate(true, 0)]);
        assert!(!evictable.begins_search(SEARCH_MS));
        assert!(evictable.begins_search(SEARCH_MS + 1));
    }
}

//! Retained messages: the last one of each topic, kept for later subscribers (MQTT 5 section 3.3.1.3).
//!
//! They are sorted by topic name. A filter is looked up in steps, each from the end of the one before, so that a
//! subscription to everything neither holds the lock long nor fills an outbox at once. Topics between two that can match
//! are skipped ([`self::scan`]).
//!
//! Messages that expire are sorted by time as well, so the others cost nothing while they wait.

mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use wisp_wire::{QoS, TopicFilter};

use self::scan::Place;
use crate::base::limits::Limits;
use crate::base::reached::LimitName;
use crate::base::sync::{AtomicU64, Ordering, RwLock, rank};
use crate::delivery::loan::SubscriptionIds;
use crate::delivery::message::Message;
use crate::state::timers::NEVER;
use crate::store::journal::Recorder;
use crate::store::{Key, Object};

/// All retained messages.
#[derive(Debug)]
pub(crate) struct RetainedStore {
    state: RwLock<State, { rank::RETAINED }>,
    /// When the first message expires, so that the state is not locked before.
    next_expiry_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    by_topic: BTreeMap<Box<str>, Retained>,
    /// The messages that expire: the time and the topic.
    by_expiry: BTreeSet<(u64, Box<str>)>,
    /// Bytes of the messages of clients.
    bytes: usize,
    /// The number of the broker's own messages. No limit counts them.
    own: usize,
}

impl Default for RetainedStore {
    fn default() -> Self {
        Self { state: RwLock::default(), next_expiry_ms: AtomicU64::new(NEVER) }
    }
}

/// A retained message and its sender.
#[derive(Clone, Debug)]
pub(crate) struct Retained {
    pub(crate) message: Message,
    /// The client that sent it; `None` for the broker itself. Its own subscriptions with No Local do not get the message.
    pub(crate) sender: Option<Arc<str>>,
    /// Its key in the store, if the store keeps it. The next message of the topic has the same.
    pub(crate) key: Option<Key>,
}

/// The limit on retained messages or on their bytes is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetainedFull {
    Count,
    Bytes,
}

impl RetainedFull {
    /// The limit that is reached.
    pub(crate) fn limit(self) -> LimitName {
        match self {
            Self::Count => LimitName::Retained,
            Self::Bytes => LimitName::RetainedBytes,
        }
    }
}

/// The retained messages of one subscription that the client has not got yet.
#[derive(Debug)]
pub(crate) struct ReplayCursor {
    pub(crate) filter: Box<str>,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) subscription_ids: SubscriptionIds,
    /// The last topic visited.
    pub(crate) after: Option<Box<str>>,
}

/// The progress of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Visited {
    /// To the end of the matching topics.
    All,
    /// To this topic; the next step begins behind it, or at the first topic without one.
    UpTo(Option<Box<str>>),
}

/// Most topics visited in one step, whether or not they match.
const STEP_TOPICS: usize = 1024;

/// A search from the root takes as long as visiting so many topics in order.
const SEARCH_TOPICS: usize = 8;

/// Most expired messages removed in one call, since the store is locked meanwhile.
const EXPIRED_AT_ONCE: usize = 4096;

impl RetainedStore {
    /// Whether a message of `bytes` can be stored for `topic`, in place of the topic's present one.
    fn check(&self, topic: &str, bytes: usize, limits: &Limits) -> Result<(), RetainedFull> {
        let state = self.state.read();
        let replaced = state.by_topic.get(topic).map(|retained| retained.message.cost_bytes());
        if state.by_topic.len() - state.own + usize::from(replaced.is_none()) > limits.retained_count_max as usize {
            return Err(RetainedFull::Count);
        }
        let fits = state.bytes - replaced.unwrap_or(0) + bytes <= limits.retained_bytes_max;
        if fits { Ok(()) } else { Err(RetainedFull::Bytes) }
    }

    /// Stores a message in place of the topic's present one. A message without payload only removes that one
    /// [MQTT-3.3.1-6, MQTT-3.3.1-7].
    pub(crate) fn store(
        &self,
        mut retained: Retained,
        limits: &Limits,
        recorder: Recorder<'_>,
    ) -> Result<(), RetainedFull> {
        let topic = retained.message.topic().as_str().to_owned();
        let bytes = retained.message.cost_bytes();
        if retained.message.payload().is_empty() {
            self.remove(&topic, recorder);
            return Ok(());
        }
        self.check(&topic, bytes, limits)?;
        let mut state = self.state.write();
        let replaced = state.remove(&topic);
        if recorder.is_durable()
            && let Some(sender) = &retained.sender
        {
            // In place of the message before, so that a crash leaves one of the two.
            let key = replaced.unwrap_or_else(|| recorder.new_key());
            recorder.put(key, Object::Retained { sender, message: retained.message.as_object(recorder) });
            retained.key = Some(key);
        }
        state.insert(topic.into(), retained);
        self.note_next_expiry(&state);
        Ok(())
    }

    /// Takes a message that was stored before the start, beyond the limits too.
    pub(crate) fn restore(&self, retained: Retained) {
        let mut state = self.state.write();
        state.insert(retained.message.topic().as_str().into(), retained);
        self.note_next_expiry(&state);
    }

    /// Stores a message of the broker itself, whatever the limits.
    pub(crate) fn store_own(&self, message: Message) {
        let topic = message.topic().as_str().to_owned();
        let mut state = self.state.write();
        state.remove(&topic);
        state.own += 1;
        state.by_topic.insert(topic.into(), Retained { message, sender: None, key: None });
    }

    /// Removes the message of a topic.
    pub(crate) fn remove(&self, topic: &str, recorder: Recorder<'_>) {
        let mut state = self.state.write();
        recorder.delete_all(state.remove(topic).into_iter());
        self.note_next_expiry(&state);
    }

    fn note_next_expiry(&self, state: &State) {
        let next_ms = state.by_expiry.first().map_or(NEVER, |(at_ms, _)| *at_ms);
        self.next_expiry_ms.store(next_ms, Ordering::Relaxed);
    }

    /// When the first message expires, if any does.
    pub(crate) fn next_expiry_ms(&self) -> Option<u64> {
        Some(self.next_expiry_ms.load(Ordering::Relaxed)).filter(|next_ms| *next_ms != NEVER)
    }

    /// Removes messages that have expired, up to a bounded number. Nobody gets the others either.
    pub(crate) fn remove_expired(&self, recorder: Recorder<'_>, now_ms: u64) {
        if self.next_expiry_ms().is_none_or(|next_ms| next_ms > now_ms) {
            return;
        }
        let mut state = self.state.write();
        for _ in 0..EXPIRED_AT_ONCE {
            let Some((at_ms, topic)) = state.by_expiry.first() else { break };
            if *at_ms > now_ms {
                break;
            }
            let topic = topic.clone();
            recorder.delete_all(state.remove(&topic).into_iter());
        }
        self.note_next_expiry(&state);
    }

    /// Calls `visit` with the messages that match `filter` and have not expired, in the order of their topics, from
    /// behind the topic `after`. If `visit` returns false the step ends, and the next one begins with the same message.
    /// No message is replaced during the call.
    pub(crate) fn visit(
        &self,
        filter: TopicFilter<'_>,
        after: Option<&str>,
        now_ms: u64,
        mut visit: impl FnMut(&Retained) -> bool,
    ) -> Visited {
        let state = self.state.read();
        let text = filter.as_str();
        let first = scan::first(text);
        let topics = |from: Bound<&str>| state.by_topic.range::<str, _>((from, Bound::Unbounded));
        let mut rest = topics(after.map_or(Bound::Included(first), Bound::Excluded));
        let mut last = after;
        let mut next_topic: Option<String> = None;
        let (mut work, mut skipped) = (0, 0);
        while let Some((topic, retained)) = rest.next() {
            if work >= STEP_TOPICS {
                return Visited::UpTo(last.map(Box::from));
            }
            work += 1;
            if let Some(next) = next_topic.as_deref().filter(|next| **topic < **next) {
                skipped += 1;
                if skipped == SEARCH_TOPICS {
                    rest = topics(Bound::Included(next));
                    work += SEARCH_TOPICS;
                }
                last = Some(topic);
                continue;
            }
            (next_topic, skipped) = (None, 0);
            match scan::place(text, topic) {
                Place::Matches if retained.message.is_expired(now_ms) => {}
                Place::Matches if !visit(retained) => return Visited::UpTo(last.map(Box::from)),
                Place::Matches | Place::Before => {}
                Place::BeforeTopic(next) => next_topic = Some(next),
                Place::Behind => break,
            }
            last = Some(topic);
            if first.len() == text.len() {
                break;
            }
        }
        Visited::All
    }

    /// Calls `visit` with the messages of the topics behind `after` that begin with `prefix`, in the order of their topics, until
    /// it returns false, or to a bounded number. Returns the last topic visited, unless that was the end. The broker's own
    /// messages are left out unless the prefix begins like their topics.
    pub(crate) fn list(
        &self,
        after: Option<&str>,
        prefix: &str,
        mut visit: impl FnMut(&str, &Retained) -> bool,
    ) -> Option<Box<str>> {
        let state = self.state.read();
        let first = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let topics = state.by_topic.range::<str, _>((first, Bound::Unbounded));
        let shows_own = prefix.starts_with('$');
        for (visited, (topic, retained)) in topics.take_while(|(topic, _)| topic.starts_with(prefix)).enumerate() {
            let is_shown = shows_own || retained.sender.is_some();
            if is_shown && !visit(topic, retained) || visited + 1 == STEP_TOPICS {
                return Some(topic.clone());
            }
        }
        None
    }

    /// The message of a topic.
    pub(crate) fn get(&self, topic: &str) -> Option<Retained> {
        self.state.read().by_topic.get(topic).cloned()
    }

    /// The number of retained messages, without the broker's own, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.state.read();
        (state.by_topic.len() - state.own, state.bytes)
    }
}

impl State {
    fn insert(&mut self, topic: Box<str>, retained: Retained) {
        self.bytes += retained.message.cost_bytes();
        if let Some(at_ms) = retained.message.expires_at_ms() {
            self.by_expiry.insert((at_ms, topic.clone()));
        }
        self.by_topic.insert(topic, retained);
    }

    /// Removes the message of a topic. Returns its key in the store.
    fn remove(&mut self, topic: &str) -> Option<Key> {
        let Retained { message, sender, key } = self.by_topic.remove(topic)?;
        if sender.is_none() {
            self.own -= 1;
            return None;
        }
        self.bytes -= message.cost_bytes();
        if let Some(at_ms) = message.expires_at_ms() {
            self.by_expiry.remove(&(at_ms, topic.into()));
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wisp_wire::{Properties, Property, Publish, TopicName};

    use super::*;
    use crate::store::MemoryStore;
    use crate::store::journal::Journal;

    fn journal() -> Journal {
        Journal::new(Arc::new(MemoryStore), 0)
    }

    fn retained(topic: &str, payload: &[u8]) -> Retained {
        let topic = TopicName::new(topic).unwrap();
        Retained {
            message: Message::from_publish(&Publish::new(topic, payload), topic, 0),
            sender: Some("s".into()),
            key: None,
        }
    }

    /// The matching topics, with at most `most` of them in each step.
    fn found(store: &RetainedStore, filter: &str, most: usize) -> Vec<String> {
        let (mut topics, mut after) = (Vec::new(), None::<Box<str>>);
        loop {
            let mut taken = 0;
            let visited = store.visit(TopicFilter::new(filter).unwrap(), after.as_deref(), 0, |retained| {
                taken += 1;
                if taken <= most {
                    topics.push(retained.message.topic().as_str().to_owned());
                }
                taken <= most
            });
            match visited {
                Visited::All => return topics,
                Visited::UpTo(topic) => after = topic,
            }
        }
    }

    #[test]
    fn a_message_replaces_the_one_before_and_an_empty_one_clears_it() {
        let (store, limits) = (RetainedStore::default(), Limits::DEFAULT);
        store.store(retained("a", b"1"), &limits, journal().recorder(0)).unwrap();
        store.store(retained("a", b"22"), &limits, journal().recorder(0)).unwrap();
        assert_eq!((store.size().0, found(&store, "a", 9)), (1, vec!["a".to_owned()]));
        store.store(retained("a", b""), &limits, journal().recorder(0)).unwrap();
        assert_eq!((store.size().0, store.state.read().bytes), (0, 0));
    }

    #[test]
    fn count_and_bytes_are_bounded_but_replacing_is_allowed() {
        let store = RetainedStore::default();
        let limits = Limits { retained_count_max: 1, ..Limits::DEFAULT };
        store.store(retained("a", b"1"), &limits, journal().recorder(0)).unwrap();
        assert_eq!(store.store(retained("b", b"1"), &limits, journal().recorder(0)), Err(RetainedFull::Count));
        store.store(retained("a", b"2"), &limits, journal().recorder(0)).unwrap();
        let bytes = retained("a", b"2").message.cost_bytes();
        let limits = Limits { retained_bytes_max: bytes, ..Limits::DEFAULT };
        store.store(retained("a", b"3"), &limits, journal().recorder(0)).unwrap();
        assert_eq!(store.store(retained("a", b"33"), &limits, journal().recorder(0)), Err(RetainedFull::Bytes));
    }

    #[test]
    fn the_brokers_own_messages_count_for_no_limit() {
        let (store, limits) = (RetainedStore::default(), Limits { retained_count_max: 1, ..Limits::DEFAULT });
        for (topic, payload) in [("$SYS/a", b"1"), ("$SYS/b", b"1"), ("$SYS/a", b"2")] {
            store.store_own(retained(topic, payload).message);
        }
        store.store(retained("a", b"1"), &limits, journal().recorder(0)).unwrap();
        assert_eq!(store.store(retained("b", b"1"), &limits, journal().recorder(0)), Err(RetainedFull::Count));
        assert_eq!(store.size(), (1, retained("a", b"1").message.cost_bytes()));
        assert_eq!(found(&store, "$SYS/#", 9), ["$SYS/a", "$SYS/b"]);
    }

    #[test]
    fn a_step_visits_a_bounded_number_of_topics() {
        let (store, limits) = (RetainedStore::default(), Limits::DEFAULT);
        for number in 0..STEP_TOPICS * 2 + 7 {
            store.store(retained(&format!("t/{number:05}/x"), b"1"), &limits, journal().recorder(0)).unwrap();
        }
        assert_eq!(found(&store, "+/+/y", 1), Vec::<String>::new());
        assert_eq!(found(&store, "+/+/x", usize::MAX).len(), STEP_TOPICS * 2 + 7);
    }

    #[test]
    fn topics_that_cannot_match_are_skipped() {
        let (store, limits) = (RetainedStore::default(), Limits::DEFAULT);
        let stored = (0..100).flat_map(|site| (0..200).map(move |device| format!("site{site}/dev{device}/state")));
        stored.for_each(|topic| store.store(retained(&topic, b"1"), &limits, journal().recorder(0)).unwrap());
        for (filter, matches) in [("+/dev5/+", 100), ("+/+/none", 0), ("+/dev7/#", 100), ("+/zz", 0)] {
            let (mut steps, mut found, mut after) = (0, 0, None::<Box<str>>);
            while let Visited::UpTo(topic) = store.visit(TopicFilter::new(filter).unwrap(), after.as_deref(), 0, |_| {
                found += 1;
                true
            }) {
                (steps, after) = (steps + 1, topic);
            }
            assert_eq!(found, matches, "{filter}");
            // Only `+/+/none` has to look at all 20,000 topics.
            assert!(steps <= if filter == "+/+/none" { 20 } else { 4 }, "{filter}: {steps} steps");
        }
    }

    #[test]
    fn expired_messages_are_removed_in_order_and_replaced_ones_are_forgotten() {
        let (store, limits) = (RetainedStore::default(), Limits::DEFAULT);
        let expiring = |topic: &str, seconds: u32| {
            let topic = TopicName::new(topic).unwrap();
            let properties = [Property::MessageExpiryInterval(seconds)];
            let publish = Publish { properties: Properties::from_slice(&properties), ..Publish::new(topic, b"1") };
            Retained { message: Message::from_publish(&publish, topic, 0), sender: Some("s".into()), key: None }
        };
        assert_eq!(store.next_expiry_ms(), None);
        for (topic, seconds) in [("a", 3), ("b", 1), ("c", 2)] {
            store.store(expiring(topic, seconds), &limits, journal().recorder(0)).unwrap();
        }
        store.store(retained("b", b"for ever"), &limits, journal().recorder(0)).unwrap();
        assert_eq!(store.next_expiry_ms(), Some(2_000));
        store.remove_expired(journal().recorder(0), 1_999);
        assert_eq!(store.size().0, 3);
        store.remove_expired(journal().recorder(0), 2_000);
        assert_eq!(
            (found(&store, "#", 9), store.next_expiry_ms()),
            (vec!["a".to_owned(), "b".to_owned()], Some(3_000))
        );
        store.remove_expired(journal().recorder(0), 3_000);
        assert_eq!((store.size().0, store.next_expiry_ms()), (1, None));
        assert!(store.state.read().by_expiry.is_empty());
    }

    proptest! {
        /// Steps of any size find each topic that matches by the definition once, in order.
        #[test]
        fn a_filter_finds_the_matching_topics(
            topics in prop::collection::btree_set("(a|b|\\$s|a!|%)(/(a|b|a!|a0|)){0,3}|(/(a|b|)){1,3}", 1..60),
            filter in "(a|b|\\+|\\$s)(/(a|b|\\+|)){0,3}(/#)?|#",
            most in 1..4_usize,
        ) {
            let (store, limits) = (RetainedStore::default(), Limits::DEFAULT);
            topics.iter().for_each(|topic| store.store(retained(topic, b"1"), &limits, journal().recorder(0)).unwrap());
            let wanted = TopicFilter::new(&filter).unwrap();
            let matches = |topic: &&String| wanted.matches(TopicName::new(topic).unwrap());
            let matching: Vec<String> = topics.iter().filter(matches).cloned().collect();
            prop_assert_eq!(found(&store, &filter, most), matching);
        }
    }
}

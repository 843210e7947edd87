//! Retained messages: the last one of each topic, kept for later subscribers (MQTT 5 section 3.3.1.3).
//!
//! They are sorted by topic name. A filter is looked up in steps, each from the end of the one before, so that a
//! subscription to everything neither holds the lock long nor fills an outbox at once.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use wisp_wire::{QoS, TopicFilter};

use crate::base::limits::Limits;
use crate::base::sync::{RwLock, rank};
use crate::delivery::loan::SubscriptionIds;
use crate::delivery::message::Message;

/// All retained messages.
#[derive(Debug, Default)]
pub(crate) struct RetainedStore {
    state: RwLock<State, { rank::RETAINED }>,
}

#[derive(Debug, Default)]
struct State {
    by_topic: BTreeMap<Box<str>, Retained>,
    bytes: usize,
}

/// A retained message and its sender.
#[derive(Clone, Debug)]
pub(crate) struct Retained {
    pub(crate) message: Message,
    /// The client that sent it. Its own subscriptions with No Local do not get the message.
    pub(crate) sender: Option<Arc<str>>,
}

/// The limit on retained messages or on their bytes is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetainedFull;

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

impl RetainedStore {
    /// Whether a message of `bytes` can be stored for `topic`, in place of the topic's present one.
    pub(crate) fn fits(&self, topic: &str, bytes: usize, limits: &Limits) -> bool {
        let state = self.state.read();
        let replaced = state.by_topic.get(topic).map(|retained| retained.message.cost_bytes());
        let count = state.by_topic.len() + usize::from(replaced.is_none());
        count <= limits.retained_count_max as usize
            && state.bytes - replaced.unwrap_or(0) + bytes <= limits.retained_bytes_max
    }

    /// Stores a message in place of the topic's present one. A message without payload only removes that one
    /// [MQTT-3.3.1-6, MQTT-3.3.1-7].
    pub(crate) fn store(&self, retained: Retained, limits: &Limits) -> Result<(), RetainedFull> {
        let topic = retained.message.topic().as_str().to_owned();
        let bytes = retained.message.cost_bytes();
        if retained.message.payload().is_empty() {
            self.remove(&topic);
            return Ok(());
        }
        if !self.fits(&topic, bytes, limits) {
            return Err(RetainedFull);
        }
        let mut state = self.state.write();
        state.bytes += bytes;
        if let Some(old) = state.by_topic.insert(topic.into(), retained) {
            state.bytes -= old.message.cost_bytes();
        }
        Ok(())
    }

    /// Removes the message of a topic.
    pub(crate) fn remove(&self, topic: &str) {
        let mut state = self.state.write();
        if let Some(old) = state.by_topic.remove(topic) {
            state.bytes -= old.message.cost_bytes();
        }
    }

    /// Removes messages that have expired.
    pub(crate) fn remove_expired(&self, now_ms: u64) {
        let is_expired = |retained: &Retained| retained.message.is_expired(now_ms);
        if !self.state.read().by_topic.values().any(is_expired) {
            return;
        }
        let mut state = self.state.write();
        let State { by_topic, bytes } = &mut *state;
        by_topic.retain(|_, retained| {
            let expired = is_expired(retained);
            *bytes -= if expired { retained.message.cost_bytes() } else { 0 };
            !expired
        });
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
        let literal = &text[..text.find(['+', '#']).unwrap_or(text.len())];
        // `a/#` matches `a` as well.
        let common = if text.ends_with("/#") { literal.strip_suffix('/').unwrap_or(literal) } else { literal };
        let from = after.map_or(Bound::Included(common), Bound::Excluded);
        let mut last: Option<&str> = None;
        for (number, (topic, retained)) in state.by_topic.range::<str, _>((from, Bound::Unbounded)).enumerate() {
            if !topic.starts_with(common) {
                break;
            }
            if number == STEP_TOPICS {
                return Visited::UpTo(last.map(Box::from));
            }
            let wanted = filter.matches(retained.message.topic()) && !retained.message.is_expired(now_ms);
            if wanted && !visit(retained) {
                return Visited::UpTo(last.or(after).map(Box::from));
            }
            last = Some(topic);
            if common.len() == text.len() {
                break;
            }
        }
        Visited::All
    }

    /// The number of retained messages.
    pub(crate) fn count(&self) -> usize {
        self.state.read().by_topic.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wisp_wire::{Publish, TopicName};

    use super::*;

    fn retained(topic: &str, payload: &[u8]) -> Retained {
        let topic = TopicName::new(topic).unwrap();
        Retained { message: Message::from_publish(&Publish::new(topic, payload), topic, 0), sender: None }
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
        store.store(retained("a", b"1"), &limits).unwrap();
        store.store(retained("a", b"22"), &limits).unwrap();
        assert_eq!((store.count(), found(&store, "a", 9)), (1, vec!["a".to_owned()]));
        store.store(retained("a", b""), &limits).unwrap();
        assert_eq!((store.count(), store.state.read().bytes), (0, 0));
    }

    #[test]
    fn count_and_bytes_are_bounded_but_replacing_is_allowed() {
        let store = RetainedStore::default();
        let limits = Limits { retained_count_max: 1, ..Limits::DEFAULT };
        store.store(retained("a", b"1"), &limits).unwrap();
        assert_eq!(store.store(retained("b", b"1"), &limits), Err(RetainedFull));
        store.store(retained("a", b"2"), &limits).unwrap();
        let bytes = retained("a", b"2").message.cost_bytes();
        let limits = Limits { retained_bytes_max: bytes, ..Limits::DEFAULT };
        store.store(retained("a", b"3"), &limits).unwrap();
        assert_eq!(store.store(retained("a", b"33"), &limits), Err(RetainedFull));
    }

    #[test]
    fn a_step_visits_a_bounded_number_of_topics() {
        let (store, limits) = (RetainedStore::default(), Limits::DEFAULT);
        for number in 0..STEP_TOPICS * 2 + 7 {
            store.store(retained(&format!("t/{number:05}/x"), b"1"), &limits).unwrap();
        }
        assert_eq!(found(&store, "+/+/y", 1), Vec::<String>::new());
        assert_eq!(found(&store, "+/+/x", usize::MAX).len(), STEP_TOPICS * 2 + 7);
    }

    proptest! {
        /// Steps of any size find each topic that matches by the definition once, in order.
        #[test]
        fn a_filter_finds_the_matching_topics(
            topics in prop::collection::btree_set("(a|b|\\$s|a!)(/(a|b|)){0,3}", 0..20),
            filter in "(a|b|\\+|\\$s)(/(a|b|\\+|)){0,3}(/#)?|#",
            most in 1..4_usize,
        ) {
            let (store, limits) = (RetainedStore::default(), Limits::DEFAULT);
            topics.iter().for_each(|topic| store.store(retained(topic, b"1"), &limits).unwrap());
            let wanted = TopicFilter::new(&filter).unwrap();
            let matches = |topic: &&String| wanted.matches(TopicName::new(topic).unwrap());
            let matching: Vec<String> = topics.iter().filter(matches).cloned().collect();
            prop_assert_eq!(found(&store, &filter, most), matching);
        }
    }
}

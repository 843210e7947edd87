//! The names of a run's topics, and the filters by which receivers subscribe to them.
//!
//! All names of a run have the same length, so that its packets have: `PREFIX/0042`, or `PREFIX/042/7` where receivers
//! have several topics each and a filter for them, `PREFIX/042/+`.

use std::ops::Range;
use std::sync::Arc;

use wisp_wire::TopicName;

use crate::drive::pattern::{Layout, Pattern};
use crate::drive::payload::Header;

/// How a protocol writes topics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Naming {
    /// The separator of levels.
    pub separator: char,
    /// The wildcard for one level in a filter.
    pub any_level: char,
    /// The prefix of queue names; None where there are no queues.
    pub queues: Option<&'static str>,
    /// Why a topic cannot be called so.
    pub check: fn(&str) -> Result<(), NameError>,
}

impl Naming {
    /// As MQTT does, with Wisp's queues.
    pub(crate) const MQTT: Self = Self {
        separator: '/',
        any_level: '+',
        queues: Some("$queue/"),
        check: |name| TopicName::new(name).map(|_| ()).map_err(NameError::Mqtt),
    };
}

/// Why a protocol does not allow a topic's name.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum NameError {
    /// MQTT's rules.
    #[error(transparent)]
    Mqtt(wisp_wire::TopicError),
    /// A level of a NATS subject is empty.
    #[error("between its dots there must be something")]
    EmptyLevel,
    /// A NATS subject for publishing cannot have this letter.
    #[error("{0:?} cannot be in a subject that is published to")]
    Letter(char),
}

/// Why a run cannot have its topics.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum TopicError {
    /// The protocol has no topic queues.
    #[error("queues are an extension of MQTT, and not of this protocol")]
    Queues,
    /// The protocol does not allow the name.
    #[error("topic {name:?}: {cause}")]
    Name {
        /// The first topic's name.
        name: String,
        /// The reason.
        #[source]
        cause: NameError,
    },
}

/// One thing that a receiver subscribes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Subscription {
    /// A topic's name, or a filter with a wildcard.
    pub filter: String,
    /// Whose members share the messages, if not everybody gets each.
    pub group: Option<&'static str>,
}

/// The name of the shared subscription.
const GROUP: &str = "loadgen";

/// The topics of a run: one beginning, and a tail of the same length for each.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    layout: Layout,
    naming: Naming,
    /// The beginning of all names.
    head: String,
    /// How all of them go on, one after the other.
    tails: Arc<[u8]>,
    tail_bytes: usize,
}

impl Topics {
    /// Names that begin with `prefix`.
    ///
    /// # Errors
    /// When the protocol does not allow them, or has nothing of the kind.
    pub(crate) fn new(layout: &Layout, prefix: &str, naming: Naming) -> Result<Self, TopicError> {
        let queues = match layout.pattern {
            Pattern::Queue => naming.queues.ok_or(TopicError::Queues)?,
            _ => "",
        };
        let head = format!("{queues}{prefix}{}", naming.separator);
        let mut tails = String::new();
        for topic in 0..layout.spread.topics {
            tails.push_str(&tail(layout, naming, topic));
        }
        let tail_bytes = tail(layout, naming, 0).len();
        let topics = Self { layout: *layout, naming, head, tails: tails.into_bytes().into(), tail_bytes };
        let name = topics.name(0);
        match (naming.check)(&name) {
            Ok(()) => Ok(topics),
            Err(cause) => Err(TopicError::Name { name, cause }),
        }
    }

    /// The pattern that they are for.
    #[must_use]
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The name of one.
    #[must_use]
    pub(crate) fn name(&self, topic: u32) -> String {
        format!("{}{}", self.head, tail(&self.layout, self.naming, topic))
    }

    /// The topic that a message is sent to.
    #[inline]
    #[must_use]
    pub(crate) fn topic(&self, header: &Header) -> u32 {
        self.layout.spread.place(header.sender, header.n).0
    }

    /// The end of a topic's name, as long as any other's.
    #[inline]
    #[must_use]
    pub(crate) fn tail(&self, topic: u32) -> &[u8] {
        &self.tails[topic as usize * self.tail_bytes..][..self.tail_bytes]
    }

    /// How long the end of each name is.
    #[must_use]
    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Whether a topic is called so.
    #[must_use]
    pub(crate) fn is_name(&self, topic: u32, name: &[u8]) -> bool {
        name.strip_prefix(self.head.as_bytes()).is_some_and(|tail| tail == self.tail(topic))
    }

    /// The subscriptions of a receiver.
    #[must_use]
    pub(crate) fn subscriptions(&self, receiver: u32) -> Vec<Subscription> {
        let group = (self.layout.pattern == Pattern::Shared).then_some(GROUP);
        if self.layout.pattern == Pattern::Wildcard {
            let Naming { separator, any_level, .. } = self.naming;
            let filter = format!("{}{}{separator}{any_level}", self.head, group_level(&self.layout, receiver));
            return vec![Subscription { filter, group }];
        }
        let topics: Range<u32> = self.layout.topics_of(receiver);
        topics.map(|topic| Subscription { filter: self.name(topic), group }).collect()
    }
}

/// The end of a topic's name.
fn tail(layout: &Layout, naming: Naming, topic: u32) -> String {
    if layout.pattern != Pattern::Wildcard {
        return padded(topic, layout.spread.topics);
    }
    let each = layout.topics_of_each();
    format!("{}{}{}", group_level(layout, topic / each), naming.separator, padded(topic % each, each))
}

/// The level that all topics of a receiver with a wildcard have in common.
fn group_level(layout: &Layout, receiver: u32) -> String {
    padded(receiver, layout.receivers)
}

/// `number` with as many digits as the largest number below `count`.
fn padded(number: u32, count: u32) -> String {
    let digits = count.saturating_sub(1).to_string().len();
    format!("{number:0digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(pattern: Pattern, receivers: u32, topics: Option<u32>) -> Topics {
        let layout = Layout::new(pattern, 1, receivers, topics, 100).unwrap();
        Topics::new(&layout, "a/b", Naming::MQTT).unwrap()
    }

    #[test]
    fn names_and_filters_are_those_of_the_pattern() {
        let filters = |topics: &Topics, receiver| {
            let subscriptions = topics.subscriptions(receiver);
            subscriptions.into_iter().map(|one| (one.filter, one.group)).collect::<Vec<_>>()
        };
        let own = |filter: &str| (filter.to_owned(), None);
        assert_eq!(filters(&topics(Pattern::OneToOne, 12, None), 7), [own("a/b/07")]);
        assert_eq!(filters(&topics(Pattern::FanIn, 1, None), 0), [own("a/b/0")]);
        assert_eq!(filters(&topics(Pattern::FanOut, 9, Some(2)), 7), [own("a/b/0"), own("a/b/1")]);
        assert_eq!(filters(&topics(Pattern::Shared, 9, None), 7), [("a/b/0".to_owned(), Some(GROUP))]);
        assert_eq!(filters(&topics(Pattern::Queue, 9, None), 7), [own("$queue/a/b/0")]);
        let wild = topics(Pattern::Wildcard, 101, None);
        assert_eq!((filters(&wild, 42), wild.name(42 * 10 + 3)), (vec![own("a/b/042/+")], "a/b/042/3".to_owned()));
    }

    #[test]
    fn all_names_have_one_length_and_are_known_by_it() {
        for topics in [topics(Pattern::FanOut, 3, Some(101)), topics(Pattern::Wildcard, 11, Some(11 * 12))] {
            let count = topics.layout.spread.topics;
            let names: std::collections::BTreeSet<_> = (0..count).map(|topic| topics.name(topic)).collect();
            assert_eq!(names.len(), count as usize);
            assert!(names.iter().all(|name| name.len() == topics.name(0).len()));
            for topic in 0..count {
                assert!(topics.name(topic).as_bytes().ends_with(topics.tail(topic)));
                assert!(topics.is_name(topic, topics.name(topic).as_bytes()));
                assert!(!topics.is_name(topic, topics.name((topic + 1) % count).as_bytes()));
            }
        }
    }

    #[test]
    fn illegal_topics_and_queues_where_there_are_none_are_refused() {
        let layout = |pattern| Layout::new(pattern, 1, 1, None, 1).unwrap();
        for prefix in ["a/#", "+", "a\0b"] {
            assert!(Topics::new(&layout(Pattern::FanOut), prefix, Naming::MQTT).is_err(), "{prefix:?}");
        }
        let without = Naming { queues: None, ..Naming::MQTT };
        assert_eq!(Topics::new(&layout(Pattern::Queue), "a", without).unwrap_err(), TopicError::Queues);
    }
}

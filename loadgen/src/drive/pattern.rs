//! The patterns of a run, and the layout of connections and topics for each.
//!
//! ```text
//!   one-to-one   sender ---> topic 0 ---> receiver 0        wildcard  sender ---> topics 0..10  ---> receiver 0
//!                       `--> topic 1 ---> receiver 1                         `--> topics 10..20 ---> receiver 1
//!
//!   fan-in       senders --> topic 0 ---> receiver 0        shared,   sender ---> topics ---> either receiver 0
//!                                                           queue                             or receiver 1
//!   fan-out      sender ---> topics ----> receiver 0
//!                                   `---> receiver 1
//! ```

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::drive::payload::{MESSAGES_MAX, SENDERS_MAX};
use crate::drive::spread::Spread;

/// Topics of each receiver with wildcards, unless told otherwise.
const WILDCARD_TOPICS: u32 = 10;
/// The topics whose names are kept, some ten bytes each.
pub(crate) const TOPICS_MAX: u32 = 1_000_000;
/// The flows that are kept account of, 16 bytes each: receivers times senders times topics of a receiver.
const FLOWS_MAX: u64 = 1 << 26;
/// The messages that are kept account of where any receiver may get any of them, a bit each.
const SHARED_MESSAGES_MAX: u64 = 1 << 33;

/// How messages go from senders to receivers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// A topic for each receiver, and all senders send to all topics
    #[default]
    OneToOne,
    /// Many senders, one topic, one receiver
    FanIn,
    /// Every receiver gets every message
    FanOut,
    /// The receivers share a subscription: each message goes to one of them
    Shared,
    /// As shared, from topic queues; without receivers, messages pile up there
    Queue,
    /// Several topics for each receiver, which it gets by one filter with a wildcard
    Wildcard,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneToOne => "one-to-one",
            Self::FanIn => "fan-in",
            Self::FanOut => "fan-out",
            Self::Shared => "shared",
            Self::Queue => "queue",
            Self::Wildcard => "wildcard",
        })
    }
}

/// A name that no pattern has.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("no pattern is named {name:?}; there are {}", all_names())]
pub struct UnknownPattern {
    name: String,
}

fn all_names() -> String {
    Pattern::value_variants().iter().map(Pattern::to_string).collect::<Vec<_>>().join(", ")
}

impl FromStr for Pattern {
    type Err = UnknownPattern;

    fn from_str(text: &str) -> Result<Self, UnknownPattern> {
        let find = |pattern: &&Self| pattern.to_string() == text;
        let pattern = Self::value_variants().iter().find(find).copied();
        pattern.ok_or_else(|| UnknownPattern { name: text.to_owned() })
    }
}

impl Pattern {
    /// How many topics there are, if it is not said.
    #[must_use]
    pub fn topics(self, receivers: u32) -> u32 {
        match self {
            Self::OneToOne => receivers.max(1),
            Self::Wildcard => receivers.max(1).saturating_mul(WILDCARD_TOPICS),
            Self::FanIn | Self::FanOut | Self::Shared | Self::Queue => 1,
        }
    }

    /// The number of messages that all receivers together get when `messages` are sent.
    #[must_use]
    pub fn expected(self, receivers: u32, messages: u64) -> u64 {
        match self {
            _ if receivers == 0 => 0,
            Self::FanOut => messages.saturating_mul(receivers.into()),
            Self::OneToOne | Self::FanIn | Self::Shared | Self::Queue | Self::Wildcard => messages,
        }
    }

    /// Whether any of the receivers may get a message, and just one of them is to.
    #[must_use]
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Shared | Self::Queue)
    }
}

/// Why numbers do not fit a pattern.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// There is nothing to send, or no topic to send it to.
    #[error("{senders} senders and {topics} topics: at least one of each is needed")]
    Nothing {
        /// Connections that send.
        senders: u32,
        /// Topics.
        topics: u32,
    },
    /// There are too many topics.
    #[error("{0} topics: at most {TOPICS_MAX} are possible")]
    Topics(u32),
    /// The header has no room for the number of a sender.
    #[error("{0} senders: at most {SENDERS_MAX} can be told apart")]
    Senders(u32),
    /// The header has no room for the number of a message.
    #[error("{0} messages: at most {MESSAGES_MAX} can be told apart")]
    Messages(u64),
    /// The table of a shared subscription would be too large.
    #[error("{messages} messages: the pattern {pattern} takes at most {SHARED_MESSAGES_MAX}")]
    SharedMessages {
        /// Messages of all senders.
        messages: u64,
        /// The pattern.
        pattern: Pattern,
    },
    /// The tables of receivers would be too large.
    #[error(
        "{senders} senders, {topics} topics and {receivers} receivers make {flows} flows of messages; at most {FLOWS_MAX} can be checked"
    )]
    Flows {
        /// Connections that send.
        senders: u32,
        /// Topics.
        topics: u32,
        /// Connections that receive.
        receivers: u32,
        /// Flows of messages.
        flows: u128,
    },
    /// There is not one topic for each receiver.
    #[error("one-to-one has a topic for each receiver: {topics} topics do not fit {receivers} receivers")]
    OneToOne {
        /// Topics.
        topics: u32,
        /// Connections that receive.
        receivers: u32,
    },
    /// There is more than one topic, or not one receiver.
    #[error("fan-in has one topic and one receiver, not {topics} and {receivers}")]
    FanIn {
        /// Topics.
        topics: u32,
        /// Connections that receive.
        receivers: u32,
    },
    /// The receivers would have different numbers of topics.
    #[error(
        "wildcard has as many topics for one receiver as for the other: {topics} topics cannot be shared out to {receivers} receivers"
    )]
    Wildcard {
        /// Topics.
        topics: u32,
        /// Connections that receive.
        receivers: u32,
    },
}

/// A pattern with its numbers, which fit each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The pattern.
    pub pattern: Pattern,
    /// Connections that receive.
    pub receivers: u32,
    /// The distribution of messages over topics.
    pub spread: Spread,
}

impl Layout {
    /// A layout with the given number of topics, or the pattern's default.
    ///
    /// # Errors
    /// If the numbers do not go together.
    pub fn new(
        pattern: Pattern,
        senders: u32,
        receivers: u32,
        topics: Option<u32>,
        messages: u64,
    ) -> Result<Self, LayoutError> {
        let topics = topics.unwrap_or_else(|| pattern.topics(receivers));
        let layout = Self { pattern, receivers, spread: Spread { senders, topics, messages } };
        layout.check_numbers()?;
        layout.check_pattern()?;
        Ok(layout)
    }

    fn check_numbers(&self) -> Result<(), LayoutError> {
        let Spread { senders, topics, messages } = self.spread;
        if senders == 0 || topics == 0 {
            return Err(LayoutError::Nothing { senders, topics });
        }
        if topics > TOPICS_MAX {
            return Err(LayoutError::Topics(topics));
        }
        if senders > SENDERS_MAX {
            return Err(LayoutError::Senders(senders));
        }
        if messages > MESSAGES_MAX {
            return Err(LayoutError::Messages(messages));
        }
        if self.pattern.is_shared() && self.receivers > 0 && messages > SHARED_MESSAGES_MAX {
            let pattern = self.pattern;
            return Err(LayoutError::SharedMessages { messages, pattern });
        }
        let flows = [senders, self.receivers, self.topics_of_each()].map(u128::from).iter().product::<u128>();
        if flows > FLOWS_MAX.into() {
            return Err(LayoutError::Flows { senders, topics, receivers: self.receivers, flows });
        }
        Ok(())
    }

    fn check_pattern(&self) -> Result<(), LayoutError> {
        let (topics, receivers) = (self.spread.topics, self.receivers);
        match self.pattern {
            Pattern::OneToOne if receivers > 0 && topics != receivers => {
                Err(LayoutError::OneToOne { topics, receivers })
            }
            Pattern::FanIn if receivers != 1 || topics != 1 => Err(LayoutError::FanIn { topics, receivers }),
            Pattern::Wildcard if !topics.is_multiple_of(receivers.max(1)) => {
                Err(LayoutError::Wildcard { topics, receivers })
            }
            _ => Ok(()),
        }
    }

    /// How many topics a receiver gets messages from.
    #[must_use]
    pub fn topics_of_each(&self) -> u32 {
        let topics = self.spread.topics;
        match self.pattern {
            Pattern::OneToOne => 1,
            Pattern::Wildcard => topics / self.receivers.max(1),
            Pattern::FanIn | Pattern::FanOut | Pattern::Shared | Pattern::Queue => topics,
        }
    }

    /// The topics that a receiver gets messages from.
    #[must_use]
    pub fn topics_of(&self, receiver: u32) -> Range<u32> {
        let each = self.topics_of_each();
        match self.pattern {
            Pattern::OneToOne | Pattern::Wildcard => receiver * each..(receiver + 1) * each,
            Pattern::FanIn | Pattern::FanOut | Pattern::Shared | Pattern::Queue => 0..each,
        }
    }

    /// How many messages all receivers together are to get.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.pattern.expected(self.receivers, self.spread.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for pattern in Pattern::value_variants() {
            let name = pattern.to_string();
            assert_eq!(name.parse(), Ok(*pattern));
            assert_eq!(pattern.to_possible_value().unwrap().get_name(), name);
            assert_eq!(serde_json::to_string(pattern).unwrap(), format!("{name:?}"));
        }
        let error = "fanout".parse::<Pattern>().unwrap_err().to_string();
        assert!(error.contains("one-to-one, fan-in"), "{error}");
    }

    /// A layout of 3 senders and 600 messages.
    fn layout(pattern: Pattern, receivers: u32, topics: Option<u32>) -> Result<Layout, LayoutError> {
        Layout::new(pattern, 3, receivers, topics, 600)
    }

    #[test]
    fn every_message_is_expected_by_whom_the_pattern_says() {
        for (pattern, receivers, topics, each) in [
            (Pattern::OneToOne, 5, None, 1),
            (Pattern::FanIn, 1, None, 1),
            (Pattern::FanOut, 4, None, 4),
            (Pattern::FanOut, 2, Some(6), 2),
            (Pattern::Shared, 4, Some(3), 4),
            (Pattern::Queue, 4, Some(10), 4),
            (Pattern::Wildcard, 4, None, 1),
            (Pattern::Wildcard, 4, Some(8), 1),
        ] {
            let layout = layout(pattern, receivers, topics).unwrap();
            for topic in 0..layout.spread.topics {
                let subscribed = (0..receivers).filter(|receiver| layout.topics_of(*receiver).contains(&topic)).count();
                assert_eq!(subscribed, each, "{layout:?}");
            }
            let copies = if pattern.is_shared() { 1 } else { each as u64 };
            assert_eq!(layout.expected(), 600 * copies, "{layout:?}");
        }
        assert_eq!(layout(Pattern::Wildcard, 4, None).unwrap().spread.topics, 40);
    }

    #[test]
    fn without_receivers_nothing_is_expected() {
        for (pattern, topics) in [
            (Pattern::OneToOne, Some(7)),
            (Pattern::Queue, Some(10)),
            (Pattern::Wildcard, None),
            (Pattern::FanOut, None),
        ] {
            assert_eq!(layout(pattern, 0, topics).unwrap().expected(), 0);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_in_one_line() {
        let many = |pattern, senders, receivers, messages| Layout::new(pattern, senders, receivers, None, messages);
        for (refused, word) in [
            (layout(Pattern::OneToOne, 3, Some(5)), "topic for each receiver"),
            (layout(Pattern::FanIn, 2, None), "fan-in"),
            (layout(Pattern::FanIn, 0, None), "fan-in"),
            (layout(Pattern::FanIn, 1, Some(2)), "fan-in"),
            (layout(Pattern::Wildcard, 3, Some(10)), "wildcard"),
            (layout(Pattern::Shared, 3, Some(0)), "at least one"),
            (layout(Pattern::OneToOne, 0, Some(TOPICS_MAX + 1)), "at most 1000000"),
            (many(Pattern::OneToOne, 0, 1, 1), "at least one"),
            (many(Pattern::OneToOne, SENDERS_MAX + 1, 1, 1), "told apart"),
            (many(Pattern::OneToOne, 1, 1, MESSAGES_MAX + 1), "told apart"),
            (many(Pattern::Queue, 1, 1, SHARED_MESSAGES_MAX + 1), "at most"),
            (many(Pattern::OneToOne, 10_000, 10_000, 1), "flows"),
        ] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
        assert!(many(Pattern::Queue, 1, 0, SHARED_MESSAGES_MAX + 1).is_ok(), "nobody receives them");
    }
}

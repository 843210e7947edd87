//! The operator's settings of a topic queue.

use std::fmt;
use std::ops::RangeInclusive;

use wisp_wire::{TopicFilter, TopicName};

use crate::base::limits::{LimitOutOfRange, Limits};

/// What happens to new messages when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FullPolicy {
    /// They are not accepted: at QoS 1 and 2 a sender of MQTT 5 gets 0x97, Quota exceeded; any other is held back.
    #[default]
    Refuse,
    /// The oldest message is dropped for each new one.
    DropOldest,
    /// The new message is dropped.
    DropNewest,
}

/// The settings of one topic queue. [`QueueSettings::new`] gives the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueSettings {
    /// Its name, without `$queue/`.
    pub name: Box<str>,
    /// Messages published to topics that match are also put into the queue.
    pub filter: Option<Box<str>>,
    /// Most messages in it, on loan to receivers or not.
    pub messages_max: usize,
    /// Most bytes in it.
    pub bytes_max: usize,
    /// The policy when it is full.
    pub policy: FullPolicy,
    /// A message becomes a dead letter after this many deliveries without acknowledgement.
    pub deliveries_max: Option<u16>,
    /// The queue for dead letters, without `$queue/`. Without it they are dropped.
    pub dead_letter: Option<Box<str>>,
    /// It was created by configuration, and stays when it is empty and idle.
    pub(crate) is_configured: bool,
}

/// Settings of a topic queue that are not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "Display says it in a sentence each")]
pub enum InvalidQueue {
    Name(Box<str>),
    Filter(Box<str>),
    DeadLetter(Box<str>),
    Twice(Box<str>),
    Limit(Box<str>, LimitOutOfRange),
}

impl fmt::Display for InvalidQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} is no name for a queue: it has to be a legal topic name"),
            Self::Filter(filter) => {
                write!(
                    f,
                    "{filter:?} is no filter for a queue: it has to be a legal topic filter that is not itself of a queue or shared"
                )
            }
            Self::DeadLetter(name) => {
                write!(f, "{name:?} is no queue for dead letters: it has to be a legal topic name, and another queue")
            }
            Self::Twice(name) => write!(f, "the queue {name:?} is configured twice"),
            Self::Limit(name, error) => write!(f, "the queue {name:?}: {error}"),
        }
    }
}

impl std::error::Error for InvalidQueue {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Limit(_, error) => Some(error),
            _ => None,
        }
    }
}

impl QueueSettings {
    /// The range of [`QueueSettings::messages_max`].
    pub const MESSAGES_MAX: RangeInclusive<u64> = 1..=1 << 30;
    /// The range of [`QueueSettings::bytes_max`].
    pub const BYTES_MAX: RangeInclusive<u64> = 1024..=1 << 40;
    /// The range of [`QueueSettings::deliveries_max`].
    pub const DELIVERIES_MAX: RangeInclusive<u64> = 1..=u16::MAX as u64;

    /// The settings of a configured queue, with the limits' defaults.
    pub fn new(name: &str, limits: &Limits) -> Self {
        Self { name: name.into(), is_configured: true, ..Self::unconfigured(limits) }
    }

    /// The settings of queues that were created by use, and of groups.
    pub(crate) fn unconfigured(limits: &Limits) -> Self {
        Self {
            name: "".into(),
            filter: None,
            messages_max: limits.queue_messages_max,
            bytes_max: limits.queue_bytes_max,
            policy: FullPolicy::Refuse,
            deliveries_max: None,
            dead_letter: None,
            is_configured: false,
        }
    }

    /// Checks name, filter, dead-letter queue and limits.
    ///
    /// # Errors
    /// The first that is not possible.
    pub fn check(&self) -> Result<(), InvalidQueue> {
        // Clients name it with the prefix.
        let is_legal = |name: &str| TopicName::new(name).is_ok() && TopicName::new(&format!("$queue/{name}")).is_ok();
        if !is_legal(&self.name) {
            return Err(InvalidQueue::Name(self.name.clone()));
        }
        if let Some(filter) = &self.filter {
            let special = filter.starts_with("$share/") || filter.starts_with("$queue/");
            if special || TopicFilter::new(filter).is_err() {
                return Err(InvalidQueue::Filter(filter.clone()));
            }
        }
        if let Some(name) = self.dead_letter.as_ref().filter(|name| !is_legal(name) || **name == self.name) {
            return Err(InvalidQueue::DeadLetter(name.clone()));
        }
        let limits = [
            ("messages-max", self.messages_max as u64, Self::MESSAGES_MAX),
            ("bytes-max", self.bytes_max as u64, Self::BYTES_MAX),
            ("deliveries-max", self.deliveries_max.map_or(1, u64::from), Self::DELIVERIES_MAX),
        ];
        let invalid = limits.into_iter().find(|(_, value, range)| !range.contains(value));
        invalid.map_or(Ok(()), |(limit, value, range)| {
            let error = LimitOutOfRange { limit, value, min: *range.start(), max: *range.end() };
            Err(InvalidQueue::Limit(self.name.clone(), error))
        })
    }
}

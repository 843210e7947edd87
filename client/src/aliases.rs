//! Topic aliases of MQTT 5: numbers that replace topics. Each direction of a connection has its own.

use std::collections::HashMap;
use std::num::NonZeroU16;

/// The aliases that the broker assigns.
#[derive(Debug)]
pub(crate) struct ReceivedAliases {
    max: u16,
    topics: HashMap<NonZeroU16, String>,
}

impl ReceivedAliases {
    /// For a broker that may assign up to `max` aliases.
    pub(crate) fn new(max: u16) -> Self {
        Self { max, topics: HashMap::new() }
    }

    /// The topic of a message that carries a topic, an alias, or both; both assign the alias anew. An error is the rule
    /// that the message violates.
    pub(crate) fn resolve(&mut self, topic: Option<String>, alias: Option<NonZeroU16>) -> Result<String, &'static str> {
        let Some(alias) = alias else {
            return topic.ok_or("it sent a message without a topic");
        };
        if alias.get() > self.max {
            return Err("it used a topic alias above what CONNECT allowed [MQTT-3.1.2-26]");
        }
        match topic {
            Some(topic) => {
                self.topics.insert(alias, topic.clone());
                Ok(topic)
            }
            None => self.topics.get(&alias).cloned().ok_or("it used a topic alias that it has not assigned"),
        }
    }
}

/// The aliases that this client assigns, to the first topics that it publishes to.
#[derive(Debug)]
pub(crate) struct SentAliases {
    max: u16,
    aliases: HashMap<String, NonZeroU16>,
}

/// How a topic is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Alias {
    /// In full.
    None,
    /// In full, with an alias that replaces it from now on.
    New(NonZeroU16),
    /// By its alias alone.
    Known(NonZeroU16),
}

impl SentAliases {
    /// For a broker that allows up to `max` aliases.
    pub(crate) fn new(max: u16) -> Self {
        Self { max, aliases: HashMap::new() }
    }

    pub(crate) fn of(&self, topic: &str) -> Alias {
        if let Some(alias) = self.aliases.get(topic) {
            return Alias::Known(*alias);
        }
        let next = u16::try_from(self.aliases.len() + 1).ok().filter(|next| *next <= self.max);
        next.and_then(NonZeroU16::new).map_or(Alias::None, Alias::New)
    }

    /// A packet with a new alias was queued.
    pub(crate) fn assigned(&mut self, topic: &str, alias: NonZeroU16) {
        self.aliases.insert(topic.to_owned(), alias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(number: u16) -> Option<NonZeroU16> {
        NonZeroU16::new(number)
    }

    #[test]
    fn a_later_assignment_replaces_an_earlier_one() {
        let mut aliases = ReceivedAliases::new(2);
        let topic = |name: &str| Some(name.to_owned());
        assert_eq!(aliases.resolve(topic("a"), None).as_deref(), Ok("a"));
        assert!(aliases.resolve(None, None).is_err() && aliases.resolve(None, alias(1)).is_err());
        assert_eq!(aliases.resolve(topic("a"), alias(1)).as_deref(), Ok("a"));
        assert_eq!(aliases.resolve(topic("b"), alias(2)).as_deref(), Ok("b"));
        assert_eq!(aliases.resolve(None, alias(1)).as_deref(), Ok("a"));
        assert_eq!(aliases.resolve(topic("c"), alias(1)).as_deref(), Ok("c"));
        assert_eq!(aliases.resolve(None, alias(1)).as_deref(), Ok("c"));
        assert_eq!(aliases.resolve(None, alias(2)).as_deref(), Ok("b"));
        assert!(aliases.resolve(topic("d"), alias(3)).is_err());
    }

    #[test]
    fn no_more_aliases_are_assigned_than_the_broker_allows() {
        let mut aliases = SentAliases::new(2);
        for (topic, number) in [("a", 1), ("b", 2)] {
            assert_eq!(aliases.of(topic), Alias::New(alias(number).unwrap()));
            aliases.assigned(topic, alias(number).unwrap());
            assert_eq!(aliases.of(topic), Alias::Known(alias(number).unwrap()));
        }
        assert_eq!(aliases.of("c"), Alias::None);
        assert_eq!(SentAliases::new(0).of("a"), Alias::None);
    }
}

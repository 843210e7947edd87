//! The topic queues of the file, `[[queue]]`. They have no flags and no variables, since each has several settings.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::RangeInclusive;

use wisp_broker::{FullPolicy, InvalidQueue, Limits, QueueSettings};

use crate::settings::toml_text;

/// The entry of the file for one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueEntry {
    pub(crate) line: usize,
    pub(crate) name: String,
    /// In their order; `name` is one of them.
    pub(crate) given: Vec<Given>,
}

/// A key of a queue with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The position of the key in [`KEYS`].
    pub(crate) index: usize,
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// A setting of a queue.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: KeyKind,
    /// As TOML; None if it is not set.
    get: fn(&QueueSettings) -> Option<String>,
    set: fn(&mut QueueSettings, &str),
}

pub(crate) enum KeyKind {
    Text,
    Word(&'static [&'static str]),
    Number(RangeInclusive<u64>),
}

const POLICIES: [(&str, FullPolicy); 3] =
    [("refuse", FullPolicy::Refuse), ("drop-oldest", FullPolicy::DropOldest), ("drop-newest", FullPolicy::DropNewest)];

/// All settings of a queue, in the order in which they are shown.
pub(crate) static KEYS: [Key; 7] = [
    Key {
        name: "name",
        kind: KeyKind::Text,
        get: |queue| Some(toml_text(&queue.name)),
        set: |queue, text| queue.name = text.into(),
    },
    Key {
        name: "filter",
        kind: KeyKind::Text,
        get: |queue| queue.filter.as_deref().map(toml_text),
        set: |queue, text| queue.filter = Some(text.into()),
    },
    Key {
        name: "messages-max",
        kind: KeyKind::Number(QueueSettings::MESSAGES_MAX),
        get: |queue| Some(queue.messages_max.to_string()),
        set: |queue, text| queue.messages_max = text.parse().unwrap_or(usize::MAX),
    },
    Key {
        name: "bytes-max",
        kind: KeyKind::Number(QueueSettings::BYTES_MAX),
        get: |queue| Some(queue.bytes_max.to_string()),
        // The range is larger than the word of 32-bit hosts.
        set: |queue, text| queue.bytes_max = text.parse().unwrap_or(usize::MAX),
    },
    Key {
        name: "policy",
        kind: KeyKind::Word(&["refuse", "drop-oldest", "drop-newest"]),
        get: |queue| POLICIES.iter().find(|(_, policy)| *policy == queue.policy).map(|(word, _)| toml_text(word)),
        set: |queue, text| {
            queue.policy = POLICIES.iter().find(|(word, _)| *word == text).map_or(queue.policy, |(_, policy)| *policy);
        },
    },
    Key {
        name: "deliveries-max",
        kind: KeyKind::Number(QueueSettings::DELIVERIES_MAX),
        get: |queue| queue.deliveries_max.map(|count| count.to_string()),
        set: |queue, text| queue.deliveries_max = text.parse().ok(),
    },
    Key {
        name: "dead-letter",
        kind: KeyKind::Text,
        get: |queue| queue.dead_letter.as_deref().map(toml_text),
        set: |queue, text| queue.dead_letter = Some(text.into()),
    },
];

impl Key {
    fn check(&self, value: &str) -> Result<(), String> {
        match &self.kind {
            KeyKind::Text => Ok(()),
            KeyKind::Word(words) if words.contains(&value) => Ok(()),
            KeyKind::Word(words) => Err(format!("not one of {}", words.join(", "))),
            KeyKind::Number(range) => match value.parse() {
                Ok(number) if range.contains(&number) => Ok(()),
                _ => Err(format!("not a number from {} to {}", range.start(), range.end())),
            },
        }
    }
}

impl QueueEntry {
    fn line_of(&self, key: &str) -> usize {
        self.given.iter().find(|given| KEYS[given.index].name == key).map_or(self.line, |given| given.line)
    }

    /// The settings; the limits are the defaults. The error has its line.
    fn resolve(&self, limits: &Limits) -> Result<QueueSettings, (usize, String)> {
        let mut settings = QueueSettings::new(&self.name, limits);
        for Given { index, value, line } in &self.given {
            let key = &KEYS[*index];
            key.check(value).map_err(|error| (*line, format!("{} = {}: {error}", key.name, value.escape_debug())))?;
            (key.set)(&mut settings, value);
        }
        settings.check().map_err(|invalid| self.locate(&invalid))?;
        Ok(settings)
    }

    fn locate(&self, invalid: &InvalidQueue) -> (usize, String) {
        let key = match invalid {
            InvalidQueue::Filter(_) => "filter",
            InvalidQueue::DeadLetter(_) => "dead-letter",
            InvalidQueue::Limit(_, error) => error.limit,
            _ => "name",
        };
        (self.line_of(key), invalid.to_string())
    }

    /// The queue as a table of a file, each value with its origin.
    pub(crate) fn show(&self, settings: &QueueSettings) -> String {
        let mut text = format!("\n[[queue]] # file, line {}\n", self.line);
        for (index, key) in KEYS.iter().enumerate() {
            let Some(value) = (key.get)(settings) else { continue };
            let origin = match self.given.iter().find(|given| given.index == index) {
                Some(given) => format!("file, line {}", given.line),
                None => "default".to_owned(),
            };
            writeln!(text, "{} = {value} # {origin}", key.name).expect("a string takes all that is written");
        }
        text
    }
}

/// The settings of all queues. The error has its line.
pub(crate) fn resolve(entries: &[QueueEntry], limits: &Limits) -> Result<Vec<QueueSettings>, (usize, String)> {
    let mut names = BTreeSet::new();
    let unique = |entry: &QueueEntry| match names.insert(entry.name.clone()) {
        true => entry.resolve(limits),
        false => Err(entry.locate(&InvalidQueue::Twice(entry.name.as_str().into()))),
    };
    entries.iter().map(unique).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_each_range_are_kept_and_their_neighbours_refused() {
        for (index, key) in KEYS.iter().enumerate() {
            let KeyKind::Number(range) = &key.kind else { continue };
            let set = |number: u64| {
                let given = vec![Given { index, value: number.to_string(), line: 7 }];
                let entry = QueueEntry { line: 1, name: "q".to_owned(), given };
                entry.resolve(&Limits::DEFAULT).map(|settings| (key.get)(&settings))
            };
            for inside in [*range.start(), *range.end()] {
                assert_eq!(set(inside), Ok(Some(inside.to_string())), "{}", key.name);
            }
            for outside in [range.start() - 1, range.end() + 1] {
                let message = format!("not a number from {} to {}", range.start(), range.end());
                assert_eq!(set(outside), Err((7, format!("{} = {outside}: {message}", key.name))));
            }
        }
    }

    #[test]
    fn each_word_is_kept() {
        for (index, key) in KEYS.iter().enumerate() {
            let KeyKind::Word(words) = key.kind else { continue };
            for word in words {
                let given = vec![Given { index, value: (*word).to_owned(), line: 7 }];
                let settings = QueueEntry { line: 1, name: "q".to_owned(), given }.resolve(&Limits::DEFAULT).unwrap();
                assert_eq!((key.get)(&settings), Some(toml_text(word)));
            }
        }
    }
}

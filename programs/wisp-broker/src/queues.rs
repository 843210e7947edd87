//! The topic queues of the file, `[[queue]]`. They have no flags and no variables, since each has several settings.

use std::collections::BTreeSet;

use wisp_broker::{FullPolicy, InvalidQueue, Limits, QueueSettings};

use crate::tables::{Key, KeyKind, Located, Table, toml_text};

const POLICIES: [(&str, FullPolicy); 3] =
    [("refuse", FullPolicy::Refuse), ("drop-oldest", FullPolicy::DropOldest), ("drop-newest", FullPolicy::DropNewest)];

/// All settings of a queue, in the order in which they are shown.
pub(crate) static KEYS: [Key<QueueSettings>; 7] = [
    Key {
        name: "name",
        kind: KeyKind::Text,
        get: |queue| Some(toml_text(&queue.name)),
        set: |queue, values| {
            queue.name = values[0].as_str().into();
            Ok(())
        },
    },
    Key {
        name: "filter",
        kind: KeyKind::Text,
        get: |queue| queue.filter.as_deref().map(toml_text),
        set: |queue, values| {
            queue.filter = Some(values[0].as_str().into());
            Ok(())
        },
    },
    Key {
        name: "messages-max",
        kind: KeyKind::Number(QueueSettings::MESSAGES_MAX),
        get: |queue| Some(queue.messages_max.to_string()),
        set: |queue, values| {
            queue.messages_max = values[0].parse().unwrap_or(usize::MAX);
            Ok(())
        },
    },
    Key {
        name: "bytes-max",
        kind: KeyKind::Number(QueueSettings::BYTES_MAX),
        get: |queue| Some(queue.bytes_max.to_string()),
        set: |queue, values| {
            // The range is larger than the word of 32-bit hosts.
            queue.bytes_max = values[0].parse().unwrap_or(usize::MAX);
            Ok(())
        },
    },
    Key {
        name: "policy",
        kind: KeyKind::Word(&["refuse", "drop-oldest", "drop-newest"]),
        get: |queue| POLICIES.iter().find(|(_, policy)| *policy == queue.policy).map(|(word, _)| toml_text(word)),
        set: |queue, values| {
            let chosen = POLICIES.iter().find(|(word, _)| *word == values[0]);
            queue.policy = chosen.map_or(queue.policy, |(_, policy)| *policy);
            Ok(())
        },
    },
    Key {
        name: "deliveries-max",
        kind: KeyKind::Number(QueueSettings::DELIVERIES_MAX),
        get: |queue| queue.deliveries_max.map(|count| count.to_string()),
        set: |queue, values| {
            queue.deliveries_max = values[0].parse().ok();
            Ok(())
        },
    },
    Key {
        name: "dead-letter",
        kind: KeyKind::Text,
        get: |queue| queue.dead_letter.as_deref().map(toml_text),
        set: |queue, values| {
            queue.dead_letter = Some(values[0].as_str().into());
            Ok(())
        },
    },
];

fn locate(table: &Table, invalid: &InvalidQueue) -> Located {
    let key = match invalid {
        InvalidQueue::Filter(_) => "filter",
        InvalidQueue::DeadLetter(_) => "dead-letter",
        InvalidQueue::Limit(_, error) => error.limit,
        _ => "name",
    };
    (table.line_of(&KEYS, key), invalid.to_string())
}

/// The settings of one queue; the limits are the defaults.
fn resolve_one(table: &Table, limits: &Limits) -> Result<QueueSettings, Located> {
    let name = table.value(&KEYS, "name").ok_or_else(|| (table.line, "a queue without a name".to_owned()))?;
    let mut settings = QueueSettings::new(name, limits);
    table.apply(&KEYS, &mut settings)?;
    settings.check().map_err(|invalid| locate(table, &invalid))?;
    Ok(settings)
}

/// The settings of all queues.
pub(crate) fn resolve(tables: &[Table], limits: &Limits) -> Result<Vec<QueueSettings>, Located> {
    let mut names = BTreeSet::new();
    let unique = |table: &Table| {
        let settings = resolve_one(table, limits)?;
        if names.insert(settings.name.clone()) {
            return Ok(settings);
        }
        Err(locate(table, &InvalidQueue::Twice(settings.name)))
    };
    tables.iter().map(unique).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Given;

    fn name() -> Given {
        Given { index: 0, values: vec!["q".to_owned()], line: 2 }
    }

    #[test]
    fn both_ends_of_each_range_are_kept_and_their_neighbours_refused() {
        for (index, key) in KEYS.iter().enumerate() {
            let KeyKind::Number(range) = &key.kind else { continue };
            let set = |number: u64| {
                let given = vec![name(), Given { index, values: vec![number.to_string()], line: 7 }];
                resolve_one(&Table { line: 1, given }, &Limits::DEFAULT).map(|settings| (key.get)(&settings))
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
                let given = vec![name(), Given { index, values: vec![(*word).to_owned()], line: 7 }];
                let settings = resolve_one(&Table { line: 1, given }, &Limits::DEFAULT).unwrap();
                assert_eq!((key.get)(&settings), Some(toml_text(word)));
            }
        }
    }
}

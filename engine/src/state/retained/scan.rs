//! The search for the topics that match a filter among all topics, sorted by their bytes.
//!
//! A topic that does not match tells which topics behind it cannot match either. With the filter `+/b/+`, after
//! `x/a/1` the next topic that can match is not before `x/b`, and after `x/c/1` not before `x0`, since `0` is the
//! character behind `/`.

/// The relation of a topic to a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Matches,
    /// It does not match. The next topic may.
    Before,
    /// It does not match, and neither does any topic before this one.
    BeforeTopic(String),
    /// It does not match, and neither does any topic behind it.
    Behind,
}

/// The first topic that can match `filter`.
pub(super) fn first(filter: &str) -> &str {
    let literal = &filter[..filter.find(['+', '#']).unwrap_or(filter.len())];
    // `a/#` matches `a` as well.
    if filter.ends_with("/#") { literal.strip_suffix('/').unwrap_or(literal) } else { literal }
}

/// The relation of `topic` to `filter`, which is no shared subscription.
pub(super) fn place(filter: &str, topic: &str) -> Place {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        // [MQTT-4.7.2-1]
        return Place::BeforeTopic("%".to_owned());
    }
    let mut start = 0;
    let mut after_literal = false;
    for level in filter.split('/') {
        if level == "#" {
            return Place::Matches;
        }
        let Some(rest) = topic.get(start..) else {
            // After a `+` there may be topics like `a!/b` between `a` and `a/b`.
            return if after_literal { Place::BeforeTopic(format!("{topic}/")) } else { Place::Before };
        };
        let len = rest.find('/').unwrap_or(rest.len());
        after_literal = level != "+";
        if after_literal && &rest[..len] != level {
            return before_level(&topic[..start], rest, level);
        }
        start += len + 1;
    }
    if start > topic.len() { Place::Matches } else { behind_path(&topic[..start]) }
}

/// The relation of `path` and `rest`, a topic, to topics that have `level` in place of the first level of `rest`.
fn before_level(path: &str, rest: &str, level: &str) -> Place {
    match rest.strip_prefix(level) {
        // `a!` is between `a` and `a/`.
        Some(more) if more.as_bytes().first().is_some_and(|first| *first < b'/') => {
            Place::BeforeTopic(format!("{path}{level}/"))
        }
        None if rest < level => Place::BeforeTopic(format!("{path}{level}")),
        _ if path.is_empty() => Place::Behind,
        _ => behind_path(path),
    }
}

/// For a topic that begins with `path`, as does no topic that can match and is behind it. `path` ends with a slash.
fn behind_path(path: &str) -> Place {
    Place::BeforeTopic(format!("{}0", &path[..path.len() - 1]))
}

//! Access rules in the format of mosquitto's `acl_file`, read and applied as mosquitto 2.1 does.
//!
//! ```text
//! topic read news/#            for clients without a user name: everything before the first `user` line
//! user joe
//! topic readwrite joe/#        for joe; without a word for the access: readwrite
//! topic deny joe/secret        wins over joe's other lines
//! pattern write u/%u/%c        for all clients: %u is the user name, %c the client identifier, as whole levels
//! ```
//!
//! A client has the rights of its section and of all patterns. The section is looked at first: if it denies or allows the
//! topic, the patterns do not count. A topic that no line allows is denied.

mod tree;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use wisp_wire::{TopicFilter, TopicName};

use self::tree::{LEVELS_MAX, Names, RuleTree, Set};
use crate::file::{FileError, Note, lines, shown};

/// The rules of a file.
#[derive(Debug, Default)]
pub struct Rules {
    /// For clients without a user name.
    general: RuleTree,
    users: HashMap<Box<str>, RuleTree, RandomState>,
    patterns: RuleTree,
    notes: Vec<Note>,
    count: usize,
}

/// The use of a topic that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To be sent messages of the topic.
    Read,
    /// To publish to it.
    Write,
}

/// A client to which rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// Its user name, if it has one.
    pub user: Option<&'a str>,
    /// Its client identifier.
    pub id: &'a str,
}

/// The tree that lines go to.
enum Section {
    General,
    User(Box<str>),
}

impl Rules {
    /// Reads a file.
    ///
    /// # Errors
    /// The first line that mosquitto 2.1 refuses.
    pub fn parse(text: &[u8]) -> Result<Self, FileError> {
        let mut rules = Self::default();
        let mut section = Section::General;
        for (number, line) in lines(text) {
            let line = line?;
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let fault = |text: String| FileError::new(number, text);
            // Only blanks separate words, as in mosquitto.
            let (word, rest) =
                line.trim_start_matches(' ').split_once(' ').unwrap_or((line.trim_start_matches(' '), ""));
            let rest = rest.trim_ascii();
            match word {
                "user" if rest.is_empty() => return Err(fault("there is no name behind user".to_owned())),
                "user" => {
                    // A section without lines denies its user nothing that patterns allow.
                    section = Section::User(rest.into());
                }
                "topic" | "pattern" if rest.is_empty() => {
                    return Err(fault(format!("there is no topic behind {word}")));
                }
                "topic" => {
                    let (set, filter) = access(rest).map_err(fault)?;
                    let tree = match &section {
                        Section::General => &mut rules.general,
                        Section::User(name) => rules.users.entry(name.clone()).or_default(),
                    };
                    check(filter).map_err(fault)?;
                    tree.add(filter, set, false);
                    rules.count += 1;
                }
                "pattern" => {
                    let (set, filter) = access(rest).map_err(fault)?;
                    check(filter).map_err(fault)?;
                    rules.notes.extend(note_on_pattern(number, filter));
                    if !has_partial_name(filter) {
                        rules.patterns.add(filter, set, true);
                    }
                    rules.count += 1;
                }
                _ => return Err(fault(unknown_line(line, word))),
            }
        }
        Ok(rules)
    }

    /// The number of rules.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no rule: then everything is denied.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Lines that mosquitto 2.0 and 2.1 read differently, or that the operator may not mean.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Whether a client may use a topic.
    pub fn allow(&self, client: &Client<'_>, access: Access, topic: &str) -> bool {
        if access == Access::Write && !is_writable(topic) {
            return false;
        }
        let section = match client.user {
            None => Some(&self.general),
            Some(user) => self.users.get(user),
        };
        let wanted = match access {
            Access::Read => Set::READ,
            Access::Write => Set::WRITE,
        };
        let names = Names { user: client.user, id: client.id };
        let found = section.map_or(Set::NONE, |section| section.find(topic, &names));
        if found.has(Set::DENY) {
            return false;
        }
        // A name with a wildcard could stand for the names of others.
        let is_dangerous = |name: &str| name.contains(['+', '#']);
        if found.has(wanted) || client.user.is_some_and(is_dangerous) || is_dangerous(client.id) {
            return found.has(wanted);
        }
        let found = self.patterns.find(topic, &names);
        found.has(wanted) && !found.has(Set::DENY)
    }
}

/// Whether clients may publish to the topic at all. Topics of `$SYS` are the broker's, except the states of
/// bridges; `$share` begins no topic.
fn is_writable(topic: &str) -> bool {
    if !topic.starts_with("$SYS") {
        return !topic.starts_with("$share");
    }
    let state = TopicFilter::new("$SYS/broker/connection/+/state");
    state.is_ok_and(|state| TopicName::new(topic).is_ok_and(|topic| state.matches(topic)))
}

/// The access and the filter of a line. With one word alone it is the filter.
fn access(rest: &str) -> Result<(Set, &str), String> {
    let Some((word, filter)) = rest.split_once(' ') else { return Ok((Set::READ_WRITE, rest)) };
    let set = match word {
        "read" => Set::READ,
        "write" => Set::WRITE,
        "readwrite" => Set::READ_WRITE,
        "deny" => Set::DENY,
        _ => {
            let word = shown(word);
            return Err(format!("{word} is no access: write read, write, readwrite or deny in front of the topic"));
        }
    };
    Ok((set, filter.trim_ascii()))
}

fn check(filter: &str) -> Result<(), String> {
    let text = shown(filter);
    // Not by the type for filters: it refuses a wrong $share/, which is a topic like any other here.
    let levels = filter.split('/').count();
    if levels > LEVELS_MAX {
        return Err(format!("the topic {text} has {levels} levels: at most {LEVELS_MAX} are possible"));
    }
    let mut behind = filter.split('/').peekable();
    while let Some(level) = behind.next() {
        let is_wrong =
            level.contains('+') && level != "+" || level.contains('#') && (level != "#" || behind.peek().is_some());
        if is_wrong {
            let hint = if filter.contains(" #") { "; a comment needs a line of its own" } else { "" };
            return Err(format!("the topic {text} has + or # in a wrong place{hint}"));
        }
    }
    if filter.contains('\0') || filter.len() > usize::from(u16::MAX) {
        return Err(format!("the topic {text} has U+0000 or more than 65535 bytes"));
    }
    Ok(())
}

/// Whether `%u` or `%c` is a part of a level only.
fn has_partial_name(filter: &str) -> bool {
    let is_partial = |level: &str| !matches!(level, "%u" | "%c") && (level.contains("%u") || level.contains("%c"));
    filter.split('/').any(is_partial)
}

fn note_on_pattern(line: usize, filter: &str) -> Option<Note> {
    let text = if has_partial_name(filter) {
        "matches nothing, as in mosquitto 2.1, since %u or %c is only a part of a level; mosquitto 2.0 replaces it"
    } else if !filter.contains("%u") && !filter.contains("%c") {
        "has neither %u nor %c, and so applies to all clients alike"
    } else {
        return None;
    };
    Some(Note { line, text: format!("the pattern {} {text}", shown(filter)) })
}

fn unknown_line(line: &str, word: &str) -> String {
    let hint = if line.starts_with('\u{feff}') {
        "the file begins with a byte order mark: remove it"
    } else if word.contains('\t') {
        "words are separated by blanks, not tabs"
    } else if word.starts_with('#') {
        "a comment begins in the first column"
    } else {
        "a line begins with topic, pattern, user or #"
    };
    format!("{} is no rule: {hint}", shown(line))
}

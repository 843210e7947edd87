//! Tables that a file may have several of, `[[queue]]` and `[[listener]]`: their keys, each defined once. Reading a file,
//! its errors, and the output of `--print-config` all come from these.

use std::fmt::Write;
use std::ops::RangeInclusive;

use wisp_broker::LIMITS;

/// A key of a table, for settings of type `T`.
pub(crate) struct Key<T> {
    /// With a dot if it is in a table within the table.
    pub(crate) name: &'static str,
    pub(crate) kind: KeyKind,
    /// As TOML; None if it is not set.
    pub(crate) get: fn(&T) -> Option<String>,
    /// Stores checked values: one, unless the key is a list.
    pub(crate) set: fn(&mut T, &[String]) -> Result<(), String>,
}

/// The legal values of a key.
pub(crate) enum KeyKind {
    Text,
    /// A text, or an array of them.
    Texts,
    Word(&'static [&'static str]),
    Number(RangeInclusive<u64>),
    /// A number in the range of the limit of this name.
    Limit(&'static str),
    Truth,
    /// A text, or a whole number for a port.
    Address,
}

/// One table of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) line: usize,
    /// In their order.
    pub(crate) given: Vec<Given>,
}

/// A key with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The position of the key among the keys of its table.
    pub(crate) index: usize,
    pub(crate) values: Vec<String>,
    pub(crate) line: usize,
}

/// An error with its line.
pub(crate) type Located = (usize, String);

impl<T> Key<T> {
    fn check(&self, value: &str) -> Result<(), String> {
        match &self.kind {
            KeyKind::Text | KeyKind::Texts | KeyKind::Truth | KeyKind::Address => Ok(()),
            KeyKind::Word(words) if words.contains(&value) => Ok(()),
            KeyKind::Word(words) => Err(format!("not one of {}", words.join(", "))),
            KeyKind::Number(range) => check_number(range, value),
            KeyKind::Limit(name) => match LIMITS.iter().find(|limit| limit.name == *name) {
                Some(limit) => check_number(&limit.range, value),
                None => Err(format!("there is no limit {name}")),
            },
        }
    }
}

fn check_number(range: &RangeInclusive<u64>, value: &str) -> Result<(), String> {
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(()),
        _ => Err(format!("not a number from {} to {}", range.start(), range.end())),
    }
}

impl Table {
    /// The line of a key, or of the table without it.
    pub(crate) fn line_of<T>(&self, keys: &[Key<T>], name: &str) -> usize {
        self.given.iter().find(|given| keys[given.index].name == name).map_or(self.line, |given| given.line)
    }

    /// The first value of a key.
    pub(crate) fn value<T>(&self, keys: &[Key<T>], name: &str) -> Option<&str> {
        let given = self.given.iter().find(|given| keys[given.index].name == name)?;
        given.values.first().map(String::as_str)
    }

    /// Checks the values and stores them.
    pub(crate) fn apply<T>(&self, keys: &[Key<T>], settings: &mut T) -> Result<(), Located> {
        for Given { index, values, line } in &self.given {
            let key = &keys[*index];
            let checked = values.iter().try_for_each(|value| key.check(value));
            checked.and_then(|()| (key.set)(settings, values)).map_err(|error| {
                let shown = values.join(", ");
                let shown = if values.len() == 1 { shown } else { format!("[{shown}]") };
                (*line, format!("{} = {}: {error}", key.name, shown.escape_debug()))
            })?;
        }
        Ok(())
    }

    /// The table as TOML, each value with its origin.
    pub(crate) fn show<T>(&self, name: &str, keys: &[Key<T>], settings: &T) -> String {
        let mut text = format!("\n[[{name}]] # file, line {}\n", self.line);
        for (index, key) in keys.iter().enumerate() {
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

/// A text as a TOML string.
pub(crate) fn toml_text(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            // TOML forbids control characters in a string, U+007F included.
            _ if char.is_control() => quoted.push_str(&format!("\\u{:04X}", char as u32)),
            _ => quoted.push(char),
        }
    }
    quoted + "\""
}

/// Texts as a TOML array.
pub(crate) fn toml_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(toml_text).collect();
    format!("[{}]", texts.join(", "))
}

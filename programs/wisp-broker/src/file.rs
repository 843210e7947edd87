//! The configuration file: TOML in, values with their lines out. An error names its line.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use crate::queues::{Given, KEYS, KeyKind, QueueEntry};
use crate::settings::{Kind, SETTINGS, Section, Setting, WORKERS_AUTO};

/// Far more than all settings need. The limit ends the reading of an endless device.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The entry of a file for one setting.
pub(crate) struct Entry {
    /// The position of the setting in [`SETTINGS`].
    pub(crate) index: usize,
    pub(crate) values: Vec<String>,
    pub(crate) line: usize,
}

/// All entries of a file, in its order.
pub(crate) struct Contents {
    pub(crate) entries: Vec<Entry>,
    pub(crate) queues: Vec<QueueEntry>,
}

/// The text of a file, and its name in errors.
pub(crate) struct ConfigFile {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// An error, and its position in the text.
struct Fault {
    at: usize,
    what: String,
}

type Entries<'a, 'i> = Vec<(&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>)>;

impl ConfigFile {
    /// Reads the file; `-` is standard input.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let standard_input = path.as_os_str() == "-";
        let name = if standard_input { "standard input".to_owned() } else { path.display().to_string() };
        let bytes = if standard_input { read_all(io::stdin()) } else { File::open(path).and_then(read_all) };
        let bytes = bytes.map_err(|error| format!("cannot read {name}: {error}"))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("{name} is longer than {FILE_BYTES_MAX} bytes"));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = line_of(error.as_bytes(), error.utf8_error().valid_up_to());
            format!("{name}:{line}: not UTF-8")
        })?;
        Ok(Self { name, text })
    }

    /// All entries, in the order of the file.
    pub(crate) fn contents(&self) -> Result<Contents, String> {
        self.parse().map_err(|fault| self.locate(self.line_of(fault.at), &fault.what))
    }

    fn line_of(&self, at: usize) -> usize {
        line_of(self.text.as_bytes(), at)
    }

    /// An error message about a line.
    pub(crate) fn locate(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.name)
    }

    fn parse(&self) -> Result<Contents, Fault> {
        let document = DeTable::parse(&self.text).map_err(|error| Fault {
            at: error.span().map_or(0, |span| span.start),
            what: error.message().split_whitespace().collect::<Vec<_>>().join(" "),
        })?;
        let mut found = Contents { entries: Vec::new(), queues: Vec::new() };
        for (key, value) in in_order(document.get_ref()) {
            match value.get_ref() {
                DeValue::Table(table) if key.get_ref() == "limits" => {
                    for (key, value) in in_order(table) {
                        found.entries.push(self.entry(Section::Limits, key.get_ref(), &key.span(), value)?);
                    }
                }
                _ if key.get_ref() == "limits" => return Err(expected("a table, [limits]", key.span().start, value)),
                DeValue::Array(tables) if key.get_ref() == "queue" => {
                    for table in tables {
                        found.queues.push(self.queue(table)?);
                    }
                }
                _ if key.get_ref() == "queue" => return Err(expected("tables, [[queue]]", key.span().start, value)),
                _ => found.entries.push(self.entry(Section::Top, key.get_ref(), &key.span(), value)?),
            }
        }
        Ok(found)
    }

    fn entry(
        &self,
        section: Section,
        key: &str,
        span: &Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Entry, Fault> {
        let at = span.start;
        let Some(index) = SETTINGS.iter().position(|setting| setting.name == key && setting.section == section) else {
            return Err(Fault { at, what: unknown(key) });
        };
        let values = values(&SETTINGS[index], value)
            .map_err(|fault| Fault { at: fault.at, what: format!("{key}: {}", fault.what) })?;
        Ok(Entry { index, values, line: self.line_of(at) })
    }

    fn queue(&self, value: &Spanned<DeValue<'_>>) -> Result<QueueEntry, Fault> {
        let at = value.span().start;
        let DeValue::Table(table) = value.get_ref() else { return Err(expected("tables, [[queue]]", at, value)) };
        let mut given = Vec::new();
        for (key, value) in in_order(table) {
            let (at, name) = (key.span().start, key.get_ref());
            let Some(index) = KEYS.iter().position(|known| known.name == *name) else {
                return Err(Fault { at, what: unknown_of_queue(name) });
            };
            let value = queue_value(&KEYS[index].kind, value)
                .map_err(|fault| Fault { at: fault.at, what: format!("{name}: {}", fault.what) })?;
            given.push(Given { index, value, line: self.line_of(at) });
        }
        let name = given.iter().find(|given| KEYS[given.index].name == "name").map(|given| given.value.clone());
        let name = name.ok_or_else(|| Fault { at, what: "a queue without a name".to_owned() })?;
        Ok(QueueEntry { line: self.line_of(at), name, given })
    }
}

fn read_all(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The entries of a table in the order of the file, so that the reported error is the first.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Entries<'a, 'i> {
    let mut entries: Entries<'a, 'i> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// The error for an unknown key. If another table has such a key, it says so.
fn unknown(key: &str) -> String {
    // A quoted key may contain any character, and the message is one line.
    let shown = key.escape_debug();
    match SETTINGS.iter().find(|setting| setting.name == key.replace('_', "-")) {
        Some(Setting { name, section: Section::Limits, .. }) => {
            format!("unknown key {shown}: did you mean {name} in the table [limits]?")
        }
        Some(Setting { name, section: Section::Top, .. }) => {
            format!("unknown key {shown}: did you mean {name}, above all tables?")
        }
        None => format!("unknown key {shown}"),
    }
}

/// The error for a key that queues do not have.
fn unknown_of_queue(key: &str) -> String {
    let shown = key.escape_debug();
    match KEYS.iter().find(|known| known.name == key.replace('_', "-")) {
        Some(known) => format!("unknown key {shown}: did you mean {}?", known.name),
        None => format!("unknown key {shown} of a queue"),
    }
}

fn queue_value(kind: &KeyKind, value: &Spanned<DeValue<'_>>) -> Result<String, Fault> {
    match (kind, value.get_ref()) {
        (KeyKind::Text | KeyKind::Word(_), DeValue::String(text)) => Ok(text.to_string()),
        (KeyKind::Number(_), DeValue::Integer(number)) => Ok(decimal(number)),
        (KeyKind::Text | KeyKind::Word(_), _) => Err(expected("a string", value.span().start, value)),
        (KeyKind::Number(_), _) => Err(expected("a whole number", value.span().start, value)),
    }
}

/// A number beyond 64 bits keeps its digits for the message about its range.
fn decimal(number: &DeInteger<'_>) -> String {
    i128::from_str_radix(number.as_str(), number.radix())
        .map_or_else(|_| number.to_string(), |number| number.to_string())
}

/// The value as text, if it has the right type. The setting itself checks its range.
fn values(setting: &Setting, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Fault> {
    let at = value.span().start;
    let one = match (&setting.kind, value.get_ref()) {
        (Kind::Addresses, DeValue::Array(items)) => {
            let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                _ => Err(expected("a string", item.span().start, item)),
            };
            return items.iter().map(text).collect();
        }
        (Kind::Addresses | Kind::Word { .. } | Kind::Text { .. }, DeValue::String(text)) => text.to_string(),
        (Kind::Workers, DeValue::String(text)) if text == WORKERS_AUTO => text.to_string(),
        (Kind::Workers | Kind::Number { .. }, DeValue::Integer(number)) => decimal(number),
        (Kind::Addresses, _) => return Err(expected("a string or an array of strings", at, value)),
        (Kind::Workers, _) => return Err(expected("a whole number or \"auto\"", at, value)),
        (Kind::Word { .. } | Kind::Text { .. }, _) => return Err(expected("a string", at, value)),
        (Kind::Number { .. }, _) => return Err(expected("a whole number", at, value)),
    };
    Ok(vec![one])
}

fn expected(what: &str, at: usize, found: &Spanned<DeValue<'_>>) -> Fault {
    Fault { at, what: format!("expected {what}, found {}", type_name(found.get_ref())) }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Lines count from 1.
fn line_of(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|byte| **byte == b'\n').count()
}

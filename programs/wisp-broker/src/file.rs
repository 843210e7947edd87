//! The configuration file: TOML in, values with their lines out. An error names its line.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use crate::settings::{AUTO, Kind, SETTINGS, Section, Setting};
use crate::tables::{Given, Key, KeyKind, Table};
use crate::{listeners, queues};

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
    pub(crate) queues: Vec<Table>,
    pub(crate) listeners: Vec<Table>,
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
        let mut found = Contents { entries: Vec::new(), queues: Vec::new(), listeners: Vec::new() };
        for (key, value) in in_order(document.get_ref()) {
            match value.get_ref() {
                DeValue::Table(table) if key.get_ref() == "limits" => {
                    for (key, value) in in_order(table) {
                        found.entries.push(self.entry(Section::Limits, key.get_ref(), &key.span(), value)?);
                    }
                }
                _ if key.get_ref() == "limits" => return Err(expected("a table, [limits]", key.span().start, value)),
                _ if key.get_ref() == "queue" => found.queues = self.tables("queue", &queues::KEYS, key, value)?,
                _ if key.get_ref() == "listener" => {
                    found.listeners = self.tables("listener", &listeners::KEYS, key, value)?;
                }
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

    /// The tables of one name.
    fn tables<T>(
        &self,
        name: &str,
        keys: &[Key<T>],
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<Table>, Fault> {
        let wanted = format!("tables, [[{name}]]");
        let DeValue::Array(tables) = value.get_ref() else { return Err(expected(&wanted, key.span().start, value)) };
        let table = |value: &Spanned<DeValue<'_>>| {
            let at = value.span().start;
            let DeValue::Table(entries) = value.get_ref() else { return Err(expected(&wanted, at, value)) };
            let mut table = Table { line: self.line_of(at), given: Vec::new() };
            self.fill(&mut table, name, keys, "", entries)?;
            Ok(table)
        };
        tables.iter().map(table).collect()
    }

    /// Adds the entries of a table, or of a table within it, to `table`.
    fn fill<T>(
        &self,
        table: &mut Table,
        name: &str,
        keys: &[Key<T>],
        prefix: &str,
        entries: &DeTable<'_>,
    ) -> Result<(), Fault> {
        for (key, value) in in_order(entries) {
            let at = key.span().start;
            let full = format!("{prefix}{}", key.get_ref());
            let inner = format!("{full}.");
            if prefix.is_empty() && keys.iter().any(|known| known.name.starts_with(&inner)) {
                let DeValue::Table(entries) = value.get_ref() else {
                    return Err(expected(&format!("a table, [{name}.{full}]"), at, value));
                };
                self.fill(table, name, keys, &inner, entries)?;
                continue;
            }
            let Some(index) = keys.iter().position(|known| known.name == full) else {
                return Err(Fault { at, what: unknown_of_table(&full, name, keys) });
            };
            let values = table_values(&keys[index].kind, value)
                .map_err(|fault| Fault { at: fault.at, what: format!("{full}: {}", fault.what) })?;
            table.given.push(Given { index, values, line: self.line_of(at) });
        }
        Ok(())
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

/// The error for a key that a table does not have.
fn unknown_of_table<T>(key: &str, name: &str, keys: &[Key<T>]) -> String {
    let shown = key.escape_debug();
    let dashed = key.replace('_', "-");
    let last = |name: &'static str| name.rsplit('.').next().unwrap_or(name);
    match keys.iter().find(|known| known.name == dashed || last(known.name) == dashed) {
        Some(known) => format!("unknown key {shown}: did you mean {}?", known.name),
        None => format!("unknown key {shown} of a {name}"),
    }
}

fn table_values(kind: &KeyKind, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Fault> {
    let one = match (kind, value.get_ref()) {
        (KeyKind::Text | KeyKind::Texts | KeyKind::Word(_) | KeyKind::Address, DeValue::String(text)) => {
            text.to_string()
        }
        (KeyKind::Texts, DeValue::Array(items)) => return items.iter().map(text_of).collect(),
        (KeyKind::Number(_) | KeyKind::Limit(_) | KeyKind::Address, DeValue::Integer(number)) => decimal(number),
        (KeyKind::Truth, DeValue::Boolean(truth)) => truth.to_string(),
        (kind, _) => return Err(expected(kind_name(kind), value.span().start, value)),
    };
    Ok(vec![one])
}

fn kind_name(kind: &KeyKind) -> &'static str {
    match kind {
        KeyKind::Text | KeyKind::Word(_) => "a string",
        KeyKind::Texts => "a string or an array of strings",
        KeyKind::Number(_) | KeyKind::Limit(_) => "a whole number",
        KeyKind::Truth => "true or false",
        KeyKind::Address => "an address or a port",
    }
}

fn text_of(item: &Spanned<DeValue<'_>>) -> Result<String, Fault> {
    match item.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err(expected("a string", item.span().start, item)),
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
            return items.iter().map(text_of).collect();
        }
        (
            Kind::Addresses | Kind::Word { .. } | Kind::Text { .. } | Kind::Address { .. } | Kind::Sync { .. },
            DeValue::String(text),
        ) => text.to_string(),
        (Kind::Address { .. }, DeValue::Integer(number)) => decimal(number),
        (Kind::Workers | Kind::Truth { .. }, DeValue::String(text)) if text == AUTO => text.to_string(),
        (Kind::Truth { .. }, DeValue::Boolean(truth)) => truth.to_string(),
        (Kind::Workers | Kind::Count { .. } | Kind::Number { .. }, DeValue::Integer(number)) => decimal(number),
        (Kind::Addresses, _) => return Err(expected("a string or an array of strings", at, value)),
        (Kind::Workers, _) => return Err(expected("a whole number or \"auto\"", at, value)),
        (Kind::Word { .. } | Kind::Text { .. } | Kind::Address { .. } | Kind::Sync { .. }, _) => {
            return Err(expected("a string", at, value));
        }
        (Kind::Truth { .. }, _) => return Err(expected("true, false or \"auto\"", at, value)),
        (Kind::Count { .. } | Kind::Number { .. }, _) => return Err(expected("a whole number", at, value)),
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

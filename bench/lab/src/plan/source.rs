//! A plan as it is written, before it is multiplied out.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::plan::point::titled;
use crate::plan::settings::{combinations, put_over};
use crate::plan::{Changes, Kind, Plan, Point, Settings, default_figures, figures};
use wisp_report::figure::{Figure, is_name};

/// Repetitions are for medians and quartiles; nobody waits for more of them.
const REPETITIONS_MAX: u64 = 1000;
const KEYS: [&str; 10] =
    ["name", "title", "about", "kind", "repetitions", "sample_s", "settings", "case", "quick", "figure"];

/// A plan as it is written.
pub(super) struct Source {
    name: String,
    title: String,
    about: String,
    kind: Kind,
    repetitions: u32,
    sample_s: Option<f64>,
    settings: Settings,
    cases: Vec<Case>,
    quick_repetitions: Option<u32>,
    quick_settings: Settings,
    figures: Vec<Figure>,
}

/// Settings that extend or change the plan's.
#[derive(Default)]
struct Case {
    settings: Settings,
    is_in_full: bool,
    /// None if quick runs leave it out.
    quick: Option<Settings>,
    repetitions_max: Option<u32>,
}

/// Reads the text of a plan.
pub(super) fn read(text: &str) -> Result<Source, String> {
    let mut root: Map<String, Value> = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        format!("line {line}: {}", error.message())
    })?;
    if let Some(unknown) = root.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("{unknown}: no key of a plan (which are {})", KEYS.join(", ")));
    }
    let name = text_of(&mut root, "name")?;
    if !is_name(&name) {
        return Err(format!("name: {name:?} is not made of letters, digits and -"));
    }
    let kind = text_of(&mut root, "kind")?;
    let kind = Kind::ALL
        .into_iter()
        .find(|known| known.name() == kind)
        .ok_or_else(|| format!("kind: {kind:?} is none (use {})", Kind::ALL.map(Kind::name).join(", ")))?;
    let mut quick = table_of(root.remove("quick"), "quick")?;
    let quick_repetitions = repetitions_of(&mut quick, "quick.repetitions")?;
    let quick_settings = table_of(quick.remove("settings"), "quick.settings")?;
    if let Some(unknown) = quick.keys().next() {
        return Err(format!("quick.{unknown}: no key there (which are repetitions, settings)"));
    }
    let source = Source {
        title: text_of(&mut root, "title")?,
        about: text_of(&mut root, "about")?.trim().to_owned(),
        repetitions: repetitions_of(&mut root, "repetitions")?.ok_or("repetitions: not there")?,
        sample_s: number_of(&mut root, "sample_s")?,
        settings: table_of(root.remove("settings"), "settings")?,
        cases: cases_of(root.remove("case"))?,
        figures: figures::read(root.remove("figure"))?,
        name,
        kind,
        quick_repetitions,
        quick_settings,
    };
    figures::check(&source.figures, source.kind, &source.set())?;
    Ok(source)
}

impl Source {
    /// One with a single case.
    pub(super) fn new((name, title): (&str, &str), kind: Kind, repetitions: u32, settings: Settings) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            about: String::new(),
            kind,
            repetitions,
            sample_s: None,
            settings,
            cases: vec![Case { is_in_full: true, ..Case::default() }],
            quick_repetitions: None,
            quick_settings: Settings::new(),
            figures: Vec::new(),
        }
    }

    /// The settings of at least one sample.
    fn set(&self) -> BTreeSet<&str> {
        let of_cases = self.cases.iter().flat_map(|case| [Some(&case.settings), case.quick.as_ref()]).flatten();
        let all = [&self.settings, &self.quick_settings].into_iter().chain(of_cases);
        all.flat_map(Settings::keys).map(String::as_str).collect()
    }

    /// The plan with these changes.
    pub(super) fn plan(self, changes: &Changes) -> Result<Plan, String> {
        let mut points: Vec<Point> = Vec::new();
        for (index, case) in self.cases.iter().enumerate() {
            let Some(settings) = self.settings_of(case, changes) else { continue };
            // Whose setting it is, so that it is found in the file.
            let place = |error: String| {
                let name = error.split(':').next().unwrap_or_default();
                let is_of_case = case.settings.contains_key(name);
                if is_of_case { format!("case {}, {error}", index + 1) } else { format!("settings.{error}") }
            };
            for settings in combinations(self.kind, &settings, changes.processors).map_err(place)? {
                let point = Point::new(self.kind, settings).at_most(case.repetitions_max);
                if !points.contains(&point) {
                    points.push(point);
                }
            }
        }
        if points.is_empty() {
            return Err("quick: it leaves no case".to_owned());
        }
        let repetitions = if changes.is_quick { self.quick_repetitions } else { None };
        Ok(Plan {
            name: self.name,
            title: self.title,
            about: self.about,
            kind: self.kind,
            repetitions: changes.repetitions.or(repetitions).unwrap_or(self.repetitions),
            sample_s: self.sample_s,
            figures: if self.figures.is_empty() { default_figures::figures(self.kind, &points) } else { self.figures },
            points: titled(&points),
        })
    }

    /// A case's settings; None if it is left out.
    fn settings_of(&self, case: &Case, changes: &Changes) -> Option<Settings> {
        let mut settings = self.settings.clone();
        put_over(&mut settings, &case.settings);
        if changes.is_quick {
            put_over(&mut settings, &self.quick_settings);
            put_over(&mut settings, case.quick.as_ref()?);
        } else if !case.is_in_full {
            return None;
        }
        put_over(&mut settings, &changes.settings);
        Some(settings)
    }
}

fn text_of(table: &mut Map<String, Value>, key: &str) -> Result<String, String> {
    match table.remove(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{key}: {other} is no text")),
        None => Err(format!("{key}: not there")),
    }
}

fn number_of(table: &mut Map<String, Value>, key: &str) -> Result<Option<f64>, String> {
    let Some(value) = table.remove(key) else { return Ok(None) };
    let number = value.as_f64().filter(|number| *number > 0.0);
    number.map(Some).ok_or_else(|| format!("{key}: {value} is no number above 0"))
}

/// `path` ends with the key.
fn repetitions_of(table: &mut Map<String, Value>, path: &str) -> Result<Option<u32>, String> {
    let key = path.rsplit(['.', ' ']).next().unwrap_or(path);
    let Some(value) = table.remove(key) else { return Ok(None) };
    let number = value.as_u64().filter(|number| (1..=REPETITIONS_MAX).contains(number));
    let number = number.and_then(|number| u32::try_from(number).ok());
    number.map(Some).ok_or_else(|| format!("{path}: {value} is no whole number from 1 to {REPETITIONS_MAX}"))
}

fn table_of(value: Option<Value>, path: &str) -> Result<Map<String, Value>, String> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(table)) => Ok(table),
        Some(other) => Err(format!("{path}: {other} is no table")),
    }
}

/// One case with nothing of its own, if none is written.
fn cases_of(value: Option<Value>) -> Result<Vec<Case>, String> {
    let cases = match value {
        None => vec![json!({})],
        Some(Value::Array(cases)) => cases,
        Some(_) => return Err("case: cases are written as [[case]]".to_owned()),
    };
    let case = |(index, value): (usize, Value)| {
        let number = index + 1;
        let mut settings = table_of(Some(value), &format!("case {number}"))?;
        let (is_in_full, quick) = match settings.remove("quick") {
            None | Some(Value::Bool(true)) => (true, Some(Settings::new())),
            Some(Value::Bool(false)) => (true, None),
            Some(Value::String(text)) if text == "only" => (false, Some(Settings::new())),
            Some(Value::Object(settings)) => (true, Some(settings)),
            Some(other) => {
                return Err(format!("case {number}, quick: {other} is neither true, false, \"only\" nor settings"));
            }
        };
        let repetitions_max = repetitions_of(&mut settings, &format!("case {number}, repetitions"))?;
        Ok(Case { settings, is_in_full, quick, repetitions_max })
    };
    cases.into_iter().enumerate().map(case).collect()
}

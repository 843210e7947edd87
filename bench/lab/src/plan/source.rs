//! A plan as it is written, before it is multiplied out.

use std::collections::BTreeMap;

use crate::plan::changes::Changes;
use crate::plan::combinations::{WrittenSettings, combinations, put_over};
use crate::plan::error::{Expected, KEYS, Mistake, REPETITIONS_MAX, SettingError};
use crate::plan::measurements::Plan;
use crate::plan::point::{Point, titled};
use crate::plan::setting::Setting;
use crate::plan::values::{Written, one_line};
use crate::plan::{default_figures, figures};
use wisp_report::figure::{Figure, is_name};
use wisp_report::kind::Kind;

/// A table of a plan.
type Table = BTreeMap<String, Written>;

/// A plan as it is written.
pub(super) struct Source {
    name: String,
    title: String,
    about: String,
    kind: Kind,
    repetitions: u32,
    sample_s: Option<f64>,
    settings: WrittenSettings,
    cases: Vec<Case>,
    quick_repetitions: Option<u32>,
    quick_settings: WrittenSettings,
    figures: Vec<Figure>,
}

/// Settings that extend or change the plan's.
#[derive(Default)]
struct Case {
    settings: WrittenSettings,
    is_in_full: bool,
    /// None if quick runs leave it out.
    quick: Option<WrittenSettings>,
    repetitions_max: Option<u32>,
}

/// Reads the text of a plan.
pub(super) fn read(text: &str) -> Result<Source, Mistake> {
    let mut root: Table = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        Mistake::Syntax { line, message: one_line(error.message()) }
    })?;
    if let Some(unknown) = root.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(Mistake::UnknownKey(unknown.clone()));
    }
    let name = text_of(&mut root, "name")?;
    if !is_name(&name) {
        return Err(Mistake::Name(name));
    }
    let kind = text_of(&mut root, "kind")?;
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or(Mistake::Kind(kind))?;
    let mut quick = table_of(root.remove("quick"), "quick")?;
    let quick_repetitions = repetitions_of(&mut quick, "quick.repetitions")?;
    let quick_settings = settings_of(kind, table_of(quick.remove("settings"), "quick.settings")?, "quick.settings.")?;
    if let Some(unknown) = quick.into_keys().next() {
        return Err(Mistake::UnknownQuickKey(unknown));
    }
    let source = Source {
        title: text_of(&mut root, "title")?,
        about: text_of(&mut root, "about")?.trim().to_owned(),
        repetitions: repetitions_of(&mut root, "repetitions")?.ok_or(Mistake::Missing("repetitions"))?,
        sample_s: number_of(&mut root, "sample_s")?,
        settings: settings_of(kind, table_of(root.remove("settings"), "settings")?, "settings.")?,
        cases: cases_of(kind, root.remove("case"))?,
        figures: figures::read(root.remove("figure"))?,
        name,
        kind,
        quick_repetitions,
        quick_settings,
    };
    figures::check(&source.figures, source.kind)?;
    Ok(source)
}

impl Source {
    /// One with a single case.
    pub(super) fn new((name, title): (&str, &str), kind: Kind, repetitions: u32, settings: WrittenSettings) -> Self {
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
            quick_settings: WrittenSettings::new(),
            figures: Vec::new(),
        }
    }

    /// The plan with these changes.
    pub(super) fn plan(self, changes: &Changes) -> Result<Plan, Mistake> {
        let mut points: Vec<Point> = Vec::new();
        for (index, case) in self.cases.iter().enumerate() {
            let Some(settings) = self.settings_of(case, changes) else { continue };
            // Whose setting it is, so that it is found in the file.
            let place = |cause: SettingError| match case.settings.contains_key(&cause.setting) {
                true => Mistake::CaseSetting { case: index + 1, cause },
                false => Mistake::Setting(cause),
            };
            for settings in combinations(self.kind, &settings, changes.processors).map_err(place)? {
                let point = Point::new(settings).at_most(case.repetitions_max);
                if !points.contains(&point) {
                    points.push(point);
                }
            }
        }
        if points.is_empty() {
            return Err(Mistake::NoCase);
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
    fn settings_of(&self, case: &Case, changes: &Changes) -> Option<WrittenSettings> {
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

fn text_of(table: &mut Table, key: &'static str) -> Result<String, Mistake> {
    match table.remove(key) {
        Some(Written::Text(text)) => Ok(text),
        Some(value) => Err(Mistake::Type { path: key.to_owned(), value, expected: Expected::Text }),
        None => Err(Mistake::Missing(key)),
    }
}

fn number_of(table: &mut Table, key: &str) -> Result<Option<f64>, Mistake> {
    match table.remove(key) {
        None => Ok(None),
        Some(Written::Whole(number @ 1..)) => Ok(Some(number as f64)),
        Some(Written::Number(number)) if number > 0.0 => Ok(Some(number)),
        Some(value) => Err(Mistake::Type { path: key.to_owned(), value, expected: Expected::Positive }),
    }
}

/// `path` ends with the key.
fn repetitions_of(table: &mut Table, path: &str) -> Result<Option<u32>, Mistake> {
    let key = path.rsplit(['.', ' ']).next().unwrap_or(path);
    match table.remove(key) {
        None => Ok(None),
        Some(Written::Whole(number @ 1..=REPETITIONS_MAX)) => Ok(Some(number as u32)),
        Some(value) => Err(Mistake::Type { path: path.to_owned(), value, expected: Expected::Repetitions }),
    }
}

fn table_of(value: Option<Written>, path: &str) -> Result<Table, Mistake> {
    match value {
        None => Ok(Table::new()),
        Some(Written::Table(table)) => Ok(table),
        Some(value) => Err(Mistake::Type { path: path.to_owned(), value, expected: Expected::Table }),
    }
}

/// The settings of a table, which has nothing else. `place` comes before their names in errors.
fn settings_of(kind: Kind, table: Table, place: &str) -> Result<WrittenSettings, Mistake> {
    let known = |(name, written): (String, Written)| match Setting::of(kind, &name) {
        Some(setting) => Ok((setting, written)),
        None => Err(Mistake::UnknownSetting { place: place.to_owned(), name, kind }),
    };
    table.into_iter().map(known).collect()
}

/// One case with nothing of its own, if none is written.
fn cases_of(kind: Kind, value: Option<Written>) -> Result<Vec<Case>, Mistake> {
    let cases = match value {
        None => vec![Written::Table(Table::new())],
        Some(Written::List(cases)) => cases,
        Some(_) => return Err(Mistake::NotList { key: "case" }),
    };
    cases.into_iter().enumerate().map(|(index, value)| case_of(kind, index + 1, value)).collect()
}

/// Reads a case. `case` is its number, counted from 1.
fn case_of(kind: Kind, case: usize, value: Written) -> Result<Case, Mistake> {
    let path = format!("case {case}");
    let mut table = table_of(Some(value), &path)?;
    let (is_in_full, quick) = match table.remove("quick") {
        None | Some(Written::Flag(true)) => (true, Some(Table::new())),
        Some(Written::Flag(false)) => (true, None),
        Some(Written::Text(text)) if text == "only" => (false, Some(Table::new())),
        Some(Written::Table(settings)) => (true, Some(settings)),
        Some(value) => return Err(Mistake::Quick { case, value }),
    };
    let quick = quick.map(|quick| settings_of(kind, quick, &format!("{path}, quick, "))).transpose()?;
    let repetitions_max = repetitions_of(&mut table, &format!("{path}, repetitions"))?;
    Ok(Case { settings: settings_of(kind, table, &format!("{path}, "))?, is_in_full, quick, repetitions_max })
}

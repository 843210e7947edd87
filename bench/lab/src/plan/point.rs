//! One combination of a plan's settings.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::plan::Kind;
use crate::plan::settings::{DEPENDENT, check, place};
use wisp_report::folder::{Record, WANTED_S};

/// One combination of settings, of which samples are taken. Settings have the names of record fields.
#[derive(Clone, PartialEq, Debug)]
pub struct Point {
    kind: Kind,
    settings: BTreeMap<String, Value>,
    title: String,
    repetitions_max: Option<u32>,
}

impl Point {
    /// A combination, with a title of all its settings.
    #[must_use]
    pub fn new(kind: Kind, settings: BTreeMap<String, Value>) -> Self {
        let title = title(&settings, &|_| true);
        Self { kind, settings, title, repetitions_max: None }
    }

    /// The same point with a bound on its number of samples.
    pub(super) fn at_most(self, repetitions_max: Option<u32>) -> Self {
        Self { repetitions_max, ..self }
    }

    /// How many samples are taken of it where the others have `repetitions`.
    #[must_use]
    pub fn repetitions(&self, repetitions: u32) -> u32 {
        self.repetitions_max.map_or(repetitions, |most| most.min(repetitions))
    }

    /// The same point with a title made of the settings for which `is_told` is true.
    fn told_by(self, is_told: &dyn Fn(&str) -> bool) -> Self {
        let title = title(&self.settings, is_told);
        Self { title, ..self }
    }

    /// The same, with another title.
    pub(super) fn titled(self, title: String) -> Self {
        Self { title, ..self }
    }

    /// Checks that its settings go together, as a plan's do.
    pub(crate) fn check(&self) -> Result<(), String> {
        check(self.kind, &self.settings)
    }

    /// The kind of measurement.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A setting as it is; None if it is not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.settings.get(name)
    }

    /// All settings by name.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A setting that is text; None if it is not set or no text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// A setting that is a whole number; None if it is not set or is something else.
    #[must_use]
    pub fn whole(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }

    /// A setting that is a number; None if it is not set or is no number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64()
    }

    /// A setting that is true or false; None if it is not set or is something else.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)?.as_bool()
    }

    /// A setting that is a list of texts; empty if it is not set.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        let list = self.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// A line of text that identifies the point among all points of all plans.
    #[must_use]
    pub fn key(&self) -> String {
        let settings = self.settings.iter().map(|(name, value)| format!("{name}={value}"));
        [self.kind.name().to_owned()].into_iter().chain(settings).collect::<Vec<_>>().join(" ")
    }

    /// The settings that distinguish the point within its plan, for people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The beginning of a record: the kind and all settings. `seconds` are `wanted_s` there, for in a record they were measured.
    #[must_use]
    pub fn record(&self) -> Record {
        let recorded = |name: &str| if name == "seconds" { WANTED_S.to_owned() } else { name.to_owned() };
        let settings = self.settings.iter().map(|(name, value)| (recorded(name), value.clone()));
        [("kind".to_owned(), Value::from(self.kind.name()))].into_iter().chain(settings).collect()
    }
}

/// The settings that differ between points of one broker, with the number of their values. A setting that a broker does
/// not have, such as workers, is no difference, and neither is one that was removed because it has no meaning.
pub(super) fn differing(points: &[Point]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for name in points.iter().flat_map(Point::settings).map(|(name, _)| name) {
        let mut values: Vec<(Option<&str>, Option<&Value>)> = Vec::new();
        for point in points.iter().filter(|point| !DEPENDENT.contains(&name) || point.get(name).is_some()) {
            let value = (point.text("broker").filter(|_| name != "broker"), point.get(name));
            if !values.contains(&value) {
                values.push(value);
            }
        }
        let of_one = |broker| values.iter().filter(|(other, _)| *other == broker).count();
        let count = values.iter().map(|(broker, _)| of_one(*broker)).max().unwrap_or(0);
        if count > 1 {
            counts.insert(name, count);
        }
    }
    counts
}

/// Gives points titles made of the settings that differ between them, and of the broker.
pub(super) fn titled(points: &[Point]) -> Vec<Point> {
    let differing = differing(points);
    let is_told = |name: &str| name == "broker" || differing.contains_key(name);
    points.iter().map(|point| point.clone().told_by(&is_told)).collect()
}

/// Names and values; a value alone where its name would add nothing.
fn title(settings: &BTreeMap<String, Value>, is_told: &dyn Fn(&str) -> bool) -> String {
    let part = |(name, value): (&String, &Value)| match value {
        Value::String(text) => text.clone(),
        other => match name.rsplit_once('_') {
            Some((name, "bytes")) => format!("{name} {other} B"),
            Some((name, "percent")) => format!("{name} {other} %"),
            Some((name, "s")) if name.ends_with("_per") => format!("{} {other}/s", name.trim_end_matches("_per")),
            _ => format!("{} {other}", name.replace('_', " ")),
        },
    };
    let mut told: Vec<_> = settings.iter().filter(|(name, _)| is_told(name)).collect();
    told.sort_by_key(|(name, _)| place(name));
    told.into_iter().map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn point(settings: Value) -> Point {
        Point::new(Kind::Throughput, serde_json::from_value(settings).unwrap())
    }

    #[test]
    fn settings_are_read_by_their_type() {
        let point = point(json!({"broker": "native", "senders": 3, "seconds": 2.5, "x": true, "list": ["a", "b"]}));
        assert_eq!((point.text("broker"), point.text("senders"), point.text("other")), (Some("native"), None, None));
        assert_eq!((point.whole("senders"), point.whole("seconds")), (Some(3), None));
        assert_eq!((point.number("senders"), point.number("seconds")), (Some(3.0), Some(2.5)));
        assert_eq!(
            (point.flag("x"), point.texts("list"), point.texts("x")),
            (Some(true), vec!["a".into(), "b".into()], vec![])
        );
    }

    #[test]
    fn the_key_and_the_record_have_every_setting() {
        let point = point(json!({"senders": 3, "broker": "native", "seconds": 2.0}));
        assert_eq!(point.key(), r#"throughput broker="native" seconds=2.0 senders=3"#);
        let record = serde_json::to_value(point.record()).unwrap();
        assert_eq!(record, json!({"kind": "throughput", "broker": "native", "senders": 3, "wanted_s": 2.0}));
    }

    #[test]
    fn what_only_brokers_have_is_no_difference() {
        let all = [
            json!({"broker": "native", "workers": 2, "senders": 1}),
            json!({"broker": "mosquitto", "senders": 1}),
            json!({"broker": "mosquitto", "senders": 2}),
        ];
        let points = titled(&all.map(point));
        assert_eq!(differing(&points), BTreeMap::from([("broker", 2), ("senders", 2)]));
        assert_eq!(
            points.iter().map(Point::title).collect::<Vec<_>>(),
            ["native, senders 1", "mosquitto, senders 1", "mosquitto, senders 2"]
        );
    }

    #[test]
    fn the_title_tells_what_differs() {
        let all = json!({"broker": "native", "size_bytes": 16, "senders": 3, "load_percent": 50, "rate_per_s": 1000});
        let told =
            |names: &'static [&str]| point(all.clone()).told_by(&|name| names.contains(&name)).title().to_owned();
        assert_eq!(told(&["broker", "senders"]), "native, senders 3");
        assert_eq!(told(&["size_bytes", "load_percent", "rate_per_s"]), "size 16 B, rate 1000/s, load 50 %");
    }
}

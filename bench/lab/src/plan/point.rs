//! One combination of a plan's settings.

use std::collections::BTreeMap;

use crate::plan::error::SettingError;
use crate::plan::setting::{Setting, Value};
use crate::plan::settings::Settings;
use wisp_report::folder::{self, Record, WANTED_S};
use wisp_report::kind::Kind;

/// One combination of settings, of which samples are taken.
#[derive(Clone, PartialEq, Debug)]
pub struct Point {
    settings: Settings,
    /// The settings as plans write them.
    values: BTreeMap<Setting, Value>,
    title: String,
    repetitions_max: Option<u32>,
}

impl Point {
    /// A combination, with a title of all its settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let values = settings.values();
        let title = title(&values, &|_| true);
        Self { settings, values, title, repetitions_max: None }
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
    fn told_by(self, is_told: &dyn Fn(Setting) -> bool) -> Self {
        let title = title(&self.values, is_told);
        Self { title, ..self }
    }

    /// The same, with another title.
    pub(super) fn titled(self, title: String) -> Self {
        Self { title, ..self }
    }

    /// The measurement that precedes a latency at a share of the maximum: the same at full speed. None if this is no such
    /// latency.
    #[must_use]
    pub fn maximum(&self) -> Option<Self> {
        self.settings.maximum().map(Self::new)
    }

    /// Checks that its settings go together, as a plan's do.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        self.settings.check()
    }

    /// The kind of measurement.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.settings.kind()
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A setting as plans write it; None if it is not set.
    #[must_use]
    pub fn value(&self, setting: Setting) -> Option<&Value> {
        self.values.get(&setting)
    }

    /// All settings as plans write them.
    pub fn values(&self) -> impl Iterator<Item = (Setting, &Value)> {
        self.values.iter().map(|(setting, value)| (*setting, value))
    }

    /// A line of text that identifies the point among all points of all plans.
    #[must_use]
    pub fn key(&self) -> String {
        let mut named: Vec<_> = self.values().map(|(setting, value)| (setting.name(), value)).collect();
        named.sort_by_key(|(name, _)| *name);
        let settings = named.into_iter().map(|(name, value)| format!("{name}={value}"));
        [self.kind().name().to_owned()].into_iter().chain(settings).collect::<Vec<_>>().join(" ")
    }

    /// The settings that distinguish the point within its plan, for people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The beginning of a record: the kind and all settings. `seconds` are `wanted_s` there, for in a record they were measured.
    #[must_use]
    pub fn record(&self) -> Record {
        let name = |setting: Setting| if setting == Setting::Seconds { WANTED_S } else { setting.name() };
        let mut record: Record =
            self.values().map(|(setting, value)| (name(setting).to_owned(), value.into())).collect();
        record.insert(folder::KIND.to_owned(), self.kind().name().into());
        record
    }
}

/// The settings that differ between points of one broker, with the number of their values. A setting that a broker does
/// not have, such as workers, is no difference, and neither is one that was removed because it has no meaning.
pub(super) fn differing(points: &[Point]) -> BTreeMap<Setting, usize> {
    let mut counts = BTreeMap::new();
    for setting in points.iter().flat_map(Point::values).map(|(setting, _)| setting) {
        let mut values: Vec<(Option<&Value>, Option<&Value>)> = Vec::new();
        for point in points.iter().filter(|point| !setting.is_dependent() || point.value(setting).is_some()) {
            let broker = point.value(Setting::Broker).filter(|_| setting != Setting::Broker);
            let value = (broker, point.value(setting));
            if !values.contains(&value) {
                values.push(value);
            }
        }
        let of_one = |broker| values.iter().filter(|(other, _)| *other == broker).count();
        let count = values.iter().map(|(broker, _)| of_one(*broker)).max().unwrap_or(0);
        if count > 1 {
            counts.insert(setting, count);
        }
    }
    counts
}

/// Gives points titles made of the settings that differ between them, and of the broker.
pub(super) fn titled(points: &[Point]) -> Vec<Point> {
    let differing = differing(points);
    let is_told = |setting: Setting| setting == Setting::Broker || differing.contains_key(&setting);
    points.iter().map(|point| point.clone().told_by(&is_told)).collect()
}

/// Names and values; a value alone where its name would add nothing.
fn title(values: &BTreeMap<Setting, Value>, is_told: &dyn Fn(Setting) -> bool) -> String {
    let part = |(setting, value): (&Setting, &Value)| match value {
        Value::Text(text) => text.clone(),
        other => match setting.name().rsplit_once('_') {
            Some((name, "bytes")) => format!("{name} {other} B"),
            Some((name, "percent")) => format!("{name} {other} %"),
            Some((name, "s")) if name.ends_with("_per") => format!("{} {other}/s", name.trim_end_matches("_per")),
            _ => format!("{} {other}", setting.name().replace('_', " ")),
        },
    };
    values.iter().filter(|(setting, _)| is_told(**setting)).map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::plan::load::{BrokerChoice, Load};
    use serde_json::json;

    fn load(broker: Broker) -> Load {
        Load::new(BrokerChoice::Start(broker))
    }

    fn point(load: Load) -> Point {
        Point::new(Settings::Throughput(load))
    }

    #[test]
    fn the_key_and_the_record_have_every_setting() {
        let point = point(Load { seconds: Some(2.0), senders: 3, ..load(Broker::Native) });
        assert_eq!(
            point.key(),
            "throughput broker=\"native\" pattern=\"one-to-one\" qos=0 receivers=1 seconds=2 senders=3 size_bytes=1024 \
             threads=2 timeout_s=60"
        );
        let record = serde_json::to_value(point.record()).unwrap();
        let expected = json!({
            "kind": "throughput", "broker": "native", "pattern": "one-to-one", "qos": 0, "receivers": 1, "wanted_s": 2,
            "senders": 3, "size_bytes": 1024, "threads": 2, "timeout_s": 60,
        });
        assert_eq!(record, expected);
    }

    #[test]
    fn what_only_brokers_have_is_no_difference() {
        let mut native = load(Broker::Native);
        native.broker.workers = Some(2);
        let all = [native, load(Broker::Mosquitto), Load { senders: 2, ..load(Broker::Mosquitto) }];
        let points = titled(&all.map(point));
        assert_eq!(differing(&points), BTreeMap::from([(Setting::Broker, 2), (Setting::Senders, 2)]));
        assert_eq!(
            points.iter().map(Point::title).collect::<Vec<_>>(),
            ["native, senders 1", "mosquitto, senders 1", "mosquitto, senders 2"]
        );
    }

    #[test]
    fn the_title_tells_what_differs() {
        let all = Load {
            size_bytes: 16,
            senders: 3,
            load_percent: Some(50.0),
            rate_per_s: Some(1000.0),
            ..load(Broker::Native)
        };
        let told = |settings: &'static [Setting]| {
            point(all.clone()).told_by(&|setting| settings.contains(&setting)).title().to_owned()
        };
        assert_eq!(told(&[Setting::Broker, Setting::Senders]), "native, senders 3");
        assert_eq!(
            told(&[Setting::SizeBytes, Setting::LoadPercent, Setting::RatePerS]),
            "size 16 B, rate 1000/s, load 50 %"
        );
    }
}

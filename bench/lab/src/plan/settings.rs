//! The settings of samples that the load generator takes: their names, types, ranges and defaults.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use wisp_arguments::parse_version;

use crate::broker::{Broker, Mode, Protocol};
use crate::plan::{Kind, values};
use wisp_loadgen::drive::pattern::{Layout, Pattern};
use wisp_loadgen::drive::payload::HEADER_BYTES;
use wisp_loadgen::drive::preflight::is_url;
use wisp_loadgen::drive::target::Target;

/// The largest message of MQTT is 256 MiB with its header; topics are far shorter than the difference.
pub const SIZE_BYTES_MAX: u64 = 255 * 1024 * 1024;
/// Local ports that a system has for connections to one address, by default, less some for others.
const CONNECTIONS_MAX: u64 = 28_000;
/// More combinations than anybody waits for.
const POINTS_MAX: usize = 10_000;

/// The lower bound of rates, shares and times: with a smaller value a run would take forever.
const NUMBER_MIN: f64 = 1e-6;

/// The type and the range of a setting.
#[derive(Clone, Copy, Debug)]
enum Is {
    Text,
    /// A whole number from the first to the last.
    Whole(u64, u64),
    /// More than nothing, and at most this.
    Number(f64),
    /// A list of texts, which is one value.
    List,
}

use Is::{List, Number, Text, Whole};
use Kind::{Connections, Latency, Throughput};

/// The settings, in the order in which their values are combined: the last changes fastest.
const SETTINGS: [(&str, Is, &[Kind]); 21] = [
    ("broker", Text, &[Throughput, Latency, Connections]),
    ("mode", Text, &[Throughput, Latency, Connections]),
    ("broker_arguments", List, &[Throughput, Latency, Connections]),
    ("broker_settings", List, &[Throughput, Latency, Connections]),
    ("workers", Whole(1, 4096), &[Throughput, Latency, Connections]),
    ("mqtt_version", Text, &[Throughput, Latency, Connections]),
    ("pattern", Text, &[Throughput, Latency]),
    ("qos", Whole(0, 2), &[Throughput, Latency]),
    ("window", Whole(1, u16::MAX as u64), &[Throughput, Latency]),
    ("size_bytes", Whole(HEADER_BYTES as u64, SIZE_BYTES_MAX), &[Throughput, Latency]),
    ("senders", Whole(1, 100_000), &[Throughput, Latency]),
    ("receivers", Whole(0, 100_000), &[Throughput, Latency]),
    ("topics", Whole(1, 1_000_000), &[Throughput, Latency]),
    ("connections", Whole(1, CONNECTIONS_MAX), &[Connections]),
    ("messages", Whole(1, 1_000_000_000_000), &[Throughput, Latency]),
    ("seconds", Number(86_400.0), &[Throughput, Latency]),
    ("rate_per_s", Number(1e9), &[Throughput, Latency, Connections]),
    ("load_percent", Number(100.0), &[Latency]),
    ("threads", Whole(1, 1024), &[Throughput, Latency]),
    ("warm_up_messages", Whole(0, 1_000_000_000), &[Throughput, Latency]),
    ("timeout_s", Whole(1, 86_400), &[Throughput, Latency, Connections]),
];

/// The position of a setting in the order; unknown ones come first.
pub(super) fn place(name: &str) -> Option<usize> {
    SETTINGS.iter().position(|(known, ..)| *known == name)
}

/// The settings that samples of a kind may have.
pub(crate) fn names(kind: Kind) -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().filter(move |(_, _, kinds)| kinds.contains(&kind)).map(|(name, ..)| *name)
}

/// Settings that are taken out where others leave them no meaning.
pub(super) const DEPENDENT: [&str; 4] = ["workers", "mode", "mqtt_version", "window"];

/// Settings of which one takes the place of the other.
const INSTEAD: [(&str, &str); 2] = [("messages", "seconds"), ("rate_per_s", "load_percent")];

/// Written settings by name: a value, a list, or a range in text.
pub type Settings = Map<String, Value>;

/// Puts `more` over `settings`. A new setting removes the one that it excludes.
pub(super) fn put_over(settings: &mut Settings, more: &Settings) {
    for (name, value) in more {
        for (one, other) in INSTEAD {
            let displaced = if name == one { Some(other) } else { (name == other).then_some(one) };
            if let Some(displaced) = displaced.filter(|displaced| !more.contains_key(*displaced)) {
                settings.remove(displaced);
            }
        }
        settings.insert(name.clone(), value.clone());
    }
}

/// The values of one setting. An error begins with the mistake and does not contain the name.
///
/// # Errors
/// If the kind has no such setting, or the value is out of range.
pub fn values_of(kind: Kind, name: &str, value: &Value, processors: usize) -> Result<Vec<Value>, String> {
    if !kind.is_of_load() {
        return values::any(value, processors);
    }
    let Some((_, is, _)) = SETTINGS.iter().find(|(known, _, kinds)| *known == name && kinds.contains(&kind)) else {
        let known: Vec<_> = names(kind).collect();
        return Err(format!("no setting of {} (which are {})", kind.name(), known.join(", ")));
    };
    match is {
        Text => values::texts(value),
        List => {
            values::texts(value)?;
            Ok(vec![value.as_array().map_or_else(|| json!([value]), |_| value.clone())])
        }
        Whole(least, most) => values::numbers(value, processors)?
            .into_iter()
            .map(|value| match value.as_u64().filter(|number| (least..=most).contains(&number)) {
                Some(_) => Ok(value),
                None => Err(format!("{value} is no whole number from {least} to {most}")),
            })
            .collect(),
        Number(most) => values::numbers(value, processors)?
            .into_iter()
            .map(|value| match value.as_f64().filter(|number| (NUMBER_MIN..=*most).contains(number)) {
                Some(_) => Ok(value),
                None => Err(format!("{value} is no number from {NUMBER_MIN} to {most}")),
            })
            .collect(),
    }
}

/// The defaults of a kind.
fn defaults(kind: Kind, processors: usize) -> Settings {
    let values = match kind {
        Throughput | Latency => json!({
            "workers": processors, "mqtt_version": "3.1.1", "pattern": "one-to-one", "qos": 0, "window": 1000,
            "size_bytes": 1024, "senders": 1, "receivers": 1, "seconds": 2.0, "threads": (processors / 2).max(2),
            "timeout_s": 60,
        }),
        Connections => {
            json!({"workers": processors, "mqtt_version": "3.1.1", "connections": 1000, "timeout_s": 60})
        }
        Kind::Transfer | Kind::Start | Kind::Compute => json!({}),
    };
    match values {
        Value::Object(values) => values,
        _ => unreachable!("it is a table"),
    }
}

/// All combinations of the settings, each once.
///
/// # Errors
/// The mistake, in one line that begins with the setting's name, where there is one.
pub(super) fn combinations(
    kind: Kind,
    settings: &Settings,
    processors: usize,
) -> Result<Vec<BTreeMap<String, Value>>, String> {
    let mut all = defaults(kind, processors);
    put_over(&mut all, settings);
    if kind.is_of_load() && !all.contains_key("broker") {
        return Err("broker: none is named, neither here nor with --broker or --url".to_owned());
    }
    if kind == Latency && !all.contains_key("rate_per_s") && !all.contains_key("load_percent") {
        return Err("load_percent: neither it nor rate_per_s is set, and latency is measured at a rate".to_owned());
    }
    for (one, other) in INSTEAD {
        if all.contains_key(one) && all.contains_key(other) {
            return Err(format!("{one}: {other} is set too, and only one of them can be"));
        }
    }
    let mut names: Vec<_> = all.keys().cloned().collect();
    names.sort_by_key(|name| place(name));
    let mut combined = vec![BTreeMap::new()];
    for name in names {
        let values = values_of(kind, &name, &all[&name], processors).map_err(|error| format!("{name}: {error}"))?;
        if combined.len() * values.len() > POINTS_MAX {
            return Err(format!("{name}: with its values there are more than {POINTS_MAX} combinations"));
        }
        let with = |settings: &BTreeMap<String, Value>, value: &Value| {
            let mut settings = settings.clone();
            settings.insert(name.clone(), value.clone());
            settings
        };
        combined = combined.iter().flat_map(|settings| values.iter().map(move |value| with(settings, value))).collect();
    }
    let are_receivers_set = settings.contains_key("receivers");
    let mut kept = Vec::new();
    for mut settings in combined {
        if kind.is_of_load() {
            // Nobody can receive from one that forwards nothing.
            if kind != Connections && is_sink(&settings) && !are_receivers_set {
                settings.insert("receivers".to_owned(), json!(0));
            }
            settle(&mut settings);
            check(kind, &settings)?;
        }
        if !kept.contains(&settings) {
            kept.push(settings);
        }
    }
    Ok(kept)
}

/// Removes settings that have no meaning beside the others, so that combinations that differ in nothing else become
/// one.
fn settle(settings: &mut BTreeMap<String, Value>) {
    let broker = settings.get("broker").and_then(Value::as_str).unwrap_or_default();
    let (broker, is_nats) = (broker.parse::<Broker>().ok(), is_nats(broker));
    let has_modes = broker.as_ref().is_some_and(|broker| !broker.modes().is_empty());
    let workers = settings.get("workers").and_then(Value::as_u64);
    match workers.zip(broker).and_then(|(wanted, broker)| broker.workers(wanted as usize)) {
        Some(workers) => settings.insert("workers".to_owned(), json!(workers)),
        None => settings.remove("workers"),
    };
    let is_qos_0 = settings.get("qos") == Some(&json!(0));
    for (name, has_meaning) in [("mode", has_modes), ("mqtt_version", !is_nats), ("window", !is_qos_0)] {
        if !has_meaning {
            settings.remove(name);
        }
    }
}

fn is_sink(settings: &BTreeMap<String, Value>) -> bool {
    settings.get("broker").and_then(Value::as_str) == Some(Broker::Sink.name())
}

/// Whether a broker, by its name or its address, speaks NATS.
fn is_nats(broker: &str) -> bool {
    broker.starts_with("nats://") || broker.parse::<Broker>().is_ok_and(|broker| broker.protocol() == Protocol::Nats)
}

/// Checks that the values go together.
///
/// # Errors
/// The mistake, in one line that begins with a setting's name.
pub(super) fn check(kind: Kind, settings: &BTreeMap<String, Value>) -> Result<(), String> {
    let text = |name| settings.get(name).and_then(Value::as_str);
    let whole = |name| settings.get(name).and_then(Value::as_u64);
    let narrow = |name| whole(name).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let name = text("broker").unwrap_or_default();
    check_broker(name, text("mode"))?;
    if let Some(version) = text("mqtt_version") {
        parse_version(version).map_err(|error| format!("mqtt_version: {version:?} is none, {error}"))?;
    }
    if is_nats(name) && kind == Connections {
        return Err(format!("broker: {name} speaks no MQTT, whose connections are measured"));
    }
    if is_nats(name) && whole("qos") > Some(0) {
        return Err(format!("qos: {name} speaks NATS, which has QoS 0 alone"));
    }
    if kind == Connections {
        return Ok(());
    }
    let pattern: Pattern = text("pattern").unwrap_or_default().parse().map_err(|error| format!("pattern: {error}"))?;
    let (senders, receivers) = (narrow("senders").unwrap_or(1), narrow("receivers").unwrap_or(1));
    if u64::from(senders) + u64::from(receivers) > CONNECTIONS_MAX {
        return Err(format!(
            "senders: {senders} and {receivers} receivers are more than {CONNECTIONS_MAX} connections, which is about as many \
             local ports as there are"
        ));
    }
    Layout::new(pattern, senders, receivers, narrow("topics"), whole("messages").unwrap_or(1))
        .map_err(|error| format!("pattern: {error}"))?;
    if is_sink(settings) && receivers > 0 {
        return Err("receivers: the sink forwards nothing, so that there can be none (0)".to_owned());
    }
    if kind == Latency && receivers == 0 && whole("qos") == Some(0) {
        return Err("receivers: without any, nothing is known of latency at QoS 0".to_owned());
    }
    Ok(())
}

fn check_broker(name: &str, mode: Option<&str>) -> Result<(), String> {
    if is_url(name) {
        if name.contains('@') {
            return Err("broker: users and passwords would stand in every record, --url takes them".to_owned());
        }
        return name.parse::<Target>().map(drop).map_err(|error| format!("broker: {error}"));
    }
    let broker: Broker = name.parse().map_err(|error| format!("broker: {error}"))?;
    let Some(mode) = mode else { return Ok(()) };
    let mode: Mode = mode.parse().map_err(|error| format!("mode: {error}"))?;
    if broker.modes().contains(&mode) { Ok(()) } else { Err(format!("mode: {name} has no mode {mode}")) }
}

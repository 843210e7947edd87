//! Fields and values as people write them.

use serde_json::Value;

use crate::measures::{DISTRIBUTIONS, MEASURES};

use super::units::Unit;

/// The field with the measured broker.
pub(crate) const BROKER: &str = "broker";
/// The field with the host of a measured program that is no broker. Its values are among the brokers' names.
pub(crate) const HOST: &str = "host";

/// Brokers, in the order in which they are listed, and as they are written.
pub(crate) const BROKERS: [(&str, &str); 7] = [
    ("native", "native"),
    ("wasmer", "Wasmer"),
    ("wasmtime", "Wasmtime"),
    ("wasmedge", "WasmEdge"),
    ("mosquitto", "mosquitto"),
    ("nats-server", "NATS"),
    ("rumqttd", "rumqttd"),
];

/// How the modes of runtimes are written.
const MODES: [(&str, &str); 4] =
    [("aot", "ahead of time"), ("jit", "just in time"), ("baseline", "quick compiler"), ("interpreted", "interpreted")];

/// Singular and plural.
type OneAndMany = (&'static str, &'static str);

/// Settings in the order of columns: the field, the counted thing as in "10 senders", and the label.
const SETTINGS: [(&str, Option<OneAndMany>, &str); 28] = [
    ("plan", None, "plan"),
    ("repetition", None, "repetition"),
    ("kind", None, "kind"),
    (BROKER, None, "broker"),
    ("mode", None, "mode"),
    ("protocol", None, "protocol"),
    ("transport", None, "transport"),
    ("mqtt_version", None, "MQTT version"),
    ("pattern", None, "pattern"),
    ("senders", Some(("sender", "senders")), "senders"),
    ("receivers", Some(("receiver", "receivers")), "receivers"),
    ("topics", Some(("topic", "topics")), "topics"),
    ("size_bytes", None, "message size"),
    ("messages", Some(("message", "messages")), "messages"),
    ("wanted_s", None, "time wanted"),
    ("qos", None, "QoS"),
    ("window", None, "window"),
    ("workers", Some(("worker", "workers")), "workers"),
    ("threads", Some(("generator thread", "generator threads")), "generator threads"),
    ("rate_per_s", None, "rate set"),
    ("load_percent", None, "load"),
    ("warm_up_messages", Some(("warm-up message", "warm-up messages")), "warm-up messages"),
    ("connections", Some(("connection", "connections")), "connections"),
    (HOST, None, "host"),
    ("program", None, "program"),
    ("count", None, "numbers"),
    ("buffer", None, "buffer"),
    ("file_bytes", None, "file size"),
];

/// Where a field stands among the columns of a table of records.
#[must_use]
pub(crate) fn column_place(field: &str) -> usize {
    let settings = SETTINGS.iter().map(|setting| setting.0);
    let mut all = settings.chain(MEASURES.iter().map(|measure| measure.0));
    all.position(|name| name == field).unwrap_or(usize::MAX)
}

/// Whether a field names the subject of a measurement, which has a colour of its own.
#[must_use]
pub(crate) fn is_of_broker(field: &str) -> bool {
    [BROKER, HOST].contains(&field)
}

/// Whether a field is a setting, which samples that are compared have in common.
#[must_use]
pub(crate) fn is_setting(field: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.0 == field)
}

/// A field in words, without its unit.
#[must_use]
pub(crate) fn of_field(field: &str) -> String {
    let field = field.strip_suffix("_percentiles").unwrap_or(field);
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.0 == field) {
        return setting.2.to_owned();
    }
    if let Some((.., Some(words))) = MEASURES.iter().find(|measure| measure.0 == field) {
        return (*words).to_owned();
    }
    for (start, _, what) in DISTRIBUTIONS {
        let Some(of) = field.strip_prefix(start) else { continue };
        if of == "ns" {
            return what.to_owned();
        }
        let digits = of.strip_prefix('p').and_then(|rest| rest.strip_suffix("_ns"));
        if let Some(digits) = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit())) {
            let (whole, nines) = digits.split_at(digits.len().min(2));
            let point = if nines.is_empty() { "" } else { "." };
            return format!("{what}, {whole}{point}{nines}th percentile");
        }
    }
    let units = ["_per_s", "_bytes", "_ns", "_us", "_ms", "_s", "_percent"];
    let bare = units.iter().find_map(|unit| field.strip_suffix(unit)).unwrap_or(field);
    bare.replace('_', " ")
}

/// Fields separated by commas, in words.
#[must_use]
pub(crate) fn of_fields(fields: &str) -> String {
    fields.split(',').map(|field| of_field(field.trim())).collect::<Vec<_>>().join(", ")
}

/// A field in words with its unit, as an axis has it.
#[must_use]
pub(crate) fn of_axis(field: &str, unit: Unit) -> String {
    let words = of_field(field);
    unit.on_axis().map_or_else(|| words.clone(), |unit| format!("{words}, {unit}"))
}

/// A value alone, where its field is named elsewhere.
#[must_use]
pub(crate) fn of_value(field: &str, value: &Value) -> String {
    match value {
        Value::String(text) if field == BROKER => of_text(field, program_name(text)),
        Value::String(text) => of_text(field, text),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            Unit::of(field).exact(number, number)
        }
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Null => "none".to_owned(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn of_text(field: &str, text: &str) -> String {
    let known: &[(&str, &str)] = match field {
        BROKER | HOST => &BROKERS,
        "mode" => &MODES,
        _ => &[],
    };
    known.iter().find(|(name, _)| *name == text).map_or_else(|| text.to_owned(), |(_, words)| (*words).to_owned())
}

/// A value that needs no label: `10 senders`, `QoS 1`, `50 % load`.
#[must_use]
pub(crate) fn of_setting(field: &str, value: &Value) -> String {
    let text = of_value(field, value);
    if matches!(value, Value::String(_)) {
        return text;
    }
    let counted = SETTINGS.iter().find(|setting| setting.0 == field).and_then(|setting| setting.1);
    if let (Some((one, many)), Value::Number(number)) = (counted, value) {
        return format!("{text} {}", if number.as_f64() == Some(1.0) { one } else { many });
    }
    match Unit::of(field) {
        Unit::Bytes if field == "size_bytes" => format!("{text} messages"),
        Unit::Percent => format!("{text} {}", of_field(field)),
        _ => format!("{} {text}", of_field(field)),
    }
}

/// Text with its first letter in upper case, unless it is the name of a program.
#[must_use]
pub(crate) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next();
    first.map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A program is known by its name, wherever it lies.
fn program_name(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

/// `1 sample`, `2 samples`.
#[must_use]
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", crate::table::thousands(count as f64), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_put_in_words() {
        for (field, words) in [
            ("size_bytes", "message size"),
            ("messages_per_s", "messages"),
            ("latency_ns_percentiles", "latency"),
            ("latency_p99_ns", "latency, 99th percentile"),
            ("latency_p9999_ns", "latency, 99.99th percentile"),
            ("ack_ns_percentiles", "time to acknowledgement"),
            ("send_lag_max_ns", "send lag max"),
            ("ack_p50_ns", "time to acknowledgement, 50th percentile"),
            ("module_bytes", "module"),
            ("time_per_call_us", "time per call"),
            ("peak_memory_bytes", "peak memory"),
        ] {
            assert_eq!(of_field(field), words);
        }
        assert_eq!(of_axis("sent_per_s", Unit::of("sent_per_s")), "messages sent, msg/s");
        assert_eq!(of_axis("size_bytes", Unit::Bytes), "message size");
    }

    #[test]
    fn values_say_what_they_are() {
        for (field, value, words) in [
            ("broker", json!("wasmedge"), "WasmEdge"),
            ("broker", json!("emqx"), "emqx"),
            ("host", json!("wasmtime"), "Wasmtime"),
            ("broker", json!("/opt/emqx/bin/emqx"), "emqx"),
            ("mode", json!("aot"), "ahead of time"),
            ("senders", json!(1), "1 sender"),
            ("senders", json!(10), "10 senders"),
            ("size_bytes", json!(1024), "1 KiB messages"),
            ("qos", json!(1), "QoS 1"),
            ("load_percent", json!(50), "50 % load"),
            ("window", json!(null), "window none"),
            ("with_cache", json!(true), "with cache yes"),
        ] {
            assert_eq!(of_setting(field, &value), words);
        }
    }

    #[test]
    fn settings_come_before_measures_and_those_before_what_is_unknown() {
        assert!(column_place("plan") < column_place("senders"));
        assert!(column_place("file_bytes") < column_place("sent"));
        assert!(column_place("taken_at") < column_place("what_is_this"));
    }
}

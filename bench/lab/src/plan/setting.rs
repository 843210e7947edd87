//! The settings of samples: their names, their types and ranges, and the kinds of measurements that have them.

use std::fmt;

use wisp_loadgen::HEADER_BYTES;
use wisp_report::kind::Kind;

use Kind::{Compute, Connections, Latency, Start, Throughput, Transfer};

/// The largest message of MQTT is 256 MiB with its header; topics are far shorter than the difference.
pub const SIZE_BYTES_MAX: u64 = 255 * 1024 * 1024;
/// Local ports that a system has for connections to one address, by default, less some for others.
pub(super) const CONNECTIONS_MAX: u64 = 28_000;

/// A setting. The order is the one in which values are combined (the last changes fastest) and titles list them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Setting {
    /// The bytes of one call of a transfer.
    Buffer,
    /// How many random numbers are made.
    Count,
    /// The length of the file to sort.
    FileBytes,
    /// The host of a program that is no broker.
    Host,
    /// The work of `wisp-compute`.
    Program,
    /// The broker.
    Broker,
    /// How a runtime runs the module.
    Mode,
    /// Further arguments of the broker.
    BrokerArguments,
    /// Further lines of the broker's configuration file.
    BrokerSettings,
    /// The broker's workers.
    Workers,
    /// The version of MQTT.
    MqttVersion,
    /// The way of messages from senders to receivers.
    Pattern,
    /// The QoS of sending and receiving.
    Qos,
    /// At QoS 1 and 2, messages of each sender that may be unacknowledged at once.
    Window,
    /// Bytes of each message.
    SizeBytes,
    /// Connections that send.
    Senders,
    /// Connections that receive.
    Receivers,
    /// How many topics there are.
    Topics,
    /// How many connections are opened.
    Connections,
    /// Messages of all senders together.
    Messages,
    /// How long a sample is to take.
    Seconds,
    /// Messages or connections a second.
    RatePerS,
    /// The rate, as a share of the broker's maximum.
    LoadPercent,
    /// The generator's threads.
    Threads,
    /// Messages of the warm-up.
    WarmUpMessages,
    /// How long nothing may move.
    TimeoutS,
    /// The first levels of all topics. Single runs alone have it.
    TopicPrefix,
}

/// The type and the range of a setting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Is {
    Text,
    /// A whole number from the first to the last.
    Whole(u64, u64),
    /// More than nothing, and at most this.
    Number(f64),
    /// A list of texts, which is one value.
    Texts,
}

const LOAD: &[Kind] = &[Throughput, Latency];
const OF_BROKERS: &[Kind] = &[Throughput, Latency, Connections];

/// The settings of the kinds, in the order of [`Setting`].
const SETTINGS: [(Setting, Is, &[Kind]); 30] = [
    (Setting::Buffer, Is::Text, &[Transfer]),
    (Setting::Count, Is::Whole(1, 1_000_000_000_000), &[Compute]),
    (Setting::FileBytes, Is::Whole(1, 1 << 40), &[Compute]),
    (Setting::Host, Is::Text, &[Transfer, Compute]),
    (Setting::Program, Is::Text, &[Compute]),
    (Setting::Broker, Is::Text, &[Throughput, Latency, Connections, Start]),
    (Setting::Mode, Is::Text, &[Throughput, Latency, Connections, Start, Compute]),
    (Setting::BrokerArguments, Is::Texts, OF_BROKERS),
    (Setting::BrokerSettings, Is::Texts, OF_BROKERS),
    (Setting::Workers, Is::Whole(1, 4096), &[Throughput, Latency, Connections, Start]),
    (Setting::MqttVersion, Is::Text, OF_BROKERS),
    (Setting::Pattern, Is::Text, LOAD),
    (Setting::Qos, Is::Whole(0, 2), LOAD),
    (Setting::Window, Is::Whole(1, u16::MAX as u64), LOAD),
    (Setting::SizeBytes, Is::Whole(HEADER_BYTES as u64, SIZE_BYTES_MAX), LOAD),
    (Setting::SizeBytes, Is::Whole(1, SIZE_BYTES_MAX), &[Transfer]),
    (Setting::Senders, Is::Whole(1, 100_000), &[Throughput, Latency, Start]),
    (Setting::Receivers, Is::Whole(0, 100_000), LOAD),
    (Setting::Receivers, Is::Whole(1, 100_000), &[Start]),
    (Setting::Topics, Is::Whole(1, 1_000_000), LOAD),
    (Setting::Connections, Is::Whole(1, CONNECTIONS_MAX), &[Connections]),
    (Setting::Messages, Is::Whole(1, 1_000_000_000_000), &[Throughput, Latency, Transfer]),
    (Setting::Messages, Is::Whole(1, u32::MAX as u64), &[Start]),
    (Setting::Seconds, Is::Number(86_400.0), LOAD),
    (Setting::RatePerS, Is::Number(1e9), OF_BROKERS),
    (Setting::LoadPercent, Is::Number(100.0), &[Latency]),
    (Setting::Threads, Is::Whole(1, 1024), LOAD),
    (Setting::WarmUpMessages, Is::Whole(0, 1_000_000_000), LOAD),
    (Setting::TimeoutS, Is::Whole(1, 86_400), OF_BROKERS),
    (Setting::TopicPrefix, Is::Text, &[]),
];

impl Setting {
    /// The name as plans, keys and records write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Buffer => "buffer",
            Self::Count => "count",
            Self::FileBytes => "file_bytes",
            Self::Host => "host",
            Self::Program => "program",
            Self::Broker => "broker",
            Self::Mode => "mode",
            Self::BrokerArguments => "broker_arguments",
            Self::BrokerSettings => "broker_settings",
            Self::Workers => "workers",
            Self::MqttVersion => "mqtt_version",
            Self::Pattern => "pattern",
            Self::Qos => "qos",
            Self::Window => "window",
            Self::SizeBytes => "size_bytes",
            Self::Senders => "senders",
            Self::Receivers => "receivers",
            Self::Topics => "topics",
            Self::Connections => "connections",
            Self::Messages => "messages",
            Self::Seconds => "seconds",
            Self::RatePerS => "rate_per_s",
            Self::LoadPercent => "load_percent",
            Self::Threads => "threads",
            Self::WarmUpMessages => "warm_up_messages",
            Self::TimeoutS => "timeout_s",
            Self::TopicPrefix => "topic_prefix",
        }
    }

    /// The setting of a kind with this name; None if the kind has none.
    pub(super) fn of(kind: Kind, name: &str) -> Option<Self> {
        of_kind(kind).find(|setting| setting.name() == name)
    }

    /// The type and the range that a kind's setting has; None if the kind does not have it.
    pub(super) fn is(self, kind: Kind) -> Option<Is> {
        SETTINGS.iter().find(|(setting, _, kinds)| *setting == self && kinds.contains(&kind)).map(|(_, is, _)| *is)
    }

    /// The settings of which this one takes the place, and the other way round.
    pub(super) fn in_place_of(self) -> Option<Self> {
        match self {
            Self::Messages => Some(Self::Seconds),
            Self::Seconds => Some(Self::Messages),
            Self::RatePerS => Some(Self::LoadPercent),
            Self::LoadPercent => Some(Self::RatePerS),
            _ => None,
        }
    }

    /// Whether it is left out where other settings leave it no meaning.
    pub(super) fn is_dependent(self) -> bool {
        matches!(self, Self::Workers | Self::Mode | Self::MqttVersion | Self::Window)
    }

    /// Whether it names the subject of a measurement, and not the load.
    pub(crate) fn is_subject(self) -> bool {
        use Setting::{Broker, BrokerArguments, BrokerSettings, Host, Mode, Workers};
        matches!(self, Broker | Host | Mode | Workers | BrokerArguments | BrokerSettings)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The settings that plans of a kind may have.
pub(super) fn of_kind(kind: Kind) -> impl Iterator<Item = Setting> {
    SETTINGS.iter().filter(move |(_, _, kinds)| kinds.contains(&kind)).map(|(setting, ..)| *setting)
}

/// The names of the settings that samples of a kind may have.
pub(crate) fn names(kind: Kind) -> impl Iterator<Item = &'static str> {
    of_kind(kind).map(Setting::name)
}

/// One value of a setting, as plans, keys and records write it.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Another number.
    Number(f64),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
}

impl Value {
    /// A number; a whole one if it is, so that 2 and 2.0 are the same.
    #[must_use]
    pub fn of_number(number: f64) -> Self {
        let is_whole = number.fract() == 0.0 && (0.0..9e15).contains(&number);
        if is_whole { Self::Whole(number as u64) } else { Self::Number(number) }
    }

    /// The number; None of texts.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            Self::Text(_) | Self::Texts(_) => None,
        }
    }
}

/// As records have it.
impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Whole(number) => (*number).into(),
            Value::Number(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::Texts(texts) => texts.as_slice().into(),
        }
    }
}

/// As JSON.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde_json::Value::from(self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_settings_and_names_each() {
        assert!(SETTINGS.is_sorted_by_key(|(setting, ..)| *setting));
        let mut names: Vec<_> = SETTINGS.iter().map(|(setting, ..)| setting.name()).collect();
        names.dedup();
        assert_eq!(names.len(), Setting::TopicPrefix as usize + 1);
    }

    #[test]
    fn values_are_written_as_json() {
        for (value, written) in [
            (Value::of_number(2.0), "2"),
            (Value::of_number(2.5), "2.5"),
            (Value::Text("a \"b\"".to_owned()), r#""a \"b\"""#),
            (Value::Texts(vec!["--a".to_owned(), "1".to_owned()]), r#"["--a","1"]"#),
        ] {
            assert_eq!(value.to_string(), written);
        }
    }
}

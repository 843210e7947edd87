//! Flags that stand for settings of a plan.

use clap::Args;
use serde_json::{Value, json};

use wisp_lab::machine;
use wisp_lab::plan::settings::values_of;
use wisp_lab::plan::{Kind, Settings};
use wisp_loadgen::drive::target::Target;

/// The broker to measure.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Broker")]
pub(crate) struct BrokerSettings {
    /// Brokers to start: native, wasmer, wasmtime, wasmedge, mosquitto, nats-server, rumqttd, sink, separated by commas; or a
    /// command line in which {port} or {address} stands for where it is to listen
    #[arg(long, value_name = "NAMES|COMMAND")]
    pub(crate) broker: Vec<String>,
    /// A broker that runs already, on this machine: mqtt://HOST:PORT or nats://HOST:PORT, with USER:PASSWORD@ before the host if need be
    #[arg(long, value_name = "URL", conflicts_with = "broker")]
    pub(crate) url: Option<Target>,
    /// How runtimes run the module: aot, jit or interpreted [default: aot]
    #[arg(long, value_name = "MODES", value_delimiter = ',')]
    pub(crate) mode: Vec<String>,
    /// Workers of brokers that have such a setting, as in 1..cores [default: the processors]
    #[arg(long, value_name = "COUNTS", value_parser = numbers("workers"))]
    pub(crate) workers: Option<Value>,
    /// A further argument for the broker; again for each
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) broker_argument: Vec<String>,
    /// A further line of the configuration file of mosquitto, nats-server or rumqttd; again for each
    #[arg(long, value_name = "LINE")]
    pub(crate) broker_setting: Vec<String>,
    /// MQTT versions: 3.1, 3.1.1, 5 [default: 3.1.1]
    #[arg(short = 'V', long, value_name = "VERSIONS", value_delimiter = ',')]
    pub(crate) mqtt_version: Vec<String>,
    /// Give up when nothing has moved for so long [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = numbers("timeout_s"))]
    pub(crate) timeout_s: Option<Value>,
}

/// The load. Numbers may be lists and ranges: 1,2,4 or 1..40 or 16..65536 times 4 or 1..8*cores.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load; numbers as in 10 or 1,2,4 or 1..40 or \"16..65536 times 4\" or 1..8*cores")]
pub(crate) struct LoadSettings {
    /// The ways of messages: one-to-one, fan-in, fan-out, shared, queue or wildcard, separated by commas [default:
    /// one-to-one]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) pattern: Vec<String>,
    /// Connections that send [default: 1]
    #[arg(long, value_name = "COUNTS", value_parser = numbers("senders"))]
    pub(crate) senders: Option<Value>,
    /// Connections that receive; with 0, the clock stops when the broker has read everything [default: 1, of the sink 0]
    #[arg(long, value_name = "COUNTS", value_parser = numbers("receivers"))]
    pub(crate) receivers: Option<Value>,
    /// Topics [default: one for each receiver; with wildcards ten for each; else one]
    #[arg(long, value_name = "COUNTS", value_parser = numbers("topics"))]
    pub(crate) topics: Option<Value>,
    /// Bytes of each message, some of which are its number and checksum [default: 1024]
    #[arg(long, value_name = "BYTES", value_parser = numbers("size_bytes"))]
    pub(crate) size: Option<Value>,
    /// Messages of a sample, of all senders together [default: as many as --seconds needs]
    #[arg(long, visible_alias = "messages", value_name = "MESSAGES", value_parser = numbers("messages"), conflicts_with = "seconds")]
    pub(crate) count: Option<Value>,
    /// As many messages as take so long; at full speed that is found from the warm-up [default: 2, of latency 5]
    #[arg(long, value_name = "SECONDS", value_parser = numbers("seconds"))]
    pub(crate) seconds: Option<Value>,
    /// The QoS to send and to subscribe with [default: 0]
    #[arg(long, value_name = "0,1,2", value_parser = numbers("qos"))]
    pub(crate) qos: Option<Value>,
    /// At QoS 1 and 2, messages of each sender that may be unacknowledged at once [default: 1000]
    #[arg(long, value_name = "MESSAGES", value_parser = numbers("window"))]
    pub(crate) window: Option<Value>,
    /// The generator's threads [default: half the processors, and 2 at least]
    #[arg(long, value_name = "COUNTS", value_parser = numbers("threads"))]
    pub(crate) threads: Option<Value>,
}

/// Reads the values of a setting.
pub(super) fn numbers(name: &'static str) -> impl Fn(&str) -> Result<Value, String> + Clone + Send + Sync + 'static {
    move |text| {
        let kind = match name {
            "connections" => Kind::Connections,
            // It has all of the other settings.
            _ => Kind::Latency,
        };
        values_of(kind, name, &json!(text), machine::processors()).map(Value::from)
    }
}

impl BrokerSettings {
    /// As a plan would have them.
    #[must_use]
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::new();
        let brokers: Vec<_> = match &self.url {
            Some(url) => vec![url.to_string()],
            None => self.broker.iter().flat_map(|names| brokers(names)).collect(),
        };
        set_texts(&mut settings, "broker", &brokers);
        set_texts(&mut settings, "mode", &self.mode);
        set_texts(&mut settings, "broker_arguments", &self.broker_argument);
        set_texts(&mut settings, "broker_settings", &self.broker_setting);
        set_texts(&mut settings, "mqtt_version", &self.mqtt_version);
        set(&mut settings, "workers", self.workers.as_ref());
        set(&mut settings, "timeout_s", self.timeout_s.as_ref());
        settings
    }
}

impl LoadSettings {
    /// As a plan would have them.
    #[must_use]
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::new();
        set_texts(&mut settings, "pattern", &self.pattern);
        for (name, value) in [
            ("senders", &self.senders),
            ("receivers", &self.receivers),
            ("topics", &self.topics),
            ("size_bytes", &self.size),
            ("messages", &self.count),
            ("seconds", &self.seconds),
            ("qos", &self.qos),
            ("window", &self.window),
            ("threads", &self.threads),
        ] {
            set(&mut settings, name, value.as_ref());
        }
        settings
    }
}

/// Names are separated by commas; a command line may have them in it.
fn brokers(text: &str) -> Vec<String> {
    let is_command = text.contains(char::is_whitespace) || text.contains('{');
    if is_command { vec![text.to_owned()] } else { text.split(',').map(str::to_owned).collect() }
}

fn set_texts(settings: &mut Settings, name: &str, texts: &[String]) {
    if !texts.is_empty() {
        settings.insert(name.to_owned(), json!(texts));
    }
}

pub(super) fn set(settings: &mut Settings, name: &str, value: Option<&Value>) {
    if let Some(value) = value {
        settings.insert(name.to_owned(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Both {
        #[command(flatten)]
        broker: BrokerSettings,
        #[command(flatten)]
        load: LoadSettings,
    }

    fn settings(arguments: &[&str]) -> Result<Value, clap::Error> {
        let both = Both::try_parse_from(["x"].iter().chain(arguments))?;
        let mut settings = both.broker.settings();
        settings.extend(both.load.settings());
        Ok(settings.into())
    }

    #[test]
    fn flags_are_settings() {
        for (arguments, meant) in [
            (&[][..], json!({})),
            (
                &["--broker", "native,mosquitto", "--broker", "nats-server"],
                json!({"broker": ["native", "mosquitto", "nats-server"]}),
            ),
            (&["--broker", "x -p {port} -a 1,2"], json!({"broker": ["x -p {port} -a 1,2"]})),
            (&["--url", "mqtt://me:secret@localhost:7"], json!({"broker": ["mqtt://localhost:7"]})),
            (
                &["--senders", "1..3", "--size", "16..64 times 2"],
                json!({"senders": [1, 2, 3], "size_bytes": [16, 32, 64]}),
            ),
            (
                &["--count", "7", "--qos", "0,2", "-V", "5"],
                json!({"messages": [7], "qos": [0, 2], "mqtt_version": ["5"]}),
            ),
            (&["--broker-argument", "--a", "--broker-argument", "b"], json!({"broker_arguments": ["--a", "b"]})),
            (&["--broker-setting", "a true"], json!({"broker_settings": ["a true"]})),
        ] {
            assert_eq!(settings(arguments).unwrap(), meant, "{arguments:?}");
        }
        for wrong in [
            &["--senders", "0"][..],
            &["--senders", "1..x"],
            &["--size", "1"],
            &["--qos", "3"],
            &["--url", "http://h"],
            &["--url", "mqtt://h", "--broker", "native"],
            &["--count", "1", "--seconds", "1"],
        ] {
            assert!(settings(wrong).is_err(), "{wrong:?}");
        }
    }
}

//! Flags that stand for settings of a plan.

use clap::Args;

use crate::args::tls::Tls;
use wisp_lab::machine;
use wisp_lab::plan::{Kind, Setting, ValueError, Written, WrittenSettings, values_of};
use wisp_loadgen::Target;

/// The broker to measure.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Broker")]
pub(crate) struct BrokerSettings {
    /// Brokers to start: native, wasmer, wasmtime, wasmedge, mosquitto, nats-server, rumqttd, sink, separated by commas; or a
    /// command line in which {port} or {address} stands for where it is to listen
    #[arg(long, value_name = "NAMES|COMMAND")]
    pub(crate) broker: Vec<String>,
    /// A broker that runs already, on this machine: mqtt://HOST:PORT, mqtts://, ws://, wss:// or nats://, with USER:PASSWORD@ before the host if need be
    #[arg(long, value_name = "URL", conflicts_with = "broker")]
    pub(crate) url: Option<Target>,
    /// Its certificates.
    #[command(flatten)]
    pub(crate) tls: Tls,
    /// How runtimes run the module: aot, jit or interpreted [default: aot]
    #[arg(long, value_name = "MODES", value_delimiter = ',')]
    pub(crate) mode: Vec<String>,
    /// Workers of brokers that have such a setting, as in 1..cores [default: the processors]
    #[arg(long, value_name = "COUNTS", value_parser = numbers(Kind::Latency, Setting::Workers))]
    pub(crate) workers: Option<Written>,
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
    #[arg(long, value_name = "SECONDS", value_parser = numbers(Kind::Latency, Setting::TimeoutS))]
    pub(crate) timeout_s: Option<Written>,
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
    #[arg(long, value_name = "COUNTS", value_parser = numbers(Kind::Latency, Setting::Senders))]
    pub(crate) senders: Option<Written>,
    /// Connections that receive; with 0, the clock stops when the broker has read everything [default: 1, of the sink 0]
    #[arg(long, value_name = "COUNTS", value_parser = numbers(Kind::Latency, Setting::Receivers))]
    pub(crate) receivers: Option<Written>,
    /// Topics [default: one for each receiver; with wildcards ten for each; else one]
    #[arg(long, value_name = "COUNTS", value_parser = numbers(Kind::Latency, Setting::Topics))]
    pub(crate) topics: Option<Written>,
    /// Bytes of each message, some of which are its number and checksum [default: 1024]
    #[arg(long, value_name = "BYTES", value_parser = numbers(Kind::Latency, Setting::SizeBytes))]
    pub(crate) size: Option<Written>,
    /// Messages of a sample, of all senders together [default: as many as --seconds needs]
    #[arg(long, visible_alias = "messages", value_name = "MESSAGES", value_parser = numbers(Kind::Latency, Setting::Messages), conflicts_with = "seconds")]
    pub(crate) count: Option<Written>,
    /// As many messages as take so long; at full speed that is found from the warm-up [default: 2, of latency 5]
    #[arg(long, value_name = "SECONDS", value_parser = numbers(Kind::Latency, Setting::Seconds))]
    pub(crate) seconds: Option<Written>,
    /// The QoS to send and to subscribe with [default: 0]
    #[arg(long, value_name = "0,1,2", value_parser = numbers(Kind::Latency, Setting::Qos))]
    pub(crate) qos: Option<Written>,
    /// At QoS 1 and 2, messages of each sender that may be unacknowledged at once [default: 1000]
    #[arg(long, value_name = "MESSAGES", value_parser = numbers(Kind::Latency, Setting::Window))]
    pub(crate) window: Option<Written>,
    /// The generator's threads [default: half the processors, and 2 at least]
    #[arg(long, value_name = "COUNTS", value_parser = numbers(Kind::Latency, Setting::Threads))]
    pub(crate) threads: Option<Written>,
}

/// Reads the values of a kind's setting.
pub(super) fn numbers(
    kind: Kind,
    setting: Setting,
) -> impl Fn(&str) -> Result<Written, ValueError> + Clone + Send + Sync + 'static {
    move |text| values_of(kind, setting, &Written::Text(text.to_owned()), machine::processors()).map(Written::from)
}

impl BrokerSettings {
    /// As a plan would have them.
    #[must_use]
    pub(crate) fn settings(&self) -> WrittenSettings {
        let mut settings = WrittenSettings::new();
        let brokers: Vec<_> = match &self.url {
            Some(url) => vec![url.to_string()],
            None => self.broker.iter().flat_map(|names| brokers(names)).collect(),
        };
        set_texts(&mut settings, Setting::Broker, &brokers);
        set_texts(&mut settings, Setting::Mode, &self.mode);
        set_texts(&mut settings, Setting::BrokerArguments, &self.broker_argument);
        set_texts(&mut settings, Setting::BrokerSettings, &self.broker_setting);
        set_texts(&mut settings, Setting::MqttVersion, &self.mqtt_version);
        set(&mut settings, Setting::Workers, self.workers.as_ref());
        set(&mut settings, Setting::TimeoutS, self.timeout_s.as_ref());
        settings
    }
}

impl LoadSettings {
    /// As a plan would have them.
    #[must_use]
    pub(crate) fn settings(&self) -> WrittenSettings {
        let mut settings = WrittenSettings::new();
        set_texts(&mut settings, Setting::Pattern, &self.pattern);
        for (setting, written) in [
            (Setting::Senders, &self.senders),
            (Setting::Receivers, &self.receivers),
            (Setting::Topics, &self.topics),
            (Setting::SizeBytes, &self.size),
            (Setting::Messages, &self.count),
            (Setting::Seconds, &self.seconds),
            (Setting::Qos, &self.qos),
            (Setting::Window, &self.window),
            (Setting::Threads, &self.threads),
        ] {
            set(&mut settings, setting, written.as_ref());
        }
        settings
    }
}

/// Names are separated by commas; a command line may have them in it.
fn brokers(text: &str) -> Vec<String> {
    let is_command = text.contains(char::is_whitespace) || text.contains('{');
    if is_command { vec![text.to_owned()] } else { text.split(',').map(str::to_owned).collect() }
}

fn set_texts(settings: &mut WrittenSettings, setting: Setting, texts: &[String]) {
    if !texts.is_empty() {
        settings.insert(setting, Written::from(texts.to_vec()));
    }
}

pub(super) fn set(settings: &mut WrittenSettings, setting: Setting, written: Option<&Written>) {
    if let Some(written) = written {
        settings.insert(setting, written.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::{Value, json};

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
        Ok(settings.into_iter().map(|(setting, written)| (setting.name(), json!(written))).collect())
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

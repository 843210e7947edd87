//! The results of a run, as text and as JSON.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wisp_client::QoS;

use crate::drive::checker::Tally;
use crate::drive::config::Config;
use crate::drive::latency::Latency;
use crate::drive::pattern::Pattern;
use crate::drive::target::Target;

/// A run's settings and results. As JSON, one line with these fields.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Results {
    /// The generator's own version.
    pub loadgen_version: String,
    /// The broker.
    pub url: String,
    /// The protocol: `mqtt` or `nats`.
    pub protocol: String,
    /// The transport: `tcp`, `tls`, `websocket` or `websocket-tls`.
    #[serde(default = "tcp")]
    pub transport: String,
    /// The MQTT version that was spoken; none for another protocol.
    pub mqtt_version: Option<String>,
    /// The QoS of sending and receiving.
    pub qos: u8,
    /// Messages of each sender that might be unacknowledged at once: as many as were asked for, or as an MQTT 5 broker takes, if
    /// they are fewer, of any sender. None at QoS 0, where nothing is acknowledged.
    pub window: Option<u16>,
    /// Connections that sent.
    pub senders: u32,
    /// Connections that received.
    pub receivers: u32,
    /// The way of messages from senders to receivers.
    pub pattern: Pattern,
    /// How many topics there were.
    pub topics: u32,
    /// Bytes of each message.
    pub size_bytes: usize,
    /// Messages that were to be sent.
    pub messages: u64,
    /// The generator's threads.
    pub threads: usize,
    /// Messages a second that were to be sent; none at full speed.
    #[serde(default)]
    pub rate_per_s: Option<f64>,
    /// Whether the rate was reached, judged by the receipts; none at full speed. If not, latency grows with the length
    /// of the run.
    #[serde(default)]
    pub is_rate_reached: Option<bool>,
    /// Messages handed to sockets.
    pub sent: u64,
    /// Messages that were to be received by all receivers together: each message as often as somebody should get it.
    pub expected: u64,
    /// Messages that were received, without duplicates.
    pub received: u64,
    /// Messages that were sent and did not arrive. If the run was ended early, messages on their way are included.
    pub lost: u64,
    /// Messages that were not sent at all, since the run was ended early.
    #[serde(default)]
    pub not_sent: u64,
    /// Messages that came once more.
    pub duplicated: u64,
    /// Messages that came after one that was sent later.
    pub out_of_order: u64,
    /// Messages of this run whose content differs from the one sent.
    pub corrupt: u64,
    /// Messages of others on the same topics.
    pub foreign: u64,
    /// From the first send to the last receipt.
    pub seconds: f64,
    /// Received in a second; without receivers, read by the broker.
    pub messages_per_s: f64,
    /// Handed to sockets in a second, from the first to the last.
    #[serde(default)]
    pub sent_per_s: f64,
    /// Millions of payload bytes a second.
    pub megabytes_per_s: f64,
    /// Why the run ended early.
    pub error: Option<String>,
    /// The first faults of messages in words; ten at most.
    pub first_faults: Vec<String>,
    /// At a rate: from when a message was due to when it was received. The fields begin with `latency_`.
    #[serde(flatten, with = "crate::drive::latency::end_to_end")]
    pub latency: Option<Latency>,
    /// At a rate, QoS 1 and 2: from when a message was due to its last acknowledgement. The fields begin with `ack_`.
    #[serde(flatten, with = "crate::drive::latency::acknowledgement")]
    pub acknowledgement: Option<Latency>,
    /// At a rate: how late the generator itself was with sending. The fields begin with `send_lag_`.
    #[serde(flatten, with = "crate::drive::latency::send_lag")]
    pub send_lag: Option<Latency>,
    /// Processor time of the generator's threads; this and the following are none where the system does not tell.
    #[serde(default)]
    pub generator_cpu_s: Option<f64>,
    /// The share of the time in which the busiest of the generator's threads ran or waited for a processor.
    #[serde(default)]
    pub generator_busy: Option<f64>,
    /// The part of it in which it waited.
    #[serde(default)]
    pub generator_waiting: Option<f64>,
    /// Whether that thread never slept, so that the generator limited the run; none also if the run was too short to
    /// tell.
    #[serde(default)]
    pub is_generator_saturated: Option<bool>,
}

/// A rate was reached if its messages took no longer than they were to, but for this share and these seconds: the last
/// ones are on their way when the last is due.
const RATE_REACHED: (f64, f64) = (1.02, 0.05);

/// The transport of records that name none.
fn tcp() -> String {
    "tcp".to_owned()
}

impl Results {
    /// The results of a run that took `elapsed`.
    #[must_use]
    pub fn new(config: &Config, elapsed: Duration, sent: u64, tally: &Tally, error: Option<String>) -> Self {
        let expected = config.pattern.expected(config.receivers, config.messages);
        let expected_of_sent = config.pattern.expected(config.receivers, sent);
        let counted = if config.receivers == 0 { sent } else { tally.received };
        let seconds = elapsed.as_secs_f64();
        let per_s = |messages: u64| if seconds > 0.0 { messages as f64 / seconds } else { 0.0 };
        let messages_per_s = per_s(counted);
        Self {
            loadgen_version: env!("CARGO_PKG_VERSION").to_owned(),
            url: config.target.to_string(),
            protocol: config.target.protocol().to_owned(),
            transport: config.target.transport_name().to_owned(),
            mqtt_version: version_name(config).map(str::to_owned),
            qos: config.qos as u8,
            // The broker's limit and the time of sending are not known here.
            window: (config.qos > QoS::AtMostOnce).then_some(config.window),
            senders: config.senders,
            receivers: config.receivers,
            pattern: config.pattern,
            topics: config.topics.unwrap_or_else(|| config.pattern.topics(config.receivers)),
            size_bytes: config.size,
            messages: config.messages,
            threads: config.threads,
            rate_per_s: config.rate_per_s,
            is_rate_reached: config.rate_per_s.map(|rate_per_s| {
                let planned_s = config.messages.saturating_sub(1) as f64 / rate_per_s;
                seconds <= planned_s * RATE_REACHED.0 + RATE_REACHED.1
            }),
            sent,
            expected,
            received: tally.received,
            lost: expected_of_sent.saturating_sub(tally.received),
            not_sent: config.messages.saturating_sub(sent),
            duplicated: tally.duplicated,
            out_of_order: tally.out_of_order,
            corrupt: tally.corrupt,
            foreign: tally.foreign,
            seconds,
            messages_per_s,
            sent_per_s: per_s(sent),
            megabytes_per_s: messages_per_s * config.size as f64 / 1e6,
            error,
            first_faults: Vec::new(),
            latency: None,
            acknowledgement: None,
            send_lag: None,
            generator_cpu_s: None,
            generator_busy: None,
            generator_waiting: None,
            is_generator_saturated: None,
        }
    }

    /// Whether every message came once, in order, and as it was sent.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.error.is_none() && self.lost + self.duplicated + self.out_of_order + self.corrupt == 0
    }

    /// The fault of the run; None if it [is good](Self::is_good).
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let Self { expected, received, lost, not_sent, duplicated, out_of_order, corrupt, .. } = self;
        if let Some(error) = &self.error {
            return Some(format!("{error}; received {received} of {expected}, lost {lost}, never sent {not_sent}"));
        }
        (!self.is_good()).then(|| {
            format!(
                "of {expected}: lost {lost}, duplicated {duplicated}, out of order {out_of_order}, corrupt {corrupt}"
            )
        })
    }

    /// A warning for a reader of the figures, although no message is wrong.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        if self.is_rate_reached == Some(false) && self.error.is_none() {
            let what = "the rate was not reached, so that latency grows with the length of the run";
            return Some(format!("{what}: {:.0} msg/s came through", self.messages_per_s));
        }
        self.is_generator_saturated.filter(|is_saturated| *is_saturated)?;
        let percent = |share: Option<f64>| 100.0 * share.unwrap_or_default();
        let (busy, waiting) = (percent(self.generator_busy), percent(self.generator_waiting));
        let what = match self.rate_per_s {
            None => "the generator was the limit",
            Some(_) => "the generator had no time to spare, and part of the latency is its own",
        };
        let running = busy - waiting;
        Some(format!(
            "{what}: its busiest thread ran {running:.0} % of the time and waited for a processor {waiting:.0} % of it"
        ))
    }

    /// Reads a line written by [`Results::to_json`].
    ///
    /// # Errors
    /// If it is something else, such as the line of another version.
    pub fn from_json(line: &str) -> serde_json::Result<Self> {
        serde_json::from_str(line)
    }

    /// All of it in one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts only")
    }
}

/// Lines for people: the results, the settings, latencies if there is a rate, the first faults, and a warning.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} msg/s, {:.1} MB/s", self.messages_per_s, self.megabytes_per_s)?;
        write!(f, ", lost {}, duplicated {}, out of order {}", self.lost, self.duplicated, self.out_of_order)?;
        if self.not_sent > 0 {
            write!(f, ", never sent {}", self.not_sent)?;
        }
        if self.corrupt > 0 {
            write!(f, ", corrupt {}", self.corrupt)?;
        }
        if self.foreign > 0 {
            write!(f, ", of others {}", self.foreign)?;
        }
        let Self { sent, size_bytes, senders, receivers, pattern, topics, qos, seconds, .. } = self;
        write!(f, "\n{sent} messages of {size_bytes} B from {senders} senders to {receivers} receivers")?;
        write!(f, ", {pattern} over {topics} topics")?;
        match &self.mqtt_version {
            Some(version) => {
                let over = match self.transport.as_str() {
                    "tls" => " over TLS",
                    "websocket" => " over WebSocket",
                    "websocket-tls" => " over WebSocket and TLS",
                    _ => "",
                };
                write!(f, ", MQTT {version}{over}, QoS {qos}")?;
            }
            None => write!(f, ", NATS")?,
        }
        if let Some(window) = self.window {
            write!(f, ", window {window}")?;
        }
        write!(f, ", in {seconds:.3} s")?;
        if let Some(rate_per_s) = self.rate_per_s {
            write!(f, ", to be sent at {rate_per_s} msg/s")?;
        }
        for (what, latency) in
            [("latency", &self.latency), ("acknowledged", &self.acknowledgement), ("send lag", &self.send_lag)]
        {
            if let Some(latency) = latency {
                write!(f, "\n{what}: {latency}")?;
            }
        }
        self.first_faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))?;
        self.warning().map_or(Ok(()), |warning| write!(f, "\n{warning}"))
    }
}

fn version_name(config: &Config) -> Option<&'static str> {
    use wisp_client::ProtocolVersion::{Mqtt5, Mqtt31, Mqtt311};
    match (&config.target, config.version) {
        (Target::Mqtt(_), Mqtt31) => Some("3.1"),
        (Target::Mqtt(_), Mqtt311) => Some("3.1.1"),
        (Target::Mqtt(_), Mqtt5) => Some("5"),
        (Target::Nats(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wisp_client::ProtocolVersion;

    fn config() -> Config {
        Config::new("mqtt://u:secret@h:1".parse().unwrap())
    }

    fn results(receivers: u32, sent: u64, tally: Tally) -> Results {
        let config = Config {
            version: ProtocolVersion::Mqtt5,
            qos: QoS::AtLeastOnce,
            window: 77,
            receivers,
            size: 1000,
            messages: 100,
            ..config()
        };
        Results::new(&config, Duration::from_millis(500), sent, &tally, None)
    }

    #[test]
    fn rates_are_of_what_was_received() {
        let good = results(1, 100, Tally { received: 100, ..Tally::default() });
        assert!(good.is_good());
        assert_eq!(good.to_string().lines().next(), Some("200 msg/s, 0.2 MB/s, lost 0, duplicated 0, out of order 0"));
        let none = results(0, 100, Tally::default());
        assert!(none.is_good() && (none.messages_per_s - 200.0).abs() < 1e-9);
    }

    #[test]
    fn a_generator_without_time_to_spare_is_told() {
        let good = results(1, 100, Tally { received: 100, ..Tally::default() });
        let busy = |is_generator_saturated| Results {
            generator_busy: Some(0.99),
            generator_waiting: Some(0.4),
            is_generator_saturated,
            ..good.clone()
        };
        assert_eq!((good.warning(), busy(None).warning(), busy(Some(false)).warning()), (None, None, None));
        let warning = busy(Some(true)).warning().unwrap();
        assert!(warning.starts_with("the generator was the limit") && warning.contains("ran 59 %"), "{warning}");
        assert!(busy(Some(true)).to_string().ends_with(&warning));
        let paced = Results { rate_per_s: Some(10.0), ..busy(Some(true)) };
        assert!(paced.warning().is_some_and(|warning| warning.contains("latency")) && paced.is_good());
    }

    #[test]
    fn what_was_never_sent_is_not_lost() {
        let config = Config { messages: 100, receivers: 3, pattern: Pattern::FanOut, ..config() };
        let tally = Tally { received: 110, ..Tally::default() };
        let ended = Results::new(&config, Duration::from_secs(1), 40, &tally, Some("it died".to_owned()));
        assert_eq!((ended.expected, ended.received, ended.lost, ended.not_sent), (300, 110, 10, 60));
        let told = ended.to_string();
        assert!(told.lines().next().is_some_and(|line| line.contains("lost 10,") && line.ends_with("never sent 60")));
        let fault = ended.fault().unwrap();
        assert_eq!(fault, "it died; received 110 of 300, lost 10, never sent 60");
        let whole = results(1, 100, Tally { received: 100, ..Tally::default() });
        assert!(whole.not_sent == 0 && !whole.to_string().contains("never sent"));
    }

    #[test]
    fn each_fault_alone_is_bad() {
        let all = Tally { received: 100, ..Tally::default() };
        for tally in [
            Tally { received: 99, ..all },
            Tally { duplicated: 1, ..all },
            Tally { out_of_order: 1, ..all },
            Tally { corrupt: 1, ..all },
        ] {
            assert!(!results(1, 100, tally).is_good(), "{tally:?}");
        }
        assert!(results(1, 100, Tally { foreign: 1, ..all }).is_good());
        assert!(!Results { error: Some("x".to_owned()), ..results(1, 100, all) }.is_good());
    }

    #[test]
    fn json_is_one_line_with_settings_and_results_and_no_password() {
        let json = results(1, 100, Tally { received: 98, ..Tally::default() }).to_json();
        assert!(!json.contains('\n') && !json.contains("secret"), "{json}");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        for (field, value) in [("url", "mqtt://h:1"), ("protocol", "mqtt"), ("transport", "tcp"), ("mqtt_version", "5")]
        {
            assert_eq!(read[field], value);
        }
        for (field, value) in [("senders", 1), ("size_bytes", 1000), ("messages", 100), ("lost", 2), ("qos", 1)] {
            assert_eq!(read[field], value);
        }
        assert_eq!(read["window"], 77);
        assert!(read["error"].is_null());
    }
}

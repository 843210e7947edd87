//! The settings of samples that the load generator takes: a load on a broker, and connections to one.

use std::fmt;
use std::str::FromStr;

use wisp_client::{ProtocolVersion, QoS};
use wisp_loadgen::{Layout, Pattern, Target};

use crate::broker::{Broker, Mode, Protocol};
use crate::plan::error::{Fault, SettingError};
use crate::plan::field::{Combination, Field};
use crate::plan::setting::{CONNECTIONS_MAX, Setting, Value};

/// The schemes of brokers that run already.
const SCHEMES: [&str; 7] = ["mqtt://", "mqtts://", "tcp://", "ssl://", "ws://", "wss://", "nats://"];

/// The broker of a sample.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BrokerChoice {
    /// A broker that is started.
    Start(Broker),
    /// One that runs already.
    Running(Target),
}

impl BrokerChoice {
    /// Whether it speaks NATS.
    #[must_use]
    pub fn is_nats(&self) -> bool {
        match self {
            Self::Start(broker) => broker.protocol() == Protocol::Nats,
            Self::Running(target) => matches!(target, Target::Nats(_)),
        }
    }

    /// Whether it is the sink, which forwards nothing.
    #[must_use]
    pub fn is_sink(&self) -> bool {
        *self == Self::Start(Broker::Sink)
    }

    /// How many of the `wanted` workers it has; None if it has no such setting.
    fn workers(&self, wanted: u32) -> Option<u32> {
        let Self::Start(broker) = self else { return None };
        broker.workers(wanted as usize).and_then(|workers| u32::try_from(workers).ok())
    }

    fn modes(&self) -> &'static [Mode] {
        match self {
            Self::Start(broker) => broker.modes(),
            Self::Running(_) => &[],
        }
    }
}

/// As plans write it; of a broker that runs the URL without its password.
impl fmt::Display for BrokerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(broker) => broker.fmt(f),
            Self::Running(target) => target.fmt(f),
        }
    }
}

impl FromStr for BrokerChoice {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if !SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Start(text.parse()?));
        }
        if text.contains('@') {
            return Err(Fault::Credentials);
        }
        Ok(Self::Running(text.parse()?))
    }
}

impl Field for BrokerChoice {
    fn read(value: Value) -> Result<Self, Fault> {
        String::read(value)?.parse()
    }

    fn write(&self) -> Value {
        Value::Text(self.to_string())
    }
}

/// The broker of a sample, and how it is started.
#[derive(Clone, PartialEq, Debug)]
pub struct BrokerSetup {
    /// The broker.
    pub choice: BrokerChoice,
    /// How a runtime runs the module; None for its usual way.
    pub mode: Option<Mode>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further lines of its configuration file.
    pub settings: Vec<String>,
    /// Its workers, if it has such a setting.
    pub workers: Option<u32>,
    /// The version of MQTT; None for the usual one.
    pub mqtt_version: Option<ProtocolVersion>,
}

impl BrokerSetup {
    /// A broker with its defaults.
    #[must_use]
    pub fn new(choice: BrokerChoice) -> Self {
        Self { choice, mode: None, arguments: Vec::new(), settings: Vec::new(), workers: None, mqtt_version: None }
    }

    fn read(from: &mut Combination) -> Result<Self, SettingError> {
        Ok(Self {
            choice: from.required(Setting::Broker)?,
            mode: from.optional(Setting::Mode)?,
            arguments: from.texts(Setting::BrokerArguments)?,
            settings: from.texts(Setting::BrokerSettings)?,
            workers: from.optional(Setting::Workers)?,
            mqtt_version: from.optional(Setting::MqttVersion)?,
        })
    }

    fn write(&self) -> Combination {
        Combination::default()
            .with(Setting::Broker, &self.choice)
            .with_some(Setting::Mode, self.mode.as_ref())
            .with_texts(Setting::BrokerArguments, &self.arguments)
            .with_texts(Setting::BrokerSettings, &self.settings)
            .with_some(Setting::Workers, self.workers.as_ref())
            .with_some(Setting::MqttVersion, self.mqtt_version.as_ref())
    }

    fn settle(&mut self) {
        self.workers = self.workers.and_then(|workers| self.choice.workers(workers));
        self.mode = self.mode.filter(|_| !self.choice.modes().is_empty());
        self.mqtt_version = self.mqtt_version.filter(|_| !self.choice.is_nats());
    }

    fn check(&self) -> Result<(), SettingError> {
        match self.mode.filter(|mode| !self.choice.modes().contains(mode)) {
            None => Ok(()),
            Some(mode) => Err(Fault::NoMode { broker: self.choice.to_string(), mode }.of(Setting::Mode)),
        }
    }
}

/// Messages through a broker.
#[derive(Clone, PartialEq, Debug)]
pub struct Load {
    /// The broker.
    pub broker: BrokerSetup,
    /// The way of messages from senders to receivers.
    pub pattern: Pattern,
    /// The QoS of sending and receiving.
    pub qos: QoS,
    /// At QoS 1 and 2, messages of each sender that may be unacknowledged at once.
    pub window: Option<u16>,
    /// Bytes of each message.
    pub size_bytes: u64,
    /// Connections that send.
    pub senders: u32,
    /// Connections that receive.
    pub receivers: u32,
    /// How many topics; None for as many as the pattern needs.
    pub topics: Option<u32>,
    /// The first levels of all topics; None for ones of the run's own.
    pub topic_prefix: Option<String>,
    /// Messages of all senders together; None for as many as take `seconds`.
    pub messages: Option<u64>,
    /// How long a sample is to take.
    pub seconds: Option<f64>,
    /// Messages a second of all senders together; None for full speed.
    pub rate_per_s: Option<f64>,
    /// The rate as a share of the broker's maximum.
    pub load_percent: Option<f64>,
    /// The generator's threads.
    pub threads: u32,
    /// Messages of the warm-up; None for a share of the sample's.
    pub warm_up_messages: Option<u64>,
    /// How long nothing may move.
    pub timeout_s: u64,
}

impl Load {
    /// Messages of 1 KB at QoS 0 from one sender to one receiver, as fast as they go.
    #[must_use]
    pub fn new(broker: BrokerChoice) -> Self {
        Self {
            broker: BrokerSetup::new(broker),
            pattern: Pattern::OneToOne,
            qos: QoS::AtMostOnce,
            window: None,
            size_bytes: 1024,
            senders: 1,
            receivers: 1,
            topics: None,
            topic_prefix: None,
            messages: None,
            seconds: None,
            rate_per_s: None,
            load_percent: None,
            threads: 2,
            warm_up_messages: None,
            timeout_s: 60,
        }
    }

    pub(super) fn read(from: &mut Combination) -> Result<Self, SettingError> {
        Ok(Self {
            broker: BrokerSetup::read(from)?,
            pattern: from.required(Setting::Pattern)?,
            qos: from.required(Setting::Qos)?,
            window: from.optional(Setting::Window)?,
            size_bytes: from.required(Setting::SizeBytes)?,
            senders: from.required(Setting::Senders)?,
            receivers: from.required(Setting::Receivers)?,
            topics: from.optional(Setting::Topics)?,
            topic_prefix: None,
            messages: from.optional(Setting::Messages)?,
            seconds: from.optional(Setting::Seconds)?,
            rate_per_s: from.optional(Setting::RatePerS)?,
            load_percent: from.optional(Setting::LoadPercent)?,
            threads: from.required(Setting::Threads)?,
            warm_up_messages: from.optional(Setting::WarmUpMessages)?,
            timeout_s: from.required(Setting::TimeoutS)?,
        })
    }

    pub(super) fn write(&self) -> Combination {
        self.broker
            .write()
            .with(Setting::Pattern, &self.pattern)
            .with(Setting::Qos, &self.qos)
            .with_some(Setting::Window, self.window.as_ref())
            .with(Setting::SizeBytes, &self.size_bytes)
            .with(Setting::Senders, &self.senders)
            .with(Setting::Receivers, &self.receivers)
            .with_some(Setting::Topics, self.topics.as_ref())
            .with_some(Setting::TopicPrefix, self.topic_prefix.as_ref())
            .with_some(Setting::Messages, self.messages.as_ref())
            .with_some(Setting::Seconds, self.seconds.as_ref())
            .with_some(Setting::RatePerS, self.rate_per_s.as_ref())
            .with_some(Setting::LoadPercent, self.load_percent.as_ref())
            .with(Setting::Threads, &self.threads)
            .with_some(Setting::WarmUpMessages, self.warm_up_messages.as_ref())
            .with(Setting::TimeoutS, &self.timeout_s)
    }

    /// Removes settings that have no meaning beside the others, so that combinations that differ in nothing else become
    /// one.
    pub(super) fn settle(&mut self) {
        self.broker.settle();
        if self.qos == QoS::AtMostOnce {
            self.window = None;
        }
    }

    /// Checks that the settings go together.
    pub(super) fn check(&self, is_of_latency: bool) -> Result<(), SettingError> {
        self.broker.check()?;
        let Self { qos, senders, receivers, .. } = *self;
        let broker = &self.broker.choice;
        if broker.is_nats() && qos > QoS::AtMostOnce {
            return Err(Fault::NatsQos(broker.to_string()).of(Setting::Qos));
        }
        if u64::from(senders) + u64::from(receivers) > CONNECTIONS_MAX {
            return Err(Fault::Connections { senders, receivers }.of(Setting::Senders));
        }
        Layout::new(self.pattern, senders, receivers, self.topics, self.messages.unwrap_or(1))
            .map_err(|error| Fault::from(error).of(Setting::Pattern))?;
        if broker.is_sink() && receivers > 0 {
            return Err(Fault::SinkReceivers.of(Setting::Receivers));
        }
        if is_of_latency && receivers == 0 && qos == QoS::AtMostOnce {
            return Err(Fault::NoReceivers.of(Setting::Receivers));
        }
        Ok(())
    }
}

/// Connections to a broker.
#[derive(Clone, PartialEq, Debug)]
pub struct Connections {
    /// The broker.
    pub broker: BrokerSetup,
    /// How many connections are opened.
    pub connections: u64,
    /// Connections a second; None for the next one as soon as the last one is taken.
    pub rate_per_s: Option<f64>,
    /// How long nothing may move.
    pub timeout_s: u64,
}

impl Connections {
    pub(super) fn read(from: &mut Combination) -> Result<Self, SettingError> {
        Ok(Self {
            broker: BrokerSetup::read(from)?,
            connections: from.required(Setting::Connections)?,
            rate_per_s: from.optional(Setting::RatePerS)?,
            timeout_s: from.required(Setting::TimeoutS)?,
        })
    }

    pub(super) fn write(&self) -> Combination {
        self.broker
            .write()
            .with(Setting::Connections, &self.connections)
            .with_some(Setting::RatePerS, self.rate_per_s.as_ref())
            .with(Setting::TimeoutS, &self.timeout_s)
    }

    /// As [`Load::settle`].
    pub(super) fn settle(&mut self) {
        self.broker.settle();
    }

    /// As [`Load::check`].
    pub(super) fn check(&self) -> Result<(), SettingError> {
        self.broker.check()?;
        match &self.broker.choice {
            nats if nats.is_nats() => Err(Fault::NotMqtt(nats.to_string()).of(Setting::Broker)),
            _ => Ok(()),
        }
    }
}

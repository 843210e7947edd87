//! The brokers that can be measured: their names, protocols and modes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::shell_words::{self, InvalidWords};

/// A broker under test.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
#[serde(into = "String", try_from = "String")]
pub enum Broker {
    /// Wisp as a native program.
    Native,
    /// Wisp under Wasmer.
    Wasmer,
    /// Wisp under Wasmtime.
    Wasmtime,
    /// Wisp under WasmEdge.
    WasmEdge,
    /// Debian's mosquitto.
    Mosquitto,
    /// Debian's nats-server, which speaks another protocol.
    NatsServer,
    /// rumqttd, built from its crate.
    Rumqttd,
    /// The generator's own sink, which forwards nothing.
    Sink,
    /// A command line of somebody's own, with `{port}` or `{address}` in it, which starts a broker that speaks MQTT.
    Command(String),
}

/// The protocol of a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// MQTT over TCP.
    Mqtt,
    /// The core of NATS.
    Nats,
}

impl Protocol {
    /// The name as people write it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Mqtt => "MQTT",
            Self::Nats => "NATS",
        }
    }

    /// The scheme of its URLs, which is also its name in records.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Nats => "nats",
        }
    }
}

/// How a runtime comes to run a module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Compiled before, by the runtime's own compiler.
    #[default]
    Aot,
    /// Compiled at its start, with no cache.
    Jit,
    /// Interpreted.
    Interpreted,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aot, Self::Jit, Self::Interpreted];

    /// The name as plans, records and scripts write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aot => "aot",
            Self::Jit => "jit",
            Self::Interpreted => "interpreted",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no mode has.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{0} is no mode: use one of {known}", known = Mode::ALL.map(Mode::name).join(", "))]
pub struct UnknownMode(String);

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        let mode = Self::ALL.into_iter().find(|mode| mode.name() == text);
        mode.ok_or_else(|| UnknownMode(text.to_owned()))
    }
}

impl Broker {
    /// The brokers that have a name, in the order of tables.
    pub const NAMED: [Self; 8] = [
        Self::Native,
        Self::Wasmer,
        Self::Wasmtime,
        Self::WasmEdge,
        Self::Mosquitto,
        Self::NatsServer,
        Self::Rumqttd,
        Self::Sink,
    ];

    /// The name as plans and records write it; of a command line the name of its program.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Native => "native",
            Self::Wasmer => "wasmer",
            Self::Wasmtime => "wasmtime",
            Self::WasmEdge => "wasmedge",
            Self::Mosquitto => "mosquitto",
            Self::NatsServer => "nats-server",
            Self::Rumqttd => "rumqttd",
            Self::Sink => "sink",
            Self::Command(line) => {
                let program = line.split_whitespace().next().unwrap_or(line);
                program.rsplit('/').next().unwrap_or(program)
            }
        }
    }

    /// The name as people write it.
    #[must_use]
    pub fn title(&self) -> &str {
        match self {
            Self::Wasmer => "Wasmer",
            Self::Wasmtime => "Wasmtime",
            Self::WasmEdge => "WasmEdge",
            other => other.name(),
        }
    }

    /// The protocol that it speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        if *self == Self::NatsServer { Protocol::Nats } else { Protocol::Mqtt }
    }

    /// How many of the `wanted` workers it has; None for a broker that has no such setting.
    #[must_use]
    pub fn workers(&self, wanted: usize) -> Option<usize> {
        match self {
            Self::Native | Self::Wasmer | Self::Wasmtime => Some(wanted),
            Self::WasmEdge => Some(1),
            Self::Mosquitto | Self::NatsServer | Self::Rumqttd | Self::Sink | Self::Command(_) => None,
        }
    }

    /// Whether it is Wisp, on any host.
    #[must_use]
    pub fn is_wisp(&self) -> bool {
        *self == Self::Native || self.wasm_host().is_some()
    }

    /// Whether the smoke benchmark measures it at this QoS. At QoS 0 nothing holds rumqttd's senders back, and its log of each topic
    /// is all but full with a million messages of 1 KB, as one topic gets there. The core of NATS has no other QoS.
    #[must_use]
    pub fn is_measured_at(&self, qos: u8) -> bool {
        match self {
            Self::Rumqttd => qos > 0,
            Self::NatsServer => qos == 0,
            _ => true,
        }
    }

    /// The host's name in the scripts of wasm-targets; None for native programs.
    #[must_use]
    pub fn wasm_host(&self) -> Option<&'static str> {
        match self {
            Self::Wasmer => Some("wasix"),
            Self::Wasmtime => Some("wasip1"),
            Self::WasmEdge => Some("wasmedge"),
            _ => None,
        }
    }

    /// How it can run its module, the usual one first; none for native programs. Wasmer can have an interpreter and several
    /// compilers, of which this project's has one.
    #[must_use]
    pub fn modes(&self) -> &'static [Mode] {
        match self {
            Self::Wasmer | Self::Wasmtime => &[Mode::Aot, Mode::Jit],
            Self::WasmEdge => &[Mode::Aot, Mode::Jit, Mode::Interpreted],
            _ => &[],
        }
    }
}

/// The name; of a command line the whole line, so that it reads as it is written.
impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(line) => f.write_str(line),
            named => f.write_str(named.name()),
        }
    }
}

/// Why a text names no broker.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum InvalidBroker {
    /// It is neither a name nor a command line.
    #[error(
        "there is no broker {0:?}: use one of {known}, or a command line with {{port}} in it",
        known = Broker::NAMED.iter().map(Broker::name).collect::<Vec<_>>().join(", ")
    )]
    Unknown(String),
    /// The command line cannot be taken apart.
    #[error(transparent)]
    Words(#[from] InvalidWords),
    /// The command line has no words.
    #[error("an empty command line starts no broker")]
    Empty,
    /// The command line has no place for an address.
    #[error("the command line does not say where the broker is to listen: put {{port}} or {{address}} into {0:?}")]
    NoAddress(String),
}

impl FromStr for Broker {
    type Err = InvalidBroker;

    fn from_str(text: &str) -> Result<Self, InvalidBroker> {
        if let Some(named) = Self::NAMED.into_iter().find(|broker| broker.name() == text) {
            return Ok(named);
        }
        let is_command =
            text.contains(|character: char| character.is_whitespace() || character == '/' || character == '{');
        if !is_command {
            return Err(InvalidBroker::Unknown(text.to_owned()));
        }
        if shell_words::split(text)?.is_empty() {
            return Err(InvalidBroker::Empty);
        }
        if !text.contains(shell_words::PORT) && !text.contains(shell_words::ADDRESS) {
            return Err(InvalidBroker::NoAddress(text.to_owned()));
        }
        Ok(Self::Command(text.to_owned()))
    }
}

impl From<Broker> for String {
    fn from(broker: Broker) -> Self {
        broker.to_string()
    }
}

impl TryFrom<String> for Broker {
    type Error = InvalidBroker;

    fn try_from(text: String) -> Result<Self, InvalidBroker> {
        text.parse()
    }
}

//! The brokers under test: how each is started, awaited and stopped, and its cost.
//!
//! ```text
//!   Broker + StartOptions ---> commands ---> Running  ---> url, usage, startup
//!                              settings        ^
//!                                            readiness: polled until it accepts clients
//! ```

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process;
use std::str::FromStr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Interrupt};
use crate::machine;
use crate::paths::Scratch;

mod build;
mod commands;
mod cpu_meter;
mod readiness;
mod running;
mod settings;
mod shell_words;
mod usage;

pub use build::Build;
pub use cpu_meter::CpuMeter;
pub use running::{Running, last_lines};
pub use settings::{MOSQUITTO_SETTINGS, NATS_SETTINGS, RUMQTTD_SETTINGS};
pub use shell_words::InvalidWords;
pub use usage::Usage;

/// How long a broker may take until it answers. A runtime may have to compile a large module first, and a launcher to
/// build a small program of its own.
const START_TIMEOUT: Duration = Duration::from_secs(120);

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

/// How a broker is to be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartOptions {
    /// Which build of Wisp to start; other brokers ignore it.
    pub build: Build,
    /// Workers of a broker that has such a setting.
    pub workers: usize,
    /// How a runtime is to run the module; none for its usual one, which is ahead of time. Of a broker under no runtime it
    /// has to be none.
    pub mode: Option<Mode>,
    /// Further arguments, in which `{port}` and `{address}` stand for where it is to listen.
    pub arguments: Vec<String>,
    /// Further lines of its configuration file, if it is one that is started with a file.
    pub settings: Vec<String>,
}

impl Default for StartOptions {
    fn default() -> Self {
        Self {
            build: Build::Own,
            workers: machine::processors(),
            mode: None,
            arguments: Vec::new(),
            settings: Vec::new(),
        }
    }
}

impl StartOptions {
    /// The given number of workers, and defaults for the rest.
    #[must_use]
    pub fn with_workers(workers: usize) -> Self {
        Self { workers, ..Self::default() }
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

    /// How it is set beside its address, line by line: of Wisp the flags, of the others their configuration; all else is
    /// the default of each.
    #[must_use]
    pub fn settings(&self) -> Vec<String> {
        let lines = |lines: &[&str]| lines.iter().copied().map(str::to_owned).collect();
        match self {
            Self::Mosquitto => lines(&MOSQUITTO_SETTINGS),
            Self::NatsServer => lines(&NATS_SETTINGS),
            Self::Rumqttd => settings::rumqttd_lines(),
            Self::Sink => Vec::new(),
            Self::Command(line) => vec![line.clone()],
            Self::Native | Self::Wasmtime => lines(&commands::WISP_FLAGS),
            Self::WasmEdge => lines(&[&commands::WISP_FLAGS[..], &["--workers 1"]].concat()),
            Self::Wasmer => lines(&[&commands::WISP_FLAGS[..], &["TOKIO_WORKER_THREADS=1"]].concat()),
        }
    }

    /// Checks that it is installed, without starting it.
    ///
    /// # Errors
    /// If something is missing, with the command that installs it.
    pub fn look_for(&self, options: &StartOptions, scratch: &Scratch) -> Result<(), Failure> {
        let address = free_address();
        self.command(address, options, &own_folder(scratch, address)?).map(drop)
    }

    /// Starts it on a free port, and waits until it answers a client.
    ///
    /// # Errors
    /// If it is missing or does not come up, with advice; or if interrupted.
    pub fn start(&self, options: &StartOptions, scratch: &Scratch, interrupt: &Interrupt) -> Result<Running, Failure> {
        self.start_within(START_TIMEOUT, options, scratch, interrupt)
    }

    fn start_within(
        &self,
        timeout: Duration,
        options: &StartOptions,
        scratch: &Scratch,
        interrupt: &Interrupt,
    ) -> Result<Running, Failure> {
        let address = free_address();
        let folder = own_folder(scratch, address)?;
        // The scripts that are asked get the terminal's signals, too, and then fail.
        let command = self.command(address, options, &folder).or_else(|failure| interrupt.check().and(Err(failure)))?;
        Running::start(self.clone(), command, address, folder, timeout, interrupt)
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

/// A folder for a broker's files.
fn own_folder(scratch: &Scratch, address: SocketAddr) -> Result<PathBuf, Failure> {
    let folder = scratch.file(&format!("broker-{}", address.port()));
    fs::create_dir_all(&folder).map_err(|error| unwritable(&error))?;
    Ok(folder)
}

fn unwritable(error: &io::Error) -> Failure {
    Failure::Setup(format!("cannot write into the folder for temporary files: {error}"))
}

fn write_configuration(folder: &Path, text: &str) -> Result<PathBuf, Failure> {
    let file = folder.join("configuration");
    fs::write(&file, text).map_err(|error| unwritable(&error))?;
    Ok(file)
}

/// An address on which nobody listens. Ports come from below the range that the system takes its own from, so no
/// client's connection can sit on one; and each is used once, so nothing of the broker before is left on it.
#[must_use]
pub fn free_address() -> SocketAddr {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Runs at the same time begin at different places.
    let start = (process::id() % u32::from(COUNT)) as u16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_mul(41).wrapping_add(step) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

#[cfg(test)]
mod tests;

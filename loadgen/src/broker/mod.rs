//! The brokers under test: how each is started, waited for and stopped.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use wisp_client::{Client, ConnectOptions, ProtocolVersion};

use crate::failure::{Failure, Interrupt};
use crate::places::{self, Scratch};

/// How long a broker may take until it answers. A runtime may have to read a large module first, and a launcher to
/// build a small program of its own.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Lines of a broker's standard error that are shown when it fails.
const LAST_WORDS_LINES: usize = 3;

/// The lines of mosquitto's configuration beside its listener: no bound at which it would drop, and nothing that costs
/// time and is not forwarding. All else is its default.
pub const MOSQUITTO_SETTINGS: [&str; 6] = [
    "allow_anonymous true",
    "max_queued_messages 0",
    "max_inflight_messages 0",
    "persistence false",
    "log_dest none",
    "log_type none",
];

/// rumqttd's configuration but for the address. It appends what is published to a log for each topic and forgets the oldest
/// segment when there are too many, read or not: here a log holds more than a sample has. What it acknowledges is
/// in the log and not delivered, so that the window does not hold senders back. The rest are the figures of the
/// configuration that comes with it, except that it may hand a connection 1000 packets at once, as many as the window
/// has and faster than its 200, and that it runs no console and no other listener.
pub const RUMQTTD_SETTINGS: [(&str, &str); 7] = [
    ("router.max_segment_size", "104857600"),
    ("router.max_segment_count", "10"),
    ("router.max_connections", "10010"),
    ("router.max_outgoing_packet_count", "1000"),
    ("v4.1.connections.max_inflight_count", "100"),
    ("v4.1.connections.max_payload_size", "20480"),
    ("v4.1.connections.connection_timeout_ms", "60000"),
];

/// A broker under test.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
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
    /// rumqttd, built from its crate.
    Rumqttd,
}

impl Broker {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 6] =
        [Self::Native, Self::Wasmer, Self::Wasmtime, Self::WasmEdge, Self::Mosquitto, Self::Rumqttd];

    /// The name as the command line and the results write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Wasmer => "wasmer",
            Self::Wasmtime => "wasmtime",
            Self::WasmEdge => "wasmedge",
            Self::Mosquitto => "mosquitto",
            Self::Rumqttd => "rumqttd",
        }
    }

    /// The name as people write it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Wasmer => "Wasmer",
            Self::Wasmtime => "Wasmtime",
            Self::WasmEdge => "WasmEdge",
            Self::Mosquitto => "mosquitto",
            Self::Rumqttd => "rumqttd",
        }
    }

    /// How many of the `wanted` workers it has; None for a broker that has no such setting.
    #[must_use]
    pub fn workers(self, wanted: usize) -> Option<usize> {
        match self {
            Self::Native | Self::Wasmer | Self::Wasmtime => Some(wanted),
            Self::WasmEdge => Some(1),
            Self::Mosquitto | Self::Rumqttd => None,
        }
    }

    /// Whether it is Wisp, on whatever host.
    #[must_use]
    pub fn is_wisp(self) -> bool {
        !matches!(self, Self::Mosquitto | Self::Rumqttd)
    }

    /// Whether it is measured at this QoS. At QoS 0 nothing holds rumqttd's senders back, and what its log cannot hold until
    /// receivers have read it is dropped.
    #[must_use]
    pub fn is_measured_at(self, qos: u8) -> bool {
        self != Self::Rumqttd || qos > 0
    }

    /// What the host is called by the scripts in wasm-targets; None for native programs.
    #[must_use]
    pub fn wasm_host(self) -> Option<&'static str> {
        match self {
            Self::Native | Self::Mosquitto | Self::Rumqttd => None,
            Self::Wasmer => Some("wasix"),
            Self::Wasmtime => Some("wasip1"),
            Self::WasmEdge => Some("wasmedge"),
        }
    }

    /// The command that starts it. The process it makes is the broker, or becomes it: killing it is enough.
    fn command(self, address: SocketAddr, workers: usize, scratch: &Scratch) -> Result<Command, Failure> {
        let configured = |name: &str, text: String| {
            let configuration = scratch.file(name);
            fs::write(&configuration, text).map_err(|error| unwritable(&error)).map(|()| configuration)
        };
        let mut command = match self {
            Self::Mosquitto => {
                let listener = format!("listener {} {}", address.port(), address.ip());
                let text = format!("{listener}\n{}\n", MOSQUITTO_SETTINGS.join("\n"));
                let mut command = Command::new(places::mosquitto()?);
                command.arg("-c").arg(configured("mosquitto.conf", text)?);
                return Ok(command);
            }
            Self::Rumqttd => {
                let mut command = Command::new(places::rumqttd()?);
                command.args(["-q", "-c"]).arg(configured("rumqttd.toml", rumqttd_configuration(address))?);
                return Ok(command);
            }
            Self::Native => {
                let mut command = Command::new(places::native_program("wisp-broker")?);
                command.arg("--listen");
                command
            }
            Self::Wasmer | Self::Wasmtime | Self::WasmEdge => {
                Command::new(places::repository().join("wasm-targets").join(self.name()).join("run"))
            }
        };
        command.arg(address.to_string()).args(["--log", "error"]);
        if let Some(workers) = self.workers(workers) {
            command.arg("--workers").arg(workers.to_string());
        }
        Ok(command)
    }

    /// Starts it on a free port, and waits until it answers a client.
    ///
    /// # Errors
    /// When it is not there or does not come up, with what is to be done about it; or when interrupted.
    pub fn start(self, workers: usize, scratch: &Scratch, interrupt: &Interrupt) -> Result<Running, Failure> {
        self.start_with(workers, scratch, interrupt, &|_| Vec::new())
    }

    /// As [`start`](Self::start), with further arguments, which may depend on its address.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        self,
        workers: usize,
        scratch: &Scratch,
        interrupt: &Interrupt,
        arguments: &dyn Fn(SocketAddr) -> Vec<String>,
    ) -> Result<Running, Failure> {
        let address = free_address();
        let mut command = self.command(address, workers, scratch)?;
        command.args(arguments(address));
        let words = scratch.file(&format!("{self}.stderr"));
        let stderr = File::create(&words).map_err(|error| unwritable(&error))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = spawn(&mut command).map_err(|error| Failure::Missing(format!("cannot start {self}: {error}")))?;
        let mut running = Running { broker: self, child, address, words };
        let deadline = Instant::now() + START_TIMEOUT;
        while !running.answers() {
            interrupt.check()?;
            if let Some(status) = running.ended() {
                let words = running.last_words();
                return Err(Failure::Missing(format!("{self} ended at its start ({status}): {words}")));
            }
            if Instant::now() >= deadline {
                let words = running.last_words();
                return Err(Failure::Missing(format!("{self} does not answer after {START_TIMEOUT:?}: {words}")));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(running)
    }
}

fn rumqttd_configuration(address: SocketAddr) -> String {
    let settings = RUMQTTD_SETTINGS.map(|(key, value)| format!("{key} = {value}\n")).concat();
    format!(
        "id = 0\nrouter.id = 0\nv4.1.name = \"v4\"\nv4.1.listen = \"{address}\"\nv4.1.next_connection_delay_ms = 1\n{settings}"
    )
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A broker that answers. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    broker: Broker,
    child: Child,
    address: SocketAddr,
    words: PathBuf,
}

impl Running {
    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, which is the broker itself where that is a native program.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it has died by itself before.
    pub fn stop(mut self) -> Result<(), Failure> {
        match self.ended() {
            None => Ok(()),
            Some(status) => {
                let (broker, words) = (self.broker, self.last_words());
                Err(Failure::Broken(format!("{broker} died while it was measured ({status}): {words}")))
            }
        }
    }

    /// What it said last on its standard error.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.words).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        last_lines(&text).unwrap_or_else(|| "it said nothing".to_owned())
    }

    fn answers(&self) -> bool {
        let mut options = ConnectOptions::new(ProtocolVersion::Mqtt311);
        options.connect_timeout = Duration::from_secs(1);
        Client::connect(self.address, options).and_then(Client::disconnect).is_ok()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// Starts a process that does not get the terminal's signals: on Ctrl-C this program stops its children itself, and does
/// not mistake their end for a fault of theirs.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    command.process_group(0).spawn()
}

/// Ends a child, whatever it does.
pub fn kill(child: &mut Child) {
    // An error means that it has ended already.
    drop(child.kill());
    drop(child.wait());
}

/// The last lines of a text in one; None if there are none.
pub fn last_lines(text: &str) -> Option<String> {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let kept = &lines[lines.len().saturating_sub(LAST_WORDS_LINES)..];
    (!kept.is_empty()).then(|| kept.join(" / "))
}

fn unwritable(error: &io::Error) -> Failure {
    Failure::Missing(format!("cannot write into the folder for temporary files: {error}"))
}

/// An address on which nobody listens. Ports come from below the range that the system takes its own from, so no
/// client's connection can sit on one; and each is used once, so nothing of the broker before is left on it.
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
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_the_same_everywhere() {
        for broker in Broker::ALL {
            assert_eq!(Broker::from_str(broker.name(), false), Ok(broker));
            assert_eq!(serde_json::to_value(broker).unwrap(), broker.name());
        }
    }

    #[test]
    fn last_words_are_one_line() {
        assert_eq!(last_lines("a\n\n b\nc\nd\n").as_deref(), Some("b / c / d"));
        assert_eq!(last_lines("\n"), None);
    }

    #[test]
    fn a_process_that_is_not_a_broker_is_reported_and_reaped() {
        let mut child = spawn(Command::new("sleep").arg("600")).unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        kill(&mut child);
        assert!(child.try_wait().unwrap().is_some());
    }
}

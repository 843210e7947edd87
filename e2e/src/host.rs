//! The hosts that a broker runs on: how to start it there, and the abilities that the host lacks.

use std::env;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The host of the broker under test. `WISP_HOST` selects it: native (also when unset), wasmer, wasmtime,
/// wasmedge, wasip2, or mosquitto.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// The program wisp-broker.
    Native,
    /// The WASIX module under Wasmer.
    Wasmer,
    /// The WASI preview 1 module with threads under Wasmtime.
    Wasmtime,
    /// The module under WasmEdge.
    WasmEdge,
    /// The component of WASI 0.2 under Wasmtime.
    Wasip2,
    /// Not Wisp, but Debian's mosquitto: a test that fails here too misreads MQTT.
    Mosquitto,
}

/// An ability of the host that a test needs, beyond MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ability {
    /// The broker is Wisp: its flags, limits and log lines, its missing features, and its strictness.
    Wisp,
    /// The broker gives the reason for closing a connection wherever MQTT 5 has a code for it.
    Codes,
    /// The broker respects a client's Receive Maximum after the first acknowledgement too.
    Windows,
    /// SIGTERM and SIGINT reach the broker, which shuts down cleanly.
    Signals,
    /// With port 0 the system picks a port.
    PortZero,
    /// The broker itself chooses where it listens; no launcher passes it an address.
    Addresses,
    /// A program on the host can open connections, so the client runs there too.
    Clients,
    /// The broker can read files that its flags name.
    Files,
    /// A service manager can start the broker: its sockets and descriptors reach it.
    ServiceManager,
    /// A user of the system may mount file systems that only the broker sees.
    Mounts,
}

impl Host {
    /// The host that `WISP_HOST` names.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn current() -> Host {
        static CURRENT: OnceLock<Host> = OnceLock::new();
        *CURRENT.get_or_init(|| match env::var("WISP_HOST").as_deref() {
            Err(_) | Ok("" | "native") => Host::Native,
            Ok("wasmer") => Host::Wasmer,
            Ok("wasmtime") => Host::Wasmtime,
            Ok("wasmedge") => Host::WasmEdge,
            Ok("wasip2") => Host::Wasip2,
            Ok("mosquitto") => Host::Mosquitto,
            Ok(other) => {
                panic!("WISP_HOST={other}: use native, wasmer, wasmtime, wasmedge, wasip2 or mosquitto")
            }
        })
    }

    /// The reason why the host lacks an ability; None if it has it. This is the only place that decides it.
    pub fn lacks(self, ability: Ability) -> Option<&'static str> {
        use Ability::{Addresses, Clients, Codes, Files, Mounts, PortZero, ServiceManager, Signals, Windows, Wisp};
        match (self, ability) {
            (Host::Native, Mounts) if !can_mount() => Some("the system lets nobody make a namespace"),
            (Host::Native, _) => None,
            (_, Mounts) => Some("its launcher starts the runtime elsewhere"),
            (_, ServiceManager) => Some("a service manager starts the native program"),
            (Host::Mosquitto, Codes) => Some("it closes some connections without a DISCONNECT"),
            (Host::Mosquitto, Windows) => Some("it sends too many once room was made"),
            (Host::Mosquitto, _) => Some("it is not Wisp"),
            (_, Wisp | Codes | Windows | Files) => None,
            (_, Addresses) => Some("its launcher passes the address"),
            (_, Signals) => Some("WASI has no signals: the runtime dies of them"),
            (Host::Wasmtime | Host::WasmEdge | Host::Wasip2, PortZero) => None,
            (Host::Wasmer, PortZero) => Some("its launcher wants to know the port beforehand"),
            (Host::Wasmer | Host::WasmEdge | Host::Wasip2, Clients) => None,
            (Host::Wasmtime, Clients) => Some("its guests cannot connect"),
        }
    }

    /// The status that a program on this host ends with for its own `status`.
    pub fn ends_with(self, status: i32) -> i32 {
        // A component of WASI 0.2 can only report success or failure.
        if self == Host::Wasip2 { status.min(1) } else { status }
    }

    /// The command that starts a broker on `addr`. It does not fork: killing the process kills the broker, and
    /// the process's memory is the broker's.
    pub fn command(self, addr: SocketAddr, flags: &[&str]) -> Command {
        let mut command = match self {
            Host::Native => {
                let mut command = Command::new(native_program("wisp-broker", "WISP_BROKER_BIN"));
                command.arg("--listen");
                command
            }
            Host::Mosquitto => unreachable!("mosquitto is started from a configuration file"),
            Host::Wasmer => Command::new(launcher("wasmer")),
            Host::Wasmtime => Command::new(launcher("wasmtime")),
            Host::WasmEdge => Command::new(launcher("wasmedge")),
            Host::Wasip2 => Command::new(launcher("wasip2")),
        };
        command.arg(addr.to_string()).args(flags);
        command
    }

    /// The command that runs the client program `wisp` on the host.
    pub fn client_command(self, arguments: &[&str]) -> Command {
        let mut command = match self {
            Host::Native | Host::Mosquitto => Command::new(native_program("wisp", "WISP_BIN")),
            Host::Wasmer => guest("wasmer"),
            Host::Wasmtime => guest("wasmtime"),
            Host::WasmEdge => guest("wasmedge"),
            Host::Wasip2 => guest("wasip2"),
        };
        command.args(arguments);
        command
    }
}

/// True if the host lacks the ability; the test then returns. The function reports this on the real standard
/// error, past the test runner's capture, so that no log looks as if the test had run.
pub fn cannot(ability: Ability) -> bool {
    let host = Host::current();
    let Some(reason) = host.lacks(ability) else {
        return false;
    };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // A closed standard error cannot be reported anywhere.
    drop(writeln!(std::io::stderr(), "not run on {host:?}: {test} needs {ability:?}: {reason}"));
    true
}

fn can_mount() -> bool {
    let made = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).output();
    made.is_ok_and(|made| made.status.success())
}

fn launcher(host: &str) -> PathBuf {
    repository().join("wasm-targets").join(host).join("run")
}

fn guest(host: &str) -> Command {
    let mut command = Command::new(launcher(host));
    command.env("WISP_MODULE", "wisp").arg("--");
    command
}

fn repository() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().expect("the crate lies in the repository").to_owned()
}

/// The path of one of Wisp's native programs: from the environment, or else the newest build in the target
/// folder of this test.
///
/// # Panics
/// If it has not been built.
pub fn native_program(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        return path.into();
    }
    let test = env::current_exe().expect("a program knows where it is");
    // target/PROFILE/deps/suite-HASH
    let target = test.ancestors().nth(3).expect("tests are built three levels down");
    let built_at = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).ok();
    ["release", "debug"]
        .map(|profile| target.join(profile).join(name))
        .into_iter()
        .filter(|path| built_at(path).is_some())
        .max_by_key(built_at)
        .unwrap_or_else(|| panic!("no {name} under {}: build it, or set {variable}", target.display()))
}

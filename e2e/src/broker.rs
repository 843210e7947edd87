//! A broker process under test.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::host::Host;
use crate::program::{Finished, Program};
use crate::wait::wait_for;

/// A broker that accepts connections. It is killed when dropped; if it died before that, or panicked, the test
/// fails even if nothing else noticed.
pub struct Broker {
    program: Program,
    addr: SocketAddr,
    is_wisp: bool,
    expected_to_end: bool,
}

const START_ATTEMPTS_MAX: usize = 5;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Broker {
    /// Starts a broker with its default limits.
    pub fn start() -> Broker {
        Broker::start_with(&[])
    }

    /// Starts a broker with these flags on a port of the harness's choice.
    ///
    /// # Panics
    /// With the broker's log if it does not start.
    pub fn start_with(flags: &[&str]) -> Broker {
        for _ in 0..START_ATTEMPTS_MAX {
            if let Ok(broker) = Broker::try_start(free_addr(), flags) {
                return broker;
            }
        }
        panic!("{START_ATTEMPTS_MAX} ports in a row were taken between choosing and using them");
    }

    /// Starts the native broker with these flags in a shell that has run `setup`, such as `ulimit -n 64`.
    ///
    /// # Panics
    /// With the broker's log if it does not start.
    pub fn start_after(setup: &str, flags: &[&str]) -> Broker {
        let addr = free_addr();
        let broker = Host::Native.command(addr, flags);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{setup} && exec \"$0\" \"$@\"")).arg(broker.get_program()).args(broker.get_args());
        Broker::start_by(shell, addr)
    }

    /// Starts a broker on `addr` by this command.
    ///
    /// # Panics
    /// With the broker's log if it does not start.
    pub fn start_by(command: Command, addr: SocketAddr) -> Broker {
        Broker::of(Program::start(command), addr, true).unwrap_or_else(|PortInUse| panic!("{addr} is in use"))
    }

    /// Starts a mosquitto with these lines in its configuration, whatever broker is under test: Debian's, or the program that
    /// `WISP_E2E_MOSQUITTO` names.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_mosquitto(lines: &str) -> Broker {
        let addr = free_addr();
        // As root it would become the user mosquitto, for whom the test's folders are closed.
        let program = start_mosquitto(addr, &format!("user root\n{lines}\n"));
        let broker = Broker::of(program, addr, false);
        broker.unwrap_or_else(|PortInUse| panic!("{addr} is in use"))
    }

    /// Starts a broker on exactly this address.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_at(addr: SocketAddr, flags: &[&str]) -> Broker {
        Broker::try_start(addr, flags).unwrap_or_else(|PortInUse| panic!("{addr} is in use"))
    }

    fn try_start(addr: SocketAddr, flags: &[&str]) -> Result<Broker, PortInUse> {
        let host = Host::current();
        let program = match host {
            Host::Mosquitto => {
                // Without limits on unacknowledged and queued messages, so that it can hold the messages of every test.
                start_mosquitto(addr, "persistence false\nmax_inflight_messages 200\nmax_queued_messages 0\n")
            }
            host => {
                let mut command = host.command(addr, flags);
                // By default a receiver that is not scheduled for a moment on a busy machine loses messages, whatever is tested.
                command.env("WISP_STALL_POLICY", "hold");
                Program::start(command)
            }
        };
        Broker::of(program, addr, host != Host::Mosquitto)
    }

    /// Waits until the program accepts connections.
    fn of(program: Program, addr: SocketAddr, is_wisp: bool) -> Result<Broker, PortInUse> {
        let mut broker = Broker { program, addr, is_wisp, expected_to_end: false };
        wait_for("a broker that accepts, or an error", || {
            if let Some(status) = broker.program.ended() {
                let words = broker.finish().stderr.join("\n");
                assert!(words.to_lowercase().contains("in use"), "the broker ended with {status}: {words}");
                return Some(Err(PortInUse));
            }
            broker.accepts().then_some(Ok(()))
        })?;
        if !is_wisp {
            // The broker has read the file by now; if removing it fails, it stays in the temporary folder.
            drop(fs::remove_file(mosquitto_configuration(addr)));
        }
        Ok(broker)
    }

    fn accepts(&self) -> bool {
        if self.is_wisp {
            return self.program.stdout().iter().any(|line| line.starts_with("wisp-broker listening on "));
        }
        TcpStream::connect(self.addr).is_ok()
    }

    /// The address that clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The lines of its standard output so far.
    pub fn output(&self) -> Vec<String> {
        self.program.stdout()
    }

    /// The lines of its log so far.
    pub fn log(&self) -> Vec<String> {
        self.program.stderr()
    }

    /// Waits for a log line that contains this text, ignoring case.
    pub fn wait_log(&self, text: &str) -> String {
        self.program.wait_stderr(&format!("a log line with {text:?}"), |lines| {
            lines.iter().find(|line| line.to_lowercase().contains(text)).cloned()
        })
    }

    /// The resident memory of the process: on a WebAssembly host, of the runtime with the broker in it.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.program.pid())).expect("the broker runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib * 1024
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// The number of open descriptors of the process.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.program.pid());
        fs::read_dir(folder).expect("the broker runs").count()
    }

    /// Kills the broker with SIGKILL, like a crash.
    pub fn kill(&mut self) {
        self.expected_to_end = true;
        self.program.kill();
    }

    /// Sends the broker a signal by name, as in "TERM".
    pub fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    /// Waits until the broker has ended by itself.
    pub fn finish(&mut self) -> Finished {
        self.expected_to_end = true;
        self.program.finish()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.program.last_words());
            return;
        }
        let panicked = self.log().iter().any(|line| line.contains("panicked at"));
        let died = !self.expected_to_end && self.program.ended().is_some();
        assert!(!panicked && !died, "the broker did not survive this test\n{}", self.program.last_words());
    }
}

#[derive(Debug)]
struct PortInUse;

/// A free address. Its port is below the range that the system assigns from, so no client's connection can
/// occupy it while a broker restarts.
pub fn free_addr() -> SocketAddr {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Suites that run at the same time start at different ports.
    let start = (process::id() % u32::from(COUNT)) as u16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_mul(37).wrapping_add(step) % COUNT;
        let addr = SocketAddr::new(LOOPBACK, port);
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}

fn mosquitto_configuration(addr: SocketAddr) -> PathBuf {
    env::temp_dir().join(format!("wisp-e2e-mosquitto-{}.conf", addr.port()))
}

fn start_mosquitto(addr: SocketAddr, lines: &str) -> Program {
    let configuration = mosquitto_configuration(addr);
    let text = format!(
        "listener {} {}\nallow_anonymous true\nlog_dest stderr\nset_tcp_nodelay true\n{lines}",
        addr.port(),
        addr.ip()
    );
    fs::write(&configuration, text).expect("the temporary folder is writable");
    let mut command = Command::new(mosquitto_program());
    command.arg("-c").arg(configuration);
    Program::start(command)
}

/// Debian's mosquitto, or the one that `WISP_E2E_MOSQUITTO` names.
fn mosquitto_program() -> OsString {
    env::var_os("WISP_E2E_MOSQUITTO").unwrap_or_else(|| "/usr/sbin/mosquitto".into())
}

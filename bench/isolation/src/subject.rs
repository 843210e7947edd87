//! The broker under attack: Wisp as wisp-lab starts it, or a peer with a configuration of its own.
//!
//! Peers have their defaults where wisp-lab's have none: there they are set for the highest rates, without the limits that
//! an attack is about.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wisp_lab::broker::{Broker, Build, Running, StartOptions, Usage, free_address, last_lines};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::paths::Scratch;
use wisp_lab::process::{kill, spawn};

use crate::client::{Client, Options};
use crate::peers::{Peer, Program};
use crate::setup::{Peers, Setup};

/// How long a peer may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A broker by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Wisp(Broker),
    Peer(Peer),
}

impl Kind {
    /// Wisp's hosts, and the peers.
    pub(crate) const ALL: [Self; 6] = [
        Self::Wisp(Broker::Native),
        Self::Wisp(Broker::Wasmer),
        Self::Wisp(Broker::Wasmtime),
        Self::Wisp(Broker::WasmEdge),
        Self::Peer(Peer::Mosquitto),
        Self::Peer(Peer::Nats),
    ];

    /// The name on the command line, in records and on the page.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Wisp(Broker::Native) => "wisp",
            Self::Wisp(broker) => broker.name(),
            Self::Peer(peer) => peer.name(),
        }
    }

    /// Whether it can run a case.
    pub(crate) fn can_run(&self, setup: &Setup) -> bool {
        match (self, setup.peers) {
            (Self::Wisp(_), _) | (_, Peers::All) => true,
            (Self::Peer(peer), Peers::Mosquitto) => *peer == Peer::Mosquitto,
            (Self::Peer(_), Peers::None) => false,
        }
    }
}

/// A started broker. Dropped, it is killed.
pub(crate) struct Subject {
    address: SocketAddr,
    process: Process,
}

enum Process {
    Wisp(Running),
    Peer { name: &'static str, child: Mutex<Child>, words: std::path::PathBuf },
}

impl Subject {
    /// Starts Wisp on a host.
    pub(crate) fn wisp(
        broker: &Broker,
        build: &Build,
        setup: &Setup,
        scratch: &Scratch,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let mut arguments: Vec<String> = setup.wisp.iter().map(|word| (*word).to_owned()).collect();
        if let Some(users) = setup.users {
            let file = scratch.file("wisp-users");
            fs::write(&file, users).map_err(|error| Failure::Setup(format!("cannot prepare users: {error}")))?;
            let file = file.display().to_string();
            arguments.extend(["--password-file", &file, "--allow-anonymous", "true"].map(str::to_owned));
        }
        let options = StartOptions { build: build.clone(), arguments, ..StartOptions::default() };
        let running = broker.start(&options, scratch, interrupt)?;
        Ok(Self { address: running.address(), process: Process::Wisp(running) })
    }

    /// Starts a peer.
    pub(crate) fn peer(
        program: &Program,
        setup: &Setup,
        scratch: &Scratch,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let (name, address) = (program.peer.name(), free_address());
        let unwritable = |error| Failure::Setup(format!("cannot prepare {name}: {error}"));
        let folder = scratch.file(&format!("{name}-{}", address.port()));
        fs::create_dir_all(&folder).map_err(unwritable)?;
        let (file, words) = (folder.join("configuration"), folder.join("stderr"));
        let mut configuration = program.peer.configuration(address, &folder, setup.mosquitto);
        if let Some(users) = setup.users {
            let file = folder.join("users");
            fs::write(&file, users).map_err(unwritable)?;
            configuration += &format!("password_file {}\n", file.display());
            if rustix::process::getuid().is_root() {
                // Another user could not read it.
                configuration += "user root\n";
            }
        }
        fs::write(&file, configuration).map_err(unwritable)?;
        let stderr = File::create(&words).map_err(unwritable)?;
        let mut command = Command::new(&program.path);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = spawn(&mut command).map_err(|error| Failure::Setup(format!("cannot start {name}: {error}")))?;
        let subject = Self { address, process: Process::Peer { name, child: Mutex::new(child), words } };
        subject.wait_until_it_answers(interrupt)?;
        Ok(subject)
    }

    /// Whether it is Wisp, on any host.
    pub(crate) fn is_wisp(&self) -> bool {
        matches!(self.process, Process::Wisp(_))
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The resources that it has used. An error if it has died.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        if let Some(death) = self.has_died() {
            return Err(io::Error::other(death));
        }
        let usage = match &self.process {
            Process::Wisp(running) => running.usage(),
            Process::Peer { child, .. } => Usage::of_group(child.lock().unwrap_or_else(PoisonError::into_inner).id()),
        };
        usage.ok_or_else(|| io::Error::other("the system does not count the broker's resources"))
    }

    /// How it has died, if it has, with the last lines of its standard error.
    pub(crate) fn has_died(&self) -> Option<String> {
        match &self.process {
            Process::Wisp(running) => running.has_died(),
            Process::Peer { name, child, words } => {
                let status = child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok()??;
                let words = fs::read(words).unwrap_or_default();
                let words = last_lines(&String::from_utf8_lossy(&words)).unwrap_or_default();
                Some(format!("{name} died ({status}): {words}"))
            }
        }
    }

    fn wait_until_it_answers(&self, interrupt: &Interrupt) -> Result<(), Failure> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            interrupt.check()?;
            let Err(error) = Client::connect(self.address, "wisp-start", &Options::default()) else { return Ok(()) };
            if let Some(death) = self.has_died() {
                return Err(Failure::Setup(death));
            }
            if Instant::now() >= deadline {
                return Err(Failure::Setup(format!("the peer does not answer after {START_TIMEOUT:?}: {error}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Process::Peer { child, .. } = &self.process {
            kill(&mut child.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

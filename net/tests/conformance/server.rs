//! Starts the echo server under test: in this process, or with the command in `WISP_NET_ECHO_CMD`, in
//! which `{port}` stands for the port to listen on, `{workers}` for the number of workers, and `{mode}`
//! for `echo` or `relay`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wisp_net::memory::MemoryHost;
use wisp_net::{Host, Listener, SysHost};

use crate::echo_server::{Mode, Status, serve};

/// The limit for each expected event, on a busy machine and an interpreting runtime.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) status: Arc<Status>,
    runner: Runner,
}

enum Runner {
    Thread(Option<JoinHandle<()>>),
    Process {
        child: Child,
        /// Servers of the command run one after the other, so that each has the machine to itself.
        _turn: MutexGuard<'static, ()>,
    },
}

/// A host, and a server that it can reach.
pub(crate) trait Pair: Host {
    fn start(mode: Mode, workers: usize) -> (Self, Server);
    /// Resets a connection.
    fn reset(stream: Self::Stream);
}

impl Pair for MemoryHost {
    fn start(mode: Mode, workers: usize) -> (MemoryHost, Server) {
        let host = MemoryHost::new();
        let server = Server::start_thread(&host, mode, workers);
        (host, server)
    }

    fn reset(stream: Self::Stream) {
        stream.reset();
    }
}

impl Pair for SysHost {
    fn start(mode: Mode, workers: usize) -> (SysHost, Server) {
        let server = match std::env::var("WISP_NET_ECHO_CMD") {
            Ok(command) => Server::start_process(&command, mode, workers),
            Err(_) => Server::start_thread(&SysHost, mode, workers),
        };
        (SysHost, server)
    }

    fn reset(stream: Self::Stream) {
        let linger = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        linger.expect("a socket lingers as told");
        drop(stream);
    }
}

impl Server {
    fn start_thread<H: Host>(host: &H, mode: Mode, workers: usize) -> Server {
        let listener = host.listen("127.0.0.1:0".parse().expect("legal")).expect("a free port");
        let addr = listener.local_addr().expect("a listener knows its address");
        let status = Arc::new(Status::default());
        let (host, theirs) = (host.clone(), Arc::clone(&status));
        let thread = std::thread::spawn(move || {
            serve(&host, listener, (mode, workers), &theirs, |_| {}).expect("the server serves");
        });
        Server { addr, status, runner: Runner::Thread(Some(thread)) }
    }

    fn start_process(command: &str, mode: Mode, workers: usize) -> Server {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let addr = free.expect("a free port");
        let command = command
            .replace("{port}", &addr.port().to_string())
            .replace("{workers}", &workers.to_string())
            .replace("{mode}", if mode == Mode::Relay { "relay" } else { "echo" });
        let mut words = command.split_whitespace();
        let mut child = Command::new(words.next().expect("a command"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut first = String::new();
        lines.read_line(&mut first).expect("the server's output");
        let server = Server { addr, status: Arc::default(), runner: Runner::Process { child, _turn: turn } };
        assert!(first.contains("listening"), "the server did not start, its output was {first:?}");
        let status = Arc::clone(&server.status);
        std::thread::spawn(move || follow(lines, &status));
        server
    }

    /// The processor time of the server so far, if it is a process of its own on Linux.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let Runner::Process { child, .. } = &self.runner else {
            return None;
        };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 10))
    }

    /// Waits until the server has accepted `accepted` connections and `open` of them are open.
    pub(crate) fn wait_for(&self, accepted: usize, open: usize) {
        let start = Instant::now();
        loop {
            // A connection counts as open before it counts as accepted.
            let accepted_now = self.status.accepted.load(Ordering::SeqCst);
            let open_now = self.status.open.load(Ordering::SeqCst);
            if (accepted_now, open_now) == (accepted, open) {
                return;
            }
            assert!(
                start.elapsed() < TIMEOUT,
                "of {accepted_now} connections the server has {open_now} open, not {open} of {accepted}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match &mut self.runner {
            Runner::Thread(thread) => {
                self.status.stop.store(true, Ordering::Relaxed);
                let result = thread.take().map(JoinHandle::join);
                assert!(matches!(result, Some(Ok(()))) || std::thread::panicking(), "the server panicked");
            }
            Runner::Process { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Updates the status from the server's output lines: `accepted 3 open 1 waits 20`.
fn follow(lines: BufReader<ChildStdout>, status: &Status) {
    for line in lines.lines().map_while(Result::ok) {
        let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        if let [accepted, open, waits] = numbers[..] {
            status.waits.store(waits, Ordering::SeqCst);
            status.open.store(open, Ordering::SeqCst);
            status.accepted.store(accepted, Ordering::SeqCst);
        }
    }
}

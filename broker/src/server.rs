//! Starting and ending a broker.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use wisp_engine::{InvalidQueue, Options, Shared, StatsSnapshot};
use wisp_net::{Host, Listener, Poller, SysHost};

use crate::config::{Config, is_mqtt_text};
use crate::driver::Driver;
use crate::listener::{Acceptor, ListenerConfig};
use crate::state::Server;
use crate::transport::TransportKind;

/// A running broker. Dropping it ends it like [`Broker::shutdown`].
pub struct Broker<H: Host = SysHost> {
    server: Arc<Server<H>>,
    local_addrs: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

/// Why a broker did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// There is nothing to listen on.
    NoListener,
    /// The settings of a topic queue make no sense.
    Queue(InvalidQueue),
    /// MQTT cannot carry the response information.
    ResponseInformation,
    /// More than one worker was asked for on a host without threads.
    NoThreads,
    /// The host gives no poller or no thread.
    Host(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(addr, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {addr}: the address is in use")
            }
            Self::Listen(addr, error) => write!(f, "cannot listen on {addr}: {error}"),
            Self::NoListener => write!(f, "no address to listen on was given"),
            Self::Queue(error) => write!(f, "{error}"),
            Self::ResponseInformation => {
                write!(f, "the response information has more than 65535 bytes, or U+0000 in it")
            }
            Self::NoThreads => write!(f, "this host has no threads: only one worker is possible"),
            Self::Host(error) => write!(f, "the host cannot run the broker: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl Broker {
    /// Starts a broker on the host this program was compiled for. It accepts connections when this returns.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_on(SysHost, config)
    }
}

impl<H: Host> Broker<H> {
    /// Starts a broker on `host`, on threads of its own.
    pub fn start_on(host: H, config: Config) -> Result<Self, StartError> {
        let Prepared { server, local_addrs, workers } = prepare(host, config)?;
        let mut broker = Self { server, local_addrs, threads: Vec::new() };
        for (index, worker) in workers.into_iter().enumerate() {
            let thread = spawn(index, worker).map_err(StartError::Host)?;
            broker.threads.push(thread);
        }
        Ok(broker)
    }

    /// The addresses it listens on, with the ports that were picked for port 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// What it has done so far.
    pub fn stats(&self) -> StatsSnapshot {
        self.server.engine.stats()
    }

    /// Closes every connection, telling clients of MQTT 5 why, and waits until all workers have ended.
    pub fn shutdown(self) {}
}

impl<H: Host> Drop for Broker<H> {
    fn drop(&mut self) {
        self.server.stop();
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// Runs a broker with its first worker on the calling thread, as hosts without threads need it. `ready` is called once
/// it accepts connections, with the addresses and a way to stop it; then this returns when the broker has ended.
pub fn run<H: Host>(
    host: H,
    config: Config,
    ready: impl FnOnce(&[SocketAddr], Box<dyn Fn() + Send>),
) -> Result<(), StartError> {
    let Prepared { server, local_addrs, workers } = prepare(host, config)?;
    let mut workers = workers.into_iter();
    let first = workers.next().expect("there is at least one worker");
    let stopper = Arc::clone(&server);
    let mut broker = Broker { server, local_addrs, threads: Vec::new() };
    for (index, worker) in workers.enumerate() {
        let thread = spawn(index + 1, worker).map_err(StartError::Host)?;
        broker.threads.push(thread);
    }
    ready(&broker.local_addrs, Box::new(move || stopper.stop()));
    first.run();
    Ok(())
}

/// A broker before its drivers run.
pub(crate) struct Prepared<H: Host> {
    pub(crate) server: Arc<Server<H>>,
    pub(crate) local_addrs: Vec<SocketAddr>,
    pub(crate) workers: Vec<Driver<H>>,
}

fn prepare<H: Host>(host: H, config: Config) -> Result<Prepared<H>, StartError> {
    let listeners = config.listen.iter().map(|addr| ListenerConfig { addr: *addr, transport: TransportKind::Plain });
    prepare_with(host, listeners.collect(), config)
}

/// Prepares a broker with these listeners instead of the configured ones.
pub(crate) fn prepare_with<H: Host>(
    host: H,
    listener_configs: Vec<ListenerConfig>,
    config: Config,
) -> Result<Prepared<H>, StartError> {
    let workers = worker_count(&host, config.workers)?;
    let engine = Arc::new(engine(&config)?);
    let mut listeners = Vec::new();
    let mut local_addrs = Vec::new();
    for ListenerConfig { addr, transport } in listener_configs {
        let listener = host.listen(addr).map_err(|error| StartError::Listen(addr, error))?;
        // A host that inherited the listener may not know its address. Then the configured one is used.
        local_addrs.push(listener.local_addr().unwrap_or(addr));
        listeners.push((listener, transport));
    }
    if listeners.is_empty() {
        return Err(StartError::NoListener);
    }
    let pollers: io::Result<Vec<H::Poller>> = (0..workers.get()).map(|_| host.poller()).collect();
    let pollers = pollers.map_err(StartError::Host)?;
    let registrars: Vec<_> = pollers.iter().map(Poller::registrar).collect();
    let mut acceptor = Some(Acceptor::new(listeners, &registrars[0]).map_err(StartError::Host)?);
    let server = Arc::new(Server::new(host, engine, registrars, config.observer));
    let workers = pollers.into_iter().enumerate();
    let workers = workers.map(|(index, poller)| Driver::new(Arc::clone(&server), index, poller, acceptor.take()));
    Ok(Prepared { workers: workers.collect(), server, local_addrs })
}

fn engine(config: &Config) -> Result<Shared, StartError> {
    if !config.response_information.as_deref().is_none_or(is_mqtt_text) {
        return Err(StartError::ResponseInformation);
    }
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let options = Options {
        queues: config.queues.clone(),
        response_information: config.response_information.clone(),
        policy: Arc::clone(&config.policy),
        store: Arc::clone(&config.store),
    };
    Shared::with_options(config.limits, options, seed).map_err(StartError::Queue)
}

fn worker_count<H: Host>(host: &H, wished: Option<NonZeroUsize>) -> Result<NonZeroUsize, StartError> {
    match wished {
        Some(count) if count.get() > 1 && !host.capabilities().threads => Err(StartError::NoThreads),
        Some(count) => Ok(count),
        None if !host.capabilities().threads => Ok(NonZeroUsize::MIN),
        None => Ok(host.parallelism()),
    }
}

fn spawn<H: Host>(index: usize, driver: Driver<H>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("wisp-worker-{index}")).spawn(move || driver.run())
}

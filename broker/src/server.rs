//! Starting and ending a broker.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use tracing::{info, warn};
use wisp_engine::{LimitOutOfRange, Limits, Options, Shared, StatsSnapshot};
use wisp_net::{Host, Listener, Poller, SysHost};

use crate::config::{Config, ListenerConfig};
use crate::driver::Driver;
#[cfg(feature = "store")]
use crate::durable::{Commits, Durable};
#[cfg(feature = "in-process")]
use crate::in_process::{ClientError, ClientOptions, InProcessClient, attach};
use crate::listener::{Acceptor, Bound};
use crate::listener_rows::{ListenerFacts, ListenerRow};
use crate::log::Log;
use crate::quota::Quota;
use crate::state::{OpenedStore, Server};
use crate::watch::Watching;

/// Most connections to the admin listener at a time. They do not count for `connections-max`.
const ADMIN_CONNECTIONS_MAX: u32 = 64;

/// A running broker. Dropping it ends it like [`Broker::shutdown`].
pub struct Broker<H: Host = SysHost> {
    server: Arc<Server<H>>,
    local_addrs: Vec<SocketAddr>,
    admin_addr: Option<SocketAddr>,
    threads: Vec<Thread>,
    #[cfg(feature = "store")]
    commits: Option<Commits>,
    _watching: Watching,
}

/// The thread of a worker.
struct Thread {
    worker: usize,
    handle: JoinHandle<io::Result<()>>,
}

/// The reason why a broker did not start. `Display` is one complete line.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The listener is for certain proxies, and the host tells no addresses of peers.
    NoPeerAddresses(SocketAddr),
    /// More than one worker was asked for on a host without threads.
    NoThreads,
    /// The host cannot create a poller or thread.
    Host(io::Error),
    /// The data folder cannot be used.
    #[cfg(feature = "store")]
    Open(wisp_store::OpenError),
    /// An object in the data folder cannot be used.
    #[cfg(feature = "store")]
    Restore(wisp_engine::BadObject),
}

/// The reason why a broker stopped by itself. `Display` is one complete line.
#[derive(Debug)]
#[non_exhaustive]
pub enum StopError {
    /// A worker panicked, by a fault of the broker, or of its policy, store or observer.
    WorkerPanicked(usize),
    /// The host can no longer wait for sockets.
    Host(io::Error),
    /// The data folder can no longer be written.
    Store(String),
}

/// Why [`run`] failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The broker did not start.
    Start(StartError),
    /// It stopped by itself.
    Stop(StopError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(addr, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {addr}: the address is in use")
            }
            Self::Listen(addr, error) => write!(f, "cannot listen on {addr}: {error}"),
            Self::NoPeerAddresses(addr) => write!(
                f,
                "this host tells no addresses of peers, so the proxies of {addr} are not known: remove proxy-protocol-from, and \
                 have a firewall let only them reach the listener"
            ),
            Self::NoThreads => write!(f, "this host has no threads: only one worker is possible"),
            Self::Host(error) => write!(f, "the host cannot create a poller or thread: {error}"),
            #[cfg(feature = "store")]
            Self::Open(error) => write!(f, "data-dir: {error}"),
            #[cfg(feature = "store")]
            Self::Restore(error) => write!(f, "data-dir: {error}"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Listen(_, error) | Self::Host(error) => Some(error),
            Self::NoPeerAddresses(_) | Self::NoThreads => None,
            #[cfg(feature = "store")]
            Self::Open(error) => Some(error),
            #[cfg(feature = "store")]
            Self::Restore(error) => Some(error),
        }
    }
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkerPanicked(worker) => write!(f, "worker {worker} panicked"),
            Self::Host(error) => write!(f, "the host can no longer wait for sockets: {error}"),
            Self::Store(reason) => write!(f, "data-dir: {reason}"),
        }
    }
}

impl Error for StopError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Host(error) => Some(error),
            Self::WorkerPanicked(_) | Self::Store(_) => None,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::Stop(error) => error.fmt(f),
        }
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Start(error) => Some(error),
            Self::Stop(error) => Some(error),
        }
    }
}

/// Stops and changes a running broker, from any thread.
pub struct Control<H: Host = SysHost>(pub(crate) Arc<Server<H>>);

impl<H: Host> Control<H> {
    /// Has the broker close its connections and end.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Takes up the [live](wisp_engine::Limit::is_live) limits of `limits`, for connections to come. Returns the names of the
    /// limits that have changed.
    ///
    /// # Errors
    /// If a limit is out of range. Then nothing changes.
    pub fn set_limits(&self, limits: &Limits) -> Result<Vec<&'static str>, LimitOutOfRange> {
        let changed = self.0.engine.set_live_limits(limits)?;
        if changed.contains(&"connections-max") {
            raise_descriptor_limit(&self.0.host, limits, self.0.mailboxes.len(), self.0.listeners());
        }
        Ok(changed)
    }

    /// As [`Broker::client`].
    ///
    /// # Errors
    /// As [`Broker::client`].
    #[cfg(feature = "in-process")]
    pub fn client(&self, options: &ClientOptions) -> Result<InProcessClient, ClientError> {
        attach(&self.0, options)
    }

    /// Writes a summary to the log, at the level `info`: connections, sessions, traffic, drops,
    /// memory, and the fullest queues and sessions.
    pub fn log_summary(&self) {
        Log::summary(&self.0);
    }

    /// Limits the connections to come of a listener, by its index in the configuration. True if the limit was another one.
    pub fn set_listener_connections_max(&self, listener: usize, max: Option<u32>) -> bool {
        self.0.quotas.get(listener).is_some_and(|quota| quota.set_max(max))
    }
}

impl<H: Host> Clone for Control<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H: Host> fmt::Debug for Control<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

impl Broker {
    /// Starts a broker on the host this program was compiled for. It accepts connections when this returns.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_on(SysHost, config)
    }
}

impl<H: Host> Broker<H> {
    /// Starts a broker on `host`, on threads of its own.
    pub fn start_on(host: H, config: Config) -> Result<Self, StartError> {
        let (mut broker, workers) = Self::of(prepare(host, config)?)?;
        for (index, worker) in workers.into_iter().enumerate() {
            broker.spawn(index, worker)?;
        }
        Ok(broker)
    }

    /// The broker, and its workers, which do not run yet.
    fn of(prepared: Prepared<H>) -> Result<(Self, Vec<Driver<H>>), StartError> {
        let Prepared { server, local_addrs, admin_addr, workers, watching } = prepared;
        #[cfg(feature = "store")]
        let commits = commits(&server).map_err(StartError::Host)?;
        let broker = Self {
            server,
            local_addrs,
            admin_addr,
            threads: Vec::new(),
            #[cfg(feature = "store")]
            commits,
            _watching: watching,
        };
        Ok((broker, workers))
    }

    /// The addresses it listens on, with the actual ports in place of port 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Changes the broker while it runs.
    pub fn control(&self) -> Control<H> {
        Control(Arc::clone(&self.server))
    }

    /// The address of the admin listener, with the actual port in place of port 0.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// The broker's counts and gauges.
    pub fn stats(&self) -> StatsSnapshot {
        self.server.engine.stats()
    }

    /// A client without a socket, for this program. It is to the broker as any other client of MQTT 5; the policy tells it by
    /// [`ConnectRequest::is_in_process`](crate::ConnectRequest::is_in_process). Waits until the broker has accepted it.
    ///
    /// ```
    /// use wisp_broker::{Broker, ClientOptions, Config, Publication, QoS, Subscription};
    ///
    /// let broker = Broker::start(Config::builder().without_listener().build()?)?;
    /// let client = broker.client(&ClientOptions::builder("here").build()?)?;
    /// client.subscribe(&[Subscription::new("greetings/#", QoS::AtLeastOnce)])?;
    /// client.publish(&Publication::new("greetings/world", "hello").qos(QoS::AtLeastOnce))?.wait()?;
    /// let message = client.messages().recv()?;
    /// assert_eq!((&**message.topic(), &message.payload()[..]), ("greetings/world", &b"hello"[..]));
    /// client.disconnect();
    /// broker.shutdown()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the broker has stopped, has as many connections as it may, or refuses the client.
    #[cfg(feature = "in-process")]
    pub fn client(&self, options: &ClientOptions) -> Result<InProcessClient, ClientError> {
        attach(&self.server, options)
    }

    /// Closes every connection, with a reason for clients of MQTT 5, and waits until all workers have ended.
    ///
    /// # Errors
    /// If a failure has stopped the broker before.
    pub fn shutdown(mut self) -> Result<(), StopError> {
        self.server.stop();
        self.join()
    }

    fn spawn(&mut self, worker: usize, driver: Driver<H>) -> Result<(), StartError> {
        let thread = thread::Builder::new().name(format!("wisp-worker-{worker}")).spawn(move || driver.run());
        self.threads.push(Thread { worker, handle: thread.map_err(StartError::Host)? });
        Ok(())
    }

    /// Waits until all workers have ended. The error is the first worker's that failed.
    fn join(&mut self) -> Result<(), StopError> {
        let outcomes = self.threads.drain(..).map(|Thread { worker, handle }| match handle.join() {
            Ok(outcome) => outcome.map_err(StopError::Host),
            Err(_) => Err(StopError::WorkerPanicked(worker)),
        });
        let outcome = outcomes.fold(Ok(()), Result::and);
        #[cfg(feature = "store")]
        let outcome = match self.commits.take().and_then(Commits::end) {
            Some(reason) => outcome.and(Err(StopError::Store(reason))),
            None => outcome,
        };
        outcome
    }
}

impl<H: Host> Drop for Broker<H> {
    fn drop(&mut self) {
        self.server.stop();
        // No caller is left to return the error to; a panic has been reported by its thread.
        let _ = self.join();
    }
}

/// Runs a broker with its first worker on the calling thread, for hosts without threads. Calls `ready` once the broker
/// accepts connections, with its addresses and a way to stop and change it. Returns when the broker has ended.
///
/// # Errors
/// If the broker did not start, or stopped by itself.
pub fn run<H: Host>(host: H, config: Config, ready: impl FnOnce(&[SocketAddr], Control<H>)) -> Result<(), RunError> {
    let (mut broker, workers) = prepare(host, config).and_then(Broker::of).map_err(RunError::Start)?;
    let mut workers = workers.into_iter();
    let first = workers.next().expect("there is at least one worker");
    for (index, worker) in workers.enumerate() {
        broker.spawn(index + 1, worker).map_err(RunError::Start)?;
    }
    ready(&broker.local_addrs, broker.control());
    let outcome = first.run().map_err(StopError::Host);
    outcome.and(broker.join()).map_err(RunError::Stop)
}

/// A broker before its drivers run.
pub(crate) struct Prepared<H: Host> {
    pub(crate) server: Arc<Server<H>>,
    pub(crate) local_addrs: Vec<SocketAddr>,
    pub(crate) admin_addr: Option<SocketAddr>,
    pub(crate) workers: Vec<Driver<H>>,
    pub(crate) watching: Watching,
}

pub(crate) fn prepare<H: Host>(host: H, config: Config) -> Result<Prepared<H>, StartError> {
    let workers = worker_count(&host, config.workers)?;
    let (engine, store) = engine(&host, &config, workers.get())?;
    let engine = Arc::new(engine);
    raise_descriptor_limit(&host, &config.limits, workers.get(), (config.listeners.len(), config.has_admin()));
    if !host.capabilities().peer_address {
        let of_proxies = config.listeners.iter().find(|listener| listener.transport.has_proxies());
        if let Some(listener) = of_proxies {
            return Err(StartError::NoPeerAddresses(listener.address));
        }
        info!("this host tells no addresses of clients: unauthenticated-per-address-max has no effect");
    }
    let (mut listeners, mut facts) = (Vec::new(), Vec::new());
    let mut local_addrs = Vec::new();
    let admin = admin_listener(&config, &engine, &host);
    let has_admin = admin.is_some();
    #[cfg(feature = "admin")]
    let pages = admin.as_ref().and_then(|listener| listener.transport.admin.clone());
    let quota = |listener: &ListenerConfig| Quota::new(listener.connections_max);
    let quotas: Vec<Quota> = config.listeners.iter().map(quota).collect();
    let admin_quota = admin.as_ref().map(quota);
    let all_quotas: Vec<Quota> = quotas.iter().cloned().chain(admin_quota.clone()).collect();
    for (config, quota) in config.listeners.into_iter().chain(admin).zip(all_quotas) {
        let address = config.address;
        let listener = listen(&host, address).map_err(|error| StartError::Listen(address, error))?;
        // A host that inherited the listener may not know its address. Then the configured one is used.
        let address = listener.local_addr().unwrap_or(address);
        local_addrs.push(address);
        facts.push(ListenerFacts::new(listener_row(address, &config), quota.clone()));
        listeners.push(Bound::new(listener, address, config, quota));
    }
    let pollers: io::Result<Vec<H::Poller>> = (0..workers.get()).map(|_| host.poller()).collect();
    let pollers = pollers.map_err(StartError::Host)?;
    let registrars: Vec<_> = pollers.iter().map(Poller::registrar).collect();
    let admin_addr = if has_admin { local_addrs.pop() } else { None };
    if let Some(address) = admin_addr {
        info!(%address, "the admin listener is open: /, /metrics, /healthz, /readyz, /api/v1");
    }
    let admin_listener = admin_quota.map(|quota| (local_addrs.len() as u16, quota));
    let mut acceptor = Some(Acceptor::new(listeners, &registrars[0]).map_err(StartError::Host)?);
    let watching = config.watch.begin(host.capabilities().threads);
    let server =
        Server::new(host, engine, registrars, (config.observer, admin_listener), config.watch, (quotas, facts, store));
    let server = Arc::new(server);
    #[cfg(feature = "admin")]
    if let Some(pages) = pages {
        pages.set_running(Arc::downgrade(&server) as _);
        let set = server.pages.set(pages);
        debug_assert!(set.is_ok(), "the broker is new");
    }
    let workers = pollers.into_iter().enumerate();
    let workers = workers.map(|(index, poller)| Driver::new(Arc::clone(&server), index, poller, acceptor.take()));
    Ok(Prepared { workers: workers.collect(), server, local_addrs, admin_addr, watching })
}

/// The admin listener, which comes behind the others.
#[cfg(feature = "admin")]
fn admin_listener<H: Host>(config: &Config, engine: &Arc<Shared>, host: &H) -> Option<ListenerConfig> {
    let mut listener = ListenerConfig::new(config.admin?);
    let host = host.clone();
    let memory_bytes = Box::new(move || host.memory_bytes());
    listener.connections_max = Some(ADMIN_CONNECTIONS_MAX);
    let guard = crate::admin::Guard::new(listener.address, config.admin_token.clone());
    listener.transport.admin = Some(Arc::new(crate::admin::Pages::new(engine, memory_bytes, guard)));
    Some(listener)
}

#[cfg(not(feature = "admin"))]
fn admin_listener<H: Host>(_: &Config, _: &Arc<Shared>, _: &H) -> Option<ListenerConfig> {
    None
}

/// A listener without its connections.
fn listener_row(address: SocketAddr, ListenerConfig { transport, .. }: &ListenerConfig) -> ListenerRow {
    ListenerRow {
        address,
        tls: transport.has_tls(),
        web_socket: transport.has_web_socket(),
        proxy_protocol: transport.has_proxy_protocol(),
        is_admin: transport.is_admin(),
        connections: 0,
        connections_max: None,
    }
}

/// Opens a listener. `[::]` stands for all addresses of both families, also on a machine without IPv6.
fn listen<H: Host>(host: &H, address: SocketAddr) -> io::Result<H::Listener> {
    let everything_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    host.listen(address).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ if address.is_ipv6() && address.ip().is_unspecified() => host.listen(everything_v4),
        _ => Err(error),
    })
}

/// Has the host allow a descriptor for each connection, and says so if it does not.
fn raise_descriptor_limit<H: Host>(host: &H, limits: &Limits, workers: usize, (listeners, admin): (usize, bool)) {
    /// Standard streams, files, and whatever else the program has open.
    const OTHERS: usize = 64;
    /// A poller, its waker and its registrar.
    const PER_WORKER: usize = 3;
    let connections = limits.connections_count_max;
    // Each listener keeps one in reserve.
    let of_admin = if admin { 2 + ADMIN_CONNECTIONS_MAX as usize } else { 0 };
    let own = OTHERS + PER_WORKER * workers + 2 * listeners + of_admin;
    let wanted = u64::from(connections) + own as u64;
    if let Some(limit) = host.raise_descriptor_limit(wanted)
        && limit < wanted
    {
        warn!(
            connections_max = connections,
            descriptors = limit,
            "connections-max cannot be reached: the host allows fewer open descriptors (ulimit -Hn)"
        );
    }
}

/// The engine, and the store that it has from the data folder.
fn engine<H: Host>(host: &H, config: &Config, workers: usize) -> Result<(Shared, OpenedStore), StartError> {
    let options = config.options.clone();
    #[cfg(feature = "store")]
    if let Some(data_dir) = &config.data_dir {
        let capabilities = host.capabilities();
        let (durable, objects) = Durable::open(data_dir, workers, capabilities.threads).map_err(StartError::Open)?;
        let durable = Arc::new(durable);
        let mut engine = engine_with(config, Options { store: Arc::clone(&durable) as _, ..options });
        let restoration = engine.restore(objects).map_err(StartError::Restore)?;
        durable.announce(data_dir, &restoration, capabilities.file_sync);
        return Ok((engine, Some(durable)));
    }
    let _ = (host, workers);
    Ok((engine_with(config, options), OpenedStore::default()))
}

/// Begins to commit the changes of a broker with a data folder.
#[cfg(feature = "store")]
fn commits<H: Host>(server: &Arc<Server<H>>) -> io::Result<Option<Commits>> {
    let Some(durable) = &server.durable else { return Ok(None) };
    let (woken, stopped) = (Arc::clone(server), Arc::clone(server));
    Commits::begin(Arc::clone(durable), move |worker| woken.wake(worker), move || stopped.stop()).map(Some)
}

fn engine_with(config: &Config, mut options: Options) -> Shared {
    let unix_time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    options.sys.unix_ms = unix_time.as_millis() as u64;
    options.unix_ms_at_start = options.sys.unix_ms;
    Shared::with_options(config.limits, options, unix_time.as_nanos() as u64).expect("the builder has checked it")
}

fn worker_count<H: Host>(host: &H, wished: Option<NonZeroUsize>) -> Result<NonZeroUsize, StartError> {
    match wished {
        Some(count) if count.get() > 1 && !host.capabilities().threads => Err(StartError::NoThreads),
        Some(count) => Ok(count),
        None if !host.capabilities().threads => Ok(NonZeroUsize::MIN),
        None => Ok(host.parallelism()),
    }
}

//! The configuration of a broker.

use std::error::Error;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use wisp_engine::{Event, InvalidOptions, Limits, ListenerLimits, Options, Policy, QueueSettings, Store, SysOptions};

use crate::guard::open_listener;
#[cfg(feature = "proxy-protocol")]
use crate::network::Network;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::transport::TransportKind;
#[cfg(feature = "websocket")]
use crate::transport::WebSocketSettings;
use crate::watch::{FileWatch, Watched};

/// The port IANA registered for MQTT.
pub const MQTT_PORT: u16 = 1883;

/// Seconds between two updates of the topics of `$SYS`, unless set.
const SYS_INTERVAL_S: u16 = 10;

/// Most worker threads of one broker.
pub const WORKERS_MAX: usize = 256;

/// Fewest characters of the token of the admin listener, so that nobody finds it by trying.
#[cfg(feature = "admin")]
pub const ADMIN_TOKEN_BYTES: usize = 16;

/// Whether a header can carry the token, and nobody guesses it.
#[cfg(feature = "admin")]
pub(crate) fn check_token(token: Option<&str>) -> Result<(), ConfigError> {
    let is_token = |token: &str| token.len() >= ADMIN_TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.is_none_or(is_token) { Ok(()) } else { Err(ConfigError::AdminToken) }
}

/// A checked configuration. [`Config::builder`] makes one; [`Config::default`] listens on port 1883 of 127.0.0.1.
///
/// ```
/// use wisp_broker::{Config, Limits};
///
/// let limits = Limits::DEFAULT.with(|limits| limits.topic_levels_max = 65_535);
/// let error = Config::builder().listener(([127, 0, 0, 1], 0)).limits(limits).build().unwrap_err();
/// assert_eq!(error.to_string(), "topic-levels-max = 65535: not a number from 1 to 1024");
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) listeners: Vec<ListenerConfig>,
    pub(crate) workers: Option<NonZeroUsize>,
    pub(crate) limits: Limits,
    pub(crate) options: Options,
    pub(crate) observer: Option<Observer>,
    pub(crate) watch: FileWatch,
    check_files: Option<Duration>,
    /// The address of the admin listener.
    #[cfg(feature = "admin")]
    pub(crate) admin: Option<SocketAddr>,
    /// The token of its API.
    #[cfg(feature = "admin")]
    pub(crate) admin_token: Option<Box<str>>,
    #[cfg(feature = "store")]
    pub(crate) data_dir: Option<crate::DataDir>,
    allow_anonymous: Option<bool>,
    /// Whether there may be no listener.
    needs_listener: bool,
    /// The check of the clients.
    guard: Guard,
}

/// The check of clients that connect.
#[derive(Clone, Debug)]
enum Guard {
    Nobody,
    /// The embedder's policy.
    Policy,
    #[cfg(feature = "access")]
    Access(Arc<crate::Access>),
}

/// Makes a [`Config`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder(Config);

/// One address to listen on, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// The address; port 0 picks a free one, and `[::]` stands for all addresses of both families.
    pub address: SocketAddr,
    /// Whether clients without a user name may connect, if this listener differs from the others. A [`Policy`] decides
    /// it: connections have the index of their listener.
    pub allow_anonymous: Option<bool>,
    /// Most connections of this listener at a time, if it has a limit besides `connections-max`.
    pub connections_max: Option<u32>,
    /// Other limits of its connections that differ from the broker's.
    pub limits: ListenerLimits,
    pub(crate) transport: TransportKind,
}

/// Why a configuration is refused. `Display` is one complete line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no listener.
    NoListener,
    /// There are more listeners than a connection can name.
    TooManyListeners(usize),
    /// There are more workers than [`WORKERS_MAX`].
    TooManyWorkers(NonZeroUsize),
    /// A limit, a queue or the response information is not possible.
    Options(InvalidOptions),
    /// Other machines reach the listener, nothing checks the clients, and it is not said that this shall be so.
    Open(SocketAddr),
    /// The token of the admin listener is too short, or has characters that a header cannot carry.
    #[cfg(feature = "admin")]
    AdminToken,
    /// The data folder may have too few bytes.
    #[cfg(feature = "store")]
    DiskBytes(u64),
    /// The files of users and rules do not fit the listeners.
    #[cfg(feature = "access")]
    Access(crate::AccessError),
}

/// A callback for events.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(&Event) + Send + Sync>);

impl Config {
    /// A configuration without a listener, otherwise with the defaults.
    pub fn builder() -> ConfigBuilder {
        let sys = SysOptions { interval_s: SYS_INTERVAL_S, unix_ms: 0 };
        ConfigBuilder(Self {
            listeners: Vec::new(),
            workers: None,
            limits: Limits::DEFAULT,
            options: Options { sys, lists_sessions: true, ..Options::default() },
            observer: None,
            watch: FileWatch::default(),
            check_files: None,
            #[cfg(feature = "admin")]
            admin: None,
            #[cfg(feature = "admin")]
            admin_token: None,
            #[cfg(feature = "store")]
            data_dir: None,
            allow_anonymous: None,
            needs_listener: true,
            guard: Guard::Nobody,
        })
    }

    /// The listeners. A connection names its listener by the index in this list.
    pub fn listeners(&self) -> &[ListenerConfig] {
        &self.listeners
    }

    /// The number of workers, if it is fixed.
    pub fn workers(&self) -> Option<NonZeroUsize> {
        self.workers
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Looks at the files of users, rules and certificates.
    pub fn file_watch(&self) -> &FileWatch {
        &self.watch
    }

    /// Whether there is an admin listener.
    pub(crate) fn has_admin(&self) -> bool {
        #[cfg(feature = "admin")]
        return self.admin.is_some();
        #[cfg(not(feature = "admin"))]
        false
    }

    /// Seconds between two updates of the topics of `$SYS`; 0 if there are none.
    pub fn sys_interval_s(&self) -> u16 {
        self.options.sys.interval_s
    }
}

impl Config {
    /// The files of users, rules and certificates, each with its name in the log.
    fn files(&self) -> Vec<(String, Arc<dyn Watched>)> {
        #[cfg_attr(not(any(feature = "access", feature = "tls")), expect(unused_mut, reason = "there are no files"))]
        let mut files: Vec<(String, Arc<dyn Watched>)> = Vec::new();
        #[cfg(feature = "access")]
        if let Guard::Access(access) = &self.guard {
            files.push(("users and rules".to_owned(), Arc::clone(access) as _));
        }
        #[cfg(feature = "tls")]
        for listener in &self.listeners {
            if let Some(tls) = &listener.transport.tls {
                files.push((format!("the certificates of {}", listener.address), Arc::clone(tls) as _));
            }
        }
        files
    }

    /// Refuses listeners that would be open to everyone without a word about it.
    fn check_guard(&self) -> Result<(), ConfigError> {
        match &self.guard {
            Guard::Policy => Ok(()),
            #[cfg(feature = "access")]
            Guard::Access(access) => {
                let listener = |listener: &ListenerConfig| crate::access::ListenerAccess {
                    address: listener.address,
                    allow_anonymous: listener.allow_anonymous,
                    requires_certificate: listener.requires_certificate(),
                };
                access.bind(self.listeners.iter().map(listener).collect()).map_err(ConfigError::Access)
            }
            Guard::Nobody => {
                let is_open = |listener: &&ListenerConfig| {
                    !listener.address.ip().is_loopback()
                        && !listener.requires_certificate()
                        && listener.allow_anonymous.or(self.allow_anonymous) != Some(true)
                };
                self.listeners.iter().find(is_open).map_or(Ok(()), |open| Err(ConfigError::Open(open.address)))
            }
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let ConfigBuilder(config) = Self::builder().listener((Ipv4Addr::LOCALHOST, MQTT_PORT));
        config
    }
}

impl ConfigBuilder {
    /// Listens on one more address.
    pub fn listener(mut self, listener: impl Into<ListenerConfig>) -> Self {
        self.0.listeners.push(listener.into());
        self
    }

    /// Allows a broker without a listener: all its clients are in this program.
    #[cfg(feature = "in-process")]
    pub fn without_listener(mut self) -> Self {
        self.0.needs_listener = false;
        self
    }

    /// Worker threads. `None`, the default: one for each core, or one alone on hosts without threads.
    pub fn workers(mut self, count: impl Into<Option<NonZeroUsize>>) -> Self {
        self.0.workers = count.into();
        self
    }

    /// The limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.0.limits = limits;
        self
    }

    /// One more topic queue that exists from the start. Others are created by use.
    pub fn queue(mut self, settings: QueueSettings) -> Self {
        self.0.options.queues.push(settings);
        self
    }

    /// The Response Information of MQTT 5, from which clients that ask for it make response topics.
    pub fn response_information(mut self, text: impl Into<Box<str>>) -> Self {
        self.0.options.response_information = Some(text.into());
        self
    }

    /// Seconds between two updates of the topics of `$SYS`, 10 by default. 0: there are no such topics.
    pub fn sys_interval_s(mut self, seconds: u16) -> Self {
        self.0.options.sys.interval_s = seconds;
        self
    }

    /// The rights to connect, publish and subscribe. By default every client has all.
    pub fn policy(mut self, policy: Arc<dyn Policy>) -> Self {
        self.0.options.policy = policy;
        self.0.guard = Guard::Policy;
        self
    }

    /// Users and rights from files.
    #[cfg(feature = "access")]
    pub fn access(mut self, access: &Arc<crate::Access>) -> Self {
        self.0.options.policy = Arc::clone(access) as _;
        self.0.guard = Guard::Access(Arc::clone(access));
        self
    }

    /// Whether every client may connect, for a broker without a policy. Without a word about it a listener that other machines
    /// reach is refused. Files of users and rules have an option of their own.
    pub fn allow_anonymous(mut self, allow: impl Into<Option<bool>>) -> Self {
        self.0.allow_anonymous = allow.into();
        self
    }

    /// The durable storage. By default everything is in memory.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.0.options.store = store;
        self
    }

    /// Keeps sessions, their messages and retained messages in a folder, in place of [`ConfigBuilder::store`].
    #[cfg(feature = "store")]
    pub fn data_dir(mut self, data_dir: impl Into<Option<crate::DataDir>>) -> Self {
        self.0.data_dir = data_dir.into();
        self
    }

    /// Listens on one more address for the operator: metrics and health by HTTP, and no MQTT.
    #[cfg(feature = "admin")]
    pub fn admin(mut self, address: impl Into<Option<SocketAddr>>) -> Self {
        self.0.admin = address.into();
        self
    }

    /// The token that requests to the API of the admin listener have to have, of [`ADMIN_TOKEN_BYTES`] at least. Without one nobody acts
    /// there, and everyone may look if the listener's address is one of loopback.
    #[cfg(feature = "admin")]
    pub fn admin_token(mut self, token: impl Into<Option<Box<str>>>) -> Self {
        self.0.admin_token = token.into();
        self
    }

    /// Whether [`Control::sessions`](crate::Control::sessions) and
    /// [`Control::subscriptions`](crate::Control::subscriptions) list anything. On by default; off it saves memory for each
    /// session.
    pub fn lists_sessions(mut self, lists: bool) -> Self {
        self.0.options.lists_sessions = lists;
        self
    }

    /// Calls `observe` with each event, on the worker on which it happens. It must not block.
    pub fn observer(mut self, observe: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.0.observer = Some(Observer(Arc::new(observe)));
        self
    }

    /// How often to look whether the files of users, rules and certificates have changed, to read them again. `None`, the
    /// default: never, and `reload` of `Access` and `Tls` reads them. [`Config::file_watch`] changes it while the broker runs.
    pub fn check_files(mut self, every: impl Into<Option<Duration>>) -> Self {
        self.0.check_files = every.into();
        self
    }

    /// Checks the configuration.
    ///
    /// # Errors
    /// The first setting with which no broker can start.
    pub fn build(self) -> Result<Config, ConfigError> {
        let Self(mut config) = self;
        config.options.listeners = config.listeners.iter().map(|listener| listener.limits).collect();
        config.options.check(&config.limits).map_err(ConfigError::Options)?;
        match config.listeners.len() {
            0 if config.needs_listener => return Err(ConfigError::NoListener),
            // The admin listener has a number too.
            count if u16::try_from(count + 1).is_err() => return Err(ConfigError::TooManyListeners(count)),
            _ => {}
        }
        if let Some(count) = config.workers.filter(|count| count.get() > WORKERS_MAX) {
            return Err(ConfigError::TooManyWorkers(count));
        }
        #[cfg(feature = "store")]
        if let Some(bytes) = config.data_dir.as_ref().map(|data_dir| data_dir.disk_bytes_max)
            && (1..crate::DISK_BYTES_LEAST).contains(&bytes)
        {
            return Err(ConfigError::DiskBytes(bytes));
        }
        #[cfg(feature = "admin")]
        check_token(config.admin_token.as_deref())?;
        config.check_guard()?;
        config.watch = FileWatch::new(config.files(), config.check_files);
        Ok(config)
    }
}

impl ListenerConfig {
    /// Plain MQTT over TCP on `address`.
    pub fn new(address: SocketAddr) -> Self {
        let (limits, transport) = (ListenerLimits::default(), TransportKind::default());
        Self { address, allow_anonymous: None, connections_max: None, limits, transport }
    }

    /// Whether every client has a certificate that was checked.
    fn requires_certificate(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.transport.tls.as_ref().is_some_and(|tls| tls.requires_certificate);
        #[cfg(not(feature = "tls"))]
        false
    }
}

#[cfg(feature = "tls")]
impl ListenerConfig {
    /// The same with TLS, which listeners may share.
    #[must_use]
    pub fn tls(mut self, tls: &Arc<Tls>) -> Self {
        self.transport.tls = Some(Arc::clone(tls));
        self
    }
}

#[cfg(feature = "proxy-protocol")]
impl ListenerConfig {
    /// The listener is behind a proxy: each connection begins with a header of the PROXY protocol, version 1 or 2, and the
    /// address in the header counts as the client's. With `proxies` others are closed at once; without any, only the proxy may
    /// reach the listener. A host that tells no addresses of peers does not start with `proxies`.
    #[must_use]
    pub fn proxy_protocol(mut self, proxies: impl IntoIterator<Item = Network>) -> Self {
        self.transport.has_proxy_header = true;
        self.transport.proxies = proxies.into_iter().collect();
        self
    }
}

#[cfg(feature = "websocket")]
impl ListenerConfig {
    /// The same with MQTT over WebSocket.
    #[must_use]
    pub fn web_socket(mut self, settings: WebSocketSettings) -> Self {
        self.transport.web_socket = Some(Arc::new(settings));
        self
    }
}

impl<A: Into<SocketAddr>> From<A> for ListenerConfig {
    fn from(address: A) -> Self {
        Self::new(address.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoListener => write!(f, "no address to listen on"),
            Self::TooManyListeners(count) => write!(f, "{count} listeners: at most {} are possible", u16::MAX - 1),
            Self::TooManyWorkers(count) => write!(f, "workers = {count}: not a number from 1 to {WORKERS_MAX}"),
            Self::Options(error) => error.fmt(f),
            Self::Open(address) => f.write_str(&open_listener(*address)),
            #[cfg(feature = "admin")]
            Self::AdminToken => write!(
                f,
                "the token of the admin listener has not at least {} characters of printable ASCII without blanks: make one with openssl rand -hex 32",
                ADMIN_TOKEN_BYTES
            ),
            #[cfg(feature = "store")]
            Self::DiskBytes(bytes) => {
                write!(f, "disk-bytes-max = {bytes}: neither 0 nor at least {}", crate::DISK_BYTES_LEAST)
            }
            #[cfg(feature = "access")]
            Self::Access(error) => error.fmt(f),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Options(error) => Some(error),
            #[cfg(feature = "access")]
            Self::Access(error) => Some(error),
            _ => None,
        }
    }
}

impl Observer {
    pub(crate) fn observe(&self, event: &Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

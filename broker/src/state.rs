//! The state that the drivers of one broker share.

use std::sync::Arc;
#[cfg(feature = "admin")]
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use wisp_engine::sync::{AtomicBool, Ordering};
use wisp_engine::{Event, Shared};
use wisp_net::{Host, Poller, Registrar};

#[cfg(feature = "admin")]
use crate::admin::Pages;
use crate::config::Observer;
use crate::connections::Connections;
#[cfg(feature = "in-process")]
use crate::in_process::InProcess;
use crate::listener_rows::{ListenerFacts, ListenerRow};
use crate::log::Log;
use crate::mailbox::Mailbox;
use crate::quota::Quota;
use crate::watch::FileWatch;

/// The store from the data folder, if there is one.
#[cfg(feature = "store")]
pub(crate) type OpenedStore = Option<Arc<crate::durable::Durable>>;
#[cfg(not(feature = "store"))]
pub(crate) type OpenedStore = ();

/// The registrar of a host's poller.
pub(crate) type RegistrarOf<H> = <<H as Host>::Poller as Poller>::Registrar;

/// The state that the drivers of one broker share, besides the engine's.
pub(crate) struct Server<H: Host> {
    pub(crate) host: H,
    pub(crate) engine: Arc<Shared>,
    pub(crate) connections: Connections<H::Stream>,
    pub(crate) mailboxes: Vec<Mailbox<RegistrarOf<H>, H::Stream>>,
    pub(crate) observer: Option<Observer>,
    pub(crate) log: Log,
    pub(crate) watch: FileWatch,
    #[cfg_attr(not(feature = "store"), expect(dead_code, reason = "there is none"))]
    pub(crate) durable: OpenedStore,
    /// Of each listener.
    pub(crate) quotas: Vec<Quota>,
    /// Of each listener, the admin listener last.
    pub(crate) listener_facts: Vec<ListenerFacts>,
    /// The number of the admin listener, and its connections. They speak HTTP, so log and observer do not hear of them.
    admin_listener: Option<(u16, Quota)>,
    #[cfg(feature = "in-process")]
    pub(crate) in_process: InProcess,
    /// The pages of the admin listener, once the broker is complete.
    #[cfg(feature = "admin")]
    pub(crate) pages: OnceLock<Arc<Pages>>,
    started: Instant,
    stopping: AtomicBool,
}

impl<H: Host> Server<H> {
    pub(crate) fn new(
        host: H,
        engine: Arc<Shared>,
        registrars: Vec<RegistrarOf<H>>,
        (observer, admin_listener): (Option<Observer>, Option<(u16, Quota)>),
        watch: FileWatch,
        (quotas, listener_facts, durable): (Vec<Quota>, Vec<ListenerFacts>, OpenedStore),
    ) -> Self {
        Self {
            host,
            engine,
            connections: Connections::default(),
            #[cfg(feature = "in-process")]
            in_process: InProcess::new(registrars.len()),
            mailboxes: registrars.into_iter().map(Mailbox::new).collect(),
            observer,
            log: Log::default(),
            watch,
            durable,
            quotas,
            listener_facts,
            admin_listener,
            #[cfg(feature = "admin")]
            pages: OnceLock::new(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
        }
    }

    /// The number of listeners for clients, and whether there is an admin listener.
    pub(crate) fn listeners(&self) -> (usize, bool) {
        (self.quotas.len(), self.admin_listener.is_some())
    }

    /// The listeners as they are now.
    pub(crate) fn listener_rows(&self) -> Vec<ListenerRow> {
        self.listener_facts.iter().map(ListenerFacts::now).collect()
    }

    /// Whether the event is about a connection of the admin listener.
    pub(crate) fn is_of_admin(&self, event: &Event) -> bool {
        matches!(event, Event::Refused { origin, .. } if self.admin_listener.as_ref().is_some_and(|(number, _)| *number == origin.listener))
    }

    /// The connections but those of the admin listener, which are no clients.
    pub(crate) fn client_connections(&self) -> u64 {
        let of_admin = self.admin_listener.as_ref().map_or(0, |(_, quota)| quota.open());
        self.connections.count().saturating_sub(of_admin)
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Milliseconds since the start.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now().as_millis() as u64
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Wakes a worker, if the host can.
    #[cfg(feature = "store")]
    pub(crate) fn wake(&self, worker: usize) {
        self.mailboxes[worker].registrar.wake();
    }

    /// Tells every worker to close its connections and end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for mailbox in &self.mailboxes {
            mailbox.registrar.wake();
        }
    }
}

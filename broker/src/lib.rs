//! The Wisp MQTT broker as a library to embed. The program `wisp-broker` is a crate of its own around it.
//!
//! This crate is the server around the engine: it owns the sockets, the clock and the threads.
//!
//! ```no_run
//! use wisp_broker::{Broker, Config};
//!
//! let broker = Broker::start(Config::default())?;
//! println!("listening on {:?}", broker.local_addrs());
//! broker.shutdown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The path of a message through it: [`wisp_net`] reports to a driver that a socket is ready, `transport` receives, the
//! engine's worker decodes and routes, `output` sends.

#[cfg(feature = "access")]
mod access;
#[cfg(feature = "admin")]
mod admin;
mod config;
mod connections;
mod driver;
#[cfg(feature = "store")]
mod durable;
mod guard;
#[cfg(feature = "in-process")]
mod in_process;
mod listener;
mod listener_rows;
mod log;
mod mailbox;
mod memory;
#[cfg(feature = "proxy-protocol")]
mod network;
mod operator;
mod output;
mod quota;
mod server;
#[cfg(test)]
mod simulation;
#[cfg(any(feature = "access", feature = "tls"))]
mod stamps;
mod state;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod watch;

#[cfg(feature = "access")]
pub use access::{Access, AccessError, AccessOptions};
#[cfg(feature = "admin")]
pub use config::ADMIN_TOKEN_BYTES;
pub use config::{Config, ConfigBuilder, ConfigError, ListenerConfig, MQTT_PORT, WORKERS_MAX};
#[cfg(feature = "store")]
pub use durable::{DISK_BYTES_LEAST, DataDir};
#[cfg(feature = "in-process")]
pub use in_process::{
    ClientEnd, ClientError, ClientOptions, ClientOptionsBuilder, InProcessClient, InvalidClientOptions, Message,
    MessageProperties, Publication, Published, Subscription,
};
pub use listener_rows::ListenerRow;
#[cfg(feature = "proxy-protocol")]
pub use network::{InvalidNetwork, Network};
pub use server::{Broker, Control, RunError, StartError, StopError, run};
#[cfg(feature = "tls")]
pub use tls::{CertificateFiles, CertificateName, ClientCertificates, Tls, TlsError, TlsSettings};
#[cfg(feature = "websocket")]
pub use transport::WebSocketSettings;
pub use watch::FileWatch;
pub use wisp_engine::{
    Action, AllowAll, BUCKET_BOUNDS_US, BadObject, Change, CommitState, ConnectRequest, ConnectionFacts, ConnectionId,
    Decision, Denial, DeniedUse, Depth, Done, EndReason, Event, Fault, FullPolicy, HISTOGRAMS, HistogramMetric,
    HistogramSnapshot, Histograms, IN_PROCESS_LISTENER, InvalidCursor, InvalidOptions, InvalidQueue, Key, LIMITS,
    LIST_ITEMS_MAX, Limit, LimitOutOfRange, Limits, List, ListQuery, ListenerLimits, LoanObject, METRICS, MemoryStore,
    MessageObject, Metric, MetricKind, NewMessage, Object, ObjectFault, OrderError, Origin, OtherProtocol,
    PACKET_BYTES_CEILING, PendingAction, PendingDecision, Policy, Presence, PublishRequest, QueueDepth, QueueRow,
    QueueSettings, Restoration, Restored, RetainedMessage, RetainedRow, Rights, SessionDepth, SessionRow,
    SessionsPolicy, StallPolicy, StatsSnapshot, Store, StoreStats, SubscribeRequest, SubscriptionRow,
    TOPIC_LEVELS_CEILING, Ticket, Unsaved, Verdict, WaitingState, WillObject, is_mqtt_text,
};
pub use wisp_net::{Host, Signal, SysHost};
#[cfg(feature = "store")]
pub use wisp_store::{OpenError, Sync as SyncMode};
#[cfg(feature = "in-process")]
pub use wisp_wire::{EncodeError, ReasonCode, RetainHandling, TopicError};
pub use wisp_wire::{ProtocolVersion, QoS, SubscriptionId};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

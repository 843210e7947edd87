//! A blocking MQTT client for MQTT 3.1, 3.1.1 and 5.
//!
//! A message on its way enters the broker's socket from here, and leaves it to here: [`Client`] encodes with
//! wisp-wire what wisp-net sends, and the other way round. It runs on every host of wisp-net that can connect
//! ([`Capabilities::connect`](wisp_net::Capabilities)), WebAssembly guests included. Nothing waits without a
//! deadline, no buffer grows without a bound, and no thread is started.

mod aliases;
mod client;
mod connection;
mod delivery;
mod error;
mod inbox;
mod incoming;
mod keep_alive;
mod link;
mod options;
mod url;

pub use client::Client;
pub use connection::Parts;
pub use error::{Error, Fault};
pub use incoming::Message;
pub use options::{ConnectOptions, PublishOptions, Will};
pub use url::ServerUrl;
pub use wisp_wire::{ProtocolVersion, QoS, ReasonCode, RetainHandling, SubscriptionId, SubscriptionOptions};

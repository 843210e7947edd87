//! A blocking MQTT client for MQTT 3.1, 3.1.1 and 5.
//!
//! [`Client`] encodes with wisp-wire the bytes that wisp-net sends, and decodes the bytes that wisp-net receives. It
//! runs on every host of wisp-net that can connect ([`Capabilities::connect`](wisp_net::Capabilities)), WebAssembly
//! guests included. Every wait has a deadline, every buffer a bound, and no thread is started.
//!
//! ```text
//!   client    the calls, each of which blocks
//!   blocking  the loop: sends, receives, waits until a deadline
//!   socket    bytes <-> the host's socket, with its poller
//!   transport the layers between them: TLS, WebSocket
//!   protocol  bytes <-> requests and events; no socket, no clock
//! ```
//!
//! The scheme of a [`ServerUrl`] names the transport: `mqtt`, `mqtts`, `ws` or `wss`. TLS needs the feature `tls`,
//! WebSocket the feature `websocket`.
//!
//! [`protocol::Protocol`] alone is for a program with a loop of its own.

mod acknowledgements;
mod aliases;
mod blocking;
mod buffers;
mod client;
mod error;
mod event;
mod inbox;
mod keep_alive;
mod message;
mod options;
mod packets;
pub mod protocol;
mod requests;
mod socket;
mod transport;
mod url;

pub use blocking::Parts;
pub use client::Client;
pub use error::{Error, Fault};
pub use message::Message;
pub use options::{ConnectOptions, PublishOptions, Will};
pub use transport::{ByteStream, Read, TlsOptions, TlsSession, Transport, TransportStream};
pub use url::{InvalidUrl, ServerUrl};
pub use wisp_wire::{PacketId, ProtocolVersion, QoS, ReasonCode, RetainHandling, SubscriptionId, SubscriptionOptions};

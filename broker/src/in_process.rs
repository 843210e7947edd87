//! Clients without a socket, in the program that embeds the broker.
//!
//! For the engine such a client is a connection of MQTT 5 like any other: its session, rights, limits and back-pressure
//! are the same. In place of a socket there is a pair of queues in memory: packets to the worker, and messages to the
//! program.
//!
//! ```text
//! program -- client.rs --> program_half.rs: packets --> broker_half.rs --> the worker that owns the connection
//!    ^                                                       |
//!    '---- message.rs <---- a channel of messages <----------'  <-- the worker that has routed the message
//! ```
//!
//! No thread is between the two. A worker that waits is woken through its doorbell, once for all packets that come
//! until it reads them.

mod attach;
mod broker_half;
mod client;
mod completion;
mod content;
mod doorbell;
mod error;
mod message;
mod options;
mod outgoing;
mod program_half;
mod requests;
mod subscription;

pub(crate) use self::attach::attach;
pub(crate) use self::broker_half::BrokerHalf;
pub use self::client::{InProcessClient, Published};
pub use self::content::{MessageProperties, Publication};
pub(crate) use self::doorbell::InProcess;
pub use self::error::{ClientEnd, ClientError};
pub use self::message::Message;
pub use self::options::{ClientOptions, ClientOptionsBuilder, InvalidClientOptions};
pub use self::subscription::Subscription;

//! Core NATS: lines of text, some followed by a payload, over TCP.
//!
//! ```text
//!   server: INFO {...}            client: CONNECT {...}
//!                                         SUB subject [group] sid
//!                                         PUB subject size / payload
//!           MSG subject sid size / payload
//!           PING, PONG                    PING, PONG
//!           -ERR 'why'
//! ```
//!
//! Nothing is acknowledged. The server answers the PING at the end of the stream when it has read all of it. A server
//! that finds a receiver too slow closes its connection, mostly without a message.

mod connection;
mod form;
mod line;

pub(crate) use connection::Connection;
pub(crate) use form::{NAMING, delivered, published, sid};
pub(crate) use line::NatsError;
pub(crate) use line::{Operation, PONG, decode, one_line};

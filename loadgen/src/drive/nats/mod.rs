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
//! Nothing is acknowledged: PING at the end of what was sent is answered when all of it was read. A server that finds a
//! receiver too slow closes its connection, mostly without a word.

mod connection;
mod line;

use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use connection::Connection;
pub(crate) use line::{Operation, decode, one_line};

use crate::drive::target::Credentials;

/// The answer to the server's PING.
pub(crate) const PONG: &[u8] = b"PONG\r\n";
/// What the server answers when it has read all that was sent before.
pub(crate) const PING: &[u8] = b"PING\r\n";
/// What ends a line and a payload.
pub(crate) const LINE_END: &[u8] = b"\r\n";

/// Connects to a NATS server, waits for its answer to a PING, and gives its version.
///
/// # Errors
/// Why there is no answer, in one line.
pub fn ping(address: SocketAddr, timeout: Duration) -> Result<String, String> {
    let connection = Connection::open(address, Credentials::None, timeout).map_err(|error| error.to_string())?;
    Ok(connection.info().version.clone())
}

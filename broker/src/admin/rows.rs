//! The rows of lists as JSON. `openapi.json` describes them; a test compares both.

use serde::Serialize;
use wisp_engine::{IN_PROCESS_LISTENER, List, QueueRow, RetainedMessage, RetainedRow, SessionRow, SubscriptionRow};
use wisp_wire::{ProtocolVersion, SubscriptionId};

use crate::listener_rows::ListenerRow;

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct Items<T> {
    items: Vec<T>,
    /// The cursor for the next page, to be sent as `after`. `None` after the last page.
    next: Option<String>,
}

impl<T> Items<T> {
    pub(super) fn of<R>(list: List<R>, row: impl FnMut(R) -> T) -> Self {
        Self { items: list.items.into_iter().map(row).collect(), next: list.next }
    }

    /// All there is.
    pub(super) fn all(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Session {
    client_id: String,
    connected: bool,
    user: Option<Box<str>>,
    address: Option<String>,
    listener: Option<u16>,
    version: Option<&'static str>,
    keep_alive_s: Option<u16>,
    clean_start: Option<bool>,
    connected_since_ms: Option<u64>,
    away_since_ms: Option<u64>,
    expiry_s: Option<u32>,
    subscriptions: u64,
    inflight: u64,
    waiting: u64,
    stored_messages: u64,
    stored_bytes: u64,
    unsent_messages: u64,
    unsent_bytes: u64,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        let facts = row.connection.as_deref();
        Self {
            client_id: row.client_id.to_string(),
            connected: row.is_connected,
            user: facts.and_then(|facts| facts.user.clone()),
            address: facts.and_then(|facts| facts.peer).map(|peer| peer.to_string()),
            // Clients in the program have none.
            listener: facts.map(|facts| facts.listener).filter(|listener| *listener != IN_PROCESS_LISTENER),
            version: facts.map(|facts| match facts.version {
                ProtocolVersion::Mqtt31 => "3.1",
                ProtocolVersion::Mqtt311 => "3.1.1",
                ProtocolVersion::Mqtt5 => "5",
            }),
            keep_alive_s: facts.map(|facts| facts.keep_alive_s),
            clean_start: facts.map(|facts| facts.clean_start),
            connected_since_ms: row.connected_since_ms,
            away_since_ms: row.away_since_ms,
            expiry_s: row.expiry_s,
            subscriptions: row.subscriptions,
            inflight: row.inflight,
            waiting: row.waiting,
            stored_messages: row.stored.messages,
            stored_bytes: row.stored.bytes,
            unsent_messages: row.unsent.messages,
            unsent_bytes: row.unsent.bytes,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Subscription {
    client_id: String,
    filter: Box<str>,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    id: Option<u32>,
}

impl From<SubscriptionRow> for Subscription {
    fn from(row: SubscriptionRow) -> Self {
        Self {
            client_id: row.client_id.to_string(),
            filter: row.filter,
            qos: row.qos as u8,
            no_local: row.no_local,
            retain_as_published: row.retain_as_published,
            id: row.id.map(SubscriptionId::get),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Queue {
    name: Box<str>,
    group: bool,
    configured: bool,
    messages: u64,
    bytes: u64,
    waiting: u64,
    on_loan: u64,
    dead_letters: u64,
    consumers: u64,
    messages_max: u64,
    bytes_max: u64,
}

impl From<QueueRow> for Queue {
    fn from(row: QueueRow) -> Self {
        Self {
            name: row.name,
            group: row.is_group,
            configured: row.is_configured,
            messages: row.depth.messages,
            bytes: row.depth.bytes,
            waiting: row.waiting,
            on_loan: row.on_loan,
            dead_letters: row.dead_letters,
            consumers: row.consumers,
            messages_max: row.messages_max,
            bytes_max: row.bytes_max,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Retained {
    topic: Box<str>,
    qos: u8,
    payload_bytes: u64,
    sender: Option<String>,
    expires_at_ms: Option<u64>,
}

impl From<RetainedRow> for Retained {
    fn from(row: RetainedRow) -> Self {
        Self {
            topic: row.topic,
            qos: row.qos as u8,
            payload_bytes: row.payload_bytes,
            sender: row.sender.map(|sender| sender.to_string()),
            expires_at_ms: row.expires_at_ms,
        }
    }
}

/// A retained message with its payload: text if that is UTF-8, else base64.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    #[serde(flatten)]
    row: Retained,
    payload: Option<String>,
    payload_base64: Option<String>,
}

/// Longest payload in an answer.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

impl From<RetainedMessage> for Message {
    fn from(message: RetainedMessage) -> Self {
        use base64ct::{Base64, Encoding};
        let (payload, payload_base64) = match String::from_utf8(message.payload) {
            _ if message.row.payload_bytes > PAYLOAD_BYTES_MAX as u64 => (None, None),
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(Base64::encode_string(error.as_bytes()))),
        };
        Self { row: message.row.into(), payload, payload_base64 }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Listener {
    address: String,
    tls: bool,
    web_socket: bool,
    proxy_protocol: bool,
    admin: bool,
    connections: u64,
    connections_max: Option<u64>,
}

impl From<ListenerRow> for Listener {
    fn from(row: ListenerRow) -> Self {
        Self {
            address: row.address.to_string(),
            tls: row.tls,
            web_socket: row.web_socket,
            proxy_protocol: row.proxy_protocol,
            admin: row.is_admin,
            connections: row.connections,
            connections_max: row.connections_max,
        }
    }
}

//! Step 4 of a message's way: packets of one connection in, replies and checked messages out.
//!
//! ```text
//!             CONNECT accepted                 DISCONNECT, error, timeout, takeover
//!  +-----+ -----------------------> +-----------+ ------------------------> +-------+
//!  | New |                          | Connected |                           | Ended |
//!  +-----+ -----------------------> +-----------+                           +-------+
//!             anything else: Ended
//! ```
//!
//! Replies are appended, encoded, to a buffer of the caller's. A session that ends says so with [`End`]; if the peer is
//! to be told why, the packet that tells it is in that buffer too.

mod connect;
mod end;
mod subscribe;

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use wisp_wire::{
    DecodeError, Disconnect, Packet, PacketType, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode,
};

pub use self::end::{End, EndReason, Fault};
use crate::core::Core;
use crate::queue::{ConnectionId, Queue};
use crate::router::TopicTooLarge;
use crate::will::Will;

/// What the caller does after a packet was handled.
#[derive(Debug)]
pub enum Next<'a> {
    /// Goes on with the next packet.
    Continue,
    /// Routes this message.
    Publish(Publish<'a>),
    /// Closes that connection with [`EndReason::TakenOver`], if any: the client is connected here now.
    Connected {
        /// The connection that had the client identifier before.
        taken_over: Option<ConnectionId>,
    },
}

/// The protocol state of one connection. Belongs to the worker that owns the connection.
#[derive(Debug)]
pub struct Session {
    core: Arc<Core>,
    queue: Arc<Queue>,
    /// When the last packet came, or the connection was accepted.
    heard_ms: u64,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    New,
    Connected(Client),
    Ended,
}

#[derive(Debug)]
struct Client {
    id: Box<str>,
    version: ProtocolVersion,
    /// Longest silence tolerated: one and a half times the keep-alive [MQTT-3.1.2-22].
    silence_ms_max: Option<u64>,
    /// What CONNECT asked for, which limits what DISCONNECT may ask for.
    session_expiry_s: u32,
    filters: HashSet<Box<str>, RandomState>,
    will: Option<Will>,
}

impl Session {
    /// A session for a connection that was just accepted.
    pub fn new(core: Arc<Core>, queue: Arc<Queue>, now_ms: u64) -> Self {
        Self { core, queue, heard_ms: now_ms, phase: Phase::New }
    }

    /// What waits for the client.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// The version to decode packets with. CONNECT brings its own.
    pub fn version(&self) -> ProtocolVersion {
        match &self.phase {
            Phase::Connected(client) => client.version,
            Phase::New | Phase::Ended => ProtocolVersion::Mqtt311,
        }
    }

    /// The client identifier, once there is one.
    pub fn client_id(&self) -> Option<&str> {
        match &self.phase {
            Phase::Connected(client) => Some(&client.id),
            Phase::New | Phase::Ended => None,
        }
    }

    /// Handles one packet. Replies are appended to `out`.
    pub fn handle<'a>(&mut self, packet: Packet<'a>, now_ms: u64, out: &mut Vec<u8>) -> Result<Next<'a>, End> {
        self.heard_ms = now_ms;
        let client = match &mut self.phase {
            Phase::Connected(client) => client,
            Phase::New => {
                return match packet {
                    Packet::Connect(connect) => self.connect(&connect, out),
                    _ => Err(End::silent(EndReason::NotConnect)),
                };
            }
            Phase::Ended => return Err(End::silent(EndReason::Closed)),
        };
        match packet {
            Packet::Publish(publish) => match check_publish(&publish, client.version) {
                Ok(()) => Ok(Next::Publish(publish)),
                Err(reason) => Err(self.end(reason, out)),
            },
            Packet::PingReq => {
                reply(Packet::PingResp.encode(client.version, out));
                Ok(Next::Continue)
            }
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe, out),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe, out),
            Packet::Disconnect(disconnect) => Err(self.disconnected(&disconnect, out)),
            Packet::Connect(_) => Err(self.end(EndReason::SecondConnect, out)),
            other => Err(self.end(EndReason::Unexpected(other.packet_type()), out)),
        }
    }

    fn disconnected(&mut self, disconnect: &Disconnect<'_>, out: &mut Vec<u8>) -> End {
        let Phase::Connected(client) = &self.phase else { return End::silent(EndReason::Closed) };
        let expiry = disconnect.properties.session_expiry_interval_s();
        if client.session_expiry_s == 0 && expiry.is_some_and(|seconds| seconds > 0) {
            // Zero at CONNECT cannot become more (MQTT 5 section 3.14.2.2.2).
            return self.end(EndReason::SessionExpiryRaised, out);
        }
        End::silent(EndReason::Disconnected(disconnect.code))
    }

    /// Ends the session because `bytes` are not MQTT.
    pub fn refuse_bytes(&mut self, error: DecodeError, bytes: &[u8], out: &mut Vec<u8>) -> End {
        if matches!(self.phase, Phase::New) {
            return connect::refuse_bytes(error, bytes, out);
        }
        self.end(EndReason::Malformed(error), out)
    }

    /// Ends the session because of a topic name beyond the limits.
    pub fn refuse_topic(&mut self, error: TopicTooLarge, out: &mut Vec<u8>) -> End {
        self.end(EndReason::Topic(error), out)
    }

    /// Ends the session, for the peer's fault or the server's own reasons. A client of MQTT 5 is told.
    pub fn end(&mut self, reason: EndReason, out: &mut Vec<u8>) -> End {
        match (&self.phase, reason.code()) {
            (Phase::Connected(client), Some(code)) if client.version.is_v5() => {
                // What is wrong with a second CONNECT may have a code that only CONNACK carries.
                let legal = code.is_legal_in(PacketType::Disconnect);
                let code = if legal { code } else { ReasonCode::ProtocolError };
                reply(Disconnect { code, properties: Properties::EMPTY }.encode(client.version, out));
                End { reason, told: true }
            }
            _ => End::silent(reason),
        }
    }

    /// Why the session is overdue, if it is: no CONNECT in time, or silence beyond the keep-alive.
    pub fn overdue(&self, now_ms: u64) -> Option<EndReason> {
        let silence_ms = now_ms.saturating_sub(self.heard_ms);
        match &self.phase {
            Phase::New if silence_ms >= self.core.limits.connect_timeout_ms => Some(EndReason::ConnectTimeout),
            Phase::Connected(client) if client.silence_ms_max.is_some_and(|max| silence_ms > max) => {
                Some(EndReason::KeepAliveTimeout)
            }
            _ => None,
        }
    }

    /// Restarts the clock of the keep-alive, but not that of CONNECT. While the server does not read, silence is not the
    /// client's fault, and a long packet that is still coming is no silence.
    pub fn excuse_silence(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Connected(_)) {
            self.heard_ms = now_ms;
        }
    }

    /// The will to publish, if the client left one and `reason` is not an end that discards it. Called before
    /// [`Session::close`].
    pub fn take_will(&mut self, reason: EndReason) -> Option<Will> {
        match &mut self.phase {
            Phase::Connected(client) if reason.publishes_will() => client.will.take(),
            _ => None,
        }
    }

    /// Gives up all the session holds: subscriptions, client identifier, and what waits for it. Called once, when the
    /// connection is closed.
    pub fn close(&mut self) {
        if let Phase::Connected(client) = std::mem::replace(&mut self.phase, Phase::Ended) {
            self.unsubscribe_all(&client);
            self.core.registry.release(&client.id, self.queue.connection());
        }
    }
}

/// What this server does not offer, and said so in CONNACK, a client must not use.
///
/// Before MQTT 5, RETAIN cannot be refused short of closing the connection: the message is delivered and not kept.
fn check_publish(publish: &Publish<'_>, version: ProtocolVersion) -> Result<(), EndReason> {
    if publish.qos != QoS::AtMostOnce {
        return Err(EndReason::QoSNotSupported);
    }
    if publish.retain && version.is_v5() {
        return Err(EndReason::RetainNotSupported);
    }
    for property in publish.properties.iter() {
        match property {
            Property::TopicAlias(_) => return Err(EndReason::TopicAlias),
            Property::SubscriptionIdentifier(_) => return Err(EndReason::SubscriptionIdentifierFromClient),
            _ => {}
        }
    }
    if publish.topic.is_none() { Err(EndReason::TopicMissing) } else { Ok(()) }
}

/// Replies are built here from parts known to fit.
fn reply(encoded: Result<(), wisp_wire::EncodeError>) {
    debug_assert!(encoded.is_ok(), "a reply is always encodable");
}

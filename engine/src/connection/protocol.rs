//! Step 4 of a message's way: packets of one connection in, replies and routed messages out.
//!
//! ```text
//!             CONNECT accepted                 DISCONNECT, error, timeout, takeover
//!  +-----+ -----------------------> +-----------+ ------------------------> +-------+
//!  | New |                          | Connected |                           | Ended |
//!  +-----+ -----------------------> +-----------+                           +-------+
//!             anything else: Ended
//! ```
//!
//! Replies are appended, encoded, to the context's buffer. A connection that ends says so with [`End`]; if the client is to be told
//! why, the packet that tells it is in that buffer too. The session, which may outlive the connection, is in
//! [`crate::state::session`].

use std::sync::Arc;

use wisp_wire::{DecodeError, Disconnect, Packet, PacketType, Properties, Property, ProtocolVersion, ReasonCode};

use super::context::Context;
use super::disconnect::{End, EndReason};
use crate::base::capacity::Capacity;
use crate::base::limits::Limits;
use crate::delivery::aliases::ReceivedAliases;
use crate::delivery::outbox::Outbox;
use crate::event::Origin;
use crate::ops::dispatch::Dispatcher;
use crate::ops::replay::Replayed;
use crate::policy::{Answers, PendingDecision};
use crate::state::retained::ReplayCursor;
use crate::state::session::Session;
use crate::state::shared::Shared;
use crate::state::will::Will;

/// A packet's bytes, and where they lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    /// The whole packet.
    pub(crate) bytes: &'a [u8],
    /// Its offset in the worker's scratch buffer, if it lies there and stays until the batch is pushed.
    pub(crate) in_scratch: Option<usize>,
}

/// What follows a packet that was handled.
#[derive(Debug)]
pub(crate) enum Next {
    /// The next packet.
    Continue,
    /// The same packet, when there is room.
    Blocked(Arc<Capacity>),
    /// The same packet, when the policy has answered.
    Undecided(Arc<PendingDecision>),
    /// The client is connected. CONNACK is in the outbox already.
    Connected {
        /// The connection that had the session before. It has its last packet, and is to be closed; nothing more of this one is
        /// read before.
        taken_over: Option<Arc<Outbox>>,
    },
}

/// What is left to be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaying {
    /// Nothing.
    Done,
    /// Something, and there is room for it.
    More,
    /// Something, when the client has read or acknowledged.
    Waiting,
}

/// The protocol state of one connection. Belongs to the worker that owns the connection.
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(super) outbox: Arc<Outbox>,
    pub(super) origin: Origin,
    /// When the last packet came, or the connection was accepted.
    heard_ms: u64,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    New,
    Connected(Box<Client>),
    Ended,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) session: Arc<Session>,
    pub(super) version: ProtocolVersion,
    /// Longest silence tolerated: one and a half times the keep-alive [MQTT-3.1.2-22].
    pub(super) silence_ms_max: Option<u64>,
    /// What CONNECT asked for, which limits what DISCONNECT may ask for.
    pub(super) session_expiry_s: u32,
    /// What DISCONNECT asked for instead.
    pub(super) new_expiry_s: Option<u32>,
    /// Whether reasons in words are welcome on acknowledgements (MQTT 5 section 3.1.2.11.7).
    pub(super) wants_reasons: bool,
    pub(super) packet_bytes_max: usize,
    pub(super) aliases: ReceivedAliases,
    /// Retained messages on their way to new subscriptions.
    pub(super) replays: Vec<ReplayCursor>,
    /// The will of the connection that had the session before, until that one has let go of it.
    pub(super) previous_will: Option<Box<Will>>,
    /// Something was acknowledged, or a queue joined, since the session last sent what its window had room for.
    pub(super) has_news: bool,
}

impl Protocol {
    /// The protocol state of a connection that was just accepted.
    pub(crate) fn new(outbox: Arc<Outbox>, origin: Origin, now_ms: u64) -> Self {
        Self { outbox, origin, heard_ms: now_ms, phase: Phase::New }
    }

    /// Where the connection comes from.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// What is on its way to the client.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The version to decode packets with. CONNECT brings its own.
    pub(crate) fn version(&self) -> ProtocolVersion {
        match &self.phase {
            Phase::Connected(client) => client.version,
            Phase::New | Phase::Ended => ProtocolVersion::Mqtt311,
        }
    }

    /// The client identifier, once there is one.
    pub(crate) fn client_id(&self) -> Option<&Arc<str>> {
        match &self.phase {
            Phase::Connected(client) => Some(client.session.client_id()),
            Phase::New | Phase::Ended => None,
        }
    }

    /// The rooms of what waits for the client: what its outbox has, and what its session has.
    pub(crate) fn capacities(&self) -> impl Iterator<Item = &Arc<Capacity>> {
        let session = match &self.phase {
            Phase::Connected(client) => Some(client.session.capacity()),
            Phase::New | Phase::Ended => None,
        };
        session.into_iter().chain([self.outbox.capacity()])
    }

    /// Handles one packet. Replies are appended to the context's buffer; messages for others are staged with its dispatcher.
    pub(crate) fn handle(
        &mut self,
        packet: Packet<'_>,
        raw: Raw<'_>,
        answers: &mut Option<Box<Answers>>,
        context: &mut Context<'_>,
    ) -> Result<Next, End> {
        self.heard_ms = context.now_ms;
        let before = context.replies.len();
        let next = self.dispatch(packet, raw, answers, context);
        if answers.is_some() && !matches!(next, Ok(Next::Undecided(_))) {
            *answers = None;
        }
        match (&self.phase, next?) {
            // A reply longer than the client accepts must not be sent, and without it the exchange is over
            // [MQTT-3.1.2-24].
            (Phase::Connected(client), _) if context.replies.len() - before > client.packet_bytes_max => {
                context.replies.truncate(before);
                Err(self.end(EndReason::ReplyTooLong, context.replies))
            }
            (_, next) => Ok(next),
        }
    }

    fn dispatch(
        &mut self,
        packet: Packet<'_>,
        raw: Raw<'_>,
        answers: &mut Option<Box<Answers>>,
        context: &mut Context<'_>,
    ) -> Result<Next, End> {
        let client = match &mut self.phase {
            Phase::Connected(client) => client,
            Phase::New => {
                return match packet {
                    Packet::Connect(connect) => self.connect(&connect, answers, context),
                    _ => Err(End::silent(EndReason::NotConnect)),
                };
            }
            Phase::Ended => return Err(End::silent(EndReason::Closed)),
        };
        match packet {
            Packet::Publish(publish) => self.publish(&publish, raw, answers, context),
            Packet::PubAck(ack) => self.puback(ack.packet_id, context),
            Packet::PubRec(ack) => self.pubrec(ack.packet_id, ack.code, context),
            Packet::PubRel(ack) => self.pubrel(ack.packet_id, context),
            Packet::PubComp(ack) => self.pubcomp(ack.packet_id, context),
            Packet::PingReq => {
                reply(Packet::PingResp.encode(client.version, context.replies));
                Ok(Next::Continue)
            }
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe, answers, context),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe, context),
            Packet::Disconnect(disconnect) => Err(self.disconnected(&disconnect, context)),
            Packet::Connect(_) => Err(self.end(EndReason::SecondConnect, context.replies)),
            other => Err(self.end(EndReason::Unexpected(other.packet_type()), context.replies)),
        }
    }

    fn disconnected(&mut self, disconnect: &Disconnect<'_>, context: &mut Context<'_>) -> End {
        let Phase::Connected(client) = &mut self.phase else { return End::silent(EndReason::Closed) };
        if let Some(seconds) = disconnect.properties.session_expiry_interval_s() {
            if client.session_expiry_s == 0 && seconds > 0 {
                // Zero at CONNECT cannot become more (MQTT 5 section 3.14.2.2.2).
                return self.end(EndReason::SessionExpiryRaised, context.replies);
            }
            client.new_expiry_s = Some(context.shared.granted_expiry_s(seconds));
        }
        let reason = EndReason::Disconnected(disconnect.code);
        if !reason.publishes_will() {
            // At once: the client may be back, and take its session over, before this connection is closed
            // [MQTT-3.14.4-3].
            client.session.discard_will(self.outbox.connection());
        }
        End::silent(reason)
    }

    /// Sends what the acknowledgements since the last call have made room for. Called once a read.
    pub(crate) fn resume_sending(&mut self, context: &mut Context<'_>) {
        if let Phase::Connected(client) = &mut self.phase
            && std::mem::take(&mut client.has_news)
        {
            let Context { shared, dispatcher, now_ms, .. } = context;
            shared.resume_session(&client.session, &mut dispatcher.context(&shared.limits, *now_ms));
        }
    }

    /// Delivers retained messages to new subscriptions, as far as there is room.
    pub(crate) fn replay(&mut self, shared: &Shared, dispatcher: &mut Dispatcher, now_ms: u64) -> Replaying {
        let Phase::Connected(client) = &mut self.phase else { return Replaying::Done };
        let Some(replay) = client.replays.first_mut() else { return Replaying::Done };
        match replay.step(shared, &client.session, &self.outbox, dispatcher, now_ms) {
            Replayed::NoRoom => return Replaying::Waiting,
            Replayed::Some => {}
            Replayed::All => {
                client.replays.remove(0);
            }
        }
        if client.replays.is_empty() { Replaying::Done } else { Replaying::More }
    }

    /// Whether there is something to replay.
    pub(crate) fn is_replaying(&self) -> bool {
        matches!(&self.phase, Phase::Connected(client) if !client.replays.is_empty())
    }

    /// The connection that had the session before has let go of it: what it still had to replay is this one's, and its will
    /// comes after all that it sent.
    pub(crate) fn finish_takeover(&mut self, dispatcher: &mut Dispatcher) {
        if let Phase::Connected(client) = &mut self.phase {
            dispatcher.publish_later(client.previous_will.take());
            client.replays.extend(client.session.take_replays());
        }
    }

    /// Ends the link because `bytes` are not MQTT.
    pub(crate) fn refuse_bytes(&mut self, error: DecodeError, bytes: &[u8], out: &mut Vec<u8>) -> End {
        if matches!(self.phase, Phase::New) {
            return Self::refuse_connect_bytes(error, bytes, out);
        }
        self.end(EndReason::Malformed(error), out)
    }

    /// Ends the link, for the peer's fault or the server's own reasons. A client of MQTT 5 is told.
    pub(crate) fn end(&mut self, reason: EndReason, out: &mut Vec<u8>) -> End {
        match (&self.phase, reason.code()) {
            (Phase::Connected(client), Some(code)) if client.version.is_v5() => {
                // What is wrong with a second CONNECT may have a code that only CONNACK carries.
                let legal = code.is_legal_in(PacketType::Disconnect);
                let code = if legal { code } else { ReasonCode::ProtocolError };
                let (start, text) = (out.len(), reason.to_string());
                let reasons = [Property::ReasonString(&text)];
                let disconnect = Disconnect { code, properties: Properties::from_slice(&reasons) };
                reply(disconnect.encode(client.version, out));
                if out.len() - start > client.packet_bytes_max {
                    // [MQTT-3.14.2-3]
                    out.truncate(start);
                    reply(Disconnect { code, properties: Properties::EMPTY }.encode(client.version, out));
                }
                End { reason, has_disconnect_packet: true }
            }
            _ => End::silent(reason),
        }
    }

    /// Why the link is overdue, if it is: no CONNECT in time, or silence beyond the keep-alive.
    pub(crate) fn overdue(&self, limits: &Limits, now_ms: u64) -> Option<EndReason> {
        let silence_ms = now_ms.saturating_sub(self.heard_ms);
        match &self.phase {
            Phase::New if silence_ms >= limits.connect_timeout_ms => Some(EndReason::ConnectTimeout),
            Phase::Connected(client) if client.silence_ms_max.is_some_and(|max| silence_ms > max) => {
                Some(EndReason::KeepAliveTimeout)
            }
            _ => None,
        }
    }

    /// Restarts the clock of the keep-alive, but not that of CONNECT. While the server does not read, silence is not the
    /// client's fault, and a long packet that is still coming is no silence.
    pub(crate) fn excuse_silence(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Connected(_)) {
            self.heard_ms = now_ms;
        }
    }

    /// Lets go of the session, which ends as well if it is not to outlive the connection; its will is published if
    /// `reason` is not an end that discards it. Called once, when the connection has ended.
    pub(crate) fn close(&mut self, reason: EndReason, shared: &Shared, dispatcher: &mut Dispatcher, now_ms: u64) {
        if let Phase::Connected(client) = std::mem::replace(&mut self.phase, Phase::Ended) {
            let Client { session, replays, new_expiry_s, previous_will, .. } = *client;
            dispatcher.publish_later(previous_will);
            session.keep_replays(replays);
            let how = (reason.publishes_will(), new_expiry_s);
            shared.detach_session(&session, self.outbox.connection(), how, dispatcher, now_ms);
        }
    }
}

/// Replies are built here from parts known to fit.
pub(super) fn reply(encoded: Result<(), wisp_wire::EncodeError>) {
    debug_assert!(encoded.is_ok(), "a reply is always encodable");
}

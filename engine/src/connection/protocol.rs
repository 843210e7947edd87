//! Step 4 of the path of a message. In: the packets of one connection. Out: replies and messages to route.
//!
//! ```text
//!             CONNECT accepted                 DISCONNECT, error, timeout, takeover
//!  +-----+ -----------------------> +-----------+ ------------------------> +-------+
//!  | New |                          | Connected |                           | Ended |
//!  +-----+ -----------------------> +-----------+                           +-------+
//!             anything else: Ended
//! ```
//!
//! Encoded replies are appended to the context's buffer. A connection that ends returns [`End`]; the packet with the
//! reason, if there is one, is in that buffer too. The session, which may outlive the connection, is in
//! [`crate::state::session`].

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use wisp_wire::{DecodeError, Disconnect, Packet, PacketType, Properties, Property, ProtocolVersion, ReasonCode};

use super::context::Context;
use super::disconnect::{End, EndReason};
use super::grant::Grant;
use crate::base::capacity::Capacity;
use crate::base::sync::Ordering;
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

/// A packet's bytes and their place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    /// The whole packet.
    pub(crate) bytes: &'a [u8],
    /// Its offset in the worker's scratch buffer, if it lies there and stays until the batch is pushed.
    pub(crate) in_scratch: Option<usize>,
}

/// The next step after a packet.
#[derive(Debug)]
pub(crate) enum Next {
    /// Handle the next packet.
    Continue,
    /// Handle the same packet again when this receiver has capacity or, without one, when the store takes more changes.
    Blocked(Option<Arc<Capacity>>),
    /// Handle the same packet again when the policy has answered.
    Undecided(Arc<PendingDecision>),
    /// The client is connected. CONNACK is in the outbox.
    Connected {
        /// The connection that had the session. It has its last packet and must be closed before this one is read
        /// again.
        taken_over: Option<Arc<Outbox>>,
        /// The outbox is held until the store has committed the session.
        waits_for_store: bool,
    },
}

/// The state of a connection's replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaying {
    /// All are complete.
    Done,
    /// More can be delivered at once.
    More,
    /// More can be delivered when the client has read or acknowledged.
    Waiting,
}

/// The protocol state of one connection. The worker that owns the connection owns it.
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(super) outbox: Arc<Outbox>,
    pub(super) origin: Origin,
    /// When the last packet was received, or the connection was accepted.
    heard_ms: u64,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    New {
        /// Longest time to CONNECT.
        timeout_ms: u64,
    },
    Connected(Box<Client>),
    Ended,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) session: Arc<Session>,
    pub(super) version: ProtocolVersion,
    /// Longest silence tolerated: one and a half times the keep-alive [MQTT-3.1.2-22].
    pub(super) silence_ms_max: Option<NonZeroU32>,
    /// The interval asked for in CONNECT. It limits the one in DISCONNECT.
    pub(super) session_expiry_s: u32,
    /// The interval asked for in DISCONNECT.
    pub(super) new_expiry_s: Option<u32>,
    /// Whether the client accepts reason strings on acknowledgements (MQTT 5 section 3.1.2.11.7).
    pub(super) wants_reasons: bool,
    pub(super) packet_bytes_max: u32,
    /// Most topic aliases that the client may assign.
    pub(super) aliases_max: u16,
    pub(super) aliases: ReceivedAliases,
    /// The rights that the policy has given.
    pub(super) grant: Option<Box<Grant>>,
    /// The policy or the rights are asked about messages.
    pub(super) is_restricted: bool,
    /// It is a bridge of version 3.1 or 3.1.1: it gets no messages of its own, and RETAIN as it was published.
    pub(super) is_bridge: bool,
    /// The replays for new subscriptions.
    pub(super) replays: Vec<ReplayCursor>,
    /// The will of the connection that had the session, until that one is released.
    pub(super) previous_will: Option<Box<Will>>,
    /// The client has acknowledged messages or joined a queue since the session last sent messages.
    pub(super) can_send_more: bool,
}

// There is one for each connected client. A larger one is to be a choice.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Client>() <= 88);

impl Protocol {
    /// The protocol state of a new connection, which has `timeout_ms` for its CONNECT.
    pub(crate) fn new(outbox: Arc<Outbox>, origin: Origin, (now_ms, timeout_ms): (u64, u64)) -> Self {
        Self { outbox, origin, heard_ms: now_ms, phase: Phase::New { timeout_ms } }
    }

    /// The peer's address and the listener.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Takes another address for the peer's: a proxy has told it.
    pub(crate) fn set_peer(&mut self, peer: SocketAddr) {
        self.origin.peer = Some(peer);
    }

    /// The client's outbox.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The version to decode packets with. CONNECT names its own.
    pub(crate) fn version(&self) -> ProtocolVersion {
        match &self.phase {
            Phase::Connected(client) => client.version,
            Phase::New { .. } | Phase::Ended => ProtocolVersion::Mqtt311,
        }
    }

    /// The client identifier, if the client is connected.
    pub(crate) fn client_id(&self) -> Option<&Arc<str>> {
        match &self.phase {
            Phase::Connected(client) => Some(client.session.client_id()),
            Phase::New { .. } | Phase::Ended => None,
        }
    }

    /// The capacities of the client's session and outbox.
    pub(crate) fn capacities(&self) -> impl Iterator<Item = &Arc<Capacity>> {
        let session = match &self.phase {
            Phase::Connected(client) => Some(client.session.capacity()),
            Phase::New { .. } | Phase::Ended => None,
        };
        session.into_iter().chain([self.outbox.capacity()])
    }

    /// Notes that a receiver holds the client back, or no longer does. Acknowledgements are not read meanwhile.
    pub(crate) fn set_held_back(&self, is_held_back: bool) {
        if let Phase::Connected(client) = &self.phase {
            client.session.capacity().set_reader_held_back(is_held_back);
        }
    }

    /// Handles one packet. Replies are appended to the context's buffer; messages for receivers are staged with its
    /// dispatcher. [`Protocol::conclude`] comes next.
    pub(crate) fn handle(
        &mut self,
        packet: Packet<'_>,
        raw: Raw<'_>,
        answers: &mut Option<Box<Answers>>,
        context: &mut Context<'_>,
    ) -> Result<Next, End> {
        self.heard_ms = context.now_ms;
        self.dispatch(packet, raw, answers, context)
    }

    /// Checks the replies behind the first `before` bytes, and forgets the policy's answers about a packet that was handled.
    pub(crate) fn conclude(
        &mut self,
        next: &mut Result<Next, End>,
        before: usize,
        answers: &mut Option<Box<Answers>>,
        context: &mut Context<'_>,
    ) {
        if let Some(given) = answers {
            match next {
                Ok(Next::Undecided(_)) => {}
                // The policy is not asked a second time about the same packet.
                Ok(Next::Blocked(_)) => given.start_again(),
                _ => *answers = None,
            }
        }
        if let (Phase::Connected(client), Ok(_)) = (&self.phase, &next)
            && context.replies.len() - before > client.packet_bytes_max as usize
        {
            // A reply longer than the client accepts must not be sent, and without it the exchange cannot continue
            // [MQTT-3.1.2-24].
            context.replies.truncate(before);
            *next = Err(self.end(EndReason::ReplyTooLong, context.replies));
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
            Phase::New { .. } => {
                return match packet {
                    Packet::Connect(connect) => {
                        // It is handled again when the policy has answered.
                        if answers.as_ref().is_none_or(|answers| answers.is_empty()) {
                            context.dispatcher.counts().connects_received += 1;
                        }
                        self.connect(&connect, raw.bytes, answers, context)
                    }
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
            // At once: the client may reconnect and take the session over before this connection is closed
            // [MQTT-3.14.4-3].
            client.session.discard_will(self.outbox.connection());
        }
        End::silent(reason)
    }

    /// Sends the messages for which the acknowledgements since the last call have opened the window. Called once a
    /// read.
    pub(crate) fn resume_sending(&mut self, context: &mut Context<'_>) {
        if let Phase::Connected(client) = &mut self.phase
            && std::mem::take(&mut client.can_send_more)
        {
            let Context { shared, dispatcher, now_ms, .. } = context;
            shared.resume_session(&client.session, dispatcher, *now_ms);
        }
    }

    /// Sends more messages if the client has read the ones in its outbox. True if it has not.
    pub(crate) fn refill(&mut self, context: &mut Context<'_>) -> bool {
        let Phase::Connected(client) = &mut self.phase else { return false };
        if !client.session.begin_refill(context.now_ms) {
            return true;
        }
        self.outbox.end_refill();
        client.can_send_more = true;
        self.resume_sending(context);
        false
    }

    /// Asks the client's rights anew, since they may have changed. False if it may not stay connected.
    pub(crate) fn refresh_rights(&mut self, context: &mut Context<'_>) -> bool {
        let Phase::Connected(client) = &mut self.phase else { return true };
        let Some(grant) = &mut client.grant else { return true };
        if !grant.rights.may_stay() {
            return false;
        }
        grant.refresh();
        let Context { shared, dispatcher, now_ms, .. } = context;
        client.is_restricted = shared.restricts_messages || grant.is_restricted;
        client.session.refresh_rights(&mut dispatcher.context(shared, *now_ms));
        true
    }

    /// Delivers retained messages to new subscriptions, until the client is full.
    pub(crate) fn replay(&mut self, shared: &Shared, dispatcher: &mut Dispatcher, now_ms: u64) -> Replaying {
        let Phase::Connected(client) = &mut self.phase else { return Replaying::Done };
        let Some(replay) = client.replays.first_mut() else { return Replaying::Done };
        match replay.step(shared, &client.session, &self.outbox, dispatcher, now_ms) {
            Replayed::Blocked => return Replaying::Waiting,
            Replayed::Some => {}
            Replayed::All => {
                client.replays.remove(0);
            }
        }
        if client.replays.is_empty() { Replaying::Done } else { Replaying::More }
    }

    /// Whether there are retained messages to deliver.
    pub(crate) fn is_replaying(&self) -> bool {
        matches!(&self.phase, Phase::Connected(client) if !client.replays.is_empty())
    }

    /// The connection that had the session is released. Continues its replays, and publishes its will behind its last
    /// messages.
    pub(crate) fn finish_takeover(&mut self, shared: &Shared, dispatcher: &mut Dispatcher) {
        if let Phase::Connected(client) = &mut self.phase {
            dispatcher.publish_later(shared, client.previous_will.take());
            client.replays.extend(client.session.take_replays());
        }
    }

    /// Whether a will that the client left with an earlier connection is due and not delivered yet.
    pub(crate) fn has_due_will(&self, shared: &Shared) -> bool {
        self.client_id().is_some_and(|client_id| shared.due_wills.has(client_id))
    }

    /// Ends the connection because `bytes` are not MQTT.
    pub(crate) fn refuse_bytes(&mut self, error: DecodeError, bytes: &[u8], out: &mut Vec<u8>) -> End {
        if matches!(self.phase, Phase::New { .. }) {
            return Self::refuse_connect_bytes(error, bytes, out);
        }
        self.end(EndReason::Malformed(error), out)
    }

    /// Ends the connection because of the peer's fault or a decision of the server. A client of MQTT 5 gets the reason.
    pub(crate) fn end(&mut self, reason: EndReason, out: &mut Vec<u8>) -> End {
        match (&self.phase, reason.code()) {
            (Phase::Connected(client), Some(code)) if client.version.is_v5() => {
                // The fault of a second CONNECT may have a code that only CONNACK can carry.
                let legal = code.is_legal_in(PacketType::Disconnect);
                let code = if legal { code } else { ReasonCode::ProtocolError };
                let (start, text) = (out.len(), reason.to_string());
                let reasons = [Property::ReasonString(&text)];
                let disconnect = Disconnect { code, properties: Properties::from_slice(&reasons) };
                reply(disconnect.encode(client.version, out));
                if out.len() - start > client.packet_bytes_max as usize {
                    // [MQTT-3.14.2-3]
                    out.truncate(start);
                    reply(Disconnect { code, properties: Properties::EMPTY }.encode(client.version, out));
                }
                End { reason, has_disconnect_packet: true }
            }
            _ => End::silent(reason),
        }
    }

    /// When the connection is overdue unless another packet comes, and the reason to end it then: no CONNECT in time, or
    /// silence beyond the keep-alive.
    pub(crate) fn deadline(&self) -> Option<(u64, EndReason)> {
        match &self.phase {
            Phase::New { timeout_ms } => Some((self.heard_ms + timeout_ms, EndReason::ConnectTimeout)),
            Phase::Connected(client) => {
                let silence_ms = client.silence_ms_max?.get();
                Some((self.heard_ms + u64::from(silence_ms) + 1, EndReason::KeepAliveTimeout))
            }
            Phase::Ended => None,
        }
    }

    /// Restarts the keep-alive timeout, but not that of CONNECT. The client may be silent because the server does not
    /// read, or in the middle of a long packet.
    pub(crate) fn restart_keep_alive(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Connected(_)) {
            self.heard_ms = now_ms;
        }
    }

    /// Detaches the session, which ends as well if it must not outlive the connection. `reason` decides whether the
    /// will is published. Called once, when the connection has ended.
    pub(crate) fn close(&mut self, reason: EndReason, shared: &Shared, dispatcher: &mut Dispatcher, now_ms: u64) {
        if let Phase::Connected(client) = std::mem::replace(&mut self.phase, Phase::Ended) {
            let Client { session, replays, new_expiry_s, previous_will, .. } = *client;
            shared.connected.fetch_sub(1, Ordering::Relaxed);
            dispatcher.publish_later(shared, previous_will);
            session.keep_replays(replays);
            let how = (reason.publishes_will(), new_expiry_s);
            shared.detach_session(&session, &self.outbox, how, dispatcher, now_ms);
        }
    }
}

/// Replies are built here from parts that are known to fit.
pub(super) fn reply(encoded: Result<(), wisp_wire::EncodeError>) {
    debug_assert!(encoded.is_ok(), "a reply is always encodable");
}

//! CONNECT in, CONNACK out (MQTT 5 sections 3.1 and 3.2).

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use wisp_wire::{
    ConnAck, Connect, DecodeError, PacketType, Properties, Property, ProtocolVersion, ReasonCode, packet_len,
};

use super::context::Context;
use super::disconnect::{End, EndReason};
use super::grant::Grant;
use super::other_protocol::OtherProtocol;
use super::protocol::{Client, Next, Phase, Protocol, reply};
use crate::base::limits::Limits;
use crate::base::reached::LimitName;
use crate::base::sync::Ordering;
use crate::delivery::aliases::ReceivedAliases;
use crate::delivery::outbox::{Outbox, ReceiverInfo, WireFormat};
use crate::event::{Event, Origin};
use crate::ops::sessions::{AttachRequest, Attached, TooManySessions};
use crate::policy::{Answers, ConnectRequest, PendingDecision, PublishRequest, Rights, Verdict};
use crate::state::roster::ConnectionFacts;
use crate::state::session::Session;
use crate::state::shared::Shared;
use crate::state::timers::FOREVER_S;
use crate::state::topic_tree::TopicTooLarge;
use crate::state::will::Will;

impl Shared {
    /// The session expiry interval granted to a client that asks for `seconds`.
    pub(crate) fn granted_expiry_s(&self, seconds: u32) -> u32 {
        seconds.min(self.limits.session_expiry_s_max)
    }
}

impl Protocol {
    pub(super) fn connect(
        &mut self,
        connect: &Connect<'_>,
        packet: &[u8],
        answers: &mut Option<Box<Answers>>,
        context: &mut Context<'_>,
    ) -> Result<Next, End> {
        let shared = context.shared;
        let limits = shared.limits_of(self.origin.listener);
        if packet.len() - will_bytes(connect) > limits.connect_bytes_max as usize {
            return Err(refuse_too_long(Some(connect.version), context.replies));
        }
        let asked = Asked::of(&connect.properties);
        check(connect, &asked, shared).map_err(|code| refuse(connect.version, code, context.replies))?;
        let (assigned, rights) = match self.admit(connect, answers, context)? {
            Ok(admitted) => admitted,
            Err(pending) => return Ok(Next::Undecided(pending)),
        };
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let keep_alive_s = granted_keep_alive_s(connect, self.origin, &limits);
        let packet_bytes_max = asked.packet_bytes_max;
        let receiver = ReceiverInfo {
            format: connect.version.into(),
            packet_bytes_max,
            topic_aliases_max: asked.topic_aliases_max.min(limits.topic_alias_max),
            sets_window: asked.receive_maximum.is_some(),
        };
        let acknowledged =
            |present| acknowledgement((connect, &asked), assigned.as_deref(), keep_alive_s, present, (shared, &limits));
        if acknowledged(true).len() > packet_bytes_max as usize {
            return Err(End::silent(EndReason::ReplyTooLong));
        }
        self.outbox.set_receiver(receiver);
        let (will, mut evicted) = (connect.will.as_ref(), Vec::new());
        let request = AttachRequest {
            client_id,
            clean_start: connect.clean_start,
            outbox: &self.outbox,
            window: asked.receive_maximum.unwrap_or(u16::MAX).min(limits.inflight_count_max),
            expiry_s: expiry_s(connect, &asked, shared),
            will: will
                .and_then(|will| Will::new(will, connect.version, (client_id, rights.as_ref()), &shared.stored))
                .map(Box::new),
            rights: rights.as_ref(),
            evicted: &mut evicted,
        };
        let attached = shared.attach_session(request, context.dispatcher, context.now_ms, acknowledged);
        context.events.extend(evicted.into_iter().map(|client_id| Event::Evicted { client_id }));
        let Attached { session, taken_over, previous_will, waits_for_store } = attached.map_err(|TooManySessions| {
            let refused = refuse(connect.version, ReasonCode::QuotaExceeded, context.replies);
            End { reason: EndReason::TooManySessions, ..refused }
        })?;
        self.announce(connect, (&session, rights.as_ref()), keep_alive_s, taken_over.as_ref(), context);
        let dropped = session.capacity().take_dropped();
        if dropped > 0 {
            let client_id = Some(Arc::clone(session.client_id()));
            context.events.push_back(Event::Dropped { client_id, origin: self.origin, messages: dropped });
        }
        let grant = rights.map(|rights| Box::new(Grant::new(rights)));
        self.phase = Phase::Connected(Box::new(Client {
            replays: session.take_replays(),
            session,
            version: connect.version,
            silence_ms_max: NonZeroU32::new(u32::from(keep_alive_s) * 1500),
            session_expiry_s: asked.session_expiry_s.unwrap_or(0),
            new_expiry_s: None,
            wants_reasons: asked.wants_reasons,
            packet_bytes_max,
            aliases_max: limits.topic_alias_max,
            aliases: ReceivedAliases::default(),
            is_bridge: Connect::peek_is_bridge(packet),
            is_restricted: shared.restricts_messages || grant.as_ref().is_some_and(|grant| grant.is_restricted),
            grant,
            previous_will,
            can_send_more: false,
        }));
        Ok(Next::Connected { taken_over, waits_for_store })
    }

    /// The identifier assigned to the client, if it has none, and the rights that the policy gives it. The inner `Err` if
    /// the policy has not answered.
    fn admit(
        &self,
        connect: &Connect<'_>,
        answers: &mut Option<Box<Answers>>,
        context: &mut Context<'_>,
    ) -> Result<Result<Admitted, Arc<PendingDecision>>, End> {
        let shared = context.shared;
        let asked_before = answers.as_mut().and_then(|answers| answers.assigned_id.take());
        let assigned = connect.client_id.is_empty().then(|| asked_before.unwrap_or_else(|| shared.assign_client_id()));
        let verdict = match self.ask(connect, assigned.as_deref().unwrap_or(connect.client_id), answers, shared) {
            Ok(verdict) => verdict,
            Err(pending) => {
                answers.get_or_insert_default().assigned_id = assigned;
                return Ok(Err(pending));
            }
        };
        let code = match verdict {
            Verdict::Allow => return Ok(Ok((assigned, None))),
            Verdict::AllowAs(rights) if rights.may_stay() => return Ok(Ok((assigned, Some(rights)))),
            // They have been taken since the policy answered.
            Verdict::AllowAs(_) => ReasonCode::NotAuthorized,
            Verdict::Deny(code) => code,
        };
        context.dispatcher.counts().connects_denied += 1;
        Err(refuse(connect.version, code, context.replies))
    }

    /// Asks the policy about the client and its will.
    fn ask(
        &self,
        connect: &Connect<'_>,
        client_id: &str,
        answers: &mut Option<Box<Answers>>,
        shared: &Shared,
    ) -> Result<Verdict, Arc<PendingDecision>> {
        let answers = answers.get_or_insert_default();
        let certificate_name = answers.certificate_name.take();
        let request = ConnectRequest {
            client_id,
            version: connect.version,
            username: connect.username,
            password: connect.password,
            will_topic: connect.will.as_ref().map(|will| will.topic.as_str()),
            peer: self.origin.peer,
            listener: self.origin.listener,
            certificate_name: certificate_name.as_deref(),
        };
        let verdict = answers.ask(|| shared.policy.connect(&request));
        answers.certificate_name = certificate_name;
        let verdict = verdict?;
        match &connect.will {
            Some(will) if verdict.is_allowed() && shared.restricts_messages => {
                let (topic, qos, retain) = (will.topic.as_str(), will.qos, will.retain);
                let about_will =
                    answers.ask(|| shared.policy.publish(&PublishRequest { client_id, topic, qos, retain }))?;
                Ok(if about_will.is_allowed() { verdict } else { about_will })
            }
            _ => Ok(verdict),
        }
    }

    fn announce(
        &self,
        connect: &Connect<'_>,
        (session, rights): (&Session, Option<&Arc<dyn Rights>>),
        keep_alive_s: u16,
        taken_over: Option<&Arc<Outbox>>,
        context: &mut Context<'_>,
    ) {
        let (client_id, new) = (session.client_id(), self.outbox.connection());
        context.shared.connected.fetch_add(1, Ordering::Relaxed);
        let user = rights.and_then(|rights| rights.user()).or(connect.username);
        let has_final_packet = taken_over.is_some_and(|old| old.receiver().format == WireFormat::V5);
        context.dispatcher.counts().packets_sent += 1 + u64::from(has_final_packet);
        if let Some(old) = taken_over.map(|old| old.connection()) {
            context.events.push_back(Event::TakenOver { client_id: Arc::clone(client_id), old, new });
        }
        context.shared.registry.roster.note(session, || ConnectionFacts {
            connection: new,
            user: user.map(Box::from),
            peer: self.origin.peer,
            listener: self.origin.listener,
            version: connect.version,
            keep_alive_s,
            clean_start: connect.clean_start,
            since_ms: context.now_ms,
        });
        context.events.push_back(Event::Connected {
            connection: new,
            client_id: Arc::clone(client_id),
            user: user.map(Box::from),
            version: connect.version,
            origin: self.origin,
            keep_alive_s,
            clean_start: connect.clean_start,
        });
    }

    /// Ends the connection if `bytes`, the beginning of its CONNECT, show that the packet is too long. So it is not
    /// received to its end.
    pub(super) fn refuse_long_connect(
        &self,
        bytes: &[u8],
        packet_bytes_max: u32,
        context: &mut Context<'_>,
    ) -> Option<End> {
        let len = packet_len(bytes, packet_bytes_max).ok()??;
        let connect_bytes_max = context.shared.limits.connect_bytes_max as usize;
        if !matches!(self.phase, Phase::New { .. }) || len <= connect_bytes_max {
            return None;
        }
        // Without the byte with the flags there may be a will.
        let will_bytes_max = if Connect::peek_has_will(bytes) == Some(false) { 0 } else { WILL_BYTES_MAX };
        let too_long = len - connect_bytes_max > will_bytes_max;
        too_long.then(|| refuse_too_long(Connect::peek_version(bytes), context.replies))
    }

    /// Answers a malformed CONNECT in the client's version, if the bytes show a version with a code for the fault. Other
    /// bytes may not be MQTT at all, and get no answer (MQTT 5 section 3.1.4).
    pub(super) fn refuse_connect_bytes(error: DecodeError, bytes: &[u8], out: &mut Vec<u8>) -> End {
        if let Some(protocol) = OtherProtocol::of(bytes) {
            return End::silent(EndReason::OtherProtocol(protocol));
        }
        let code = error.reason_code();
        let version = match Connect::peek_version(bytes) {
            None if code == ReasonCode::UnsupportedProtocolVersion => Some(refusal_version(bytes)),
            known => known,
        };
        let refused =
            version.filter(|_| code.is_legal_in(PacketType::ConnAck)).map(|version| refuse(version, code, out));
        End {
            reason: EndReason::Malformed(error),
            has_disconnect_packet: refused.is_some_and(|end| end.has_disconnect_packet),
        }
    }
}

/// The identifier assigned to a client, and its rights.
type Admitted = (Option<String>, Option<Arc<dyn Rights>>);

/// The wishes of a client of MQTT 5, read in one pass over the properties of its CONNECT. Earlier versions have the
/// defaults.
struct Asked {
    session_expiry_s: Option<u32>,
    receive_maximum: Option<u16>,
    packet_bytes_max: u32,
    topic_aliases_max: u16,
    wants_response_information: bool,
    wants_reasons: bool,
    has_authentication_method: bool,
}

impl Asked {
    fn of(properties: &Properties<'_>) -> Self {
        let mut asked = Self {
            session_expiry_s: None,
            receive_maximum: None,
            packet_bytes_max: u32::MAX,
            topic_aliases_max: 0,
            wants_response_information: false,
            wants_reasons: true,
            has_authentication_method: false,
        };
        for property in properties.iter() {
            match property {
                Property::SessionExpiryInterval(seconds) => asked.session_expiry_s = Some(seconds),
                Property::ReceiveMaximum(count) => asked.receive_maximum = Some(count.get()),
                Property::MaximumPacketSize(bytes) => asked.packet_bytes_max = bytes.get(),
                Property::TopicAliasMaximum(count) => asked.topic_aliases_max = count,
                Property::RequestResponseInformation(wanted) => asked.wants_response_information = wanted,
                Property::RequestProblemInformation(wanted) => asked.wants_reasons = wanted,
                Property::AuthenticationMethod(_) => asked.has_authentication_method = true,
                _ => {}
            }
        }
        asked
    }
}

/// Most bytes of a will's topic and payload in a CONNECT: each has two bytes for its length.
const WILL_BYTES_MAX: usize = 2 * u16::MAX as usize;

/// The version in whose form a CONNECT of an unknown version is refused. Clients of versions after 5 can be expected to
/// read a CONNACK of MQTT 5.
fn refusal_version(bytes: &[u8]) -> ProtocolVersion {
    match Connect::peek_level(bytes) {
        // A bridge with a level that its protocol name does not have.
        Some(0..=5 | 0x83) | None => ProtocolVersion::Mqtt311,
        Some(_) => ProtocolVersion::Mqtt5,
    }
}

/// The bytes of its will, which do not count for the length of a CONNECT.
fn will_bytes(connect: &Connect<'_>) -> usize {
    connect.will.as_ref().map_or(0, |will| will.topic.as_str().len() + will.payload.len())
}

/// How long the session outlives the connection. Before MQTT 5 it either ends with the connection or is kept.
fn expiry_s(connect: &Connect<'_>, asked: &Asked, shared: &Shared) -> u32 {
    let wish = match connect.version {
        ProtocolVersion::Mqtt5 => asked.session_expiry_s.unwrap_or(0),
        _ if connect.clean_start => 0,
        _ => FOREVER_S,
    };
    shared.granted_expiry_s(wish)
}

fn check(connect: &Connect<'_>, asked: &Asked, shared: &Shared) -> Result<(), ReasonCode> {
    if connect.client_id.len() > usize::from(shared.limits.client_id_bytes_max) {
        shared.reached.note(LimitName::ClientIdBytes, None);
        return Err(ReasonCode::ClientIdentifierNotValid);
    }
    // MQTT 3.1 requires 1 to 23 characters; 3.1.1 allows none with a clean session [MQTT-3.1.3-8].
    let id_wanted = match connect.version {
        ProtocolVersion::Mqtt31 => true,
        ProtocolVersion::Mqtt311 => !connect.clean_start,
        ProtocolVersion::Mqtt5 => false,
    };
    if id_wanted && connect.client_id.is_empty() {
        return Err(ReasonCode::ClientIdentifierNotValid);
    }
    if asked.has_authentication_method {
        return Err(ReasonCode::BadAuthenticationMethod);
    }
    if !shared.admits_clients() {
        shared.reached.note(LimitName::BufferedBytes, Some(connect.client_id));
        // The messages that its session sends again would need even more.
        return Err(ReasonCode::ServerBusy);
    }
    match &connect.will {
        Some(will) if will.retain && connect.version.is_v5() && !shared.limits.retains() => {
            Err(ReasonCode::RetainNotSupported)
        }
        Some(_) if shared.stored.is_scarce() => {
            shared.reached.note(LimitName::StoredBytes, Some(connect.client_id));
            Err(ReasonCode::QuotaExceeded)
        }
        Some(will) => TopicTooLarge::check(will.topic.as_str(), &shared.limits)
            .map_err(|too_large| {
                shared.reached.note(too_large.limit(), Some(connect.client_id));
                ReasonCode::TopicNameInvalid
            })
            .and_then(|()| if will_keeps_format(will) { Ok(()) } else { Err(ReasonCode::PayloadFormatInvalid) }),
        None => Ok(()),
    }
}

/// The client's keep-alive, unless the client is MQTT 5 and the operator's limit is lower. Earlier versions have no
/// field for another one, and a client in the process cannot vanish silently.
fn granted_keep_alive_s(connect: &Connect<'_>, origin: Origin, limits: &Limits) -> u16 {
    let max = limits.keep_alive_s_max;
    let unlimited = max == u16::MAX || !connect.version.is_v5() || origin.is_in_process();
    match connect.keep_alive_s {
        wish if unlimited => wish,
        0 => max,
        wish => wish.min(max),
    }
}

fn acknowledgement(
    (connect, asked): (&Connect<'_>, &Asked),
    assigned: Option<&str>,
    keep_alive_s: u16,
    session_present: bool,
    (shared, limits): (&Shared, &Limits),
) -> Vec<u8> {
    let mut properties = Vec::new();
    if connect.version.is_v5() {
        properties.extend(NonZeroU16::new(limits.receive_maximum).map(Property::ReceiveMaximum));
        properties.extend(NonZeroU32::new(limits.packet_bytes_max).map(Property::MaximumPacketSize));
        if limits.topic_alias_max > 0 {
            properties.push(Property::TopicAliasMaximum(limits.topic_alias_max));
        }
        if !limits.retains() {
            properties.push(Property::RetainAvailable(false));
        }
        let expiry_s = expiry_s(connect, asked, shared);
        if asked.session_expiry_s.is_some_and(|seconds| seconds != expiry_s) {
            properties.push(Property::SessionExpiryInterval(expiry_s));
        }
        properties.extend(assigned.map(Property::AssignedClientIdentifier));
        if keep_alive_s != connect.keep_alive_s {
            properties.push(Property::ServerKeepAlive(keep_alive_s));
        }
        if asked.wants_response_information {
            properties.extend(shared.response_information.as_deref().map(Property::ResponseInformation));
        }
    }
    let properties = Properties::from_slice(&properties);
    let mut packet = Vec::new();
    reply(ConnAck { session_present, code: ReasonCode::Success, properties }.encode(connect.version, &mut packet));
    packet
}

/// Whether the will's payload conforms to its payload format indicator.
fn will_keeps_format(will: &wisp_wire::Will<'_>) -> bool {
    will.properties.payload_is_utf8() != Some(true) || str::from_utf8(will.payload).is_ok()
}

/// Refuses a CONNECT that is longer than [`Limits::connect_bytes_max`] allows.
fn refuse_too_long(version: Option<ProtocolVersion>, out: &mut Vec<u8>) -> End {
    let refused = version.map(|version| refuse(version, ReasonCode::PacketTooLarge, out));
    let has_disconnect_packet = refused.is_some_and(|end| end.has_disconnect_packet);
    End { reason: EndReason::ConnectTooLong, has_disconnect_packet }
}

/// Writes a CONNACK with the refusal, if the version has a code for it.
pub(super) fn refuse(version: ProtocolVersion, code: ReasonCode, out: &mut Vec<u8>) -> End {
    let can_refuse = version.is_v5() || code.to_connect_return_code().is_some();
    if can_refuse {
        reply(ConnAck { session_present: false, code, properties: Properties::EMPTY }.encode(version, out));
    }
    End { reason: EndReason::ConnectRefused(code), has_disconnect_packet: can_refuse }
}

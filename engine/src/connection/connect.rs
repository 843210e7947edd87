//! CONNECT in, CONNACK out (MQTT 5 sections 3.1 and 3.2).

use std::num::{NonZeroU16, NonZeroU32};

use wisp_wire::{ConnAck, Connect, DecodeError, PacketType, Properties, Property, ProtocolVersion, ReasonCode};

use super::{Client, Connection, End, EndReason, Next, Phase, reply};
use crate::delivery::aliases::ReceivedAliases;
use crate::delivery::outbox::ReceiverInfo;
use crate::ops::dispatch::Dispatcher;
use crate::ops::sessions::{AttachRequest, Attached, TooManySessions};
use crate::state::shared::Shared;
use crate::state::timers::FOREVER_S;
use crate::state::topic_tree::TopicTooLarge;
use crate::state::will::Will;

impl Shared {
    /// The session expiry interval that a client gets who asks for `seconds`.
    pub(crate) fn granted_expiry_s(&self, seconds: u32) -> u32 {
        seconds.min(self.limits.session_expiry_s_max)
    }
}

impl Connection {
    pub(super) fn connect(
        &mut self,
        connect: &Connect<'_>,
        dispatcher: &mut Dispatcher,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Next, End> {
        let refuse_with = |code, out: &mut Vec<u8>| refuse(connect.version, code, out);
        self.check(connect).map_err(|code| refuse_with(code, out))?;
        let properties = &connect.properties;
        let assigned = connect.client_id.is_empty().then(|| self.shared.assign_client_id());
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let keep_alive_s = self.granted_keep_alive_s(connect);
        let packet_bytes_max = properties.maximum_packet_size().map_or(u32::MAX, NonZeroU32::get);
        let aliases_max = properties.topic_alias_maximum().unwrap_or(0).min(self.shared.limits.topic_alias_max);
        let receiver =
            ReceiverInfo { format: connect.version.into(), packet_bytes_max, topic_aliases_max: aliases_max };
        let acknowledged = |present| self.acknowledgement(connect, assigned.as_deref(), keep_alive_s, present);
        if acknowledged(true).len() > packet_bytes_max as usize {
            return Err(End::silent(EndReason::ReplyTooLong));
        }
        self.outbox.set_receiver(receiver);
        let window = properties.receive_maximum().unwrap_or(NonZeroU16::MAX).get();
        let will = connect.will.as_ref();
        let request = AttachRequest {
            client_id,
            clean_start: connect.clean_start,
            outbox: &self.outbox,
            window: window.min(self.shared.limits.inflight_count_max),
            expiry_s: self.expiry_s(connect),
            will: will.and_then(|will| Will::new(will, connect.version, client_id, &self.shared.stored)).map(Box::new),
        };
        let attached = self.shared.attach_session(request, dispatcher, now_ms, acknowledged);
        let Attached { session, taken_over, previous_will } = attached.map_err(|TooManySessions| {
            let code = if connect.version.is_v5() { ReasonCode::QuotaExceeded } else { ReasonCode::ServerUnavailable };
            refuse_with(code, out)
        })?;
        let replays = session.take_replays();
        self.phase = Phase::Connected(Box::new(Client {
            session,
            version: connect.version,
            silence_ms_max: (keep_alive_s > 0).then(|| u64::from(keep_alive_s) * 1500),
            session_expiry_s: properties.session_expiry_interval_s().unwrap_or(0),
            new_expiry_s: None,
            wants_reasons: properties.request_problem_information().unwrap_or(true),
            packet_bytes_max: packet_bytes_max as usize,
            aliases: ReceivedAliases::default(),
            replays,
            previous_will,
            has_news: false,
        }));
        Ok(Next::Connected { taken_over: taken_over.map(|outbox| outbox.connection()) })
    }

    /// How long the session is kept after the connection. Before MQTT 5 a session either ends with it or is kept.
    fn expiry_s(&self, connect: &Connect<'_>) -> u32 {
        let wish = match connect.version {
            ProtocolVersion::Mqtt5 => connect.properties.session_expiry_interval_s().unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => FOREVER_S,
        };
        self.shared.granted_expiry_s(wish)
    }

    fn check(&self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        if connect.client_id.len() > usize::from(self.shared.limits.client_id_bytes_max) {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        // MQTT 3.1 wants 1 to 23 characters; 3.1.1 allows none with a clean session [MQTT-3.1.3-8].
        let id_wanted = match connect.version {
            ProtocolVersion::Mqtt31 => true,
            ProtocolVersion::Mqtt311 => !connect.clean_start,
            ProtocolVersion::Mqtt5 => false,
        };
        if id_wanted && connect.client_id.is_empty() {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if connect.properties.authentication_method().is_some() {
            return Err(ReasonCode::BadAuthenticationMethod);
        }
        if !self.shared.budget.tolerates(0) {
            // What its session has to send it again would come on top.
            return Err(ReasonCode::ServerBusy);
        }
        match &connect.will {
            Some(will) if TopicTooLarge::check(will.topic.as_str(), &self.shared.limits).is_err() => {
                Err(ReasonCode::TopicNameInvalid)
            }
            Some(_) if self.shared.stored.is_scarce() => Err(ReasonCode::QuotaExceeded),
            Some(will) if !will_keeps_format(will) => Err(ReasonCode::PayloadFormatInvalid),
            _ => Ok(()),
        }
    }

    /// The wish of the client, unless it is MQTT 5 and the operator's limit is lower. Earlier versions cannot be told.
    fn granted_keep_alive_s(&self, connect: &Connect<'_>) -> u16 {
        let max = self.shared.limits.keep_alive_s_max;
        let unlimited = max == u16::MAX || !connect.version.is_v5();
        match connect.keep_alive_s {
            wish if unlimited => wish,
            0 => max,
            wish => wish.min(max),
        }
    }

    fn acknowledgement(
        &self,
        connect: &Connect<'_>,
        assigned: Option<&str>,
        keep_alive_s: u16,
        session_present: bool,
    ) -> Vec<u8> {
        let (limits, asked) = (&self.shared.limits, &connect.properties);
        let mut properties = Vec::new();
        if connect.version.is_v5() {
            properties.extend(NonZeroU16::new(limits.receive_maximum).map(Property::ReceiveMaximum));
            properties.extend(NonZeroU32::new(limits.packet_bytes_max).map(Property::MaximumPacketSize));
            if limits.topic_alias_max > 0 {
                properties.push(Property::TopicAliasMaximum(limits.topic_alias_max));
            }
            let expiry_s = self.expiry_s(connect);
            if asked.session_expiry_interval_s().is_some_and(|seconds| seconds != expiry_s) {
                properties.push(Property::SessionExpiryInterval(expiry_s));
            }
            properties.extend(assigned.map(Property::AssignedClientIdentifier));
            if keep_alive_s != connect.keep_alive_s {
                properties.push(Property::ServerKeepAlive(keep_alive_s));
            }
            if asked.request_response_information() == Some(true) {
                properties.extend(self.shared.response_information.as_deref().map(Property::ResponseInformation));
            }
        }
        let properties = Properties::from_slice(&properties);
        let mut packet = Vec::new();
        reply(ConnAck { session_present, code: ReasonCode::Success, properties }.encode(connect.version, &mut packet));
        packet
    }
}

/// Whether the will's payload is what its payload format indicator says.
fn will_keeps_format(will: &wisp_wire::Will<'_>) -> bool {
    will.properties.payload_is_utf8() != Some(true) || str::from_utf8(will.payload).is_ok()
}

/// Writes the CONNACK that refuses, where the version has a code for it.
pub(super) fn refuse(version: ProtocolVersion, code: ReasonCode, out: &mut Vec<u8>) -> End {
    let tellable = version.is_v5() || code.to_connect_return_code().is_some();
    if tellable {
        reply(ConnAck { session_present: false, code, properties: Properties::EMPTY }.encode(version, out));
    }
    End { reason: EndReason::ConnectRefused(code), has_disconnect_packet: tellable }
}

/// Answers a malformed CONNECT as far as it shows who asks: in its own version, if that has a code for what is wrong; in
/// the form of MQTT 3.1.1, if the version is what is wrong. Anything else may not be MQTT at all, and gets no answer (MQTT 5
/// section 3.1.4).
pub(super) fn refuse_bytes(error: DecodeError, bytes: &[u8], out: &mut Vec<u8>) -> End {
    let code = error.reason_code();
    let version = match Connect::peek_version(bytes) {
        None if code == ReasonCode::UnsupportedProtocolVersion => Some(ProtocolVersion::Mqtt311),
        known => known,
    };
    let refused = version.filter(|_| code.is_legal_in(PacketType::ConnAck)).map(|version| refuse(version, code, out));
    End {
        reason: EndReason::Malformed(error),
        has_disconnect_packet: refused.is_some_and(|end| end.has_disconnect_packet),
    }
}

//! CONNECT in, CONNACK out.

use std::num::NonZeroU32;

use wisp_wire::{ConnAck, Connect, DecodeError, PacketType, Properties, Property, ProtocolVersion, QoS, ReasonCode};

use super::{Client, End, EndReason, Next, Phase, Session, reply};
use crate::queue::ReceiverInfo;
use crate::router::TopicTooLarge;
use crate::will::Will;

impl Session {
    pub(super) fn connect<'a>(&mut self, connect: &Connect<'_>, out: &mut Vec<u8>) -> Result<Next<'a>, End> {
        self.check(connect).map_err(|code| refuse(connect.version, code, out))?;
        let assigned = connect.client_id.is_empty().then(|| self.core.assign_client_id());
        let id = assigned.as_deref().unwrap_or(connect.client_id);
        let keep_alive_s = self.granted_keep_alive_s(connect);
        self.queue.set_receiver(ReceiverInfo {
            format: connect.version.into(),
            packet_bytes_max: connect.properties.maximum_packet_size().map_or(u32::MAX, NonZeroU32::get),
        });
        let taken_over = self.core.registry.claim(id, self.queue.connection());
        let will = connect.will.as_ref();
        let will = will.and_then(|will| Will::new(will, connect.version, &self.queue, &self.core.budget));
        let session_expiry_s = connect.properties.session_expiry_interval_s().unwrap_or(0);
        self.acknowledge(connect, assigned.as_deref(), keep_alive_s, out);
        self.phase = Phase::Connected(Client {
            id: id.into(),
            version: connect.version,
            silence_ms_max: (keep_alive_s > 0).then(|| u64::from(keep_alive_s) * 1500),
            session_expiry_s,
            filters: Default::default(),
            will,
        });
        Ok(Next::Connected { taken_over })
    }

    fn check(&self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        if connect.client_id.len() > usize::from(self.core.limits.client_id_bytes_max) {
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
        match &connect.will {
            Some(will) if TopicTooLarge::check(will.topic.as_str(), &self.core.limits).is_err() => {
                Err(ReasonCode::TopicNameInvalid)
            }
            Some(_) if self.core.budget.is_scarce() => Err(ReasonCode::QuotaExceeded),
            Some(will) if connect.version.is_v5() && will.qos != QoS::AtMostOnce => Err(ReasonCode::QoSNotSupported),
            Some(will) if connect.version.is_v5() && will.retain => Err(ReasonCode::RetainNotSupported),
            _ => Ok(()),
        }
    }

    /// The wish of the client, unless it is MQTT 5 and the operator's limit is lower. Earlier versions cannot be told.
    fn granted_keep_alive_s(&self, connect: &Connect<'_>) -> u16 {
        let max = self.core.limits.keep_alive_s_max;
        let unlimited = max == u16::MAX || !connect.version.is_v5();
        match connect.keep_alive_s {
            wish if unlimited => wish,
            0 => max,
            wish => wish.min(max),
        }
    }

    fn acknowledge(&self, connect: &Connect<'_>, assigned: Option<&str>, keep_alive_s: u16, out: &mut Vec<u8>) {
        let mut properties = Vec::new();
        if connect.version.is_v5() {
            properties.extend([
                Property::MaximumQoS(QoS::AtMostOnce),
                Property::RetainAvailable(false),
                Property::SubscriptionIdentifierAvailable(false),
                Property::SharedSubscriptionAvailable(false),
            ]);
            properties.extend(NonZeroU32::new(self.core.limits.packet_bytes_max).map(Property::MaximumPacketSize));
            if connect.properties.session_expiry_interval_s().is_some_and(|seconds| seconds > 0) {
                properties.push(Property::SessionExpiryInterval(0));
            }
            properties.extend(assigned.map(Property::AssignedClientIdentifier));
            if keep_alive_s != connect.keep_alive_s {
                properties.push(Property::ServerKeepAlive(keep_alive_s));
            }
        }
        let properties = Properties::from_slice(&properties);
        reply(ConnAck { session_present: false, code: ReasonCode::Success, properties }.encode(connect.version, out));
    }
}

/// Writes the CONNACK that refuses, where the version has a code for it.
pub(super) fn refuse(version: ProtocolVersion, code: ReasonCode, out: &mut Vec<u8>) -> End {
    let tellable = version.is_v5() || code.to_connect_return_code().is_some();
    if tellable {
        reply(ConnAck { session_present: false, code, properties: Properties::EMPTY }.encode(version, out));
    }
    End { reason: EndReason::ConnectRefused(code), told: tellable }
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
    End { reason: EndReason::Malformed(error), told: refused.is_some_and(|end| end.told) }
}

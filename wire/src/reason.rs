//! Reason codes of MQTT 5, the packets that may carry them, and their counterparts in MQTT 3.

use core::fmt;

use crate::{DecodeError, PacketType};

macro_rules! reason_codes {
    ($($name:ident = $code:literal $text:literal [$($packet:ident)*])*) => {
        /// A reason code of MQTT 5. Codes below 0x80 report success.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum ReasonCode { $(#[doc = $text] $name = $code,)* }

        impl ReasonCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The packet types that may carry the code, as a bit set.
            const fn packets(self) -> u16 {
                match self { $(Self::$name => 0 $(| 1 << PacketType::$packet as u16)*,)* }
            }
        }

        impl TryFrom<u8> for ReasonCode {
            type Error = DecodeError;

            #[inline]
            fn try_from(code: u8) -> Result<Self, DecodeError> {
                Ok(match code {
                    $($code => Self::$name,)*
                    _ => return Err(DecodeError::ReasonCodeUnknown),
                })
            }
        }
    };
}

reason_codes! {
    Success = 0x00 "success" [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth]
    GrantedQoS1 = 0x01 "granted QoS 1" [SubAck]
    GrantedQoS2 = 0x02 "granted QoS 2" [SubAck]
    DisconnectWithWill = 0x04 "disconnect with will message" [Disconnect]
    NoMatchingSubscribers = 0x10 "no matching subscribers" [PubAck PubRec]
    NoSubscriptionExisted = 0x11 "no subscription existed" [UnsubAck]
    ContinueAuthentication = 0x18 "continue authentication" [Auth]
    ReAuthenticate = 0x19 "re-authenticate" [Auth]
    UnspecifiedError = 0x80 "unspecified error" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect]
    MalformedPacket = 0x81 "malformed packet" [ConnAck Disconnect]
    ProtocolError = 0x82 "protocol error" [ConnAck Disconnect]
    ImplementationSpecificError = 0x83 "implementation specific error" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect]
    UnsupportedProtocolVersion = 0x84 "unsupported protocol version" [ConnAck]
    ClientIdentifierNotValid = 0x85 "client identifier not valid" [ConnAck]
    BadUserNameOrPassword = 0x86 "bad user name or password" [ConnAck]
    NotAuthorized = 0x87 "not authorized" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect]
    ServerUnavailable = 0x88 "server unavailable" [ConnAck]
    ServerBusy = 0x89 "server busy" [ConnAck Disconnect]
    Banned = 0x8A "banned" [ConnAck]
    ServerShuttingDown = 0x8B "server shutting down" [Disconnect]
    BadAuthenticationMethod = 0x8C "bad authentication method" [ConnAck Disconnect]
    KeepAliveTimeout = 0x8D "keep alive timeout" [Disconnect]
    SessionTakenOver = 0x8E "session taken over" [Disconnect]
    TopicFilterInvalid = 0x8F "topic filter invalid" [SubAck UnsubAck Disconnect]
    TopicNameInvalid = 0x90 "topic name invalid" [ConnAck PubAck PubRec Disconnect]
    PacketIdentifierInUse = 0x91 "packet identifier in use" [PubAck PubRec SubAck UnsubAck]
    PacketIdentifierNotFound = 0x92 "packet identifier not found" [PubRel PubComp]
    ReceiveMaximumExceeded = 0x93 "receive maximum exceeded" [Disconnect]
    TopicAliasInvalid = 0x94 "topic alias invalid" [Disconnect]
    PacketTooLarge = 0x95 "packet too large" [ConnAck Disconnect]
    MessageRateTooHigh = 0x96 "message rate too high" [Disconnect]
    QuotaExceeded = 0x97 "quota exceeded" [ConnAck PubAck PubRec SubAck Disconnect]
    AdministrativeAction = 0x98 "administrative action" [Disconnect]
    PayloadFormatInvalid = 0x99 "payload format invalid" [ConnAck PubAck PubRec Disconnect]
    RetainNotSupported = 0x9A "retain not supported" [ConnAck Disconnect]
    QoSNotSupported = 0x9B "QoS not supported" [ConnAck Disconnect]
    UseAnotherServer = 0x9C "use another server" [ConnAck Disconnect]
    ServerMoved = 0x9D "server moved" [ConnAck Disconnect]
    SharedSubscriptionsNotSupported = 0x9E "shared subscriptions not supported" [SubAck Disconnect]
    ConnectionRateExceeded = 0x9F "connection rate exceeded" [ConnAck Disconnect]
    MaximumConnectTime = 0xA0 "maximum connect time" [Disconnect]
    SubscriptionIdentifiersNotSupported = 0xA1 "subscription identifiers not supported" [SubAck Disconnect]
    WildcardSubscriptionsNotSupported = 0xA2 "wildcard subscriptions not supported" [SubAck Disconnect]
}

impl ReasonCode {
    /// The name of code 0 in DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// The name of code 0 in SUBACK.
    pub const GRANTED_QOS0: Self = Self::Success;

    /// Whether the code reports a failure.
    #[inline]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether a packet of this type may carry the code.
    #[inline]
    pub const fn is_legal_in(self, packet: PacketType) -> bool {
        self.packets() & 1 << packet as u16 != 0
    }

    /// The return code of a CONNACK before MQTT 5. `None` if there is no counterpart: the standard then has the
    /// server close the connection without a CONNACK [3.1.1: MQTT-3.2.2-6].
    pub const fn to_connect_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => Some(5),
            _ => None,
        }
    }

    /// The reason code for a return code of a CONNACK before MQTT 5; `None` for the reserved ones.
    pub const fn from_connect_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.text(), *self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_number() {
        for &code in ReasonCode::ALL {
            assert_eq!(ReasonCode::try_from(code as u8), Ok(code));
        }
        let known = (0..=255).filter(|&code| ReasonCode::try_from(code).is_ok()).count();
        assert_eq!(known, ReasonCode::ALL.len());
    }

    #[test]
    fn connect_return_codes_survive_the_round_trip() {
        for number in 0..=5 {
            let code = ReasonCode::from_connect_return_code(number).unwrap();
            assert_eq!(code.to_connect_return_code(), Some(number));
        }
        assert_eq!(ReasonCode::from_connect_return_code(6), None);
    }

    /// An answer with a code that its packet may not carry would be our own protocol error.
    #[test]
    fn every_decode_error_is_answered_with_a_code_for_disconnect_or_connack() {
        for error in DecodeError::ALL {
            let code = error.reason_code();
            assert!(code.is_error());
            assert!(code.is_legal_in(PacketType::Disconnect) || code.is_legal_in(PacketType::ConnAck), "{error}");
        }
    }
}

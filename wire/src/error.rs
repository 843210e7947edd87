//! Errors of decoding (`DecodeError`: the peer's bytes break a rule) and of encoding (`EncodeError`: the caller's
//! packet breaks one). Each rule of the standards that the decoder enforces is one variant, so a broker's log names
//! the broken rule. The table below also has the reason code that MQTT 5 answers it with.

use core::fmt;

use crate::ReasonCode;

macro_rules! rules {
    ($($name:ident $code:ident $text:literal)*) => {
        /// The rule of the standards that the input breaks.
        ///
        /// The identifiers are from MQTT 5; if MQTT 3.1.1 has another one for the rule, it follows.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum DecodeError { $(#[doc = $text] $name,)* }

        impl DecodeError {
            /// All rules.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            const TEXTS: &'static [&'static str] = &[$($text,)*];
            const CODES: &'static [ReasonCode] = &[$(ReasonCode::$code,)*];
        }
    };
}

rules! {
    PacketTypeReserved MalformedPacket "packet type 0, or AUTH before MQTT 5, is reserved"
    HeaderFlags MalformedPacket "reserved flags of the fixed header are wrong for the packet type [MQTT-2.1.3-1; 3.1.1: MQTT-2.2.2-2]"
    LengthTooLong MalformedPacket "a variable byte integer is longer than four bytes"
    LengthNotMinimal MalformedPacket "a variable byte integer is longer than its value needs [MQTT-1.5.5-1]"
    PacketTooLarge PacketTooLarge "the packet is larger than the receiver accepts [MQTT-3.1.2-24, MQTT-3.2.2-15]"
    Truncated MalformedPacket "a field runs past the end of its packet or property block"
    Leftover MalformedPacket "bytes are left over after the last field"
    Utf8 MalformedPacket "a string is not well-formed UTF-8 [MQTT-1.5.4-1; 3.1.1: MQTT-1.5.3-1]"
    Nul MalformedPacket "a string contains U+0000 [MQTT-1.5.4-2; 3.1.1: MQTT-1.5.3-2]"
    PacketIdZero MalformedPacket "packet identifier 0 [MQTT-2.2.1-3; 3.1.1: MQTT-2.3.1-1]"

    ProtocolName UnsupportedProtocolVersion "the protocol name is neither MQTT nor MQIsdp [MQTT-3.1.2-1]"
    ProtocolLevel UnsupportedProtocolVersion "no such protocol version under this protocol name [MQTT-3.1.2-2]"
    ConnectFlagReserved MalformedPacket "the reserved connect flag is set [MQTT-3.1.2-3]"
    WillQosWithoutWill MalformedPacket "a will QoS without a will [MQTT-3.1.2-11; 3.1.1: MQTT-3.1.2-13]"
    WillRetainWithoutWill MalformedPacket "will retain without a will [MQTT-3.1.2-13; 3.1.1: MQTT-3.1.2-15]"
    WillQos MalformedPacket "will QoS 3 [MQTT-3.1.2-12; 3.1.1: MQTT-3.1.2-14]"
    PasswordWithoutUsername MalformedPacket "a password without a user name before MQTT 5 [3.1.1: MQTT-3.1.2-22]"
    ClientIdEmpty ClientIdentifierNotValid "an empty client identifier in MQTT 3.1, or without a clean session in MQTT 3.1.1 [3.1.1: MQTT-3.1.3-8]"
    ConnAckFlags MalformedPacket "reserved CONNACK flags are set [MQTT-3.2.2-1]"
    SessionPresentWithError ProtocolError "session present in a refused CONNACK [MQTT-3.2.2-6; 3.1.1: MQTT-3.2.2-4]"

    Qos MalformedPacket "a PUBLISH with QoS 3 [MQTT-3.3.1-4]"
    DupWithoutQos MalformedPacket "a PUBLISH with DUP and QoS 0 [MQTT-3.3.1-2]"
    TopicMissing ProtocolError "a PUBLISH with neither topic name nor topic alias"
    TopicNameEmpty TopicNameInvalid "an empty topic name [MQTT-4.7.3-1]"
    TopicNameWildcard TopicNameInvalid "a topic name with a wildcard [MQTT-3.3.2-2]"
    ResponseTopic TopicNameInvalid "a response topic that is not a topic name [MQTT-3.3.2-14]"
    TopicAliasZero TopicAliasInvalid "topic alias 0 [MQTT-3.3.2-8]"

    TopicFilterEmpty TopicFilterInvalid "an empty topic filter [MQTT-4.7.3-1]"
    TopicFilterHash TopicFilterInvalid "# is not alone in the last level of a topic filter [MQTT-4.7.1-1; 3.1.1: MQTT-4.7.1-2]"
    TopicFilterPlus TopicFilterInvalid "+ is not alone in its level of a topic filter [MQTT-4.7.1-2; 3.1.1: MQTT-4.7.1-3]"
    TopicFilterShare TopicFilterInvalid "a shared subscription is not $share/NAME/FILTER [MQTT-4.8.2-1, MQTT-4.8.2-2]"
    NoFilters ProtocolError "a SUBSCRIBE or UNSUBSCRIBE without a topic filter [MQTT-3.8.3-2, MQTT-3.10.3-2; 3.1.1: MQTT-3.8.3-3]"
    SubscriptionQos ProtocolError "a subscription with QoS 3 [3.1.1: MQTT-3-8.3-4]"
    SubscriptionOptionsReserved MalformedPacket "reserved subscription option bits are set [MQTT-3.8.3-5; 3.1.1: MQTT-3-8.3-4]"
    RetainHandling ProtocolError "retain handling 3"
    NoLocalShared ProtocolError "no local on a shared subscription, which has to be subscribed without it [MQTT-3.8.3-4]"

    ReasonCodeUnknown MalformedPacket "a reason code that does not exist"
    ReasonCodeMisplaced ProtocolError "a reason code that this packet may not carry [MQTT-3.2.2-8, MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.9.3-2, MQTT-3.11.3-2, MQTT-3.14.2-1, MQTT-3.15.2-1]"
    NoReasonCodes ProtocolError "a SUBACK or UNSUBACK without a reason code [MQTT-3.8.4-6, MQTT-3.11.3-2]"

    PropertyUnknown MalformedPacket "a property identifier that does not exist"
    PropertyMisplaced MalformedPacket "a property that this packet may not carry"
    PropertyDuplicate ProtocolError "a property occurs twice that may occur once"
    PropertyValue ProtocolError "a property value outside its range"
    AuthenticationMethodMissing ProtocolError "authentication data, or an AUTH, without an authentication method"
}

impl DecodeError {
    /// The reason code that MQTT 5 answers with: in CONNACK if the packet is a CONNECT, otherwise in DISCONNECT.
    pub const fn reason_code(&self) -> ReasonCode {
        Self::CODES[*self as usize]
    }

    /// A description of the rule, with its identifiers.
    pub const fn rule(&self) -> &'static str {
        Self::TEXTS[*self as usize]
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule())
    }
}

impl core::error::Error for DecodeError {}

/// Why a packet cannot be encoded. The output buffer is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or binary field is longer than 65,535 bytes.
    FieldTooLong,
    /// A string contains U+0000.
    Nul,
    /// The packet is longer than its remaining length can express.
    PacketTooLong,
    /// The packet does not exist in this version.
    NotInVersion,
    /// A PUBLISH without a topic, and without a topic alias in MQTT 5.
    TopicMissing,
    /// A PUBLISH with QoS 1 or 2 and no packet identifier.
    PacketIdMissing,
    /// A PUBLISH with QoS 0 and a packet identifier.
    PacketIdUnexpected,
    /// A PUBLISH with QoS 0 and DUP.
    DupWithoutQos,
    /// A password without a user name before MQTT 5.
    PasswordWithoutUsername,
    /// An empty client identifier in MQTT 3.1, or without a clean session in MQTT 3.1.1.
    ClientIdEmpty,
    /// Session present in a refused CONNACK.
    SessionPresentWithError,
    /// The packet may not carry this reason code, or the version has no counterpart for it.
    ReasonCode,
    /// A SUBSCRIBE or UNSUBSCRIBE without topic filters.
    NoFilters,
    /// A SUBACK, or an UNSUBACK of MQTT 5, without reason codes.
    NoReasonCodes,
    /// No local on a shared subscription.
    NoLocalShared,
    /// A property that this packet may not carry.
    PropertyMisplaced,
    /// A property occurs twice that may occur once.
    PropertyDuplicate,
    /// A property value outside its range.
    PropertyValue,
    /// Authentication data, or an AUTH, without an authentication method.
    AuthenticationMethodMissing,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FieldTooLong => "a string or binary field is longer than 65535 bytes",
            Self::Nul => "a string contains U+0000",
            Self::PacketTooLong => "the packet is longer than 268435455 bytes",
            Self::NotInVersion => "the packet does not exist in this MQTT version",
            Self::TopicMissing => "a PUBLISH without a topic",
            Self::PacketIdMissing => "a PUBLISH with QoS 1 or 2 without a packet identifier",
            Self::PacketIdUnexpected => "a PUBLISH with QoS 0 and a packet identifier",
            Self::DupWithoutQos => "a PUBLISH with QoS 0 and DUP",
            Self::PasswordWithoutUsername => "a password without a user name before MQTT 5",
            Self::ClientIdEmpty => "an empty client identifier in MQTT 3.1, or without a clean session in MQTT 3.1.1",
            Self::SessionPresentWithError => "session present in a refused CONNACK",
            Self::ReasonCode => "a reason code that the packet may not carry in this MQTT version",
            Self::NoFilters => "a SUBSCRIBE or UNSUBSCRIBE without topic filters",
            Self::NoReasonCodes => "a SUBACK or UNSUBACK without reason codes",
            Self::NoLocalShared => "no local on a shared subscription",
            Self::PropertyMisplaced => "a property that the packet may not carry",
            Self::PropertyDuplicate => "a property occurs twice that may occur once",
            Self::PropertyValue => "a property value outside its range",
            Self::AuthenticationMethodMissing => "authentication data or an AUTH without an authentication method",
        })
    }
}

impl core::error::Error for EncodeError {}

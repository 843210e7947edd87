//! The 27 properties of MQTT 5: identifier, data type, the packets that may carry each, and whether more than once.

use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use super::value::Value;
use crate::reader::Reader;
use crate::{DecodeError, EncodeError, PacketType, QoS, SubscriptionId, TopicName};

/// The carrier of a property block: a packet, or the will inside a CONNECT.
#[expect(missing_docs, reason = "each but the will is a packet type")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum PropertyOwner {
    Will = 0,
    Connect = PacketType::Connect as u8,
    ConnAck = PacketType::ConnAck as u8,
    Publish = PacketType::Publish as u8,
    PubAck = PacketType::PubAck as u8,
    PubRec = PacketType::PubRec as u8,
    PubRel = PacketType::PubRel as u8,
    PubComp = PacketType::PubComp as u8,
    Subscribe = PacketType::Subscribe as u8,
    SubAck = PacketType::SubAck as u8,
    Unsubscribe = PacketType::Unsubscribe as u8,
    UnsubAck = PacketType::UnsubAck as u8,
    Disconnect = PacketType::Disconnect as u8,
    Auth = PacketType::Auth as u8,
}

/// The owners that may carry a property, and whether it may occur more than once.
#[derive(Clone, Copy)]
struct Occurrence {
    owners: u16,
    repeats: bool,
}

macro_rules! properties {
    ($($name:ident($type:ty) = $id:literal $repeats:literal [$($owner:ident)*] $doc:literal)*) => {
        /// The identifiers by the names of the properties.
        #[expect(non_upper_case_globals, reason = "each is named like its property")]
        pub(super) mod id {
            $(pub(in crate::properties) const $name: u8 = $id;)*
        }

        /// A property of MQTT 5 with its value.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Property<'a> { $(#[doc = $doc] $name($type),)* }

        impl<'a> Property<'a> {
            /// The property identifier on the wire.
            #[inline]
            pub const fn id(&self) -> u8 {
                match self { $(Self::$name(_) => id::$name,)* }
            }

            const fn occurrence(&self) -> Occurrence {
                match self {
                    $(Self::$name(_) => Occurrence {
                        owners: 0 $(| 1 << PropertyOwner::$owner as u16)*,
                        repeats: $repeats,
                    },)*
                }
            }

            /// Reads one property: identifier and value.
            pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                Ok(match reader.varint()? {
                    $($id => Self::$name(<$type as Value>::read(reader)?),)*
                    _ => return Err(DecodeError::PropertyUnknown),
                })
            }

            /// Passes over the value of the property `id` without looking at it.
            pub(super) fn skip(id: u32, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
                match id {
                    $($id => <$type as Value>::skip(reader),)*
                    _ => Err(DecodeError::PropertyUnknown),
                }
            }

            /// The length of identifier and value; an error if the value cannot be encoded.
            pub(super) fn encoded_len(&self) -> Result<usize, EncodeError> {
                Ok(1 + match self { $(Self::$name(value) => value.encoded_len()?,)* })
            }

            pub(super) fn write(&self, out: &mut Vec<u8>) {
                out.push(self.id());
                match self { $(Self::$name(value) => value.write(out),)* }
            }
        }
    };
}

properties! {
    PayloadFormatIndicator(bool) = 0x01 false [Publish Will] "Whether the payload is UTF-8 text."
    MessageExpiryInterval(u32) = 0x02 false [Publish Will] "Seconds after which the message expires."
    ContentType(&'a str) = 0x03 false [Publish Will] "The content type of the payload."
    ResponseTopic(TopicName<'a>) = 0x08 false [Publish Will] "The topic to publish a response to."
    CorrelationData(&'a [u8]) = 0x09 false [Publish Will] "Data that ties a response to its request."
    SubscriptionIdentifier(SubscriptionId) = 0x0B true [Publish Subscribe] "The subscriber's number for its subscription; PUBLISH may carry several."
    SessionExpiryInterval(u32) = 0x11 false [Connect ConnAck Disconnect] "Seconds the session outlives the connection; 4294967295 is for ever."
    AssignedClientIdentifier(&'a str) = 0x12 false [ConnAck] "The client identifier the server chose."
    ServerKeepAlive(u16) = 0x13 false [ConnAck] "The keep-alive in seconds that the client has to use."
    AuthenticationMethod(&'a str) = 0x15 false [Connect ConnAck Auth] "The name of the extended authentication method."
    AuthenticationData(&'a [u8]) = 0x16 false [Connect ConnAck Auth] "Data of the authentication method."
    RequestProblemInformation(bool) = 0x17 false [Connect] "Whether failures may carry reason strings and user properties."
    WillDelayInterval(u32) = 0x18 false [Will] "Seconds before the will is published."
    RequestResponseInformation(bool) = 0x19 false [Connect] "Whether CONNACK should carry response information."
    ResponseInformation(&'a str) = 0x1A false [ConnAck] "The basis for creating response topics."
    ServerReference(&'a str) = 0x1C false [ConnAck Disconnect] "Another server to use."
    ReasonString(&'a str) = 0x1F false [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth] "A human-readable reason."
    ReceiveMaximum(NonZeroU16) = 0x21 false [Connect ConnAck] "The most QoS 1 and 2 messages that may be unacknowledged at a time."
    TopicAliasMaximum(u16) = 0x22 false [Connect ConnAck] "The highest topic alias accepted."
    TopicAlias(NonZeroU16) = 0x23 false [Publish] "A number in place of the topic name."
    MaximumQoS(QoS) = 0x24 false [ConnAck] "The highest QoS the server accepts: 0 or 1."
    RetainAvailable(bool) = 0x25 false [ConnAck] "Whether the server supports retained messages."
    UserProperty((&'a str, &'a str)) = 0x26 true [Will Connect ConnAck Publish PubAck PubRec PubRel PubComp Subscribe SubAck Unsubscribe UnsubAck Disconnect Auth] "A name and a value defined by the application."
    MaximumPacketSize(NonZeroU32) = 0x27 false [Connect ConnAck] "The largest packet in bytes that the sender accepts."
    WildcardSubscriptionAvailable(bool) = 0x28 false [ConnAck] "Whether the server accepts filters with wildcards."
    SubscriptionIdentifierAvailable(bool) = 0x29 false [ConnAck] "Whether the server accepts subscription identifiers."
    SharedSubscriptionAvailable(bool) = 0x2A false [ConnAck] "Whether the server accepts shared subscriptions."
}

/// Why a property may not occur here.
pub(super) enum Misplaced {
    Owner,
    Duplicate,
}

/// The properties seen in one block, as a bit set: identifiers go up to 42.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    owner: PropertyOwner,
    ids: u64,
}

impl Seen {
    pub(super) const fn new(owner: PropertyOwner) -> Self {
        Self { owner, ids: 0 }
    }

    /// Records `property`, or reports that it may not occur here or not again.
    pub(super) const fn note(&mut self, property: &Property<'_>) -> Result<(), Misplaced> {
        let occurrence = property.occurrence();
        if occurrence.owners & 1 << self.owner as u16 == 0 {
            return Err(Misplaced::Owner);
        }
        // A SUBSCRIBE has one identifier for all its filters; a PUBLISH may match several subscriptions.
        let repeats = match property {
            Property::SubscriptionIdentifier(_) => matches!(self.owner, PropertyOwner::Publish),
            _ => occurrence.repeats,
        };
        if !repeats && self.ids & 1 << property.id() != 0 {
            return Err(Misplaced::Duplicate);
        }
        self.ids |= 1 << property.id();
        Ok(())
    }

    pub(super) const fn owner(self) -> PropertyOwner {
        self.owner
    }

    pub(super) const fn has(self, id: u8) -> bool {
        self.ids & 1 << id != 0
    }

    /// Whether the authentication method is missing: authentication data and every AUTH require it.
    pub(super) const fn lacks_authentication_method(self) -> bool {
        (self.has(id::AuthenticationData) || matches!(self.owner, PropertyOwner::Auth))
            && !self.has(id::AuthenticationMethod)
    }
}

//! SUBSCRIBE and UNSUBSCRIBE: a client adds or removes subscriptions.

use alloc::vec::Vec;

use super::Body;
use crate::list::{Context, Item, List};
use crate::reader::Reader;
use crate::{
    DecodeError, EncodeError, PacketId, PacketType, Properties, PropertyOwner, ProtocolVersion, QoS, TopicFilter, text,
};

/// A client adds subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    /// The packet identifier, which the SUBACK repeats.
    pub packet_id: PacketId,
    /// Its properties.
    pub properties: Properties<'a>,
    /// At least one filter, each with its options.
    pub filters: Subscriptions<'a>,
}

/// The filters of a SUBSCRIBE with their options.
pub type Subscriptions<'a> = List<'a, (TopicFilter<'a>, SubscriptionOptions)>;

/// The options of a subscription. MQTT 3 has the QoS alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SubscriptionOptions {
    /// The highest QoS of a delivered message.
    pub qos: QoS,
    /// Whether to skip messages that the subscriber published itself.
    pub no_local: bool,
    /// Whether a delivered message keeps the RETAIN flag of its publisher.
    pub retain_as_published: bool,
    /// Which retained messages are sent on subscribing.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// Options with this QoS and defaults otherwise.
    #[inline]
    pub const fn new(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }
}

/// Which retained messages a new subscription receives on subscribing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// All that match.
    #[default]
    Send = 0,
    /// All that match, unless the subscription existed already.
    SendIfNew = 1,
    /// None.
    DoNotSend = 2,
}

mod option {
    pub(super) const QOS: u8 = 0x03;
    pub(super) const NO_LOCAL: u8 = 0x04;
    pub(super) const RETAIN_AS_PUBLISHED: u8 = 0x08;
    pub(super) const RETAIN_HANDLING: u8 = 0x30;
    pub(super) const RETAIN_HANDLING_SHIFT: u32 = 4;
    pub(super) const RESERVED: u8 = 0xC0;
}

impl SubscriptionOptions {
    fn decode(byte: u8, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let reserved = if version.is_v5() { option::RESERVED } else { !option::QOS };
        if byte & reserved != 0 {
            return Err(DecodeError::SubscriptionOptionsReserved);
        }
        Ok(Self {
            qos: QoS::new(byte & option::QOS).ok_or(DecodeError::SubscriptionQos)?,
            no_local: byte & option::NO_LOCAL != 0,
            retain_as_published: byte & option::RETAIN_AS_PUBLISHED != 0,
            retain_handling: match (byte & option::RETAIN_HANDLING) >> option::RETAIN_HANDLING_SHIFT {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(DecodeError::RetainHandling),
            },
        })
    }

    fn encode(self, version: ProtocolVersion) -> u8 {
        if !version.is_v5() {
            return self.qos as u8;
        }
        let bit = |set: bool, option: u8| if set { option } else { 0 };
        self.qos as u8
            | bit(self.no_local, option::NO_LOCAL)
            | bit(self.retain_as_published, option::RETAIN_AS_PUBLISHED)
            | (self.retain_handling as u8) << option::RETAIN_HANDLING_SHIFT
    }
}

impl<'a> Item<'a> for (TopicFilter<'a>, SubscriptionOptions) {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        let filter = TopicFilter::decode(reader.binary()?)?;
        let options = SubscriptionOptions::decode(reader.byte()?, context.version)?;
        if options.no_local && filter.shared().is_some() {
            return Err(DecodeError::NoLocalShared);
        }
        Ok((filter, options))
    }

    fn encoded_len(&self, context: Context) -> Result<usize, EncodeError> {
        let (filter, options) = self;
        if context.version.is_v5() && options.no_local && filter.shared().is_some() {
            return Err(EncodeError::NoLocalShared);
        }
        Ok(2 + filter.as_str().len() + 1)
    }

    fn write(&self, context: Context, out: &mut Vec<u8>) {
        let (filter, options) = self;
        text::write_binary(filter.as_str().as_bytes(), out);
        out.push(options.encode(context.version));
    }
}

impl<'a> Item<'a> for TopicFilter<'a> {
    fn read(reader: &mut Reader<'a>, _: Context) -> Result<Self, DecodeError> {
        TopicFilter::decode(reader.binary()?)
    }

    fn encoded_len(&self, _: Context) -> Result<usize, EncodeError> {
        Ok(2 + self.as_str().len())
    }

    fn write(&self, _: Context, out: &mut Vec<u8>) {
        text::write_binary(self.as_str().as_bytes(), out);
    }
}

/// A client removes subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    /// The packet identifier, which the UNSUBACK repeats.
    pub packet_id: PacketId,
    /// Its properties.
    pub properties: Properties<'a>,
    /// At least one filter.
    pub filters: TopicFilters<'a>,
}

/// The filters of an UNSUBSCRIBE.
pub type TopicFilters<'a> = List<'a, TopicFilter<'a>>;

/// The two packets differ only in their list.
macro_rules! requests {
    ($($name:ident)*) => {$(
        impl<'a> $name<'a> {
            pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(body);
                let packet_id = reader.packet_id()?;
                let properties = if version.is_v5() {
                    Properties::read(&mut reader, PropertyOwner::$name)?
                } else {
                    Properties::EMPTY
                };
                let filters = List::read(reader, Context { version, packet: PacketType::$name })?;
                if filters.is_empty() {
                    return Err(DecodeError::NoFilters);
                }
                Ok(Self { packet_id, properties, filters })
            }
        }

        impl Body for $name<'_> {
            fn first_byte(&self) -> u8 {
                PacketType::$name.first_byte()
            }

            fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
                if self.filters.is_empty() {
                    return Err(EncodeError::NoFilters);
                }
                let properties =
                    if version.is_v5() { self.properties.encoded_len(PropertyOwner::$name)? } else { 0 };
                Ok(2 + properties + self.filters.encoded_len(Context { version, packet: PacketType::$name })?)
            }

            fn write_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.packet_id.get().to_be_bytes());
                if version.is_v5() {
                    self.properties.write(out);
                }
                self.filters.write(Context { version, packet: PacketType::$name }, out);
            }
        }
    )*};
}

requests! { Subscribe Unsubscribe }

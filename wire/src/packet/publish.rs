//! PUBLISH: a message. Its decoding decides how fast a broker is: one bounds check for each field, one scan of the
//! topic, and the payload is not read.

use alloc::vec::Vec;

use super::Body;
use crate::frame::{DUP, QOS_MASK, QOS_SHIFT, RETAIN};
use crate::reader::Reader;
use crate::{
    DecodeError, EncodeError, PacketId, PacketType, Properties, PropertyOwner, ProtocolVersion, QoS, TopicName, text,
};

/// A message, from its publisher or to a subscriber.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// Whether this may be a retransmission; never set at QoS 0.
    pub dup: bool,
    /// The delivery guarantee.
    pub qos: QoS,
    /// To a server: retain the message for later subscribers. From a server: this is a retained message.
    pub retain: bool,
    /// The topic; `None` if an MQTT 5 packet has only a topic alias.
    pub topic: Option<TopicName<'a>>,
    /// The packet identifier, which is in use until the message is acknowledged. Present at QoS 1 and 2 only.
    pub packet_id: Option<PacketId>,
    /// Its properties.
    pub properties: Properties<'a>,
    /// The application's data.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// A message with QoS 0 that is not retained.
    #[inline]
    pub const fn new(topic: TopicName<'a>, payload: &'a [u8]) -> Self {
        Self {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: Some(topic),
            packet_id: None,
            properties: Properties::EMPTY,
            payload,
        }
    }

    /// The caller has checked `first` with the rest of the fixed header.
    #[inline]
    pub(super) fn decode(first: u8, body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let name = reader.binary()?;
        let qos = QoS::new((first & QOS_MASK) >> QOS_SHIFT).ok_or(DecodeError::Qos)?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties =
            if version.is_v5() { Properties::read(&mut reader, PropertyOwner::Publish)? } else { Properties::EMPTY };
        let topic = if name.is_empty() && version.is_v5() {
            properties.topic_alias().ok_or(DecodeError::TopicMissing)?;
            None
        } else {
            Some(TopicName::decode(name)?)
        };
        let (dup, retain) = (first & DUP != 0, first & RETAIN != 0);
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
    }

    /// Whether the payload is valid for its payload format indicator. Decoding does not check this, because it would
    /// read every payload; the answer to `false` is [`ReasonCode::PayloadFormatInvalid`](crate::ReasonCode).
    #[inline]
    pub fn payload_keeps_format(&self) -> bool {
        let names_text = !self.properties.is_empty() && self.properties.payload_is_utf8() == Some(true);
        !names_text || str::from_utf8(self.payload).is_ok()
    }
}

impl Body for Publish<'_> {
    #[inline]
    fn first_byte(&self) -> u8 {
        let dup = if self.dup { DUP } else { 0 };
        PacketType::Publish.first_byte() | dup | (self.qos as u8) << QOS_SHIFT | u8::from(self.retain)
    }

    #[inline]
    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        match (self.qos, self.packet_id) {
            (QoS::AtMostOnce, Some(_)) => return Err(EncodeError::PacketIdUnexpected),
            (QoS::AtMostOnce, None) if self.dup => return Err(EncodeError::DupWithoutQos),
            (QoS::AtLeastOnce | QoS::ExactlyOnce, None) => {
                return Err(EncodeError::PacketIdMissing);
            }
            _ => {}
        }
        if self.topic.is_none() && !(version.is_v5() && self.properties.topic_alias().is_some()) {
            return Err(EncodeError::TopicMissing);
        }
        let name = 2 + self.topic.map_or(0, |topic| topic.as_str().len());
        let packet_id = if self.packet_id.is_some() { 2 } else { 0 };
        let properties = if version.is_v5() { self.properties.encoded_len(PropertyOwner::Publish)? } else { 0 };
        Ok(name + packet_id + properties + self.payload.len())
    }

    #[inline]
    fn write_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        text::write_binary(self.topic.map_or(&[], |topic| topic.as_str().as_bytes()), out);
        if let Some(packet_id) = self.packet_id {
            out.extend_from_slice(&packet_id.get().to_be_bytes());
        }
        if version.is_v5() {
            self.properties.write(out);
        }
        out.extend_from_slice(self.payload);
    }
}

//! The data types of property values: how each is read, measured and written. A Rust type cannot hold a value outside
//! its range, so the types do the range checks.

use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use crate::reader::Reader;
use crate::{DecodeError, EncodeError, QoS, SubscriptionId, TopicName, text, varint};

pub(crate) trait Value<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    /// Passes over a value that was read before. Types with rules for each byte do it by the length alone.
    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        Self::read(reader).map(drop)
    }
    fn encoded_len(&self) -> Result<usize, EncodeError>;
    fn write(&self, out: &mut Vec<u8>);
}

impl<'a> Value<'a> for bool {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::PropertyValue),
        }
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(1)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

/// Only Maximum QoS has this type. QoS 2 is not a legal value: the property is omitted instead.
impl<'a> Value<'a> for QoS {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            _ => Err(DecodeError::PropertyValue),
        }
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        if *self == Self::ExactlyOnce { Err(EncodeError::PropertyValue) } else { Ok(1) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
}

impl<'a> Value<'a> for u16 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.u16()
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(2)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl<'a> Value<'a> for u32 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.u32()
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(4)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl<'a> Value<'a> for NonZeroU16 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::new(reader.u16()?).ok_or(DecodeError::PropertyValue)
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(2)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.get().write(out);
    }
}

impl<'a> Value<'a> for NonZeroU32 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::new(reader.u32()?).ok_or(DecodeError::PropertyValue)
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(4)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.get().write(out);
    }
}

impl<'a> Value<'a> for SubscriptionId {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::new(reader.varint()?).ok_or(DecodeError::PropertyValue)
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(varint::encoded_len(self.get()))
    }

    fn write(&self, out: &mut Vec<u8>) {
        varint::write(self.get(), out);
    }
}

impl<'a> Value<'a> for &'a str {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.text()
    }

    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        reader.binary().map(drop)
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        text::encoded_len(self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        text::write_binary(self.as_bytes(), out);
    }
}

impl<'a> Value<'a> for (&'a str, &'a str) {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok((reader.text()?, reader.text()?))
    }

    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        reader.binary()?;
        reader.binary().map(drop)
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(text::encoded_len(self.0)? + text::encoded_len(self.1)?)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
}

impl<'a> Value<'a> for &'a [u8] {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.binary()
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        text::binary_encoded_len(self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        text::write_binary(self, out);
    }
}

/// Only the response topic has this type.
impl<'a> Value<'a> for TopicName<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        TopicName::decode(reader.binary()?).map_err(|error| match error {
            DecodeError::TopicNameEmpty | DecodeError::TopicNameWildcard => DecodeError::ResponseTopic,
            other => other,
        })
    }

    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        reader.binary().map(drop)
    }

    fn encoded_len(&self) -> Result<usize, EncodeError> {
        text::binary_encoded_len(self.as_str().as_bytes())
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

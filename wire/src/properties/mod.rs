//! The property block of MQTT 5 packets: a view over bytes that were checked when the packet was decoded, or over a
//! slice that the caller wants to encode. In both cases reading is an iteration and copies nothing.

mod getters;
mod property;
mod value;

use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;

pub use property::{Property, PropertyOwner};

use crate::reader::Reader;
use crate::varint::{self, VARINT_MAX};
use crate::{DecodeError, EncodeError};
use property::{Misplaced, Seen};

/// The properties of one packet, in order. Always empty before MQTT 5.
#[derive(Clone, Copy)]
pub struct Properties<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// A block that is legal for its owner, without its length field, and the properties in it.
    Checked { bytes: &'a [u8], seen: Seen },
    /// The caller's properties, checked when they are encoded.
    Given(&'a [Property<'a>]),
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self(Source::Given(&[]));

    /// Properties over a slice. Encoding checks whether the packet may carry them.
    #[inline]
    pub const fn from_slice(properties: &'a [Property<'a>]) -> Self {
        Self(Source::Given(properties))
    }

    /// Properties from a stored block, as [`Properties::copy_where`] writes it: without a length field.
    pub fn from_bytes(bytes: &'a [u8], owner: PropertyOwner) -> Result<Self, DecodeError> {
        let mut seen = Seen::new(owner);
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let property = read_property(&mut reader)?;
            seen.note(&property).map_err(|misplaced| match misplaced {
                Misplaced::Owner => DecodeError::PropertyMisplaced,
                Misplaced::Duplicate => DecodeError::PropertyDuplicate,
            })?;
        }
        if seen.lacks_authentication_method() {
            return Err(DecodeError::AuthenticationMethodMissing);
        }
        Ok(Self(Source::Checked { bytes, seen }))
    }

    /// Reads the block of a packet: its length, then its bytes.
    #[inline]
    pub(crate) fn read(reader: &mut Reader<'a>, owner: PropertyOwner) -> Result<Self, DecodeError> {
        let len = reader.varint()?;
        let bytes = reader.take(len as usize)?;
        // Most packets carry no properties; an AUTH must carry some.
        if bytes.is_empty() && owner != PropertyOwner::Auth {
            return Ok(Self::EMPTY);
        }
        Self::from_bytes(bytes, owner)
    }

    /// Iterates over the properties.
    #[inline]
    pub fn iter(&self) -> PropertiesIter<'a> {
        PropertiesIter(match self.0 {
            Source::Checked { bytes, .. } => IterSource::Checked(Reader::new(bytes)),
            Source::Given(properties) => IterSource::Given(properties.iter()),
        })
    }

    /// The first property with this identifier. In a decoded packet one that is absent costs nothing, and the others are
    /// passed over by their lengths.
    #[inline]
    fn find(&self, id: u8) -> Option<Property<'a>> {
        match self.0 {
            Source::Checked { seen, .. } if !seen.has(id) => None,
            Source::Checked { bytes, .. } => find_checked(bytes, id),
            Source::Given(properties) => properties.iter().find(|property| property.id() == id).copied(),
        }
    }

    /// Whether there are no properties.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        match self.0 {
            Source::Checked { bytes, .. } => bytes.is_empty(),
            Source::Given(properties) => properties.is_empty(),
        }
    }

    /// Appends the properties that `keep` accepts to `out`, in the format that [`Properties::from_bytes`] reads. This
    /// is for storing them, or for forwarding a message without the properties that concern its sender's connection
    /// only.
    pub fn copy_where(
        &self,
        out: &mut Vec<u8>,
        mut keep: impl FnMut(&Property<'a>) -> bool,
    ) -> Result<(), EncodeError> {
        for property in self.iter().filter(|property| keep(property)) {
            out.reserve(property.encoded_len()?);
            property.write(out);
        }
        Ok(())
    }

    /// The length of the block without its length field; an error if `owner` may not carry it.
    #[inline]
    fn block_len(&self, owner: PropertyOwner) -> Result<usize, EncodeError> {
        match self.0 {
            Source::Checked { bytes, seen } if seen.owner() == owner => Ok(bytes.len()),
            Source::Given([]) if owner != PropertyOwner::Auth => Ok(0),
            _ => self.checked_block_len(owner),
        }
    }

    fn checked_block_len(&self, owner: PropertyOwner) -> Result<usize, EncodeError> {
        let mut seen = Seen::new(owner);
        let mut len = 0;
        for property in self.iter() {
            seen.note(&property).map_err(|misplaced| match misplaced {
                Misplaced::Owner => EncodeError::PropertyMisplaced,
                Misplaced::Duplicate => EncodeError::PropertyDuplicate,
            })?;
            len += property.encoded_len()?;
        }
        if seen.lacks_authentication_method() {
            return Err(EncodeError::AuthenticationMethodMissing);
        }
        if len > VARINT_MAX as usize { Err(EncodeError::PacketTooLong) } else { Ok(len) }
    }

    /// The length of the block with its length field; an error if `owner` may not carry it.
    #[inline]
    pub(crate) fn encoded_len(&self, owner: PropertyOwner) -> Result<usize, EncodeError> {
        let len = self.block_len(owner)?;
        Ok(varint::encoded_len(len as u32) + len)
    }

    /// Appends the block with its length field. The caller has called `encoded_len`, and it returned no error.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self.0 {
            Source::Checked { bytes, .. } => {
                varint::write(bytes.len() as u32, out);
                out.extend_from_slice(bytes);
            }
            Source::Given([]) => out.push(0),
            Source::Given(properties) => {
                let len = properties.iter().map(|property| property.encoded_len().unwrap_or(0)).sum::<usize>();
                varint::write(len as u32, out);
                for property in properties {
                    property.write(out);
                }
            }
        }
    }
}

fn find_checked(bytes: &[u8], wanted: u8) -> Option<Property<'_>> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let here = reader;
        let id = reader.varint().ok()?;
        if id == u32::from(wanted) {
            return Property::read(&mut { here }).ok();
        }
        Property::skip(id, &mut reader).ok()?;
    }
    None
}

/// Topic alias 0 has a reason code of its own, which the data type alone cannot tell.
fn read_property<'a>(reader: &mut Reader<'a>) -> Result<Property<'a>, DecodeError> {
    const TOPIC_ALIAS_ZERO: [u8; 3] = [0x23, 0, 0];
    let block = reader.rest();
    Property::read(reader)
        .map_err(|error| if block.starts_with(&TOPIC_ALIAS_ZERO) { DecodeError::TopicAliasZero } else { error })
}

impl Default for Properties<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for Properties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Properties<'_> {}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

/// An iterator over the properties of a packet.
#[derive(Clone, Debug)]
pub struct PropertiesIter<'a>(IterSource<'a>);

#[derive(Clone, Debug)]
enum IterSource<'a> {
    Checked(Reader<'a>),
    Given(core::slice::Iter<'a, Property<'a>>),
}

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = Property<'a>;

    #[inline]
    fn next(&mut self) -> Option<Property<'a>> {
        match &mut self.0 {
            IterSource::Checked(reader) if reader.is_empty() => None,
            // The whole block was checked, so no property fails to be read.
            IterSource::Checked(reader) => Property::read(reader).ok(),
            IterSource::Given(properties) => properties.next().copied(),
        }
    }
}

impl FusedIterator for PropertiesIter<'_> {}

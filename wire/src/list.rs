//! The lists that end some packets (filters with options, filters, reason codes): a view over bytes that were checked
//! when the packet was decoded, or over a slice that the caller wants written.

use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;

use crate::reader::Reader;
use crate::{DecodeError, EncodeError, PacketType, ProtocolVersion};

/// Where a list stands, on which the form of its items depends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) version: ProtocolVersion,
    pub(crate) packet: PacketType,
}

/// What lists are made of.
pub(crate) trait Item<'a>: Copy {
    fn read(reader: &mut Reader<'a>, place: Place) -> Result<Self, DecodeError>;
    fn encoded_len(&self, place: Place) -> Result<usize, EncodeError>;
    fn write(&self, place: Place, out: &mut Vec<u8>);
}

/// A list inside a packet. Reading it is an iteration; nothing is copied.
#[derive(Clone, Copy)]
pub struct List<'a, T>(Source<'a, T>);

#[derive(Clone, Copy)]
enum Source<'a, T> {
    Checked { bytes: &'a [u8], place: Place },
    Given(&'a [T]),
}

impl<'a, T> List<'a, T> {
    /// The list of a slice. Whether a packet may carry it is checked when it is encoded.
    #[inline]
    pub const fn from_slice(items: &'a [T]) -> Self {
        Self(Source::Given(items))
    }

    /// Whether there is no item.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        match self.0 {
            Source::Checked { bytes, .. } => bytes.is_empty(),
            Source::Given(items) => items.is_empty(),
        }
    }
}

#[expect(private_bounds, reason = "the item types are those of the standard, and no others")]
impl<'a, T: Item<'a>> List<'a, T> {
    /// Checks and takes the rest of a packet as a list.
    pub(crate) fn read(mut reader: Reader<'a>, place: Place) -> Result<Self, DecodeError> {
        let bytes = reader.rest();
        while !reader.is_empty() {
            T::read(&mut reader, place)?;
        }
        Ok(Self(Source::Checked { bytes, place }))
    }

    /// The items one by one.
    #[inline]
    pub fn iter(&self) -> ListIter<'a, T> {
        ListIter(match self.0 {
            Source::Checked { bytes, place } => IterSource::Checked { reader: Reader::new(bytes), place },
            Source::Given(items) => IterSource::Given(items.iter()),
        })
    }

    pub(crate) fn encoded_len(&self, place: Place) -> Result<usize, EncodeError> {
        self.iter().map(|item| item.encoded_len(place)).sum()
    }

    pub(crate) fn write(&self, place: Place, out: &mut Vec<u8>) {
        for item in *self {
            item.write(place, out);
        }
    }
}

impl<'a, T: Item<'a> + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Item<'a> + Eq> Eq for List<'a, T> {}

impl<'a, T: Item<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Item<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = ListIter<'a, T>;

    fn into_iter(self) -> ListIter<'a, T> {
        self.iter()
    }
}

/// The items of a list one by one.
#[derive(Clone, Debug)]
pub struct ListIter<'a, T>(IterSource<'a, T>);

#[derive(Clone, Debug)]
enum IterSource<'a, T> {
    Checked { reader: Reader<'a>, place: Place },
    Given(core::slice::Iter<'a, T>),
}

impl<'a, T: Item<'a>> Iterator for ListIter<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            IterSource::Checked { reader, .. } if reader.is_empty() => None,
            // The list was checked as a whole, so no item in it fails to be read.
            IterSource::Checked { reader, place } => T::read(reader, *place).ok(),
            IterSource::Given(items) => items.next().copied(),
        }
    }
}

impl<'a, T: Item<'a>> FusedIterator for ListIter<'a, T> {}

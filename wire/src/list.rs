//! The lists at the end of some packets (filters with options, filters, reason codes): a view over bytes that were
//! checked when the packet was decoded, or over a slice that the caller wants to encode.

use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;

use crate::reader::Reader;
use crate::{DecodeError, EncodeError, PacketType, ProtocolVersion};

/// The packet that a list is in; the encoding of the items depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) version: ProtocolVersion,
    pub(crate) packet: PacketType,
}

/// An item of a list.
pub(crate) trait Item<'a>: Copy {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError>;
    fn encoded_len(&self, context: Context) -> Result<usize, EncodeError>;
    fn write(&self, context: Context, out: &mut Vec<u8>);
}

/// A list inside a packet. Reading it is an iteration and copies nothing.
#[derive(Clone, Copy)]
pub struct List<'a, T>(Source<'a, T>);

#[derive(Clone, Copy)]
enum Source<'a, T> {
    Checked { bytes: &'a [u8], context: Context },
    Given(&'a [T]),
}

impl<'a, T> List<'a, T> {
    /// A list over a slice. Encoding checks whether the packet may carry it.
    #[inline]
    pub const fn from_slice(items: &'a [T]) -> Self {
        Self(Source::Given(items))
    }

    /// Whether the list is empty.
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
    /// Checks the rest of a packet as a list and takes it.
    pub(crate) fn read(mut reader: Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        let bytes = reader.rest();
        while !reader.is_empty() {
            T::read(&mut reader, context)?;
        }
        Ok(Self(Source::Checked { bytes, context }))
    }

    /// Iterates over the items.
    #[inline]
    pub fn iter(&self) -> ListIter<'a, T> {
        ListIter(match self.0 {
            Source::Checked { bytes, context } => IterSource::Checked { reader: Reader::new(bytes), context },
            Source::Given(items) => IterSource::Given(items.iter()),
        })
    }

    pub(crate) fn encoded_len(&self, context: Context) -> Result<usize, EncodeError> {
        self.iter().map(|item| item.encoded_len(context)).sum()
    }

    pub(crate) fn write(&self, context: Context, out: &mut Vec<u8>) {
        for item in *self {
            item.write(context, out);
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

/// An iterator over the items of a list.
#[derive(Clone, Debug)]
pub struct ListIter<'a, T>(IterSource<'a, T>);

#[derive(Clone, Debug)]
enum IterSource<'a, T> {
    Checked { reader: Reader<'a>, context: Context },
    Given(core::slice::Iter<'a, T>),
}

impl<'a, T: Item<'a>> Iterator for ListIter<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            IterSource::Checked { reader, .. } if reader.is_empty() => None,
            // Decoding checked the whole list, so no item fails to be read.
            IterSource::Checked { reader, context } => T::read(reader, *context).ok(),
            IterSource::Given(items) => items.next().copied(),
        }
    }
}

impl<'a, T: Item<'a>> FusedIterator for ListIter<'a, T> {}

//! The format of segments: bytes in, groups and records out. No I/O.
//!
//! A segment is a header and then groups. A group is a header and then records; it has one checksum and is applied whole
//! or not at all. docs/storage.md describes every byte.
//!
//! ```text
//! segment   | header 32 | group | group | group | ... | perhaps a torn tail |
//! group     | header 48 | record | record | ... |
//! ```

mod group;
mod record;
mod segment;
#[cfg(test)]
mod tests;
mod varint;
mod walk;

pub use group::{GROUP_HEADER_BYTES, Group, GroupPlace, Records, close_group};
pub use record::{Malformed, Put, Record, VOID, write_delete, write_dropped, write_put, write_segments};
pub use segment::{
    FORMAT_VERSION, HeaderError, Identity, SEGMENT_HEADER_BYTES, Seal, file_name, identity_of, read_header,
    segment_number, write_header,
};
pub use walk::{Tail, Walk};

//! The memory of a message: a header, and the bytes behind it.

use triomphe::HeaderSlice;
use wisp_wire::QoS;

use crate::store::Key;

/// The memory of a message.
pub(super) type Memory = HeaderSlice<Header, [u8]>;

/// The time at which a message without an expiry interval expires.
pub(super) const NEVER: u64 = u64::MAX;

/// The header at the beginning of a message's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) expires_at_ms: u64,
    /// Length of all bytes behind the header.
    pub(super) body_len: u32,
    pub(super) properties_len: u32,
    pub(super) topic_len: u16,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// The key of the message in the store.
    pub(super) key: Option<Key>,
}

impl Header {
    /// The header of memory without a message.
    pub(super) const UNUSED: Self = Self {
        expires_at_ms: NEVER,
        body_len: 0,
        properties_len: 0,
        topic_len: 0,
        qos: QoS::AtMostOnce,
        retain: false,
        key: None,
    };
}

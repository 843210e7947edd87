//! The keys of objects.

use std::fmt;
use std::num::NonZeroU64;

use wisp_wire::PacketId;

/// The keys of a session: its own, and one for each packet identifier that its client may send at QoS 2.
pub(super) const SESSION_KEYS: u64 = 1 << 16;

/// Names an object. No other object, of any time, has the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(NonZeroU64);

impl Key {
    /// The key with this number, which is not 0.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The key that is `count` further. There are more keys than a broker can give in ten thousand years.
    pub(crate) const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// The key of a packet identifier that the client of a session has sent a message at QoS 2 with.
pub(crate) fn incoming_key(session: Key, id: PacketId) -> Key {
    session.plus(u64::from(id.get()))
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

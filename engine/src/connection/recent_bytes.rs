//! The bytes that a connection has sent lately, which decide whether it is read early or late in a turn.

/// A connection that has sent this many bytes lately is busy.
const BUSY_BYTES: usize = 16 * 1024;

/// Bytes are forgotten at this rate, so a connection is busy if it sends faster for a while. The size of its last read
/// would not tell: a fast sender that is read in each turn has little to read in each.
const FORGOTTEN_BYTES_PER_MS: usize = 1024;

/// No more bytes than these are remembered, so a silent connection is soon no longer busy.
const REMEMBERED_BYTES_MAX: usize = 64 * 1024;

/// The bytes that a connection has sent lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecentBytes {
    bytes: usize,
    at_ms: u64,
}

impl RecentBytes {
    pub(crate) fn add(&mut self, bytes: usize, now_ms: u64) {
        let forgotten = now_ms.saturating_sub(self.at_ms) as usize * FORGOTTEN_BYTES_PER_MS;
        self.bytes = (self.bytes.saturating_sub(forgotten) + bytes).min(REMEMBERED_BYTES_MAX);
        self.at_ms = now_ms;
    }

    pub(crate) fn is_busy(self) -> bool {
        self.bytes >= BUSY_BYTES
    }
}

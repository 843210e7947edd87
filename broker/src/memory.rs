//! When free memory goes back to the system. glibc keeps most of the memory of messages that were stored and fetched.

use std::time::Duration;

use wisp_net::Host;

use crate::state::Server;

/// The fewest freed bytes for which memory is given back, since that takes milliseconds.
const FREED_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// How long memory has to be free. The engine frees the memory that it keeps for the next messages in that time, and a
/// burst after a pause finds its memory where it was.
const FREE_FOR: Duration = Duration::from_secs(5);

/// Follows the bytes in use. One worker has it.
#[derive(Debug, Default)]
pub(crate) struct MemoryRelease {
    /// The most bytes in use since memory was given back.
    peak_bytes: u64,
    /// When much less than that was in use first, without a peak since.
    free_since_ms: Option<u64>,
}

impl MemoryRelease {
    /// Notes that `used_bytes` are in use. True if memory is to be given back now.
    fn is_due(&mut self, used_bytes: u64, now_ms: u64) -> bool {
        self.peak_bytes = self.peak_bytes.max(used_bytes);
        if self.peak_bytes - used_bytes < FREED_BYTES_MIN {
            self.free_since_ms = None;
            return false;
        }
        let free_since_ms = *self.free_since_ms.get_or_insert(now_ms);
        let is_due = now_ms.saturating_sub(free_since_ms) >= FREE_FOR.as_millis() as u64;
        if is_due {
            *self = Self { peak_bytes: used_bytes, free_since_ms: None };
        }
        is_due
    }

    /// Gives free memory back to the system if much has become free. Called regularly.
    pub(crate) fn check<H: Host>(&mut self, server: &Server<H>, now_ms: u64) {
        let stats = server.engine.stats();
        if self.is_due(stats.buffered_bytes + stats.stored_bytes, now_ms) {
            server.host.release_memory();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_much_has_been_free_for_a_while() {
        let mut release = MemoryRelease::default();
        let mib = |count: u64| count << 20;
        let due: Vec<bool> = [
            (100, 250),
            (90, 500),
            (84, 750),
            (60, 5_500),
            (60, 5_750),
            (44, 6_000),
            (50, 9_000),
            (44, 9_250),
            (44, 14_250),
        ]
        .map(|(used, now_ms)| release.is_due(mib(used), now_ms))
        .into();
        assert_eq!(due, [false, false, false, false, true, false, false, false, true]);
    }
}

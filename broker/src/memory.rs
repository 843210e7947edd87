//! When free memory goes back to the system. glibc keeps most of the memory of messages that were stored and fetched.

use std::time::Duration;

use wisp_net::Host;

use crate::state::Server;

/// The fewest freed bytes for which memory is given back, since that takes milliseconds.
const FREED_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// How often memory is given back at most.
const INTERVAL: Duration = Duration::from_secs(5);

/// Follows the bytes in use. One worker has it.
#[derive(Debug, Default)]
pub(crate) struct MemoryRelease {
    /// The most bytes in use since memory was given back.
    peak_bytes: u64,
    released_ms: u64,
}

impl MemoryRelease {
    /// Notes that `used_bytes` are in use. True if memory is to be given back now.
    fn is_due(&mut self, used_bytes: u64, now_ms: u64) -> bool {
        self.peak_bytes = self.peak_bytes.max(used_bytes);
        let waited = now_ms.saturating_sub(self.released_ms) >= INTERVAL.as_millis() as u64;
        let is_due = waited && self.peak_bytes - used_bytes >= FREED_BYTES_MIN;
        if is_due {
            (self.peak_bytes, self.released_ms) = (used_bytes, now_ms);
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
    fn memory_is_given_back_when_much_is_free_and_not_too_often() {
        let mut release = MemoryRelease::default();
        let mib = |count: u64| count << 20;
        let due: Vec<bool> =
            [(0, 6_000), (100, 6_250), (90, 6_500), (84, 6_750), (60, 7_000), (44, 12_000), (40, 18_000)]
                .map(|(used, now_ms)| release.is_due(mib(used), now_ms))
                .into();
        assert_eq!(due, [false, false, false, true, false, true, false]);
    }
}

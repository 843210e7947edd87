//! When free memory goes back to the system. glibc keeps most of the memory of messages that were stored and fetched.

use std::time::Duration;

use wisp_net::Host;

use crate::state::Server;

/// The fewest freed bytes for which memory is given back, since that takes milliseconds.
const FREED_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// How long memory has to be free. A burst after a pause finds its memory where it was.
const FREE_FOR: Duration = Duration::from_secs(4);

/// Follows the bytes in use. One worker has it.
#[derive(Debug, Default)]
pub(crate) struct MemoryRelease {
    /// The most bytes in use since memory was given back.
    peak_bytes: u64,
    /// When much less than that was in use first, without a peak since.
    free_since_ms: Option<u64>,
    /// When memory is given back once more: by then the engine has freed the memory that it kept for the next messages,
    /// which is not among the bytes in use.
    again_ms: Option<u64>,
}

impl MemoryRelease {
    /// Notes that `used_bytes` are in use. True if memory is to be given back now.
    fn is_due(&mut self, used_bytes: u64, now_ms: u64) -> bool {
        self.peak_bytes = self.peak_bytes.max(used_bytes);
        let free_for_ms = FREE_FOR.as_millis() as u64;
        if self.again_ms.is_some_and(|at_ms| now_ms >= at_ms) {
            self.again_ms = None;
            return true;
        }
        if self.peak_bytes - used_bytes < FREED_BYTES_MIN {
            self.free_since_ms = None;
            return false;
        }
        let free_since_ms = *self.free_since_ms.get_or_insert(now_ms);
        let is_due = now_ms.saturating_sub(free_since_ms) >= free_for_ms;
        if is_due {
            *self = Self { peak_bytes: used_bytes, free_since_ms: None, again_ms: Some(now_ms + free_for_ms) };
        }
        is_due
    }

    /// Whether memory may have to be given back later.
    pub(crate) fn is_pending(&self) -> bool {
        self.peak_bytes >= FREED_BYTES_MIN || self.again_ms.is_some()
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

    /// Whether memory is given back, for each number of used MiB and time.
    fn due(release: &mut MemoryRelease, looks: &[(u64, u64)]) -> Vec<bool> {
        looks.iter().map(|(used_mib, now_ms)| release.is_due(used_mib << 20, *now_ms)).collect()
    }

    #[test]
    fn memory_is_given_back_when_much_has_been_free_for_a_while_and_once_more_after_it() {
        let mut release = MemoryRelease::default();
        let looks = [
            (100, 250),
            (90, 500),
            (84, 750),
            (60, 4_500),
            (60, 4_750),
            (45, 5_000),
            (45, 8_500),
            (45, 8_750),
            (45, 9_000),
        ];
        assert_eq!(due(&mut release, &looks), [false, false, false, false, true, false, false, true, false]);
        assert!(release.is_pending(), "45 MiB can become free");
        assert_eq!(
            due(&mut release, &[(0, 10_000), (0, 13_999), (0, 14_000), (0, 18_000)]),
            [false, false, true, true]
        );
        assert!(!release.is_pending());
    }

    #[test]
    fn memory_that_is_needed_again_is_not_given_back() {
        let mut release = MemoryRelease::default();
        let looks = [(100, 0), (50, 1_000), (90, 4_000), (50, 5_000), (50, 8_999), (50, 9_000)];
        assert_eq!(due(&mut release, &looks), [false, false, false, false, false, true]);
    }
}

//! One count of the bytes that wait anywhere in the broker, so that many modest queues cannot add up to too much.

use crate::base::sync::{AtomicU64, AtomicUsize, Ordering};

/// Bytes in use out of a fixed allowance. Shared by all workers, touched once a batch, not once a message.
#[derive(Debug)]
pub(crate) struct Budget {
    used_bytes: AtomicUsize,
    bytes_max: usize,
    /// Bytes of empty buffers that are kept for reuse.
    kept_bytes: AtomicUsize,
    /// Messages dropped because they passed the tolerance.
    overflowed_messages: AtomicU64,
    /// Bytes that sockets have taken.
    sent_bytes: AtomicU64,
    /// How often a queue has dropped messages that were not reported yet.
    drops: AtomicU64,
}

impl Budget {
    /// An allowance of `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            used_bytes: AtomicUsize::new(0),
            bytes_max,
            kept_bytes: AtomicUsize::new(0),
            overflowed_messages: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            drops: AtomicU64::new(0),
        }
    }

    /// Counts `bytes` as in use, whether or not they fit: the caller has asked [`Budget::is_scarce`].
    pub(crate) fn charge(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns `bytes` to the allowance.
    pub(crate) fn release(&self, bytes: usize) {
        let before = self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more bytes released than were charged");
    }

    /// Whether the allowance is used up.
    pub(crate) fn is_scarce(&self) -> bool {
        self.used_bytes() >= self.bytes_max
    }

    /// Whether `bytes` more stay within the tolerance, half as much again as the allowance. It covers messages that
    /// many workers admit at once, and the small shares that keep traffic going while the allowance is used up.
    pub(crate) fn tolerates(&self, bytes: usize) -> bool {
        self.used_bytes().saturating_add(bytes) <= self.bytes_max.saturating_add(self.bytes_max / 2)
    }

    /// Counts `bytes` of an empty buffer as kept for reuse. False if a quarter of the allowance is kept already.
    pub(crate) fn try_keep(&self, bytes: usize) -> bool {
        let before = self.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.bytes_max / 4;
        if !fits {
            self.unkeep(bytes);
        }
        fits
    }

    /// Counts `bytes` as no longer kept.
    pub(crate) fn unkeep(&self, bytes: usize) {
        let before = self.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more bytes released than were kept");
    }

    /// Counts messages that passed the tolerance.
    pub(crate) fn count_overflowed(&self, messages: usize) {
        self.overflowed_messages.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// Messages dropped because all buffers together passed the tolerance.
    pub(crate) fn overflowed_messages(&self) -> u64 {
        self.overflowed_messages.load(Ordering::Relaxed)
    }

    /// Counts bytes that a socket has taken. Beside the bytes in use, which the same send changes.
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that sockets have taken.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Notes that a queue has dropped messages and had none to report before.
    pub(crate) fn note_drop(&self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes when a queue has dropped messages to report.
    pub(crate) fn drops(&self) -> u64 {
        self.drops.load(Ordering::Relaxed)
    }

    /// Bytes in use now.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

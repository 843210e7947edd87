//! One count of the bytes that wait anywhere in the broker, so that many modest queues cannot add up to too much.

use crate::sync::{AtomicUsize, Ordering};

/// Bytes in use out of a fixed allowance. Shared by all workers, touched once a batch, not once a message.
#[derive(Debug)]
pub struct Budget {
    used_bytes: AtomicUsize,
    bytes_max: usize,
}

impl Budget {
    /// An allowance of `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self { used_bytes: AtomicUsize::new(0), bytes_max }
    }

    /// Counts `bytes` as in use, whether or not they fit: the caller asked [`Budget::is_scarce`] before.
    pub fn charge(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives `bytes` back.
    pub fn release(&self, bytes: usize) {
        let before = self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more bytes released than were charged");
    }

    /// Whether the allowance is used up.
    pub fn is_scarce(&self) -> bool {
        self.used_bytes() >= self.bytes_max
    }

    /// Bytes in use now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

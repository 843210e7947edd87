//! The limit on the connections of one listener.

use std::sync::Arc;

use wisp_engine::sync::{AtomicUsize, Ordering};

/// Counts the connections of one listener.
pub(crate) struct Quota {
    max: u32,
    open: Arc<AtomicUsize>,
}

/// One connection of a listener that has a limit. It counts until this is dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Quota {
    pub(crate) fn new(max: u32) -> Self {
        Self { max, open: Arc::default() }
    }

    /// None if the listener has as many connections as allowed.
    pub(crate) fn take(&self) -> Option<Place> {
        // Only the acceptor adds.
        if self.open.load(Ordering::Relaxed) >= self.max as usize {
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Place(Arc::clone(&self.open)))
    }
}

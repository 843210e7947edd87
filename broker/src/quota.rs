//! The limit on the connections of one listener.

use std::sync::Arc;

use wisp_engine::sync::{AtomicU64, Ordering};

/// Counts the connections of one listener. Clones count together.
#[derive(Clone, Default)]
pub(crate) struct Quota(Arc<Counts>);

struct Counts {
    /// `u64::MAX` for any number.
    max: AtomicU64,
    open: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { max: AtomicU64::new(u64::MAX), open: AtomicU64::new(0) }
    }
}

/// One connection of a listener. It counts until this is dropped.
pub(crate) struct Place(Arc<Counts>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Quota {
    pub(crate) fn new(max: Option<u32>) -> Self {
        let quota = Self::default();
        quota.set_max(max);
        quota
    }

    /// Changes the limit for connections to come. True if it was another one.
    pub(crate) fn set_max(&self, max: Option<u32>) -> bool {
        let max = max.map_or(u64::MAX, u64::from);
        self.0.max.swap(max, Ordering::Relaxed) != max
    }

    /// The connections now.
    pub(crate) fn open(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed)
    }

    /// The limit, if there is one.
    pub(crate) fn max(&self) -> Option<u64> {
        Some(self.0.max.load(Ordering::Relaxed)).filter(|max| *max != u64::MAX)
    }

    /// None if the listener has as many connections as allowed.
    pub(crate) fn take(&self) -> Option<Place> {
        // Only the acceptor adds.
        if self.0.open.load(Ordering::Relaxed) >= self.0.max.load(Ordering::Relaxed) {
            return None;
        }
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Some(Place(Arc::clone(&self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_limit_counts_the_connections_that_are_there() {
        let quota = Quota::new(None);
        let mut places: Vec<Place> = (0..3).map(|_| quota.take().unwrap()).collect();
        assert!(quota.set_max(Some(2)) && !quota.set_max(Some(2)));
        assert!(quota.take().is_none());
        places.truncate(1);
        places.extend(quota.take());
        assert!(places.len() == 2 && quota.take().is_none());
        quota.set_max(None);
        assert!(quota.take().is_some());
    }
}

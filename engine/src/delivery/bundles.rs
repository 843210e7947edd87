//! What one worker has routed to each of many places and not yet handed over: each place is then locked once a batch.

use std::sync::Arc;

const NONE: u32 = u32::MAX;

/// A place with a small number of its own.
pub(crate) trait Indexed {
    /// A number no other live place has.
    fn index(&self) -> usize;
}

/// Items for places, in order for each place.
#[derive(Debug)]
pub(crate) struct Bundles<P, T> {
    bundles: Vec<Bundle<P, T>>,
    /// Index into `bundles` by the place's index, or `NONE`.
    bundle_of: Vec<u32>,
    /// Emptied and kept for the next batch.
    spare: Vec<Vec<T>>,
    bytes: usize,
}

/// What one place is to get.
#[derive(Debug)]
struct Bundle<P, T> {
    place: Arc<P>,
    items: Vec<T>,
    bytes: usize,
}

impl<P, T> Default for Bundles<P, T> {
    fn default() -> Self {
        Self { bundles: Vec::new(), bundle_of: Vec::new(), spare: Vec::new(), bytes: 0 }
    }
}

impl<P: Indexed, T> Bundles<P, T> {
    /// Bytes and items for `place` so far.
    pub(crate) fn staged_for(&self, place: &P) -> (usize, usize) {
        match self.bundle_of.get(place.index()) {
            Some(&index) if index != NONE => {
                let bundle = &self.bundles[index as usize];
                (bundle.bytes, bundle.items.len())
            }
            _ => (0, 0),
        }
    }

    /// Bytes for all places.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an item that counts `bytes` there.
    pub(crate) fn stage(&mut self, place: &Arc<P>, item: T, bytes: usize) {
        let slot = place.index();
        if self.bundle_of.len() <= slot {
            self.bundle_of.resize(slot + 1, NONE);
        }
        if self.bundle_of[slot] == NONE {
            self.bundle_of[slot] = self.bundles.len() as u32;
            let items = self.spare.pop().unwrap_or_default();
            self.bundles.push(Bundle { place: Arc::clone(place), items, bytes: 0 });
        }
        let bundle = &mut self.bundles[self.bundle_of[slot] as usize];
        bundle.items.push(item);
        bundle.bytes += bytes;
        self.bytes += bytes;
    }

    /// Hands out what each place is to get, and forgets all. What the closure leaves in its list is dropped.
    pub(crate) fn drain(&mut self, mut deliver: impl FnMut(&Arc<P>, &mut Vec<T>)) {
        const SPARE_MAX: usize = 64;
        for mut bundle in self.bundles.drain(..) {
            self.bundle_of[bundle.place.index()] = NONE;
            deliver(&bundle.place, &mut bundle.items);
            bundle.items.clear();
            if self.spare.len() < SPARE_MAX {
                self.spare.push(bundle.items);
            }
        }
        self.bytes = 0;
    }
}

//! The stored messages that one worker has routed and not yet delivered, bundled by session or queue: each receiver's
//! lock is then taken once a batch.

use std::sync::Arc;

const NONE: u32 = u32::MAX;

/// Something with a dense index.
pub(crate) trait Indexed {
    /// The index. No other live object of its kind has it.
    fn index(&self) -> usize;
}

/// Items for receivers, in order for each receiver.
#[derive(Debug)]
pub(crate) struct Bundles<R, T> {
    bundles: Vec<Bundle<R, T>>,
    /// Index into `bundles` by the receiver's index, or `NONE`.
    bundle_of: Vec<u32>,
    /// Empty lists, kept for the next batch.
    spare: Vec<Vec<T>>,
    bytes: usize,
}

/// The items for one receiver.
#[derive(Debug)]
struct Bundle<R, T> {
    receiver: Arc<R>,
    items: Vec<T>,
    bytes: usize,
}

impl<R, T> Default for Bundles<R, T> {
    fn default() -> Self {
        Self { bundles: Vec::new(), bundle_of: Vec::new(), spare: Vec::new(), bytes: 0 }
    }
}

impl<R: Indexed, T> Bundles<R, T> {
    /// Bytes and items staged for `receiver` so far.
    pub(crate) fn staged_for(&self, receiver: &R) -> (usize, usize) {
        match self.bundle_of.get(receiver.index()) {
            Some(&index) if index != NONE => {
                let bundle = &self.bundles[index as usize];
                (bundle.bytes, bundle.items.len())
            }
            _ => (0, 0),
        }
    }

    /// Receivers with staged items.
    pub(crate) fn receivers(&self) -> usize {
        self.bundles.len()
    }

    /// Bytes staged for all receivers.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Stages an item that counts `bytes` for `receiver`. Inlined, so that the delivery is made in its place in the list: the processor
    /// could copy a delivery that was just made only after it had written the whole message to memory.
    #[inline(always)]
    pub(crate) fn stage(&mut self, receiver: &Arc<R>, item: T, bytes: usize) {
        let slot = receiver.index();
        if self.bundle_of.len() <= slot {
            self.bundle_of.resize(slot + 1, NONE);
        }
        if self.bundle_of[slot] == NONE {
            self.bundle_of[slot] = self.bundles.len() as u32;
            let items = self.spare.pop().unwrap_or_default();
            self.bundles.push(Bundle { receiver: Arc::clone(receiver), items, bytes: 0 });
        }
        let bundle = &mut self.bundles[self.bundle_of[slot] as usize];
        bundle.items.push(item);
        bundle.bytes += bytes;
        self.bytes += bytes;
    }

    /// Passes each receiver's items to `deliver`, and clears the bundles. Items that `deliver` leaves in its list are
    /// dropped.
    pub(crate) fn drain(&mut self, mut deliver: impl FnMut(&Arc<R>, &mut Vec<T>)) {
        const SPARE_MAX: usize = 64;
        for mut bundle in self.bundles.drain(..) {
            self.bundle_of[bundle.receiver.index()] = NONE;
            deliver(&bundle.receiver, &mut bundle.items);
            bundle.items.clear();
            if self.spare.len() < SPARE_MAX {
                self.spare.push(bundle.items);
            }
        }
        self.bytes = 0;
    }
}

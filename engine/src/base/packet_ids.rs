//! A set of packet identifiers in at most 8 KiB, and in much less if they are one after another. A client may have 65,535 messages at QoS 2 between PUBLISH and PUBREL, and
//! in a hash table they take 400 KiB.

use std::sync::Arc;

use wisp_wire::PacketId;

use crate::base::budget::Budget;

/// The identifiers are divided into 256 blocks. Blocks without identifiers take no memory, nor do blocks with all of theirs: clients
/// number their messages one after another.
const BLOCK_IDS: usize = 256;

const WORDS: usize = BLOCK_IDS / 64;

const FULL: Block = [u64::MAX; WORDS];

/// One bit for each identifier of a block.
type Block = [u64; WORDS];

/// A set of packet identifiers. Its memory is charged to a budget.
#[derive(Debug)]
pub(crate) struct PacketIds {
    /// One bit for each block that has some of its identifiers.
    present: Block,
    /// Those blocks, in order.
    blocks: Vec<Block>,
    /// One bit for each block that has all of its identifiers.
    full: Block,
    len: usize,
    budget: Arc<Budget>,
}

/// The bit of an element, and the word that it is in.
fn bit(element: usize) -> (usize, u64) {
    (element / 64, 1 << (element % 64))
}

impl PacketIds {
    /// An empty set that is charged to `budget`.
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self { present: [0; WORDS], blocks: Vec::new(), full: [0; WORDS], len: 0, budget: Arc::clone(budget) }
    }

    /// The number of identifiers.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn is_full(&self, block: usize) -> bool {
        let (word, bit) = bit(block);
        self.full[word] & bit != 0
    }

    /// The position of a block among those with some identifiers: how many come before it; an error if it is none of them.
    fn position(&self, block: usize) -> Result<usize, usize> {
        let (word, bit) = bit(block);
        let before = self.present[..word].iter().map(|word| word.count_ones()).sum::<u32>();
        let position = (before + (self.present[word] & (bit - 1)).count_ones()) as usize;
        if self.present[word] & bit == 0 { Err(position) } else { Ok(position) }
    }

    /// Whether `id` is in the set.
    pub(crate) fn contains(&self, id: PacketId) -> bool {
        let (word, bit) = bit(usize::from(id.get()) % BLOCK_IDS);
        let block = usize::from(id.get()) / BLOCK_IDS;
        self.is_full(block) || self.position(block).is_ok_and(|at| self.blocks[at][word] & bit != 0)
    }

    /// All identifiers, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = PacketId> {
        (1..=u16::MAX).filter_map(PacketId::new).filter(|id| self.contains(*id))
    }

    /// Adds a block at its position.
    fn add_block(&mut self, block: usize, at: usize, ids: Block) {
        let (word, bit) = bit(block);
        self.present[word] |= bit;
        self.blocks.insert(at, ids);
        self.budget.charge(size_of::<Block>());
    }

    /// Removes the block at a position.
    fn remove_block(&mut self, block: usize, at: usize) {
        let (word, bit) = bit(block);
        self.present[word] &= !bit;
        self.blocks.remove(at);
        if self.blocks.is_empty() {
            self.blocks = Vec::new();
        }
        self.budget.release(size_of::<Block>());
    }

    /// Adds `id`. False if it was there.
    pub(crate) fn insert(&mut self, id: PacketId) -> bool {
        let block = usize::from(id.get()) / BLOCK_IDS;
        if self.is_full(block) {
            return false;
        }
        let at = self.position(block).unwrap_or_else(|at| {
            self.add_block(block, at, [0; WORDS]);
            at
        });
        let (word, bit) = bit(usize::from(id.get()) % BLOCK_IDS);
        let is_new = self.blocks[at][word] & bit == 0;
        self.blocks[at][word] |= bit;
        self.len += usize::from(is_new);
        if self.blocks[at] == FULL {
            let (word, bit) = self::bit(block);
            self.full[word] |= bit;
            self.remove_block(block, at);
        }
        is_new
    }

    /// Removes `id`. False if it was not there.
    pub(crate) fn remove(&mut self, id: PacketId) -> bool {
        if !self.contains(id) {
            return false;
        }
        let block = usize::from(id.get()) / BLOCK_IDS;
        let at = self.position(block).unwrap_or_else(|at| {
            let (word, bit) = bit(block);
            self.full[word] &= !bit;
            self.add_block(block, at, FULL);
            at
        });
        let (word, id_bit) = bit(usize::from(id.get()) % BLOCK_IDS);
        self.blocks[at][word] &= !id_bit;
        self.len -= 1;
        if self.blocks[at] == [0; WORDS] {
            self.remove_block(block, at);
        }
        true
    }
}

impl Drop for PacketIds {
    fn drop(&mut self) {
        self.budget.release(self.blocks.len() * size_of::<Block>());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(changes in prop::collection::vec((any::<bool>(), prop_oneof![1..1200_u16, 65_000..=u16::MAX], prop_oneof![Just(1), 1..600_u16]), 0..100)) {
            let budget = Arc::new(Budget::new(usize::MAX));
            let (mut ids, mut model) = (PacketIds::new(&budget), BTreeSet::new());
            let runs = changes.into_iter().flat_map(|(add, first, len)| (first..=first.saturating_add(len - 1)).map(move |number| (add, number)));
            for (add, number) in runs {
                let id = PacketId::new(number).unwrap();
                prop_assert_eq!(ids.contains(id), model.contains(&number));
                if add {
                    prop_assert_eq!(ids.insert(id), model.insert(number));
                } else {
                    prop_assert_eq!(ids.remove(id), model.remove(&number));
                }
                prop_assert_eq!(ids.len(), model.len());
            }
            drop(ids);
            prop_assert_eq!(budget.used_bytes(), 0);
        }
    }

    #[test]
    fn all_identifiers_take_one_block_and_every_second_one_8_kib() {
        let budget = Arc::new(Budget::new(usize::MAX));
        let mut ids = PacketIds::new(&budget);
        (1..=u16::MAX).for_each(|number| assert!(ids.insert(PacketId::new(number).unwrap())));
        // There is no identifier 0, so the first block is never full.
        assert_eq!((ids.len(), budget.used_bytes()), (65_535, size_of::<Block>()));
        (1..=u16::MAX).step_by(2).for_each(|number| assert!(ids.remove(PacketId::new(number).unwrap())));
        assert_eq!((ids.len(), budget.used_bytes(), ids.blocks.capacity()), (32_767, 8 * 1024, BLOCK_IDS));
        (2..=u16::MAX).step_by(2).for_each(|number| assert!(ids.remove(PacketId::new(number).unwrap())));
        assert_eq!((ids.len(), budget.used_bytes()), (0, 0));
    }
}

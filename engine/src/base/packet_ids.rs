//! A set of packet identifiers in at most 8 KiB. A client may have 65,535 messages at QoS 2 between PUBLISH and PUBREL, and
//! in a hash table they take 400 KiB.

use std::sync::Arc;

use wisp_wire::PacketId;

use crate::base::budget::Budget;

/// The identifiers are divided into 256 blocks. Blocks without identifiers take no memory.
const BLOCK_IDS: usize = 256;

const WORDS: usize = BLOCK_IDS / 64;

/// One bit for each identifier of a block.
type Block = [u64; WORDS];

/// A set of packet identifiers. Its memory is charged to a budget.
#[derive(Debug)]
pub(crate) struct PacketIds {
    /// One bit for each block that has identifiers.
    present: Block,
    /// Those blocks, in order.
    blocks: Vec<Block>,
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
        Self { present: [0; WORDS], blocks: Vec::new(), len: 0, budget: Arc::clone(budget) }
    }

    /// The number of identifiers.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The position of a block among those with identifiers: how many come before it; an error if it has none.
    fn position(&self, block: usize) -> Result<usize, usize> {
        let (word, bit) = bit(block);
        let before = self.present[..word].iter().map(|word| word.count_ones()).sum::<u32>();
        let position = (before + (self.present[word] & (bit - 1)).count_ones()) as usize;
        if self.present[word] & bit == 0 { Err(position) } else { Ok(position) }
    }

    /// Whether `id` is in the set.
    pub(crate) fn contains(&self, id: PacketId) -> bool {
        let (word, bit) = bit(usize::from(id.get()) % BLOCK_IDS);
        self.position(usize::from(id.get()) / BLOCK_IDS).is_ok_and(|at| self.blocks[at][word] & bit != 0)
    }

    /// Adds `id`. False if it was there.
    pub(crate) fn insert(&mut self, id: PacketId) -> bool {
        let block = usize::from(id.get()) / BLOCK_IDS;
        let at = self.position(block).unwrap_or_else(|at| {
            let (word, bit) = bit(block);
            self.present[word] |= bit;
            self.blocks.insert(at, [0; WORDS]);
            self.budget.charge(size_of::<Block>());
            at
        });
        let (word, bit) = bit(usize::from(id.get()) % BLOCK_IDS);
        let is_new = self.blocks[at][word] & bit == 0;
        self.blocks[at][word] |= bit;
        self.len += usize::from(is_new);
        is_new
    }

    /// Removes `id`. False if it was not there.
    pub(crate) fn remove(&mut self, id: PacketId) -> bool {
        if !self.contains(id) {
            return false;
        }
        let block = usize::from(id.get()) / BLOCK_IDS;
        let Ok(at) = self.position(block) else { return false };
        let (word, id_bit) = bit(usize::from(id.get()) % BLOCK_IDS);
        self.blocks[at][word] &= !id_bit;
        self.len -= 1;
        if self.blocks[at] == [0; WORDS] {
            let (word, block_bit) = bit(block);
            self.present[word] &= !block_bit;
            self.blocks.remove(at);
            self.budget.release(size_of::<Block>());
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
        fn it_is_a_set_of_numbers(changes in prop::collection::vec((any::<bool>(), prop_oneof![1..1200_u16, 65_000..=u16::MAX]), 0..400)) {
            let budget = Arc::new(Budget::new(usize::MAX));
            let (mut ids, mut model) = (PacketIds::new(&budget), BTreeSet::new());
            for (add, number) in changes {
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
    fn all_identifiers_take_8_kib() {
        let budget = Arc::new(Budget::new(usize::MAX));
        let mut ids = PacketIds::new(&budget);
        (1..=u16::MAX).for_each(|number| assert!(ids.insert(PacketId::new(number).unwrap())));
        assert_eq!((ids.len(), budget.used_bytes(), ids.blocks.capacity()), (65_535, 8 * 1024, BLOCK_IDS));
        (1..=u16::MAX).for_each(|number| assert!(ids.remove(PacketId::new(number).unwrap())));
        assert_eq!((ids.len(), budget.used_bytes()), (0, 0));
    }
}

//! Passwords that were checked lately, so that clients that come back at the same time are let in at once, and one that
//! repeats a wrong password costs nothing.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use wisp_access::{Digest, PasswordHash};

/// Most right passwords remembered, and most wrong ones, twice each.
const RIGHT_MAX: usize = 16 * 1024;
const WRONG_MAX: usize = 1024;

/// The results of checks.
#[derive(Debug, Default)]
pub(super) struct Recent {
    right: Generations<Arc<PasswordHash>>,
    /// Apart, so that a flood of wrong passwords does not displace right ones.
    wrong: Generations<()>,
}

/// Entries in two maps. When the young map is full it becomes the old one, and the entries of the old map are forgotten.
#[derive(Debug)]
struct Generations<V> {
    young: HashMap<Digest, V, RandomState>,
    old: HashMap<Digest, V, RandomState>,
}

impl<V> Default for Generations<V> {
    fn default() -> Self {
        Self { young: HashMap::default(), old: HashMap::default() }
    }
}

impl<V: Clone> Generations<V> {
    fn get(&mut self, digest: &Digest, max: usize) -> Option<V> {
        if let Some(value) = self.young.get(digest) {
            return Some(value.clone());
        }
        let value = self.old.remove(digest)?;
        self.insert(*digest, value.clone(), max);
        Some(value)
    }

    fn insert(&mut self, digest: Digest, value: V, max: usize) {
        if self.young.len() >= max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, value);
    }
}

impl Recent {
    /// The hash that the password was right for; `Some(None)` if it was wrong.
    pub(super) fn get(&mut self, digest: &Digest) -> Option<Option<Arc<PasswordHash>>> {
        let right = self.right.get(digest, RIGHT_MAX);
        right.map(Some).or_else(|| self.wrong.get(digest, WRONG_MAX).map(|()| None))
    }

    /// Remembers the result of a check.
    pub(super) fn insert(&mut self, digest: Digest, found: Option<Arc<PasswordHash>>) {
        match found {
            Some(hash) => self.right.insert(digest, hash, RIGHT_MAX),
            None => self.wrong.insert(digest, (), WRONG_MAX),
        }
    }

    /// Forgets all results.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use wisp_access::{DigestKey, HashKind, Memory, SALT_BYTES};

    use super::*;

    #[test]
    fn a_flood_of_wrong_passwords_takes_bounded_memory_and_displaces_no_right_one() {
        let (key, mut recent) = (DigestKey::new([1; 32]), Recent::default());
        let hash = PasswordHash::new(HashKind::Sha512, b"p", [1; SALT_BYTES], &mut Memory::default()).unwrap();
        let right = key.digest("joe", b"p");
        recent.insert(right, Some(Arc::new(hash)));
        for number in 0..5 * WRONG_MAX {
            recent.insert(key.digest("joe", number.to_string().as_bytes()), None);
        }
        assert!(recent.get(&right).is_some_and(|found| found.is_some()));
        assert!(recent.wrong.young.len() + recent.wrong.old.len() <= 2 * WRONG_MAX);
        let last = key.digest("joe", (5 * WRONG_MAX - 1).to_string().as_bytes());
        assert_eq!((recent.get(&last), recent.get(&key.digest("joe", b"0"))), (Some(None), None));
        recent.clear();
        assert!(recent.get(&right).is_none() && recent.get(&last).is_none());
    }

    #[test]
    fn entries_that_are_used_stay() {
        let key = DigestKey::new([1; 32]);
        let mut used = Generations::default();
        for number in 0..10_u32 {
            used.insert(key.digest("u", &number.to_be_bytes()), number, 3);
            assert_eq!(used.get(&key.digest("u", &0_u32.to_be_bytes()), 3), Some(0), "after {number}");
            assert!(used.young.len() + used.old.len() <= 6);
        }
    }
}

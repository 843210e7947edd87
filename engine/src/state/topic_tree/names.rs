//! The names of topic levels as small numbers. A tree has the same few names at very many places; a number takes less memory
//! there, and is compared without a look at the name.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// A name of a topic level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name(u32);

impl Name {
    /// A name that no filter has.
    pub(super) const UNKNOWN: Self = Self(u32::MAX);
}

/// A set of names, in which different names may be the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameSet(u64);

impl NameSet {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self(u64::MAX);

    /// The set with one more name. [`Name::UNKNOWN`] is in no set, since no filter has it.
    pub(super) fn with(self, name: Name) -> Self {
        if name == Name::UNKNOWN { self } else { Self(self.0 | 1 << (name.0 % u64::BITS)) }
    }

    /// The names that are in both sets.
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it has all of these names.
    pub(super) fn has(self, names: Self) -> bool {
        names.0 & !self.0 == 0
    }
}

/// The names that filters have.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<Box<str>, Known, RandomState>,
    /// Numbers that are no longer used.
    free: Vec<u32>,
}

#[derive(Debug)]
struct Known {
    name: Name,
    /// The places that have the name.
    uses: u32,
}

impl Names {
    pub(super) fn get(&self, text: &str) -> Name {
        self.known.get(text).map_or(Name::UNKNOWN, |known| known.name)
    }

    /// Notes that one more place has the name.
    pub(super) fn add(&mut self, text: &str) -> Name {
        if let Some(known) = self.known.get_mut(text) {
            known.uses += 1;
            return known.name;
        }
        let name = Name(self.free.pop().unwrap_or(self.known.len() as u32));
        self.known.insert(text.into(), Known { name, uses: 1 });
        name
    }

    /// Notes that one place has the name no longer.
    pub(super) fn remove(&mut self, text: &str) {
        let Some(known) = self.known.get_mut(text) else {
            debug_assert!(false, "a name that a place has is known");
            return;
        };
        known.uses -= 1;
        if known.uses == 0 {
            self.free.push(known.name.0);
            self.known.remove(text);
        }
        if self.known.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_free_again_when_no_place_has_its_name() {
        let mut names = Names::default();
        let (a, b) = (names.add("a"), names.add("b"));
        assert_eq!((names.add("a"), names.get("b"), names.get("c")), (a, b, Name::UNKNOWN));
        names.remove("a");
        assert_eq!(names.get("a"), a);
        names.remove("a");
        assert_eq!(names.get("a"), Name::UNKNOWN);
        assert_eq!((names.add("c"), names.get("b")), (a, b));
        assert!(names.add("d") != b && names.get("d") != a);
    }
}

//! The children of a level of the subscription tree. Most levels have one or a few, some have very many.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Up to this many children lie in a vector, in no order.
const FEW_MAX: usize = 8;

/// Nodes (`N`) by the names of their levels.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "there is a node for each level of each filter, and few of them have a map")]
pub(super) enum Children<N> {
    Few(Vec<(Box<str>, N)>),
    /// Stays a map when children are removed, since others are likely to come.
    Many(Box<HashMap<Box<str>, N, RandomState>>),
}

impl<N> Default for Children<N> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<N: Default> Children<N> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    pub(super) fn get(&self, level: &str) -> Option<&N> {
        match self {
            Self::Few(few) => few.iter().find(|(name, _)| **name == *level).map(|(_, node)| node),
            Self::Many(many) => many.get(level),
        }
    }

    pub(super) fn get_mut(&mut self, level: &str) -> Option<&mut N> {
        match self {
            Self::Few(few) => few.iter_mut().find(|(name, _)| **name == *level).map(|(_, node)| node),
            Self::Many(many) => many.get_mut(level),
        }
    }

    /// The child with this name, created if it is missing.
    pub(super) fn get_or_insert(&mut self, level: &str) -> &mut N {
        if let Self::Few(few) = self
            && few.len() == FEW_MAX
            && few.iter().all(|(name, _)| **name != *level)
        {
            *self = Self::Many(Box::new(few.drain(..).collect()));
        }
        match self {
            Self::Few(few) => {
                let place = few.iter().position(|(name, _)| **name == *level).unwrap_or_else(|| {
                    if few.is_empty() {
                        few.reserve_exact(1);
                    }
                    few.push((level.into(), N::default()));
                    few.len() - 1
                });
                &mut few[place].1
            }
            Self::Many(many) => many.entry(level.into()).or_default(),
        }
    }

    pub(super) fn remove(&mut self, level: &str) {
        match self {
            Self::Few(few) => few.retain(|(name, _)| **name != *level),
            Self::Many(many) => drop(many.remove(level)),
        }
    }
}

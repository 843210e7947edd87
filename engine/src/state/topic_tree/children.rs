//! The children of a level of the subscription tree. Most levels have one or a few, some have very many.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::names::Name;

/// Up to this many children lie in a vector, in no order.
const FEW_MAX: usize = 8;

/// Nodes (`N`) by the names of their levels.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "there is a node for each level of each filter, and few of them have a vector or map"
)]
pub(super) enum Children<N> {
    #[default]
    None,
    One(Name, N),
    Few(Box<Vec<(Name, N)>>),
    /// Stays a map when children are removed, since others are likely to come.
    Many(Box<HashMap<Name, N, RandomState>>),
}

impl<N: Default> Children<N> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(..) => false,
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    #[inline]
    pub(super) fn get(&self, level: Name) -> Option<&N> {
        match self {
            Self::None => None,
            Self::One(name, node) => (*name == level).then_some(node),
            Self::Few(few) => few.iter().find(|(name, _)| *name == level).map(|(_, node)| node),
            Self::Many(many) => many.get(&level),
        }
    }

    pub(super) fn get_mut(&mut self, level: Name) -> Option<&mut N> {
        match self {
            Self::None => None,
            Self::One(name, node) => (*name == level).then_some(node),
            Self::Few(few) => few.iter_mut().find(|(name, _)| *name == level).map(|(_, node)| node),
            Self::Many(many) => many.get_mut(&level),
        }
    }

    /// Adds an empty child with a name that no other child has.
    pub(super) fn add(&mut self, level: Name) {
        debug_assert!(self.get(level).is_none(), "a child is added once");
        *self = match std::mem::take(self) {
            Self::None => Self::One(level, N::default()),
            Self::One(name, node) => Self::Few(Box::new(vec![(name, node), (level, N::default())])),
            Self::Few(few) if few.len() == FEW_MAX => {
                let all = few.into_iter().chain([(level, N::default())]);
                Self::Many(Box::new(all.collect()))
            }
            Self::Few(mut few) => {
                few.push((level, N::default()));
                Self::Few(few)
            }
            Self::Many(mut many) => {
                many.insert(level, N::default());
                Self::Many(many)
            }
        };
    }

    pub(super) fn remove(&mut self, level: Name) {
        match self {
            Self::None => {}
            Self::One(name, _) if *name != level => {}
            Self::One(..) => *self = Self::None,
            Self::Few(few) => few.retain(|(name, _)| *name != level),
            Self::Many(many) => drop(many.remove(&level)),
        }
    }
}

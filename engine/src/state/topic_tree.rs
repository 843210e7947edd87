//! Subscriptions by topic filter: one tree of topic levels behind a reader-writer lock.
//!
//! Workers do not search it for each message: they cache resolved topics (see [`crate::ops::routes`]) until the topic's
//! epoch changes, which it does with every change of a subscription that may match ([`self::epochs`]).

mod children;
mod epochs;
mod names;

use std::str::Split;

use wisp_wire::{TopicFilter, TopicName};

use self::children::Children;
use self::epochs::Epochs;
pub(crate) use self::epochs::TopicEpochs;
use self::names::{Name, NameSet, Names};
use crate::base::limits::Limits;
use crate::base::reached::LimitName;
use crate::base::sync::{RwLock, rank};
use crate::delivery::bundles::Indexed;
use crate::state::subscribers::Subscribers;

/// All subscriptions.
#[derive(Debug)]
pub(crate) struct TopicTree<S> {
    tree: RwLock<Tree<S>, { rank::TREE }>,
    epochs: Epochs,
}

#[derive(Debug)]
struct Tree<S> {
    root: Node<S>,
    names: Names,
}

/// One level of the tree. The path to a node spells a filter, without its `#`. With a topic for each client there are
/// as many nodes as clients, so an empty part takes little memory. A look-up of a topic that matches nothing may visit very many
/// nodes, so the parts that it needs lie together.
#[derive(Debug)]
struct Node<S> {
    children: Children<Box<Node<S>>>,
    /// The child for `+`.
    any: Option<Box<Node<S>>>,
    /// Subscriptions to the path.
    exact: Subscribers<S>,
    /// Subscriptions to the path and all below it: `path/#`.
    below: Option<Box<Subscribers<S>>>,
    /// Names that each filter below the path has, or fewer: a topic without them matches none of these filters. So it does not
    /// visit all combinations of `+` and names, which double with each level.
    needs: NameSet,
}

impl<S> Default for TopicTree<S> {
    fn default() -> Self {
        Self { tree: RwLock::new(Tree { root: Node::default(), names: Names::default() }), epochs: Epochs::default() }
    }
}

impl<S> Default for Node<S> {
    fn default() -> Self {
        Self {
            children: Children::default(),
            any: None,
            exact: Subscribers::default(),
            below: None,
            needs: NameSet::ALL,
        }
    }
}

impl<S: Indexed + Clone> TopicTree<S> {
    /// Adds a subscription, or replaces the one the receiver has to the same filter. True if there was one.
    pub(crate) fn subscribe(&self, filter: TopicFilter<'_>, subscriber: S) -> bool {
        let mut tree = self.tree.write();
        let Tree { root, names } = &mut *tree;
        let (replaced, _) = root.insert(filter.as_str().split('/'), subscriber, names);
        self.invalidate(filter);
        replaced
    }

    /// Removes the subscription to `filter` of the session or queue with this index. False if there is none.
    pub(crate) fn unsubscribe(&self, filter: TopicFilter<'_>, index: usize) -> bool {
        let levels: Vec<&str> = filter.as_str().split('/').collect();
        let mut tree = self.tree.write();
        let Tree { root, names } = &mut *tree;
        let removed = root.remove(&levels, index, names);
        if root.is_empty() {
            *root = Node::default();
        }
        self.invalidate(filter);
        removed
    }

    /// Makes every worker resolve the topics again that match `filter`.
    pub(crate) fn invalidate(&self, filter: TopicFilter<'_>) {
        self.epochs.note_change(filter.as_str());
    }

    /// Makes every worker resolve all topics again.
    pub(crate) fn invalidate_all(&self) {
        self.epochs.note_change_of_all();
    }

    /// The subscriptions that match `topic`, in no order.
    pub(crate) fn matching(&self, topic: TopicName<'_>) -> Vec<S> {
        let (mut found, tree) = (Vec::new(), self.tree.read());
        let levels: Vec<Name> = topic.as_str().split('/').map(|level| tree.names.get(level)).collect();
        // Wildcards at the first level do not match topics that begin with `$` [MQTT-4.7.2-1].
        let wildcards = !topic.as_str().starts_with('$');
        let names = levels.iter().fold(NameSet::NONE, |all, level| all.with(*level));
        tree.root.collect(&levels, (names, wildcards), &mut |subscribers| found.extend_from_slice(subscribers));
        found
    }

    /// The subscription to `filter` of the session or queue with this index.
    pub(crate) fn get(&self, filter: TopicFilter<'_>, index: usize) -> Option<S> {
        let tree = self.tree.read();
        let mut node = &tree.root;
        for level in filter.as_str().split('/') {
            node = match level {
                "#" => return node.below.as_ref()?.get(index).cloned(),
                "+" => node.any.as_deref()?,
                level => node.children.get(tree.names.get(level))?,
            };
        }
        node.exact.get(index).cloned()
    }

    /// Changes whenever a subscription does that may match the topic.
    #[inline]
    pub(crate) fn epoch(&self, topic: TopicEpochs) -> u64 {
        self.epochs.sum(topic)
    }

    /// The counts of changes that concern `topic`.
    pub(crate) fn epochs_of(&self, topic: TopicName<'_>) -> TopicEpochs {
        TopicEpochs::of(topic.as_str())
    }

    /// Changes whenever any subscription does.
    pub(crate) fn changes(&self) -> u64 {
        self.epochs.changes()
    }
}

impl<S: Indexed> Node<S> {
    /// Adds a subscription to the filter with these levels. True if it replaces one, and the names that the levels have.
    fn insert(&mut self, mut levels: Split<'_, char>, subscriber: S, names: &mut Names) -> (bool, NameSet) {
        let (replaced, needs) = match levels.next() {
            None => (self.exact.insert(subscriber), NameSet::NONE),
            Some("#") => (self.below.get_or_insert_default().insert(subscriber), NameSet::NONE),
            Some("+") => self.any.get_or_insert_default().insert(levels, subscriber, names),
            Some(level) => {
                let mut name = names.get(level);
                if self.children.get(name).is_none() {
                    name = names.add(level);
                    self.children.add(name);
                }
                let child = self.children.get_mut(name).expect("it was there or is added");
                let (replaced, needs) = child.insert(levels, subscriber, names);
                (replaced, needs.with(name))
            }
        };
        self.needs = self.needs.and(needs);
        (replaced, needs)
    }

    /// Removes one subscription and every node left empty on its path.
    fn remove(&mut self, levels: &[&str], index: usize, names: &mut Names) -> bool {
        match levels {
            [] => self.exact.remove(index),
            ["#"] => {
                let Some(below) = &mut self.below else { return false };
                let removed = below.remove(index);
                if below.all.is_empty() {
                    self.below = None;
                }
                removed
            }
            ["+", rest @ ..] => {
                let Some(child) = &mut self.any else { return false };
                let removed = child.remove(rest, index, names);
                if child.is_empty() {
                    self.any = None;
                }
                removed
            }
            [level, rest @ ..] => {
                let name = names.get(level);
                let Some(child) = self.children.get_mut(name) else { return false };
                let removed = child.remove(rest, index, names);
                if child.is_empty() {
                    self.children.remove(name);
                    names.remove(level);
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.any.is_none() && self.exact.all.is_empty() && self.below.is_none()
    }

    /// Calls `found` with each list of subscriptions that match `rest`, the levels not yet walked of a topic with these names.
    fn collect(&self, rest: &[Name], (names, wildcards): (NameSet, bool), found: &mut impl FnMut(&[S])) {
        if !names.has(self.needs) {
            return;
        }
        if let Some(below) = self.below.as_deref().filter(|_| wildcards) {
            found(&below.all);
        }
        let Some((level, deeper)) = rest.split_first() else {
            found(&self.exact.all);
            return;
        };
        if let Some(child) = self.children.get(*level) {
            child.collect(deeper, (names, true), found);
        }
        if let Some(any) = self.any.as_deref().filter(|_| wildcards) {
            any.collect(deeper, (names, true), found);
        }
    }
}

/// The reason why a topic name that the standard allows is not routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicTooLarge {
    /// More levels than [`Limits::topic_levels_max`].
    Levels,
    /// More bytes than [`Limits::topic_bytes_max`].
    Bytes,
}

impl TopicTooLarge {
    /// The limit that it exceeds.
    pub(crate) fn limit(self) -> LimitName {
        match self {
            Self::Levels => LimitName::TopicLevels,
            Self::Bytes => LimitName::TopicBytes,
        }
    }

    /// Checks a topic name or filter against the limits.
    pub(crate) fn check(topic: &str, limits: &Limits) -> Result<(), Self> {
        if topic.len() > usize::from(limits.topic_bytes_max) {
            return Err(Self::Bytes);
        }
        let levels = 1 + topic.bytes().filter(|&byte| byte == b'/').count();
        if levels > usize::from(limits.topic_levels_max) {
            return Err(Self::Levels);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Numbered(usize);

    impl Indexed for Numbered {
        fn index(&self) -> usize {
            self.0
        }
    }

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    #[test]
    fn the_same_filter_again_replaces_the_subscription() {
        let tree = TopicTree::default();
        assert!(!tree.subscribe(filter("a"), Numbered(1)));
        assert!(tree.subscribe(filter("a"), Numbered(1)));
        assert_eq!(tree.matching(TopicName::new("a").unwrap()), [Numbered(1)]);
    }

    #[test]
    fn unsubscribing_leaves_no_nodes() {
        let tree = TopicTree::default();
        for text in ["a/b/c", "+/b", "a/#", "/", "#"] {
            tree.subscribe(filter(text), Numbered(7));
            assert!(tree.unsubscribe(filter(text), 7));
            assert!(!tree.unsubscribe(filter(text), 7));
        }
        assert!(tree.tree.read().root.is_empty());
        assert_eq!(tree.tree.read().names.get("a"), Name::UNKNOWN);
    }

    #[test]
    fn topics_beyond_the_limits_are_refused() {
        let limits = Limits { topic_levels_max: 3, topic_bytes_max: 8, ..Limits::DEFAULT };
        assert_eq!(TopicTooLarge::check("a/b/c", &limits), Ok(()));
        assert_eq!(TopicTooLarge::check("a/b/c/d", &limits), Err(TopicTooLarge::Levels));
        assert_eq!(TopicTooLarge::check("123456789", &limits), Err(TopicTooLarge::Bytes));
    }

    fn some_filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("+"), Just("$s")];
        (prop::collection::vec(level, 1..4), any::<bool>()).prop_map(|(levels, all_below)| {
            let path = levels.join("/");
            if all_below { path + "/#" } else { path }
        })
    }

    #[test]
    fn a_topic_without_a_name_that_all_filters_have_visits_none_of_them() {
        let tree = TopicTree::default();
        for number in 0..1 << 10 {
            let levels: Vec<&str> = (0..10).map(|level| if number >> level & 1 == 1 { "+" } else { "a" }).collect();
            tree.subscribe(filter(&(levels.join("/") + "/z")), Numbered(number));
        }
        let topic = |last: &str| ["a"; 10].join("/") + last;
        assert_eq!(tree.matching(TopicName::new(&topic("/z")).unwrap()).len(), 1 << 10);
        let names = NameSet::NONE.with(tree.tree.read().names.get("a"));
        assert!(!names.has(tree.tree.read().root.needs));
        assert_eq!(tree.matching(TopicName::new(&topic("/b")).unwrap()), []);
        tree.subscribe(filter("a/#"), Numbered(7));
        assert_eq!(tree.matching(TopicName::new(&topic("/b")).unwrap()), [Numbered(7)]);
    }

    proptest! {
        /// The tree finds exactly the subscriptions with a filter that matches by the definition.
        #[test]
        fn the_tree_agrees_with_matching_one_by_one(
            filters in prop::collection::vec(some_filter().prop_filter("legal", |f| TopicFilter::new(f).is_ok()), 1..12),
            removed in prop::collection::vec(any::<bool>(), 12),
            name in "(a|b|\\$s|)(/(a|b|)){0,3}",
        ) {
            prop_assume!(TopicName::new(&name).is_ok());
            let topic = TopicName::new(&name).unwrap();
            let tree = TopicTree::default();
            for (index, text) in filters.iter().enumerate() {
                tree.subscribe(filter(text), Numbered(index));
            }
            for (index, text) in filters.iter().enumerate().filter(|(index, _)| removed[*index]) {
                prop_assert!(tree.unsubscribe(filter(text), index));
            }
            let mut found: Vec<usize> = tree.matching(topic).iter().map(|found| found.0).collect();
            found.sort_unstable();
            let expected: Vec<usize> = filters.iter().enumerate()
                .filter(|(index, text)| !removed[*index] && filter(text).matches(topic))
                .map(|(index, _)| index)
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}

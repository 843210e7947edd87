//! Rules by the levels of their topics. A topic is looked up level by level, so that the number of rules hardly matters.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Most levels of a rule. Longer topics are no use to a client: the broker allows at most as many.
pub(super) const LEVELS_MAX: usize = 1024;

/// The accesses of the rules that end in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(u8);

impl Set {
    pub(super) const NONE: Self = Self(0);
    pub(super) const READ: Self = Self(1);
    pub(super) const WRITE: Self = Self(2);
    pub(super) const READ_WRITE: Self = Self(3);
    pub(super) const DENY: Self = Self(4);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The names that `%u` and `%c` stand for.
pub(super) struct Names<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) id: &'a str,
}

/// The rules of one section.
#[derive(Debug, Default)]
pub(super) struct RuleTree(Node);

#[derive(Debug, Default)]
struct Node {
    /// Rules that end here.
    here: Set,
    /// Rules that end here and on all levels below.
    below: Set,
    children: HashMap<Box<str>, Node, RandomState>,
    /// Rarely used, and boxed to keep nodes small.
    others: Option<Box<Others>>,
}

/// The children that are no text.
#[derive(Debug, Default)]
struct Others {
    any: Option<Node>,
    user: Option<Node>,
    id: Option<Node>,
}

impl RuleTree {
    /// Adds a rule. `has_names`: whether `%u` and `%c` stand for names.
    pub(super) fn add(&mut self, filter: &str, set: Set, has_names: bool) {
        let mut node = &mut self.0;
        for level in filter.split('/') {
            node = match level {
                "#" => {
                    node.below.add(set);
                    return;
                }
                "+" => node.others.get_or_insert_default().any.get_or_insert_default(),
                "%u" if has_names => node.others.get_or_insert_default().user.get_or_insert_default(),
                "%c" if has_names => node.others.get_or_insert_default().id.get_or_insert_default(),
                text => node.children.entry(text.into()).or_default(),
            };
        }
        node.here.add(set);
    }

    /// The accesses of all rules that match a topic. A topic that begins with `$` needs rules that do.
    pub(super) fn find(&self, topic: &str, names: &Names<'_>) -> Set {
        let mut found = Set::NONE;
        if topic.starts_with('$') {
            let (first, rest) = topic.split_once('/').map_or((topic, None), |(first, rest)| (first, Some(rest)));
            if let Some(child) = self.0.children.get(first) {
                child.collect(rest, names, &mut found);
            }
        } else {
            self.0.collect(Some(topic), names, &mut found);
        }
        found
    }
}

impl Node {
    /// Adds the accesses of the rules that match `rest`; `None` behind the last level. A node is visited at most once, and
    /// the depth is that of the longest rule.
    fn collect(&self, rest: Option<&str>, names: &Names<'_>, found: &mut Set) {
        found.add(self.below);
        let Some(rest) = rest else {
            found.add(self.here);
            return;
        };
        let (level, rest) = rest.split_once('/').map_or((rest, None), |(level, rest)| (level, Some(rest)));
        if let Some(child) = self.children.get(level) {
            child.collect(rest, names, found);
        }
        let Some(others) = &self.others else { return };
        if let Some(any) = &others.any {
            any.collect(rest, names, found);
        }
        if let Some(user) = others.user.as_ref().filter(|_| names.user == Some(level)) {
            user.collect(rest, names, found);
        }
        if let Some(id) = others.id.as_ref().filter(|_| names.id == level) {
            id.collect(rest, names, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wisp_wire::{TopicFilter, TopicName};

    use super::*;

    /// A rule matches as the filter of a subscription does, each `%u` and `%c` replaced by a name without wildcards.
    fn matches(filter: &str, topic: &str, names: &Names<'_>) -> bool {
        let is_written = |level: &str| level != "%u" || names.user.is_some();
        let levels = filter.split('/').map(|level| match level {
            "%u" => names.user.unwrap_or_default(),
            "%c" => names.id,
            level => level,
        });
        let text = levels.collect::<Vec<_>>().join("/");
        let starts_alike = !topic.starts_with('$') || filter.starts_with('$');
        filter.split('/').all(is_written)
            && starts_alike
            && TopicFilter::new(&text).unwrap().matches(TopicName::new(topic).unwrap())
    }

    proptest! {
        #[test]
        fn a_tree_finds_the_rules_that_match(
            rules in prop::collection::vec(("(a|b|%u|%c|\\+|\\$s|)(/(a|b|%u|%c|\\+|)){0,3}(/#)?|#", 1..8_u8), 0..12),
            topics in prop::collection::vec("(a|b|u|c|%u|\\$s|)(/(a|b|u|c|%u|)){0,4}", 1..8),
            user in prop::option::of("u|a|%u"),
            id in "c|b|%c",
        ) {
            let names = Names { user: user.as_deref(), id: &id };
            let mut tree = RuleTree::default();
            for (filter, set) in rules.iter().filter(|(filter, _)| !filter.is_empty()) {
                tree.add(filter, Set(*set), true);
            }
            for topic in topics.iter().filter(|topic| !topic.is_empty()) {
                let mut expected = Set::NONE;
                for (filter, set) in rules.iter().filter(|(filter, _)| !filter.is_empty()) {
                    if matches(filter, topic, &names) {
                        expected.add(Set(*set));
                    }
                }
                prop_assert_eq!(tree.find(topic, &names), expected, "{}", topic);
            }
        }
    }

    #[test]
    fn rules_of_the_most_levels_and_topics_of_any_are_looked_up() {
        let mut tree = RuleTree::default();
        tree.add(&vec!["+"; LEVELS_MAX].join("/"), Set::READ, false);
        let names = Names { user: None, id: "c" };
        assert!(tree.find(&vec!["a"; LEVELS_MAX].join("/"), &names).has(Set::READ));
        assert_eq!(tree.find(&vec!["a"; 65_000].join("/"), &names), Set::NONE);
    }
}

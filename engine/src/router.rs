//! Step 5 of a message's way: topic name in, the queues that want it out.
//!
//! Subscriptions live in one tree of topic levels behind a reader-writer lock. Workers do not touch it once a message:
//! each keeps a [`RouteCache`] of resolved topics and throws it away when the router's epoch has moved, which it does
//! with every change of a subscription.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use wisp_wire::{TopicFilter, TopicName};

use crate::limits::Limits;
use crate::queue::Queue;
use crate::sync::{AtomicU64, Ordering, RwLock};
use crate::targets::Targets;

/// Someone who gets what is published to a topic.
#[derive(Clone, Debug)]
pub struct Target {
    /// The receiver.
    pub queue: Arc<Queue>,
    /// Not to be sent what it published itself (MQTT 5 section 3.8.3.1).
    pub no_local: bool,
}

/// Everyone who gets what is published to a topic, each receiver once.
pub type Route = Vec<Target>;

/// All subscriptions.
#[derive(Debug, Default)]
pub struct Router {
    tree: RwLock<Node>,
    epoch: AtomicU64,
}

/// One level of the tree. The path to a node spells a filter, without its `#`.
#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node, RandomState>,
    /// The child for `+`.
    any: Option<Box<Node>>,
    /// Subscriptions to the path.
    exact: Targets,
    /// Subscriptions to the path and all below it: `path/#`.
    below: Targets,
}

impl Router {
    /// Adds a subscription, or replaces the one the receiver has to the same filter. True if there was one.
    pub fn subscribe(&self, filter: TopicFilter<'_>, target: Target) -> bool {
        let mut tree = self.tree.write();
        let replaced = tree.place(filter).insert(target);
        self.epoch.fetch_add(1, Ordering::Release);
        replaced
    }

    /// Removes the receiver's subscription to `filter`. False if there is none.
    pub fn unsubscribe(&self, filter: TopicFilter<'_>, queue: &Queue) -> bool {
        let levels: Vec<&str> = filter.as_str().split('/').collect();
        let mut tree = self.tree.write();
        let removed = tree.remove(&levels, queue.index());
        self.epoch.fetch_add(1, Ordering::Release);
        removed
    }

    /// Everyone who gets what is published to `topic`.
    pub fn route(&self, topic: TopicName<'_>) -> Route {
        let mut route = Route::new();
        let mut lists = 0;
        self.tree.read().collect(topic.as_str(), true, &mut |found| {
            lists += usize::from(!found.is_empty());
            route.extend_from_slice(found);
        });
        if lists > 1 {
            // One receiver may have several subscriptions that match; it is held back from its own messages only if
            // each of them says so.
            route.sort_unstable_by_key(|target| target.queue.index());
            route.dedup_by(|again, kept| {
                let same = again.queue.index() == kept.queue.index();
                kept.no_local &= again.no_local || !same;
                same
            });
        }
        route
    }

    /// Changes whenever a subscription does.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

impl Node {
    fn place(&mut self, filter: TopicFilter<'_>) -> &mut Targets {
        let mut node = self;
        for level in filter.as_str().split('/') {
            node = match level {
                "#" => return &mut node.below,
                "+" => node.any.get_or_insert_default(),
                _ => {
                    if !node.children.contains_key(level) {
                        node.children.insert(level.into(), Node::default());
                    }
                    node.children.get_mut(level).expect("was inserted above if it was not there")
                }
            };
        }
        &mut node.exact
    }

    /// Removes one subscription and every node left empty on the way to it.
    fn remove(&mut self, levels: &[&str], queue_index: usize) -> bool {
        match levels {
            [] => self.exact.remove(queue_index),
            ["#"] => self.below.remove(queue_index),
            ["+", rest @ ..] => {
                let Some(child) = &mut self.any else { return false };
                let removed = child.remove(rest, queue_index);
                if child.is_empty() {
                    self.any = None;
                }
                removed
            }
            [level, rest @ ..] => {
                let Some(child) = self.children.get_mut(*level) else { return false };
                let removed = child.remove(rest, queue_index);
                if child.is_empty() {
                    self.children.remove(*level);
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.any.is_none() && self.exact.all.is_empty() && self.below.all.is_empty()
    }

    /// Calls `found` with each list of subscriptions that match `rest`, the levels not yet walked. Wildcards at the
    /// first level do not match topics that begin with `$` [MQTT-4.7.2-1].
    fn collect(&self, rest: &str, first: bool, found: &mut impl FnMut(&[Target])) {
        let wildcards = !(first && rest.starts_with('$'));
        if wildcards {
            found(&self.below.all);
        }
        let (level, deeper) = match rest.split_once('/') {
            Some((level, deeper)) => (level, Some(deeper)),
            None => (rest, None),
        };
        let any = self.any.as_deref().filter(|_| wildcards);
        for child in self.children.get(level).into_iter().chain(any) {
            match deeper {
                Some(deeper) => child.collect(deeper, false, found),
                None => {
                    found(&child.exact.all);
                    found(&child.below.all);
                }
            }
        }
    }
}

/// Why a topic name is not routed although the standard allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicTooLarge {
    /// More levels than [`Limits::topic_levels_max`].
    Levels,
    /// More bytes than [`Limits::topic_bytes_max`].
    Bytes,
}

impl TopicTooLarge {
    /// Checks a topic name or filter against the limits.
    pub fn check(topic: &str, limits: &Limits) -> Result<(), Self> {
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

/// The topics one worker has resolved lately. Its size is bounded: it starts anew when full.
#[derive(Debug, Default)]
pub struct RouteCache {
    epoch: u64,
    known: HashMap<Box<str>, u32, RandomState>,
    routes: Vec<Route>,
    targets: usize,
    name_bytes: usize,
}

impl RouteCache {
    const TOPICS_MAX: usize = 16 * 1024;
    const TARGETS_MAX: usize = 256 * 1024;
    /// A topic name may have 64 KiB, and not all senders repeat themselves.
    const NAME_BYTES_MAX: usize = 4 * 1024 * 1024;

    /// Everyone who gets what is published to `topic`.
    pub fn lookup(&mut self, router: &Router, topic: TopicName<'_>, limits: &Limits) -> Result<&Route, TopicTooLarge> {
        self.forget_if_stale(router);
        if let Some(&index) = self.known.get(topic.as_str()) {
            return Ok(&self.routes[index as usize]);
        }
        TopicTooLarge::check(topic.as_str(), limits)?;
        let route = router.route(topic);
        if self.is_full(topic, &route) {
            self.clear();
        }
        let index = self.routes.len() as u32;
        self.targets += route.len();
        self.name_bytes += topic.as_str().len();
        self.routes.push(route);
        self.known.insert(topic.as_str().into(), index);
        Ok(&self.routes[index as usize])
    }

    /// Lets go of routes that a subscription has changed since, and with them of receivers that are gone. A worker
    /// without traffic calls this now and then.
    pub fn forget_if_stale(&mut self, router: &Router) {
        // The epoch is read before the tree is: a change in between is noticed at the next look-up.
        let epoch = router.epoch();
        if epoch != self.epoch {
            self.clear();
            self.epoch = epoch;
        }
    }

    fn is_full(&self, topic: TopicName<'_>, route: &Route) -> bool {
        self.routes.len() >= Self::TOPICS_MAX
            || self.targets + route.len() > Self::TARGETS_MAX
            || self.name_bytes + topic.as_str().len() > Self::NAME_BYTES_MAX
    }

    fn clear(&mut self) {
        self.known.clear();
        self.routes.clear();
        self.targets = 0;
        self.name_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::queue;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    fn topic(text: &str) -> TopicName<'_> {
        TopicName::new(text).unwrap()
    }

    fn target(queue: &Arc<Queue>) -> Target {
        Target { queue: Arc::clone(queue), no_local: false }
    }

    #[test]
    fn overlapping_subscriptions_deliver_once() {
        let (router, a) = (Router::default(), queue());
        for text in ["a/b", "a/+", "a/#", "#"] {
            assert!(!router.subscribe(filter(text), target(&a)));
        }
        assert_eq!(router.route(topic("a/b")).len(), 1);
    }

    #[test]
    fn the_same_filter_again_replaces_the_subscription() {
        let (router, a) = (Router::default(), queue());
        router.subscribe(filter("a"), target(&a));
        assert!(router.subscribe(filter("a"), Target { no_local: true, ..target(&a) }));
        assert!(router.route(topic("a"))[0].no_local);
    }

    #[test]
    fn unsubscribing_leaves_no_nodes() {
        let (router, a) = (Router::default(), queue());
        for text in ["a/b/c", "+/b", "a/#", "/", "#"] {
            router.subscribe(filter(text), target(&a));
            assert!(router.unsubscribe(filter(text), &a));
            assert!(!router.unsubscribe(filter(text), &a));
        }
        assert!(router.tree.read().is_empty());
    }

    #[test]
    fn the_cache_notices_a_new_subscription() {
        let (router, a, limits) = (Router::default(), queue(), Limits::DEFAULT);
        let mut cache = RouteCache::default();
        assert_eq!(cache.lookup(&router, topic("t"), &limits).unwrap().len(), 0);
        router.subscribe(filter("t"), target(&a));
        assert_eq!(cache.lookup(&router, topic("t"), &limits).unwrap().len(), 1);
    }

    #[test]
    fn the_cache_stays_bounded() {
        let (router, limits) = (Router::default(), Limits::DEFAULT);
        let mut cache = RouteCache::default();
        for number in 0..RouteCache::TOPICS_MAX * 2 + 5 {
            cache.lookup(&router, topic(&number.to_string()), &limits).unwrap();
            assert!(cache.known.len() <= RouteCache::TOPICS_MAX && cache.routes.len() == cache.known.len());
        }
    }

    #[test]
    fn long_topic_names_do_not_fill_the_memory_with_routes() {
        let (router, limits) = (Router::default(), Limits::DEFAULT);
        let mut cache = RouteCache::default();
        let long = "x".repeat(60_000);
        for number in 0..500 {
            cache.lookup(&router, topic(&format!("{number} {long}")), &limits).unwrap();
            let remembered: usize = cache.known.keys().map(|name| name.len()).sum();
            assert!(remembered <= RouteCache::NAME_BYTES_MAX);
        }
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

    proptest! {
        /// The tree finds exactly the receivers whose filter matches by the definition.
        #[test]
        fn routing_agrees_with_matching_one_by_one(
            filters in prop::collection::vec(some_filter().prop_filter("legal", |f| TopicFilter::new(f).is_ok()), 1..12),
            removed in prop::collection::vec(any::<bool>(), 12),
            name in "(a|b|\\$s|)(/(a|b|)){0,3}",
        ) {
            prop_assume!(TopicName::new(&name).is_ok());
            let router = Router::default();
            let queues: Vec<_> = filters.iter().map(|_| queue()).collect();
            for (text, queue) in filters.iter().zip(&queues) {
                router.subscribe(filter(text), target(queue));
            }
            for ((text, queue), _) in filters.iter().zip(&queues).zip(&removed).filter(|(_, gone)| **gone) {
                prop_assert!(router.unsubscribe(filter(text), queue));
            }
            let mut found: Vec<usize> = router.route(topic(&name)).iter().map(|t| t.queue.index()).collect();
            let mut expected: Vec<usize> = filters.iter().zip(&queues).zip(&removed)
                .filter(|((text, _), gone)| !**gone && filter(text).matches(topic(&name)))
                .map(|((_, queue), _)| queue.index())
                .collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}

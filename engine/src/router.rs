//! Step 5 of a message's way: topic name in, the sessions and queues that want it out.
//!
//! Subscriptions live in one tree of topic levels behind a reader-writer lock. Workers do not touch it once a message:
//! each keeps a [`RouteCache`] of resolved topics and throws it away when the router's epoch has moved, which it does
//! with every change of a subscription.

mod children;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use wisp_wire::{QoS, SubscriptionId, SubscriptionOptions, TopicFilter, TopicName};

use self::children::Children;
use crate::bundles::Indexed;
use crate::core::Core;
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::session::Session;
use crate::session::outgoing::SubscriptionIds;
use crate::subscribers::Subscribers;
use crate::sync::{AtomicU64, Ordering, RwLock};
use crate::topic_queue::{TooManyQueues, TopicQueue, queue_name};

/// Who subscribes: a session, or a queue whose receivers take turns.
#[derive(Clone, Debug)]
pub(crate) enum Receiving {
    Session(Arc<Session>),
    Queue(Arc<TopicQueue>),
}

/// A subscription, as the tree has it.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) receiving: Receiving,
    pub(crate) options: SubscriptionOptions,
    pub(crate) id: Option<SubscriptionId>,
}

impl Subscriber {
    /// One that asks for nothing.
    pub(crate) fn new(receiving: Receiving) -> Self {
        Self { receiving, options: SubscriptionOptions::new(QoS::ExactlyOnce), id: None }
    }

    /// The number of the session or queue.
    pub(crate) fn index(&self) -> usize {
        match &self.receiving {
            Receiving::Session(session) => session.index(),
            Receiving::Queue(queue) => queue.index(),
        }
    }
}

/// A session that gets what is published to a topic, with what its subscriptions say together.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) session: Arc<Session>,
    /// The connection the client was on when the route was made. When that changes, routes are made anew.
    pub(crate) outbox: Option<Arc<Outbox>>,
    /// The highest that was granted.
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_ids: SubscriptionIds,
    /// What it gets of its own messages.
    pub(crate) own: Own,
}

/// What a client gets of what it published itself (No Local, MQTT 5 section 3.8.3.1).
#[derive(Clone, Debug)]
pub(crate) enum Own {
    /// The same as of others'.
    Same,
    /// Nothing: every subscription says No Local.
    Nothing,
    /// What the subscriptions without No Local say.
    Less(Box<Target>),
}

/// Everyone who gets what is published to a topic, each once.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) targets: Vec<Target>,
    pub(crate) queues: Vec<Arc<TopicQueue>>,
}

impl Route {
    fn len(&self) -> usize {
        self.targets.len() + self.queues.len()
    }

    /// Joins the subscriptions of each session: one message is delivered, at the highest QoS, with all identifiers
    /// [MQTT-3.3.4-2, MQTT-3.3.4-3].
    fn new(mut found: Vec<Subscriber>) -> Self {
        let mut route = Self::default();
        found.sort_by_key(Subscriber::index);
        for same in found.chunk_by(|a, b| a.index() == b.index()) {
            match &same[0].receiving {
                Receiving::Queue(queue) => route.queues.push(Arc::clone(queue)),
                Receiving::Session(session) => route.targets.push(Target::new(session, same)),
            }
        }
        route
    }
}

impl Target {
    fn new(session: &Arc<Session>, subscriptions: &[Subscriber]) -> Self {
        let own = match subscriptions.iter().filter(|subscription| subscription.options.no_local).count() {
            0 => Own::Same,
            all if all == subscriptions.len() => Own::Nothing,
            _ => {
                let others = subscriptions.iter().filter(|subscription| !subscription.options.no_local);
                Own::Less(Box::new(Self::new(session, &others.cloned().collect::<Vec<_>>())))
            }
        };
        let ids: Vec<SubscriptionId> = subscriptions.iter().filter_map(|subscription| subscription.id).collect();
        let granted = subscriptions.iter().map(|subscription| subscription.options.qos);
        Self {
            session: Arc::clone(session),
            outbox: session.outbox(),
            qos: granted.max().unwrap_or(QoS::AtMostOnce),
            retain_as_published: subscriptions.iter().any(|subscription| subscription.options.retain_as_published),
            subscription_ids: (!ids.is_empty()).then(|| ids.into()),
            own,
        }
    }

    /// What `sender` causes here: this, or less if it is the receiver, or nothing.
    pub(crate) fn for_sender(&self, client_id: &str) -> Option<&Self> {
        match &self.own {
            Own::Same => Some(self),
            _ if **self.session.client_id() != *client_id => Some(self),
            Own::Nothing => None,
            Own::Less(less) => Some(less),
        }
    }
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Router {
    tree: RwLock<Node>,
    epoch: AtomicU64,
}

/// One level of the tree. The path to a node spells a filter, without its `#`. With a topic for each client there are as
/// many nodes as clients, so an empty part takes little.
#[derive(Debug, Default)]
struct Node {
    children: Children,
    /// The child for `+`.
    any: Option<Box<Node>>,
    /// Subscriptions to the path.
    exact: Subscribers,
    /// Subscriptions to the path and all below it: `path/#`.
    below: Option<Box<Subscribers>>,
}

impl Router {
    /// Adds a subscription, or replaces the one the receiver has to the same filter. True if there was one.
    pub(crate) fn subscribe(&self, filter: TopicFilter<'_>, subscriber: Subscriber) -> bool {
        let mut tree = self.tree.write();
        let replaced = tree.place(filter).insert(subscriber);
        self.moved();
        replaced
    }

    /// Removes the subscription to `filter` of the session or queue of that number. False if there is none.
    pub(crate) fn unsubscribe(&self, filter: TopicFilter<'_>, index: usize) -> bool {
        let levels: Vec<&str> = filter.as_str().split('/').collect();
        let mut tree = self.tree.write();
        let removed = tree.remove(&levels, index);
        self.moved();
        removed
    }

    /// Has every worker look its routes up anew.
    pub(crate) fn moved(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Everyone who gets what is published to `topic`.
    pub(crate) fn route(&self, topic: TopicName<'_>) -> Route {
        let mut found = Vec::new();
        self.tree.read().collect(topic.as_str(), true, &mut |subscribers| found.extend_from_slice(subscribers));
        // The connections are asked for when the tree is no longer locked.
        Route::new(found)
    }

    /// Changes whenever a subscription does.
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

impl Node {
    fn place(&mut self, filter: TopicFilter<'_>) -> &mut Subscribers {
        let mut node = self;
        for level in filter.as_str().split('/') {
            node = match level {
                "#" => return node.below.get_or_insert_default(),
                "+" => node.any.get_or_insert_default(),
                _ => node.children.get_or_insert(level),
            };
        }
        &mut node.exact
    }

    /// Removes one subscription and every node left empty on the way to it.
    fn remove(&mut self, levels: &[&str], index: usize) -> bool {
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
                let removed = child.remove(rest, index);
                if child.is_empty() {
                    self.any = None;
                }
                removed
            }
            [level, rest @ ..] => {
                let Some(child) = self.children.get_mut(level) else { return false };
                let removed = child.remove(rest, index);
                if child.is_empty() {
                    self.children.remove(level);
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.any.is_none() && self.exact.all.is_empty() && self.below.is_none()
    }

    /// Calls `found` with each list of subscriptions that match `rest`, the levels not yet walked. Wildcards at the
    /// first level do not match topics that begin with `$` [MQTT-4.7.2-1].
    fn collect(&self, rest: &str, first: bool, found: &mut impl FnMut(&[Subscriber])) {
        let wildcards = !(first && rest.starts_with('$'));
        if wildcards && let Some(below) = &self.below {
            found(&below.all);
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
                    if let Some(below) = &child.below {
                        found(&below.all);
                    }
                }
            }
        }
    }
}

/// Why a topic name is not routed although the standard allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicTooLarge {
    /// More levels than [`Limits::topic_levels_max`].
    Levels,
    /// More bytes than [`Limits::topic_bytes_max`].
    Bytes,
}

impl TopicTooLarge {
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

/// Why a message is not routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unroutable {
    Topic(TopicTooLarge),
    TooManyQueues,
}

/// The topics one worker has resolved lately. Its size is bounded: it starts anew when full.
#[derive(Debug, Default)]
pub(crate) struct RouteCache {
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
    pub(crate) fn lookup(&mut self, core: &Core, topic: TopicName<'_>) -> Result<&Route, Unroutable> {
        self.forget_if_stale(&core.router);
        if let Some(&index) = self.known.get(topic.as_str()) {
            return Ok(&self.routes[index as usize]);
        }
        TopicTooLarge::check(topic.as_str(), &core.limits).map_err(Unroutable::Topic)?;
        let mut route = core.router.route(topic);
        if queue_name(topic.as_str()).is_some() {
            let queue = core.queue(topic.as_str()).map_err(|TooManyQueues| Unroutable::TooManyQueues)?;
            route.queues.push(queue);
        }
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
    pub(crate) fn forget_if_stale(&mut self, router: &Router) {
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
    use crate::testing::session;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    fn topic(text: &str) -> TopicName<'_> {
        TopicName::new(text).unwrap()
    }

    fn plain(session: &Arc<Session>) -> Subscriber {
        Subscriber::new(Receiving::Session(Arc::clone(session)))
    }

    fn core() -> Core {
        Core::new(Limits::DEFAULT, 0)
    }

    #[test]
    fn overlapping_subscriptions_deliver_once() {
        let (router, a) = (Router::default(), session());
        for text in ["a/b", "a/+", "a/#", "#"] {
            assert!(!router.subscribe(filter(text), plain(&a)));
        }
        assert_eq!(router.route(topic("a/b")).targets.len(), 1);
    }

    fn with(session: &Arc<Session>, qos: QoS, no_local: bool, id: u32) -> Subscriber {
        let options = SubscriptionOptions { no_local, ..SubscriptionOptions::new(qos) };
        Subscriber { options, id: SubscriptionId::new(id), ..plain(session) }
    }

    #[test]
    fn overlapping_subscriptions_are_delivered_together() {
        let (router, a) = (Router::default(), session());
        router.subscribe(filter("a/b"), with(&a, QoS::AtMostOnce, false, 7));
        router.subscribe(filter("a/#"), with(&a, QoS::ExactlyOnce, true, 9));
        let route = router.route(topic("a/b"));
        let target = &route.targets[0];
        let ids = |target: &Target| target.subscription_ids.iter().flat_map(|ids| ids.iter()).count();
        assert_eq!((target.qos, ids(target)), (QoS::ExactlyOnce, 2));
        let own = target.for_sender("client").unwrap();
        assert_eq!((own.qos, ids(own)), (QoS::AtMostOnce, 1), "what says No Local has no part in it");
        assert_eq!(target.for_sender("another").unwrap().qos, QoS::ExactlyOnce);
    }

    #[test]
    fn the_same_filter_again_replaces_the_subscription() {
        let (router, a) = (Router::default(), session());
        router.subscribe(filter("a"), plain(&a));
        assert!(router.subscribe(filter("a"), with(&a, QoS::AtMostOnce, true, 1)));
        assert!(router.route(topic("a")).targets[0].for_sender("client").is_none());
    }

    #[test]
    fn unsubscribing_leaves_no_nodes() {
        let (router, a) = (Router::default(), session());
        for text in ["a/b/c", "+/b", "a/#", "/", "#"] {
            router.subscribe(filter(text), plain(&a));
            assert!(router.unsubscribe(filter(text), a.index()));
            assert!(!router.unsubscribe(filter(text), a.index()));
        }
        assert!(router.tree.read().is_empty());
    }

    #[test]
    fn the_cache_notices_a_new_subscription() {
        let (core, a) = (core(), session());
        let mut cache = RouteCache::default();
        assert_eq!(cache.lookup(&core, topic("t")).unwrap().len(), 0);
        core.router.subscribe(filter("t"), plain(&a));
        assert_eq!(cache.lookup(&core, topic("t")).unwrap().len(), 1);
    }

    #[test]
    fn the_cache_stays_bounded() {
        let core = core();
        let mut cache = RouteCache::default();
        for number in 0..RouteCache::TOPICS_MAX * 2 + 5 {
            cache.lookup(&core, topic(&number.to_string())).unwrap();
            assert!(cache.known.len() <= RouteCache::TOPICS_MAX && cache.routes.len() == cache.known.len());
        }
    }

    #[test]
    fn long_topic_names_do_not_fill_the_memory_with_routes() {
        let core = core();
        let mut cache = RouteCache::default();
        let long = "x".repeat(60_000);
        for number in 0..500 {
            cache.lookup(&core, topic(&format!("{number} {long}"))).unwrap();
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
            let sessions: Vec<_> = filters.iter().map(|_| session()).collect();
            for (text, session) in filters.iter().zip(&sessions) {
                router.subscribe(filter(text), plain(session));
            }
            for ((text, session), _) in filters.iter().zip(&sessions).zip(&removed).filter(|(_, gone)| **gone) {
                prop_assert!(router.unsubscribe(filter(text), session.index()));
            }
            let mut found: Vec<usize> = router.route(topic(&name)).targets.iter().map(|t| t.session.index()).collect();
            let mut expected: Vec<usize> = filters.iter().zip(&sessions).zip(&removed)
                .filter(|((text, _), gone)| !**gone && filter(text).matches(topic(&name)))
                .map(|((_, session), _)| session.index())
                .collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}

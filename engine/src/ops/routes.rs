//! Step 5 of the path of a message. In: a topic name. Out: the sessions and queues that get the message.
//!
//! Each worker keeps a [`RouteCache`] of resolved topics, and resolves a topic again when its epoch has changed.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use wisp_wire::{QoS, ReasonCode, SubscriptionId, TopicName};

use crate::base::denials::DeniedUse;
use crate::base::reached::LimitName;
use crate::base::reserved::is_reserved;
use crate::delivery::bundles::Indexed;
use crate::delivery::loan::SubscriptionIds;
use crate::delivery::outbox::Outbox;
use crate::ops::queues::queue_name;
use crate::state::queue_directory::TooManyQueues;
use crate::state::session::Session;
use crate::state::shared::Shared;
use crate::state::subscriber::{Subscriber, SubscriberKind};
use crate::state::topic_queue::TopicQueue;
use crate::state::topic_tree::{TopicEpochs, TopicTooLarge, TopicTree};

/// A session that gets the messages of a topic, with the options of its matching subscriptions combined.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) session: Arc<Session>,
    /// The client's connection when the route was made. Routes are made again when it changes.
    pub(crate) outbox: Option<Arc<Outbox>>,
    /// The highest granted QoS.
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_ids: SubscriptionIds,
    /// How its own messages are delivered to it.
    pub(crate) no_local: NoLocal,
}

/// How a client's own messages are delivered to it (No Local, MQTT 5 section 3.8.3.1).
#[derive(Clone, Debug)]
pub(crate) enum NoLocal {
    /// Like other clients' messages.
    None,
    /// Not at all: every subscription has No Local.
    All,
    /// Only by the subscriptions without No Local.
    Partial(Box<Target>),
}

/// The receivers of a topic's messages, each once.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) targets: Vec<Target>,
    pub(crate) queues: Vec<Arc<TopicQueue>>,
    /// Sessions and groups that would get them if their rights did.
    pub(crate) denied: u64,
}

impl Route {
    /// The receivers of a message of the broker itself.
    pub(crate) fn of_own(shared: &Shared, topic: TopicName<'_>) -> Self {
        Self::new(shared.tree.matching(topic), |receiver| shared.may_receive(receiver, topic))
    }

    /// The number of receivers.
    pub(crate) fn len(&self) -> usize {
        self.targets.len() + self.queues.len()
    }

    /// Combines the subscriptions of each session: one message is delivered, at the highest QoS, with all identifiers
    /// [MQTT-3.3.4-2, MQTT-3.3.4-3]. Without the receivers that may not get it.
    fn new(mut found: Vec<Subscriber>, mut may_receive: impl FnMut(&SubscriberKind) -> bool) -> Self {
        let mut route = Self::default();
        found.sort_by_key(Subscriber::index);
        for same in found.chunk_by(|a, b| a.index() == b.index()) {
            if !may_receive(&same[0].kind) {
                route.denied += 1;
                continue;
            }
            match &same[0].kind {
                SubscriberKind::Queue(queue) => route.queues.push(Arc::clone(queue)),
                SubscriberKind::Session(session) => route.targets.push(Target::new(session, same)),
            }
        }
        route
    }
}

impl Target {
    fn new(session: &Arc<Session>, subscriptions: &[Subscriber]) -> Self {
        let no_local = match subscriptions.iter().filter(|subscription| subscription.options.no_local).count() {
            0 => NoLocal::None,
            all if all == subscriptions.len() => NoLocal::All,
            _ => {
                let others = subscriptions.iter().filter(|subscription| !subscription.options.no_local);
                NoLocal::Partial(Box::new(Self::new(session, &others.cloned().collect::<Vec<_>>())))
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
            no_local,
        }
    }

    /// The target for a message from `client_id`: without the subscriptions with No Local if the client is also the
    /// receiver. `None` if no subscription is left.
    pub(crate) fn for_sender(&self, client_id: &str) -> Option<&Self> {
        match &self.no_local {
            NoLocal::None => Some(self),
            _ if **self.session.client_id() != *client_id => Some(self),
            NoLocal::All => None,
            NoLocal::Partial(target) => Some(target),
        }
    }
}

/// The code for a sender to a topic that only the broker publishes to. No other refusal of a message has it.
pub(crate) const RESERVED: ReasonCode = ReasonCode::NotAuthorized;

/// The reason why a message is not routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unroutable {
    Topic(TopicTooLarge),
    TooManyQueues,
    /// Only the broker publishes there.
    Reserved,
}

impl Unroutable {
    /// The limit that is reached, unless the topic is reserved.
    pub(crate) fn limit(self) -> Option<LimitName> {
        match self {
            Self::Topic(too_large) => Some(too_large.limit()),
            Self::TooManyQueues => Some(LimitName::TopicQueues),
            Self::Reserved => None,
        }
    }

    /// The code for the sender.
    pub(crate) fn reason_code(self) -> ReasonCode {
        match self {
            Self::Topic(_) => ReasonCode::TopicNameInvalid,
            Self::TooManyQueues => ReasonCode::QuotaExceeded,
            Self::Reserved => RESERVED,
        }
    }
}

impl Shared {
    /// Whether a client may be sent the messages of a topic, or some member of a group may. A topic queue stores them for
    /// any consumer.
    fn may_receive(&self, receiver: &SubscriberKind, topic: TopicName<'_>) -> bool {
        if !self.grants_rights {
            return true;
        }
        match receiver {
            SubscriberKind::Session(session) => {
                let may_receive = session.may_receive(topic.as_str());
                if !may_receive {
                    let user = session.user();
                    self.denials.note(DeniedUse::Receive, session.client_id(), user.as_deref(), topic.as_str());
                }
                may_receive
            }
            SubscriberKind::Queue(queue) => !queue.is_group() || queue.any_may_receive(topic.as_str()),
        }
    }
}

/// The topics that one worker has resolved. Cleared when full.
#[derive(Debug, Default)]
pub(crate) struct RouteCache {
    /// The tree's changes when outdated routes were last dropped.
    changes: u64,
    known: HashMap<Box<str>, u32, RandomState>,
    routes: Vec<Cached>,
    /// The places in `routes` that no topic has. Their routes are empty.
    free: Vec<u32>,
    targets: usize,
    name_bytes: usize,
}

#[derive(Debug)]
struct Cached {
    route: Route,
    epochs: TopicEpochs,
    /// The topic's epoch before it was resolved.
    epoch: u64,
    /// The changes of all subscriptions when the topic was last known to be up to date.
    changes: u64,
}

impl Cached {
    fn is_fresh(&mut self, tree: &TopicTree<Subscriber>) -> bool {
        let changes = tree.changes();
        if self.changes == changes {
            return true;
        }
        let is_fresh = tree.epoch(self.epochs) == self.epoch;
        if is_fresh {
            self.changes = changes;
        }
        is_fresh
    }
}

impl RouteCache {
    const TOPICS_MAX: usize = 16 * 1024;
    const TARGETS_MAX: usize = 256 * 1024;
    /// A topic name may have 64 KiB, and some senders never repeat one.
    const NAME_BYTES_MAX: usize = 4 * 1024 * 1024;

    /// The receivers of messages to `topic`. Inlined, since each message takes it; what few take is apart.
    #[inline(always)]
    pub(crate) fn lookup(&mut self, shared: &Shared, topic: TopicName<'_>) -> Result<&Route, Unroutable> {
        let known = self.known.get(topic.as_str()).map(|index| *index as usize);
        if let Some(index) = known
            && self.routes[index].changes == shared.tree.changes()
        {
            return Ok(&self.routes[index].route);
        }
        self.look_closer(shared, topic, known)
    }

    /// The same when subscriptions have changed, or for a topic that is not in the cache.
    #[cold]
    #[inline(never)]
    fn look_closer(
        &mut self,
        shared: &Shared,
        topic: TopicName<'_>,
        known: Option<usize>,
    ) -> Result<&Route, Unroutable> {
        if let Some(index) = known
            && self.routes[index].is_fresh(&shared.tree)
        {
            return Ok(&self.routes[index].route);
        }
        let cached = Self::resolve(shared, topic)?;
        if let Some(index) = known {
            self.targets += cached.route.len();
            self.targets -= self.routes[index].route.len();
            self.routes[index] = cached;
            return Ok(&self.routes[index].route);
        }
        if self.is_full(topic, &cached.route) {
            self.clear();
        }
        self.targets += cached.route.len();
        self.name_bytes += topic.as_str().len();
        let index = self.free.pop().unwrap_or(self.routes.len() as u32);
        match self.routes.get_mut(index as usize) {
            Some(free) => *free = cached,
            None => self.routes.push(cached),
        }
        self.known.insert(topic.as_str().into(), index);
        Ok(&self.routes[index as usize].route)
    }

    /// The receivers of messages to `topic`, for the few messages that look a second time.
    #[inline(never)]
    pub(crate) fn lookup_again(&mut self, shared: &Shared, topic: TopicName<'_>) -> Result<&Route, Unroutable> {
        // `get_mut`: with a second caller `get` would no longer be a part of its first, which each message takes.
        let known = self.known.get_mut(topic.as_str()).map(|index| *index as usize);
        self.look_closer(shared, topic, known)
    }

    fn resolve(shared: &Shared, topic: TopicName<'_>) -> Result<Cached, Unroutable> {
        TopicTooLarge::check(topic.as_str(), &shared.limits).map_err(Unroutable::Topic)?;
        // Here, so that topics in the cache need no check. The broker's own messages do not use the cache.
        if is_reserved(topic) {
            return Err(Unroutable::Reserved);
        }
        let epochs = shared.tree.epochs_of(topic);
        // Both are read before the tree, so that a change in between is noticed at the next look-up.
        let changes = shared.tree.changes();
        let epoch = shared.tree.epoch(epochs);
        let mut route = Route::new(shared.tree.matching(topic), |receiver| shared.may_receive(receiver, topic));
        if queue_name(topic.as_str()).is_some() {
            let queue =
                shared.queues.find_or_create(topic.as_str()).map_err(|TooManyQueues| Unroutable::TooManyQueues)?;
            route.queues.push(queue);
        }
        Ok(Cached { route, epochs, epoch, changes })
    }

    /// Drops outdated routes, and with them receivers that are gone. A worker calls it regularly.
    pub(crate) fn evict_stale(&mut self, tree: &TopicTree<Subscriber>) {
        let changes = tree.changes();
        if std::mem::replace(&mut self.changes, changes) == changes {
            return;
        }
        let Self { known, routes, free, targets, name_bytes, .. } = self;
        known.retain(|name, index| {
            let cached = &mut routes[*index as usize];
            let is_fresh = cached.is_fresh(tree);
            if !is_fresh {
                *targets -= cached.route.len();
                *name_bytes -= name.len();
                cached.route = Route::default();
                free.push(*index);
            }
            is_fresh
        });
        if known.is_empty() {
            self.clear();
        }
    }

    fn is_full(&self, topic: TopicName<'_>, route: &Route) -> bool {
        self.known.len() >= Self::TOPICS_MAX
            || self.targets + route.len() > Self::TARGETS_MAX
            || self.name_bytes + topic.as_str().len() > Self::NAME_BYTES_MAX
    }

    fn clear(&mut self) {
        self.known.clear();
        self.routes.clear();
        self.free.clear();
        self.targets = 0;
        self.name_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use wisp_wire::{SubscriptionOptions, TopicFilter};

    use super::*;
    use crate::base::limits::Limits;
    use crate::test_receivers::session;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    fn topic(text: &str) -> TopicName<'_> {
        TopicName::new(text).unwrap()
    }

    fn plain(session: &Arc<Session>) -> Subscriber {
        Subscriber::new(SubscriberKind::Session(Arc::clone(session)))
    }

    fn with(session: &Arc<Session>, qos: QoS, no_local: bool, id: u32) -> Subscriber {
        let options = SubscriptionOptions { no_local, ..SubscriptionOptions::new(qos) };
        Subscriber { options, id: SubscriptionId::new(id), ..plain(session) }
    }

    fn shared() -> Shared {
        Shared::new(Limits::DEFAULT, 0)
    }

    fn route(tree: &TopicTree<Subscriber>, name: &str) -> Route {
        Route::new(tree.matching(topic(name)), |_| true)
    }

    #[test]
    fn overlapping_subscriptions_deliver_once() {
        let (tree, a) = (TopicTree::default(), session());
        for text in ["a/b", "a/+", "a/#", "#"] {
            assert!(!tree.subscribe(filter(text), plain(&a)));
        }
        assert_eq!(route(&tree, "a/b").targets.len(), 1);
    }

    #[test]
    fn overlapping_subscriptions_are_delivered_together() {
        let (tree, a) = (TopicTree::default(), session());
        tree.subscribe(filter("a/b"), with(&a, QoS::AtMostOnce, false, 7));
        tree.subscribe(filter("a/#"), with(&a, QoS::ExactlyOnce, true, 9));
        let route = route(&tree, "a/b");
        let target = &route.targets[0];
        let ids = |target: &Target| target.subscription_ids.iter().flat_map(|ids| ids.iter()).count();
        assert_eq!((target.qos, ids(target)), (QoS::ExactlyOnce, 2));
        let no_local = target.for_sender("client").unwrap();
        assert_eq!((no_local.qos, ids(no_local)), (QoS::AtMostOnce, 1), "a subscription with No Local does not count");
        assert_eq!(target.for_sender("another").unwrap().qos, QoS::ExactlyOnce);
    }

    #[test]
    fn a_client_with_no_local_gets_none_of_its_own_messages() {
        let (tree, a) = (TopicTree::default(), session());
        tree.subscribe(filter("a"), plain(&a));
        assert!(tree.subscribe(filter("a"), with(&a, QoS::AtMostOnce, true, 1)));
        assert!(route(&tree, "a").targets[0].for_sender("client").is_none());
    }

    #[test]
    fn the_cache_notices_a_new_subscription() {
        let (shared, a) = (shared(), session());
        let mut cache = RouteCache::default();
        assert_eq!(cache.lookup(&shared, topic("t")).unwrap().len(), 0);
        shared.tree.subscribe(filter("t"), plain(&a));
        assert_eq!(cache.lookup(&shared, topic("t")).unwrap().len(), 1);
    }

    #[test]
    fn eviction_keeps_fresh_routes_and_frees_the_places_of_others() {
        let (shared, a) = (shared(), session());
        for text in ["t/1", "t/2", "t/3"] {
            shared.tree.subscribe(filter(text), plain(&a));
        }
        let mut cache = RouteCache::default();
        let len = |cache: &mut RouteCache, text: &str| cache.lookup(&shared, topic(text)).unwrap().len();
        assert_eq!(["t/1", "t/2", "t/3"].map(|text| len(&mut cache, text)), [1; 3]);
        cache.evict_stale(&shared.tree);
        shared.tree.unsubscribe(filter("t/2"), a.index());
        cache.evict_stale(&shared.tree);
        assert_eq!((cache.known.len(), cache.targets, cache.free.len(), cache.name_bytes), (2, 2, 1, 6));
        assert_eq!(["t/1", "t/2", "t/3"].map(|text| len(&mut cache, text)), [1, 0, 1]);
        assert_eq!((cache.routes.len(), cache.free.len(), cache.targets), (3, 0, 2));
        shared.tree.invalidate_all();
        cache.evict_stale(&shared.tree);
        assert_eq!((cache.known.len(), cache.routes.len(), cache.targets, cache.name_bytes), (0, 0, 0, 0));
    }

    #[test]
    fn the_cache_stays_bounded() {
        let shared = shared();
        let mut cache = RouteCache::default();
        for number in 0..RouteCache::TOPICS_MAX * 2 + 5 {
            cache.lookup(&shared, topic(&number.to_string())).unwrap();
            assert!(cache.known.len() <= RouteCache::TOPICS_MAX && cache.routes.len() == cache.known.len());
        }
    }

    #[test]
    fn long_topic_names_do_not_fill_the_memory_with_routes() {
        let shared = shared();
        let mut cache = RouteCache::default();
        let long = "x".repeat(60_000);
        for number in 0..500 {
            cache.lookup(&shared, topic(&format!("{number} {long}"))).unwrap();
            let remembered: usize = cache.known.keys().map(|name| name.len()).sum();
            assert!(remembered <= RouteCache::NAME_BYTES_MAX);
        }
    }
}

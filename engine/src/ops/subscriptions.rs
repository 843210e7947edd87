//! Subscriptions of a session: added to the topic tree or a queue, and removed.

use std::sync::Arc;

use wisp_wire::{SubscriptionId, TopicFilter};

use crate::base::sync::Ordering;
use crate::delivery::bundles::Indexed;
use crate::delivery::loan::{ConsumerOptions, SubscriptionIds};
use crate::ops::queues::queue_name;
use crate::state::queue_directory::TooManyQueues;
use crate::state::session::subscriptions::footprint_bytes;
use crate::state::session::{Session, Subscription};
use crate::state::shared::Shared;
use crate::state::subscriber::{Subscriber, SubscriberKind};
use crate::state::topic_queue::Consumer;
use crate::store::journal::Recorder;

/// The kind of subscription that a filter makes.
#[derive(Clone, Copy)]
pub(crate) enum FilterKind<'a> {
    /// To all matching messages.
    Plain(TopicFilter<'a>),
    /// To a share of the messages that match the inner filter.
    Group(TopicFilter<'a>),
    /// To a share of the messages of a topic queue.
    Queue,
}

impl<'a> FilterKind<'a> {
    /// `None` if the filter begins like a shared subscription or queue but is not valid as one.
    pub(crate) fn of(filter: TopicFilter<'a>) -> Option<Self> {
        let text = filter.as_str();
        match filter.shared() {
            Some(_) if text.starts_with("$queue/") => None,
            Some((_, within)) if within.as_str().starts_with("$queue/") => None,
            Some((_, within)) => Some(Self::Group(within)),
            None if queue_name(text).is_some() && !text.contains(['+', '#']) => Some(Self::Queue),
            None if text.starts_with("$queue/") => None,
            None => Some(Self::Plain(filter)),
        }
    }

    /// Whether several consumers share the messages.
    fn is_shared(self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

/// The identifier of one subscription, in the form that deliveries have.
pub(crate) fn subscription_ids(id: Option<SubscriptionId>) -> SubscriptionIds {
    id.map(|id| Arc::from([id]))
}

impl Shared {
    /// Adds a subscription to the topic tree or its queue, or replaces it.
    pub(crate) fn add_subscription(
        &self,
        (text, kind): (&str, FilterKind<'_>),
        session: &Arc<Session>,
        wanted: Subscription,
    ) -> Result<(), TooManyQueues> {
        let within = match kind {
            FilterKind::Plain(filter) => {
                let kind = SubscriberKind::Session(Arc::clone(session));
                self.tree.subscribe(filter, Subscriber { kind, options: wanted.options, id: wanted.id });
                return Ok(());
            }
            FilterKind::Group(within) => Some(within),
            FilterKind::Queue => None,
        };
        let options = ConsumerOptions {
            qos: wanted.options.qos,
            retain_as_published: wanted.options.retain_as_published,
            subscription_ids: subscription_ids(wanted.id),
        };
        self.join_queue(text, within, Consumer { session: Arc::clone(session), options })
    }

    /// Counts a new subscription and its bytes.
    pub(crate) fn charge_subscription(&self, filter: &str, kind: FilterKind<'_>) {
        self.subscriptions.charge(footprint_bytes(filter));
        self.subscription_counts[usize::from(kind.is_shared())].fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a subscription that the session has dropped from the topic tree or its queue.
    pub(crate) fn remove_subscription(&self, filter: &str, session: &Session, recorder: Recorder<'_>, now_ms: u64) {
        let parsed = TopicFilter::new(filter).expect("only legal filters are kept");
        let kind = FilterKind::of(parsed);
        let is_shared = kind.is_some_and(FilterKind::is_shared);
        self.subscription_counts[usize::from(is_shared)].fetch_sub(1, Ordering::Relaxed);
        match kind {
            Some(FilterKind::Plain(filter)) => {
                let removed = self.tree.unsubscribe(filter, session.index());
                debug_assert!(removed, "the router has every filter of a session");
            }
            Some(FilterKind::Group(within)) => self.leave_queue((filter, Some(within)), session, recorder, now_ms),
            Some(FilterKind::Queue) => self.leave_queue((filter, None), session, recorder, now_ms),
            None => debug_assert!(false, "only filters that stand for something are kept"),
        }
        self.subscriptions.release(footprint_bytes(filter));
    }
}

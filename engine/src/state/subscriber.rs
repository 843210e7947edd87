//! A subscription as the topic tree stores it.

use std::sync::Arc;

use wisp_wire::{QoS, SubscriptionId, SubscriptionOptions};

use crate::delivery::bundles::Indexed;
use crate::state::session::Session;
use crate::state::topic_queue::TopicQueue;

/// A session, or a queue that distributes its messages among consumers.
#[derive(Clone, Debug)]
pub(crate) enum SubscriberKind {
    Session(Arc<Session>),
    Queue(Arc<TopicQueue>),
}

/// A subscription as the topic tree stores it.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) kind: SubscriberKind,
    pub(crate) options: SubscriptionOptions,
    pub(crate) id: Option<SubscriptionId>,
}

impl Subscriber {
    /// A subscription without options.
    pub(crate) fn new(kind: SubscriberKind) -> Self {
        Self { kind, options: SubscriptionOptions::new(QoS::ExactlyOnce), id: None }
    }
}

impl Indexed for Subscriber {
    /// The index of the session or queue.
    fn index(&self) -> usize {
        match &self.kind {
            SubscriberKind::Session(session) => session.index(),
            SubscriberKind::Queue(queue) => queue.index(),
        }
    }
}

//! The rights with which a client has connected, asked once for each topic that it publishes to.

use std::cell::RefCell;
use std::sync::Arc;

use crate::base::known_topics::KnownTopics;
use crate::policy::Rights;

/// The rights of a connected client.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) rights: Arc<dyn Rights>,
    /// Whether the client may not use every topic.
    pub(super) is_restricted: bool,
    published: RefCell<KnownTopics>,
}

impl Grant {
    pub(super) fn new(rights: Arc<dyn Rights>) -> Self {
        let is_restricted = rights.restricts_messages();
        Self { rights, is_restricted, published: RefCell::default() }
    }

    /// Whether the client may publish to the topic.
    pub(super) fn may_publish(&self, topic: &str) -> bool {
        !self.is_restricted || self.published.borrow_mut().answer(topic, |topic| self.rights.may_publish(topic))
    }

    /// Asks the rights anew from now on, since they have changed.
    pub(super) fn refresh(&mut self) {
        *self = Self::new(Arc::clone(&self.rights));
    }
}

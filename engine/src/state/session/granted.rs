//! The rights of the client that has a session, with the answers that they gave about topics.

use std::sync::Arc;

use crate::base::known_topics::KnownTopics;
use crate::policy::Rights;

/// How long after a change messages may come by routes that are older, in milliseconds. A route is older for a turn of its
/// worker at most.
const RECHECK_MS: u64 = 10_000;

/// Rights, and the answers that they gave.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) rights: Arc<dyn Rights>,
    /// Whether the client may not be sent every topic.
    pub(super) is_restricted: bool,
    received: KnownTopics,
    /// Until then messages may come by routes that are older than the rights.
    pub(super) recheck_until_ms: u64,
}

impl Granted {
    pub(super) fn new(rights: Arc<dyn Rights>, now_ms: u64) -> Self {
        let is_restricted = rights.restricts_messages();
        let recheck_until_ms = now_ms + RECHECK_MS;
        Self { rights, is_restricted, received: KnownTopics::default(), recheck_until_ms }
    }

    pub(super) fn may_receive(&mut self, topic: &str) -> bool {
        let Self { rights, received, .. } = self;
        !self.is_restricted || received.answer(topic, |topic| rights.may_receive(topic))
    }
}

//! Sessions that give way to new ones when there are as many as allowed.

use std::sync::Arc;

use crate::base::limits::SessionsPolicy;
use crate::ops::dispatch::Dispatcher;
use crate::ops::sessions::record_end;
use crate::state::evictable::Candidate;
use crate::state::session::Session;
use crate::state::shared::Shared;

impl Shared {
    /// Ends the session of a client that is away, and returns its identifier. `None` if no session may be ended.
    pub(crate) fn evict_session(&self, dispatcher: &mut Dispatcher, now_ms: u64) -> Option<Arc<str>> {
        loop {
            let candidate = self.next_candidate(now_ms)?;
            if self.evict(&candidate, dispatcher, now_ms) {
                return Some(candidate.client_id);
            }
        }
    }

    fn next_candidate(&self, now_ms: u64) -> Option<Candidate> {
        let mut evictable = self.evictable.lock();
        if let Some(candidate) = evictable.pop() {
            return Some(candidate);
        }
        if !evictable.begins_search(now_ms) {
            return None;
        }
        drop(evictable);
        let mut found = Vec::new();
        let may_hold = self.limits.sessions_policy == SessionsPolicy::Evict;
        self.registry.for_each(|session| {
            let candidate = candidate(session);
            found.extend(candidate.filter(|candidate| may_hold || !candidate.holds_something));
        });
        let mut evictable = self.evictable.lock();
        evictable.fill(found);
        evictable.pop()
    }

    /// Ends the session unless it has changed since it was found.
    fn evict(&self, found: &Candidate, dispatcher: &mut Dispatcher, now_ms: u64) -> bool {
        let mut shard = self.registry.shard(&found.client_id);
        let Some(session) = shard.get(&found.client_id) else { return false };
        if candidate(&session).as_ref() != Some(found) {
            return false;
        }
        shard.remove(&session);
        record_end(&session, dispatcher.recorder(self));
        let will = session.lifetime().will.take();
        // While the shard is locked, so that the client cannot be back before its will is noted.
        dispatcher.publish_later(self, will);
        drop(shard);
        let (_, will) = self.end_session(&session, dispatcher, now_ms);
        debug_assert!(will.is_none(), "it was taken before");
        true
    }
}

/// The session as a candidate, if its client is away.
fn candidate(session: &Session) -> Option<Candidate> {
    let holds_messages = session.subscriptions().len() > 0 || session.capacity().depth_messages() > 0;
    let lifetime = session.lifetime();
    let left_ms = lifetime.left_ms()?;
    let holds_something = holds_messages || lifetime.will.is_some();
    Some(Candidate { holds_something, left_ms, client_id: session.client_id().clone() })
}

//! The sessions by client identifier.
//!
//! A session begins, changes connections and ends under the lock of the shard that its client identifier falls into. So
//! a session in the registry has not ended, and one that has ended is not found.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::base::sync::{AtomicUsize, Mutex, MutexGuard, Ordering, rank};
use crate::state::roster::Roster;
use crate::state::session::Session;
use crate::state::timers::Lifetime;

const SHARDS: usize = 16;

/// All sessions, in shards so that connecting clients do not wait for each other.
#[derive(Debug)]
pub(crate) struct Registry {
    hasher: RandomState,
    shards: [Mutex<HashSet<ByClientId, RandomState>, { rank::REGISTRY }>; SHARDS],
    count: AtomicUsize,
    /// The highest count.
    highest: AtomicUsize,
    /// Sessions that outlive their connections.
    kept: AtomicUsize,
    /// The sessions in the order of their places.
    pub(crate) roster: Roster,
}

/// A session, hashed by its client identifier.
#[derive(Debug)]
struct ByClientId(Arc<Session>);

impl Borrow<str> for ByClientId {
    fn borrow(&self) -> &str {
        self.0.client_id()
    }
}

impl Hash for ByClientId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.client_id().hash(state);
    }
}

impl PartialEq for ByClientId {
    fn eq(&self, other: &Self) -> bool {
        self.0.client_id() == other.0.client_id()
    }
}

impl Eq for ByClientId {}

impl Registry {
    /// No sessions yet. `is_listed` says whether they are kept for lists.
    pub(crate) fn new(is_listed: bool) -> Self {
        Self {
            hasher: RandomState::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
            count: AtomicUsize::new(0),
            highest: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            roster: Roster::new(is_listed),
        }
    }

    /// Locks the part of the registry that `client_id` falls into.
    pub(crate) fn shard(&self, client_id: &str) -> Shard<'_> {
        let sessions = self.shards[self.hasher.hash_one(client_id) as usize % SHARDS].lock();
        Shard { sessions, count: &self.count, highest: &self.highest, roster: &self.roster }
    }

    /// The number of parts for [`Registry::for_each_in`].
    pub(crate) const PARTS: usize = SHARDS;

    /// Calls `visit` with every session. A part of the registry is locked meanwhile.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Session)) {
        (0..Self::PARTS).for_each(|part| self.for_each_in(part, &mut visit));
    }

    /// Calls `visit` with every session in a part of the registry, which is locked meanwhile.
    pub(crate) fn for_each_in(&self, part: usize, mut visit: impl FnMut(&Session)) {
        self.shards[part].lock().iter().for_each(|found| visit(&found.0));
    }

    /// The number of sessions.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The highest number of sessions since the start.
    pub(crate) fn highest(&self) -> usize {
        self.highest.load(Ordering::Relaxed)
    }

    /// The number of sessions that outlive their connections.
    pub(crate) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Counts a session among the kept ones if it outlives its connection, and not otherwise.
    pub(crate) fn count_kept(&self, lifetime: &mut Lifetime) {
        let is_kept = lifetime.expiry_s > 0;
        match (lifetime.is_counted, is_kept) {
            (false, true) => self.kept.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.kept.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        lifetime.is_counted = is_kept;
    }
}

/// A part of the registry, locked.
pub(crate) struct Shard<'a> {
    sessions: MutexGuard<'a, HashSet<ByClientId, RandomState>>,
    count: &'a AtomicUsize,
    highest: &'a AtomicUsize,
    roster: &'a Roster,
}

impl Shard<'_> {
    /// The session of a client.
    pub(crate) fn get(&self, client_id: &str) -> Option<Arc<Session>> {
        self.sessions.get(client_id).map(|found| Arc::clone(&found.0))
    }

    /// Adds a session, or replaces the one of the same client.
    pub(crate) fn insert(&mut self, session: &Arc<Session>) {
        match self.sessions.replace(ByClientId(Arc::clone(session))) {
            Some(replaced) => self.roster.remove(&replaced.0),
            None => {
                let before = self.count.fetch_add(1, Ordering::Relaxed);
                self.highest.fetch_max(before + 1, Ordering::Relaxed);
            }
        }
        self.roster.add(session);
    }

    /// Removes a session, unless its client has another one by now.
    pub(crate) fn remove(&mut self, session: &Arc<Session>) {
        let client_id = &**session.client_id();
        if self.sessions.get(client_id).is_some_and(|found| Arc::ptr_eq(&found.0, session)) {
            self.sessions.remove(client_id);
            self.roster.remove(session);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

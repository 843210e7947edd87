//! The journal: gives keys, and passes changes to the store.

use std::cell::Cell;
use std::sync::Arc;

use super::key::SESSION_KEYS;
use super::{Change, CommitState, Key, Object, Store, StoreStats, Ticket};
use crate::base::sync::{AtomicU64, Ordering};

thread_local! {
    /// The packets that are handled now have changes that may not be committed, their own or some that they rely on. A worker
    /// handles the packets of one connection at a time, so the thread tells whose they are.
    static AWAITS_COMMIT: Cell<bool> = const { Cell::new(false) };
}

/// The store, the next key, and the wall clock. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    /// Whether the store wants changes.
    is_durable: bool,
    next_key: AtomicU64,
    /// Since when the store takes no more, plus one; 0 while it does. As far as messages have asked.
    full_since_ms: AtomicU64,
    /// Unix time in milliseconds when the engine's time is 0.
    unix_ms_at_start: u64,
}

/// The journal as one worker uses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorder<'a> {
    journal: &'a Journal,
    worker: usize,
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>, unix_ms_at_start: u64) -> Self {
        Self {
            is_durable: store.is_durable(),
            store,
            next_key: AtomicU64::new(1),
            full_since_ms: AtomicU64::new(0),
            unix_ms_at_start,
        }
    }

    /// Whether anything is kept.
    pub(crate) fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Gives no key any more that an object with this key has, or may have if it is a session's.
    pub(crate) fn skip_keys(&self, used: Key, is_session: bool) {
        let count = if is_session { SESSION_KEYS } else { 1 };
        self.next_key.fetch_max(used.get().saturating_add(count), Ordering::Relaxed);
    }

    /// Whether the store takes more.
    pub(crate) fn admits(&self, now_ms: u64) -> bool {
        let (admits, since_ms) = (self.store.admits(), self.full_since_ms.load(Ordering::Relaxed));
        if admits && since_ms != 0 {
            self.full_since_ms.store(0, Ordering::Relaxed);
        } else if !admits && since_ms == 0 {
            self.full_since_ms.store(now_ms + 1, Ordering::Relaxed);
        }
        admits
    }

    /// Whether the store has taken no more for longer than `ms`.
    pub(crate) fn is_full_longer_than(&self, ms: u64, now_ms: u64) -> bool {
        let since_ms = self.full_since_ms.load(Ordering::Relaxed);
        since_ms != 0 && now_ms.saturating_sub(since_ms - 1) > ms
    }

    /// Notes that the store takes more again, in case no message has come since. Called regularly.
    pub(crate) fn review(&self, now_ms: u64) {
        if self.full_since_ms.load(Ordering::Relaxed) != 0 {
            self.admits(now_ms);
        }
    }

    /// The packets of a connection are handled next.
    pub(crate) fn begin_packets(&self) {
        AWAITS_COMMIT.set(false);
    }

    /// Whether the replies to the packets handled since the last [`Journal::begin_packets`] wait.
    pub(crate) fn awaits_commit(&self) -> bool {
        self.is_durable && AWAITS_COMMIT.get()
    }

    /// The counters and sizes of the store.
    pub(crate) fn stats(&self) -> StoreStats {
        self.store.stats()
    }

    /// The journal as `worker` uses it.
    pub(crate) fn recorder(&self, worker: usize) -> Recorder<'_> {
        Recorder { journal: self, worker }
    }
}

impl Recorder<'_> {
    /// Whether anything is kept.
    pub(crate) fn is_durable(self) -> bool {
        self.journal.is_durable
    }

    /// A key that no object has.
    pub(crate) fn new_key(self) -> Key {
        self.new_keys(1)
    }

    /// The first of `count` keys that no objects have.
    pub(crate) fn new_keys(self, count: u64) -> Key {
        let number = self.journal.next_key.fetch_add(count, Ordering::Relaxed);
        Key::new(number).expect("the first key is 1, and there are more than will ever be given")
    }

    /// A key for a session.
    pub(crate) fn new_session_key(self) -> Key {
        self.new_keys(SESSION_KEYS)
    }

    /// Appends changes that belong together: after a crash all of them are there, or none. The replies to the packets that are
    /// handled now wait for them.
    pub(crate) fn append(self, changes: &[Change<'_>]) {
        AWAITS_COMMIT.set(true);
        self.journal.store.append(self.worker, changes);
    }

    /// Appends an object.
    pub(crate) fn put(self, key: Key, object: Object<'_>) {
        self.append(&[Change::Put { key, object }]);
    }

    /// Appends that there is no object with this key.
    pub(crate) fn delete(self, key: Key) {
        self.append(&[Change::Delete { key }]);
    }

    /// Appends that there are no objects with these keys.
    pub(crate) fn delete_all(self, keys: impl Iterator<Item = Key>) {
        let changes: Vec<Change<'_>> = keys.map(|key| Change::Delete { key }).collect();
        if !changes.is_empty() {
            self.append(&changes);
        }
    }

    /// The replies to the packets that are handled now wait, though these change nothing: another client has made the change
    /// before.
    pub(crate) fn await_earlier(self) {
        AWAITS_COMMIT.set(true);
    }

    /// A ticket for everything that was appended so far.
    pub(crate) fn commit(self) -> Ticket {
        self.journal.store.commit(self.worker)
    }

    /// Whether a ticket is committed.
    pub(crate) fn state(self, ticket: Ticket) -> CommitState {
        self.journal.store.state(ticket)
    }

    /// Whether the store takes more.
    pub(crate) fn admits(self, now_ms: u64) -> bool {
        self.journal.admits(now_ms)
    }

    /// The wall clock at a time of the engine.
    pub(crate) fn to_unix_ms(self, at_ms: u64) -> u64 {
        self.journal.unix_ms_at_start.saturating_add(at_ms)
    }

    /// The engine's time at a time of the wall clock. It is 0 at the start and before.
    pub(crate) fn engine_ms(self, unix_ms: u64) -> u64 {
        unix_ms.saturating_sub(self.journal.unix_ms_at_start)
    }
}

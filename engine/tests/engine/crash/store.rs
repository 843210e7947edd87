//! A store in memory that can lose everything after any change that is not committed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wisp_engine::{Change, CommitState, Key, Object, Restored, Store, Ticket};

/// A change, in a form that owns its parts.
#[derive(Clone, Debug)]
enum Owned {
    Put { key: Key, refers_to: Option<Key>, is_shared: bool, object: Restored },
    Delete { key: Key },
}

/// The objects, in the order in which they were first put.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    by_place: BTreeMap<u64, Live>,
    places: HashMap<Key, u64>,
    next_place: u64,
}

#[derive(Clone, Debug)]
struct Live {
    object: Restored,
    refers_to: Option<Key>,
    is_shared: bool,
    references: u32,
}

impl Objects {
    fn apply(&mut self, change: &Owned) {
        match change {
            Owned::Put { key, refers_to, is_shared, object } => {
                let known = self.places.get(key).copied();
                let place = known.unwrap_or_else(|| {
                    self.next_place += 1;
                    self.next_place
                });
                self.places.insert(*key, place);
                let live = Live { object: object.clone(), refers_to: *refers_to, is_shared: *is_shared, references: 0 };
                let before = self.by_place.insert(place, live);
                if let Some(referred) = refers_to {
                    let referred = self.live(*referred).expect("an object comes before the ones that refer to it");
                    referred.references += 1;
                }
                self.release(before.and_then(|before| before.refers_to));
            }
            Owned::Delete { key } => self.remove(*key),
        }
    }

    fn live(&mut self, key: Key) -> Option<&mut Live> {
        self.by_place.get_mut(self.places.get(&key)?)
    }

    fn release(&mut self, key: Option<Key>) {
        let Some((key, live)) = key.and_then(|key| Some((key, self.live(key)?))) else { return };
        live.references -= 1;
        if live.is_shared && live.references == 0 {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: Key) {
        let Some(place) = self.places.remove(&key) else { return };
        let gone = self.by_place.remove(&place);
        self.release(gone.and_then(|gone| gone.refers_to));
    }

    pub(crate) fn restored(&self) -> impl Iterator<Item = Restored> {
        self.by_place.values().map(|live| live.object.clone())
    }

    /// The bodies of the objects of a kind.
    pub(crate) fn of_kind(&self, kind: u8) -> Vec<Vec<u8>> {
        let of_kind = self.restored().filter(|object| object.kind == kind);
        of_kind.map(|object| object.body).collect()
    }

    /// How many objects of each kind there are.
    pub(crate) fn kinds(&self) -> BTreeMap<u8, usize> {
        let mut kinds = BTreeMap::new();
        self.by_place.values().for_each(|live| *kinds.entry(live.object.kind).or_default() += 1);
        kinds
    }
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct MirrorStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Everything that is committed.
    committed: Objects,
    /// How many calls that is.
    committed_calls: u64,
    /// The changes of each later call.
    pending: Vec<Vec<Owned>>,
    has_failed: bool,
    is_full: bool,
}

impl State {
    fn appended(&self) -> u64 {
        self.committed_calls + self.pending.len() as u64
    }

    fn commit(&mut self, calls: usize) {
        for changes in self.pending.drain(..calls) {
            changes.iter().for_each(|change| self.committed.apply(change));
            self.committed_calls += 1;
        }
    }
}

impl MirrorStore {
    /// A store with these objects.
    pub(crate) fn new(objects: Objects) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { committed: objects, ..State::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of calls that are not committed.
    pub(crate) fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// The number of calls.
    pub(crate) fn appended(&self) -> u64 {
        self.lock().appended()
    }

    /// Commits the first of the pending calls.
    pub(crate) fn commit_some(&self, calls: usize) {
        self.lock().commit(calls);
    }

    pub(crate) fn commit_all(&self) {
        let calls = self.pending();
        self.commit_some(calls);
    }

    /// Commits nothing any more.
    pub(crate) fn fail(&self) {
        self.lock().has_failed = true;
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    /// The objects that are left if the broker ends after this many of the pending calls, and the number of all calls.
    pub(crate) fn crash(&self, calls: usize) -> (Objects, u64) {
        let mut state = self.lock();
        state.commit(calls);
        (state.committed.clone(), state.committed_calls)
    }

    /// Describes the pending changes.
    pub(crate) fn pending_kinds(&self) -> Vec<String> {
        let state = self.lock();
        let kind = |change: &Owned| match change {
            Owned::Put { object, .. } => format!("put {}", object.kind),
            Owned::Delete { .. } => "delete".to_owned(),
        };
        state.pending.iter().flatten().map(kind).collect()
    }
}

impl Store for MirrorStore {
    fn append(&self, _: usize, changes: &[Change<'_>]) {
        let owned = changes.iter().map(|change| match change {
            Change::Put { key, object } => {
                let mut body = Vec::new();
                object.encode_head(&mut body);
                body.extend(object.tail());
                assert_eq!(Object::decode(*key, object.kind(), &body).as_ref(), Ok(object));
                let restored = Restored { key: *key, kind: object.kind(), body };
                Owned::Put { key: *key, refers_to: object.refers_to(), is_shared: object.is_shared(), object: restored }
            }
            Change::Delete { key } => Owned::Delete { key: *key },
        });
        let owned = owned.collect();
        self.lock().pending.push(owned);
    }

    fn commit(&self, _: usize) -> Ticket {
        Ticket(self.lock().appended())
    }

    fn state(&self, ticket: Ticket) -> CommitState {
        let state = self.lock();
        match ticket.0 <= state.committed_calls {
            true => CommitState::Committed,
            false if state.has_failed => CommitState::Failed,
            false => CommitState::Pending,
        }
    }

    fn admits(&self) -> bool {
        !self.lock().is_full
    }
}

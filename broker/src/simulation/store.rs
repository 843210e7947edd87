//! A store that commits late. It knows for which clients a message was stored, and until when each change was not committed.

use std::collections::HashMap;
use std::sync::Mutex;

use wisp_engine::{Change, CommitState, Key, Object, Store, Ticket};

use super::{Rng, lock};

/// A change, as clients know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kept {
    /// A message waits for a client.
    Waiting {
        client: String,
        payload: Vec<u8>,
    },
    /// A client has released the packet identifier of a message that it has sent.
    Released {
        client: String,
        packet_id: u16,
    },
    Subscribed {
        client: String,
        filter: String,
    },
    Unsubscribed {
        client: String,
        filter: String,
    },
}

#[derive(Debug)]
pub(super) struct LateStore(Mutex<State>);

#[derive(Debug)]
struct State {
    rng: Rng,
    turn: u64,
    /// The number of calls, and how many are committed.
    appended: u64,
    committed: u64,
    /// When so many calls will be committed.
    due: Vec<(u64, u64)>,
    /// The clients of sessions, and what an object with a key means when it goes.
    clients: HashMap<Key, String>,
    messages: HashMap<Key, Vec<u8>>,
    gone: HashMap<Key, Kept>,
    /// The calls in which each change was made.
    made: HashMap<Kept, Vec<u64>>,
}

impl LateStore {
    pub(super) fn new(rng: Rng) -> Self {
        Self(Mutex::new(State {
            rng,
            turn: 0,
            appended: 0,
            committed: 0,
            due: Vec::new(),
            clients: HashMap::new(),
            messages: HashMap::new(),
            gone: HashMap::new(),
            made: HashMap::new(),
        }))
    }

    /// Commits what is due in this turn.
    pub(super) fn commit_due(&self, turn: u64) {
        let mut state = lock(&self.0);
        state.turn = turn;
        let (due, later): (Vec<_>, _) = state.due.drain(..).partition(|(when, _)| *when <= turn);
        state.due = later;
        state.committed = due.into_iter().map(|(_, calls)| calls).fold(state.committed, u64::max);
    }

    /// Whether a change that was made, if it was, is committed.
    pub(super) fn has_settled(&self, change: &Kept) -> bool {
        let state = lock(&self.0);
        state.made.get(change).into_iter().flatten().all(|call| *call <= state.committed)
    }

    /// How often a change was committed.
    pub(super) fn count(&self, change: &Kept) -> u32 {
        let state = lock(&self.0);
        let calls = state.made.get(change).into_iter().flatten();
        calls.filter(|call| **call <= state.committed).count() as u32
    }
}

impl State {
    fn client(&self, session: Key) -> String {
        self.clients.get(&session).cloned().unwrap_or_default()
    }

    fn note(&mut self, change: Kept) {
        self.made.entry(change).or_default().push(self.appended);
    }

    fn put(&mut self, key: Key, object: &Object<'_>) {
        match object {
            Object::Session { client_id, .. } => _ = self.clients.insert(key, (*client_id).to_owned()),
            Object::Message(message) => _ = self.messages.insert(key, message.payload.to_vec()),
            Object::Subscription { session, filter, .. } => {
                let (client, filter) = (self.client(*session), (*filter).to_owned());
                self.note(Kept::Subscribed { client: client.clone(), filter: filter.clone() });
                self.gone.insert(key, Kept::Unsubscribed { client, filter });
            }
            Object::Waiting { session, message: Some(message), .. } => {
                let payload =
                    self.messages.get(message).expect("a message comes before the sessions that it waits for");
                let change = Kept::Waiting { client: self.client(*session), payload: payload.clone() };
                self.note(change);
            }
            Object::Incoming { session, packet_id } => {
                let change = Kept::Released { client: self.client(*session), packet_id: packet_id.get() };
                self.gone.insert(key, change);
            }
            _ => {}
        }
    }
}

impl Store for LateStore {
    fn append(&self, _: usize, changes: &[Change<'_>]) {
        let mut state = lock(&self.0);
        state.appended += 1;
        for change in changes {
            match change {
                Change::Put { key, object } => state.put(*key, object),
                Change::Delete { key } => {
                    if let Some(change) = state.gone.remove(key) {
                        state.note(change);
                    }
                }
            }
        }
    }

    fn commit(&self, _: usize) -> Ticket {
        let mut state = lock(&self.0);
        let (delay, appended) = (state.rng.below(10), state.appended);
        if delay == 0 {
            state.committed = appended;
        } else {
            let when = state.turn + delay;
            state.due.push((when, appended));
        }
        Ticket(appended)
    }

    fn state(&self, ticket: Ticket) -> CommitState {
        let is_committed = ticket.0 <= lock(&self.0).committed;
        if is_committed { CommitState::Committed } else { CommitState::Pending }
    }
}

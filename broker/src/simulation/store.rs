//! A store that commits late, in any order, and sometimes not at all.

use std::collections::HashMap;
use std::sync::Mutex;

use wisp_engine::{CommitState, Record, Store, Ticket};

use super::{Rng, lock};

/// A record, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kept {
    Published { client: String, payload: Vec<u8> },
    Released { client: String, packet_id: u16 },
    Subscribed { client: String, filter: String },
    Unsubscribed { client: String, filter: String },
}

#[derive(Debug)]
pub(super) struct LateStore(Mutex<State>);

#[derive(Debug)]
struct State {
    rng: Rng,
    turn: u64,
    /// The share of groups that is lost, as one in this number.
    fails_one_in: Option<u64>,
    /// For each worker.
    collecting: HashMap<usize, Vec<Kept>>,
    pending: Vec<Group>,
    states: Vec<CommitState>,
    committed: HashMap<Kept, u32>,
}

#[derive(Debug)]
struct Group {
    ticket: usize,
    due: u64,
    records: Vec<Kept>,
}

impl LateStore {
    pub(super) fn new(rng: Rng, fails_one_in: Option<u64>) -> Self {
        Self(Mutex::new(State {
            rng,
            turn: 0,
            fails_one_in,
            collecting: HashMap::new(),
            pending: Vec::new(),
            states: Vec::new(),
            committed: HashMap::new(),
        }))
    }

    /// Decides about the groups that are due in this turn.
    pub(super) fn commit_due(&self, turn: u64) {
        let mut state = lock(&self.0);
        state.turn = turn;
        let (due, pending) = state.pending.drain(..).partition(|group| group.due <= turn);
        state.pending = pending;
        let due: Vec<Group> = due;
        due.into_iter().for_each(|group| state.settle(group));
    }

    pub(super) fn be_reliable(&self) {
        lock(&self.0).fails_one_in = None;
    }

    /// How often a record was committed.
    pub(super) fn count(&self, record: &Kept) -> u32 {
        lock(&self.0).committed.get(record).copied().unwrap_or(0)
    }
}

impl State {
    fn settle(&mut self, group: Group) {
        if self.fails_one_in.is_some_and(|times| self.rng.one_in(times)) {
            self.states[group.ticket] = CommitState::Failed;
            return;
        }
        self.states[group.ticket] = CommitState::Committed;
        for record in group.records {
            *self.committed.entry(record).or_default() += 1;
        }
    }
}

impl Store for LateStore {
    fn append(&self, worker: usize, record: &Record<'_>) {
        let kept = match *record {
            Record::Published { client_id, payload, .. } => {
                Kept::Published { client: client_id.into(), payload: payload.into() }
            }
            Record::Released { client_id, packet_id } => {
                Kept::Released { client: client_id.into(), packet_id: packet_id.get() }
            }
            Record::Subscribed { client_id, filter } => {
                Kept::Subscribed { client: client_id.into(), filter: filter.into() }
            }
            Record::Unsubscribed { client_id, filter } => {
                Kept::Unsubscribed { client: client_id.into(), filter: filter.into() }
            }
            _ => return,
        };
        lock(&self.0).collecting.entry(worker).or_default().push(kept);
    }

    fn commit(&self, worker: usize) -> Ticket {
        let mut state = lock(&self.0);
        let records = state.collecting.remove(&worker).unwrap_or_default();
        let (ticket, delay) = (state.states.len(), state.rng.below(10));
        let group = Group { ticket, due: state.turn + delay, records };
        state.states.push(CommitState::Pending);
        if delay == 0 {
            state.settle(group);
        } else {
            state.pending.push(group);
        }
        Ticket(ticket as u64)
    }

    fn state(&self, ticket: Ticket) -> CommitState {
        lock(&self.0).states[ticket.0 as usize]
    }
}

//! A policy that answers late and refuses, and a store that commits late, in any order, and fails.

use std::sync::{Arc, Mutex, PoisonError};

use wisp_engine::{
    Change, CommitState, ConnectRequest, Decision, PendingDecision, Policy, PublishRequest, Store, SubscribeRequest,
    Ticket, Verdict,
};
use wisp_wire::ReasonCode;

/// Answers by turns: at once, later, with a refusal.
#[derive(Debug, Default)]
pub(crate) struct Hesitant {
    state: Mutex<Questions>,
}

#[derive(Debug, Default)]
struct Questions {
    asked: usize,
    pending: Vec<Arc<PendingDecision>>,
    /// Everything is allowed from now on.
    is_open: bool,
}

const DENIED: ReasonCode = ReasonCode::NotAuthorized;

impl Hesitant {
    fn ask(&self, refuses: bool) -> Decision {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        match state.asked % 5 {
            1 | 4 if !state.is_open => {
                let pending = Arc::<PendingDecision>::default();
                state.pending.push(Arc::clone(&pending));
                Decision::Later(pending)
            }
            2 if !state.is_open && refuses => Decision::Deny(DENIED),
            _ => Decision::Allow,
        }
    }

    /// Answers the question that has waited longest.
    pub(crate) fn answer(&self, allow: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.pending.is_empty() {
            state.pending.remove(0).answer(if allow { Verdict::Allow } else { Verdict::Deny(DENIED) });
        }
    }

    /// Allows everything, also what waits for an answer.
    pub(crate) fn open(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_open = true;
        state.pending.drain(..).for_each(|pending| pending.answer(Verdict::Allow));
    }
}

impl Policy for Hesitant {
    fn connect(&self, request: &ConnectRequest<'_>) -> Decision {
        self.ask(request.username.is_some())
    }

    fn publish(&self, request: &PublishRequest<'_>) -> Decision {
        self.ask(request.topic.starts_with('a'))
    }

    fn subscribe(&self, request: &SubscribeRequest<'_>) -> Decision {
        self.ask(request.filter == "#")
    }
}

/// Commits when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Late {
    groups: Mutex<(Vec<CommitState>, bool)>,
}

impl Late {
    /// Decides about a group, of those that wait for it the `index`th.
    pub(crate) fn decide(&self, index: usize, state: CommitState) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = groups.0.iter_mut().filter(|state| **state == CommitState::Pending);
        if let Some(group) = pending.take(index + 1).last() {
            *group = state;
        }
    }

    /// Commits everything at once from now on.
    pub(crate) fn open(&self) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.1 = true;
        groups.0.iter_mut().filter(|state| **state == CommitState::Pending).for_each(|s| *s = CommitState::Committed);
    }
}

impl Store for Late {
    fn append(&self, _: usize, _: &[Change<'_>]) {}

    fn commit(&self, _: usize) -> Ticket {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let state = if groups.1 { CommitState::Committed } else { CommitState::Pending };
        groups.0.push(state);
        Ticket(groups.0.len() as u64 - 1)
    }

    fn state(&self, ticket: Ticket) -> CommitState {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).0[ticket.0 as usize]
    }
}

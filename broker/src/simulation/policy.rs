//! A policy that answers at once, late, or never.

use std::sync::{Arc, Mutex};

use wisp_engine::{ConnectRequest, Decision, PendingDecision, Policy, PublishRequest, SubscribeRequest, Verdict};
use wisp_wire::ReasonCode;

use super::{Rng, lock};

/// Part of the client identifiers that may not connect.
pub(super) const STRANGER: &str = "stranger";
/// Part of the topics and filters that no client may use.
pub(super) const SECRET: &str = "secret";
/// Part of the client identifiers and topics about which the policy never answers.
pub(super) const LIMBO: &str = "limbo";

#[derive(Debug)]
pub(super) struct SlowPolicy(Mutex<State>);

#[derive(Debug)]
struct State {
    rng: Rng,
    turn: u64,
    pending: Vec<(u64, Arc<PendingDecision>, Verdict)>,
}

impl SlowPolicy {
    pub(super) fn new(rng: Rng) -> Self {
        Self(Mutex::new(State { rng, turn: 0, pending: Vec::new() }))
    }

    /// Gives the answers that are due in this turn.
    pub(super) fn answer_due(&self, turn: u64) {
        let mut state = lock(&self.0);
        state.turn = turn;
        state.pending.retain(|(when, pending, verdict)| {
            if *when <= turn {
                pending.answer(verdict.clone());
            }
            *when > turn
        });
    }

    fn decide(&self, name: &str) -> Decision {
        let verdict = match name {
            _ if name.contains(STRANGER) || name.contains(SECRET) => Verdict::Deny(ReasonCode::NotAuthorized),
            _ if name.contains(LIMBO) => return Decision::Later(Arc::default()),
            _ => Verdict::Allow,
        };
        let mut state = lock(&self.0);
        if state.rng.one_in(2) {
            return match verdict {
                Verdict::Allow => Decision::Allow,
                Verdict::AllowAs(rights) => Decision::AllowAs(rights),
                Verdict::Deny(code) => Decision::Deny(code),
            };
        }
        let (due, pending) = (state.turn + 1 + state.rng.below(12), Arc::<PendingDecision>::default());
        state.pending.push((due, Arc::clone(&pending), verdict));
        Decision::Later(pending)
    }
}

impl Policy for SlowPolicy {
    fn connect(&self, request: &ConnectRequest<'_>) -> Decision {
        self.decide(request.client_id)
    }

    fn publish(&self, request: &PublishRequest<'_>) -> Decision {
        self.decide(request.topic)
    }

    fn subscribe(&self, request: &SubscribeRequest<'_>) -> Decision {
        self.decide(request.filter)
    }
}

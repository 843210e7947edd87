//! The end of pauses.

use std::sync::Arc;

use wisp_wire::ReasonCode;

use super::{Outputs, PAUSE_TICK_MS, Worker};
use crate::connection::disconnect::EndReason;
use crate::connection::pause::{Pause, PauseCause, ResumeQuota};
use crate::connection::{Connection, Phase};
use crate::policy::Verdict;
use crate::state::shared::Shared;

/// The result of checking a paused connection.
enum PauseOutcome {
    /// It stays paused.
    Wait,
    /// It is resumed.
    Resume,
    /// It is resumed because a receiver lags or has left for which it has waited.
    WaitedInVain,
    /// It is resumed with the policy's answer.
    Answered(Verdict),
    /// It is resumed with the session that it took over.
    TookOver,
    /// It was paused for too long.
    End(EndReason),
    /// It has waited for the store for too long, and ends since its message cannot be refused otherwise.
    StoreFull,
}

impl Worker {
    /// Resumes the connections with a pause that ends.
    pub(super) fn resume(&mut self, now_ms: u64) {
        if self.paused.is_empty() && self.retry_first.is_empty() {
            return;
        }
        let mut quota = ResumeQuota::default();
        let running = self.ready.take();
        let waiting = std::mem::take(&mut self.retry_first).into_iter().chain(std::mem::take(&mut self.paused));
        for id in waiting {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            match pause_outcome(connection, &mut quota, &self.outputs.shared, now_ms) {
                None => continue,
                Some(PauseOutcome::Wait) => {
                    if connection.wants_ahead(&self.scratch, &self.outputs.shared.budget) {
                        self.ready.push_resumed(connection);
                    }
                    self.paused.push(id);
                    continue;
                }
                Some(PauseOutcome::StoreFull) => {
                    self.outputs.dispatcher.counts().store_refusals += 1;
                    self.end(id, EndReason::PublishRefused(ReasonCode::QuotaExceeded));
                    continue;
                }
                Some(PauseOutcome::End(reason)) => {
                    self.end(id, reason);
                    continue;
                }
                Some(PauseOutcome::TookOver) => {
                    let Outputs { shared, dispatcher, .. } = &mut self.outputs;
                    connection.protocol.finish_takeover(shared, dispatcher);
                    if connection.protocol.has_due_will(shared) {
                        connection.pause = Some(Box::new(Pause { cause: PauseCause::PreviousWill, since_ms: now_ms }));
                        self.paused.push(id);
                        continue;
                    }
                }
                Some(PauseOutcome::Answered(verdict)) => connection.give_answer(verdict),
                Some(PauseOutcome::WaitedInVain) => connection.lose_patience(now_ms),
                Some(PauseOutcome::Resume) => {}
            }
            connection.end_pause();
            if let Some(reason) = connection.deferred_end.take() {
                self.end(id, *reason);
                continue;
            }
            connection.protocol.restart_keep_alive(now_ms);
            if connection.uncommitted > 0 {
                // Replies were held during the pause. If the connection were read, later replies could be released after these
                // have failed.
                connection.pause = Some(Box::new(Pause { cause: PauseCause::Commit, since_ms: now_ms }));
                self.paused.push(id);
                continue;
            }
            self.ready.push_resumed(connection);
        }
        self.ready.restore(running);
    }

    /// How long until a pause may end, in milliseconds. A rate-limited connection has a deadline; every other pause is
    /// polled each tick.
    pub(super) fn until_a_pause_may_end(&self, now_ms: u64) -> Option<u64> {
        let paused = self.paused.iter().chain(&self.retry_first);
        let pauses = paused.filter_map(|id| self.connections.get(id)?.pause.as_ref());
        let times = pauses.map(|pause| match pause.cause {
            PauseCause::RateLimit { until_ms } => until_ms.saturating_sub(now_ms).max(PAUSE_TICK_MS),
            _ => PAUSE_TICK_MS,
        });
        times.min()
    }
}

/// Checks the pause of a connection. `None` if it is not paused any more.
fn pause_outcome(
    connection: &Connection,
    quota: &mut ResumeQuota,
    shared: &Shared,
    now_ms: u64,
) -> Option<PauseOutcome> {
    if connection.phase != Phase::Open {
        return None;
    }
    let pause = connection.pause.as_ref()?;
    let paused_ms = now_ms.saturating_sub(pause.since_ms);
    let resume_if = |may: bool| if may { PauseOutcome::Resume } else { PauseOutcome::Wait };
    Some(match &pause.cause {
        PauseCause::Capacity(capacity) if capacity.can_admit() => {
            let held_bytes = connection.held_bytes();
            match quota.admit(Arc::as_ptr(capacity), capacity.free_bytes(), held_bytes) {
                true if capacity.has_episodes() && capacity.has_left() => PauseOutcome::WaitedInVain,
                may => resume_if(may),
            }
        }
        PauseCause::Capacity(capacity) if !capacity.has_let_go(now_ms) => PauseOutcome::Wait,
        PauseCause::Capacity(capacity) if capacity.has_episodes() => PauseOutcome::WaitedInVain,
        PauseCause::Capacity(_) => PauseOutcome::Resume,
        PauseCause::Replies if connection.protocol.outbox().capacity().has_reply_room() => PauseOutcome::Resume,
        PauseCause::Replies if paused_ms > shared.limits.reply_stall_ms_max => PauseOutcome::End(EndReason::Stuck),
        PauseCause::Replies => PauseOutcome::Wait,
        PauseCause::Takeover(old) if old.is_released() => PauseOutcome::TookOver,
        PauseCause::Takeover(_) => PauseOutcome::Wait,
        PauseCause::PreviousWill => resume_if(!connection.protocol.has_due_will(shared)),
        PauseCause::Buffers => resume_if(shared.budget.tolerates(shared.limits.unfinished_bytes_share())),
        PauseCause::RateLimit { until_ms } => resume_if(now_ms >= *until_ms),
        PauseCause::Policy(pending) => match pending.verdict() {
            Some(verdict) => PauseOutcome::Answered(verdict),
            None if paused_ms > shared.limits.connect_timeout_ms => PauseOutcome::End(EndReason::PolicyTimeout),
            None => PauseOutcome::Wait,
        },
        PauseCause::StoreFull(_) if shared.journal.admits(now_ms) => PauseOutcome::Resume,
        PauseCause::StoreFull(ahead) => {
            let most_ms = shared.limits.queue_stall_ms_max;
            match ahead.must_end {
                true if paused_ms > most_ms => PauseOutcome::StoreFull,
                true => PauseOutcome::Wait,
                false => resume_if(shared.journal.is_full_longer_than(most_ms, now_ms)),
            }
        }
        PauseCause::Commit => resume_if(connection.uncommitted == 0),
    })
}

//! Pauses that end.

use std::sync::Arc;

use super::{PAUSE_TICK_MS, Worker, list};
use crate::connection::disconnect::EndReason;
use crate::connection::pause::{PauseCause, ResumeQuota};
use crate::connection::{Connection, Phase};
use crate::policy::Verdict;

/// What becomes of a paused connection.
enum Ending {
    /// It waits on.
    Not,
    /// It goes on.
    Resume,
    /// It goes on with the answer of the policy.
    Answered(Verdict),
    /// It goes on with the session it took over.
    TookOver,
    /// It has waited too long.
    End(EndReason),
}

impl Worker {
    /// Resumes the connections whose pause ends.
    pub(super) fn resume(&mut self, now_ms: u64) {
        if self.paused.is_empty() && self.retry_first.is_empty() {
            return;
        }
        let mut quota = ResumeQuota::default();
        let running = std::mem::take(&mut self.ready);
        let waiting = std::mem::take(&mut self.retry_first).into_iter().chain(std::mem::take(&mut self.paused));
        for id in waiting {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let limits = &self.outputs.shared.limits;
            match ending(connection, &mut quota, (limits.reply_stall_ms_max, limits.connect_timeout_ms), now_ms) {
                None => continue,
                Some(Ending::Not) => {
                    self.paused.push(id);
                    continue;
                }
                Some(Ending::End(reason)) => {
                    self.end(id, reason);
                    continue;
                }
                Some(Ending::TookOver) => connection.protocol.finish_takeover(&mut self.outputs.dispatcher),
                Some(Ending::Answered(verdict)) => connection.give_answer(verdict),
                Some(Ending::Resume) => {}
            }
            connection.pause = None;
            if let Some(reason) = connection.deferred_end.take() {
                self.end(id, reason);
                continue;
            }
            connection.protocol.excuse_silence(now_ms);
            list(&mut self.ready, connection);
        }
        self.ready.extend(running);
    }

    /// How long until a pause may end, in milliseconds. A rate-limited connection has a deadline; every other pause is polled
    /// each tick.
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

/// Whether and how the pause of a connection ends. `None` if it is not paused any more.
fn ending(
    connection: &Connection,
    quota: &mut ResumeQuota,
    (reply_stall_ms_max, policy_ms_max): (u64, u64),
    now_ms: u64,
) -> Option<Ending> {
    if connection.phase != Phase::Open {
        return None;
    }
    let pause = connection.pause.as_ref()?;
    let paused_ms = now_ms.saturating_sub(pause.since_ms);
    let resume_if = |may: bool| if may { Ending::Resume } else { Ending::Not };
    Some(match &pause.cause {
        PauseCause::Capacity(capacity) => {
            let held_bytes = connection.held_bytes();
            let mut may_resume =
                || capacity.can_admit() && quota.admit(Arc::as_ptr(capacity), capacity.free_bytes(), held_bytes);
            resume_if(capacity.is_stuck(now_ms) || may_resume())
        }
        PauseCause::Replies if connection.protocol.outbox().capacity().has_reply_room() => Ending::Resume,
        PauseCause::Replies if paused_ms > reply_stall_ms_max => Ending::End(EndReason::Stuck),
        PauseCause::Replies => Ending::Not,
        PauseCause::Takeover(old) if old.is_released() => Ending::TookOver,
        PauseCause::Takeover(_) => Ending::Not,
        PauseCause::RateLimit { until_ms } => resume_if(now_ms >= *until_ms),
        PauseCause::Policy(pending) => match pending.verdict() {
            Some(verdict) => Ending::Answered(verdict),
            None if paused_ms > policy_ms_max => Ending::End(EndReason::PolicyTimeout),
            None => Ending::Not,
        },
        PauseCause::Commit => resume_if(connection.uncommitted == 0),
    })
}

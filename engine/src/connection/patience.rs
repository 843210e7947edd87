//! How long receivers may hold one client's messages back in vain.
//!
//! Each receiver has a budget of its own ([`crate::base::hold`]), but many of them, or one that connects again and
//! again, could delay a sender one after another. So each sender counts the time for which it has waited in vain.

use crate::base::limits::Limits;

/// A sender waits in vain for this many episodes in a row.
const EPISODES: u64 = 4;

/// Time that was waited in vain is forgotten after this many times as long.
const REFILL: u64 = 200;

/// The time that a client has waited for receivers that then lagged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    /// When all of it will be forgotten.
    restored_ms: u64,
}

impl Patience {
    /// Whether the client waits for a receiver that has not shown that it keeps up.
    pub(crate) fn lasts(self, limits: &Limits, now_ms: u64) -> bool {
        self.restored_ms <= now_ms
            || self.restored_ms - now_ms <= (EPISODES - 1) * limits.receiver_stall_ms_max() * REFILL
    }

    /// The client has waited in vain for `waited_ms`.
    pub(crate) fn spend(&mut self, waited_ms: u64, now_ms: u64) {
        self.restored_ms = self.restored_ms.max(now_ms) + waited_ms * REFILL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_in_vain_a_few_times_and_then_seldom() {
        let (mut patience, mut waited_ms) = (Patience::default(), 0);
        for now_ms in (0..600_000).step_by(100) {
            if patience.lasts(&Limits::DEFAULT, now_ms) {
                patience.spend(100, now_ms);
                waited_ms += 100;
            }
        }
        let most = EPISODES * 100 + 600_000 / REFILL;
        assert!(waited_ms <= most && waited_ms + 200 >= most, "{waited_ms} ms in ten minutes");
    }
}

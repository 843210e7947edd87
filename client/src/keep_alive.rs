//! The keep-alive: when a ping is due, and when a broker that does not answer it is given up. No clock: `now` is an
//! argument.
//!
//! ```text
//!            half the interval without sending
//!   +------+ ---------------------------------> +---------+  answer timeout  +--------+
//!   | idle |            ping_sent (PINGREQ)     | waiting | ---------------> | silent |
//!   +------+ <--------------------------------- +---------+                  +--------+
//!                ping_answered (PINGRESP)
//! ```

use std::time::{Duration, Instant};

/// The keep-alive of one connection.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    /// `None`: the broker allows any silence.
    interval_s: Option<u16>,
    answer_timeout: Duration,
    last_sent: Instant,
    /// Since when a ping waits for its answer.
    ping_sent_at: Option<Instant>,
}

/// The action that a deadline of the keep-alive asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// Send PINGREQ.
    Ping,
    /// Give the broker up.
    GiveUp,
}

impl KeepAlive {
    pub(crate) fn new(interval_s: u16, answer_timeout: Duration, now: Instant) -> Self {
        let interval_s = (interval_s > 0).then_some(interval_s);
        Self { interval_s, answer_timeout, last_sent: now, ping_sent_at: None }
    }

    pub(crate) fn interval_s(&self) -> u16 {
        self.interval_s.unwrap_or(0)
    }

    pub(crate) fn answer_timeout(&self) -> Duration {
        self.answer_timeout
    }

    /// The next deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next().map(|(at, _)| at)
    }

    /// The action that is due now, if any.
    pub(crate) fn due(&self, now: Instant) -> Option<Due> {
        self.next().filter(|(at, _)| *at <= now).map(|(_, due)| due)
    }

    /// The next deadline with its action. A timeout beyond the clock's range never passes.
    fn next(&self) -> Option<(Instant, Due)> {
        let interval = Duration::from_secs(self.interval_s?.into());
        match self.ping_sent_at {
            // Half, because the broker counts from its last receipt, and gives up at one and a half.
            None => Some((self.last_sent.checked_add(interval / 2)?, Due::Ping)),
            Some(ping_sent_at) => Some((ping_sent_at.checked_add(self.answer_timeout)?, Due::GiveUp)),
        }
    }

    /// Bytes were sent. The broker takes any packet for a sign of life.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    pub(crate) fn ping_sent(&mut self, now: Instant) {
        self.ping_sent_at = Some(now);
    }

    pub(crate) fn ping_answered(&mut self) {
        self.ping_sent_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_transition_of_the_picture() {
        let start = Instant::now();
        let mut state = KeepAlive::new(10, 3 * SECOND, start);
        assert_eq!((state.deadline(), state.due(start)), (Some(start + 5 * SECOND), None));
        state.sent(start + 2 * SECOND);
        assert_eq!((state.deadline(), state.due(start + 6 * SECOND)), (Some(start + 7 * SECOND), None));
        assert_eq!(state.due(start + 7 * SECOND), Some(Due::Ping));
        state.ping_sent(start + 7 * SECOND);
        state.sent(start + 7 * SECOND);
        assert_eq!((state.deadline(), state.due(start + 9 * SECOND)), (Some(start + 10 * SECOND), None));
        assert_eq!(state.due(start + 10 * SECOND), Some(Due::GiveUp));
        state.ping_answered();
        assert_eq!((state.deadline(), state.due(start + 10 * SECOND)), (Some(start + 12 * SECOND), None));
    }

    #[test]
    fn an_interval_of_zero_is_never_due() {
        let start = Instant::now();
        let state = KeepAlive::new(0, SECOND, start);
        assert_eq!((state.deadline(), state.due(start + 1_000_000 * SECOND)), (None, None));
        assert_eq!(state.interval_s(), 0);
    }
}

//! When to ping, and when to give a broker up that does not answer. No clock: `now` comes in.
//!
//! ```text
//!            half the interval without sending
//!   +-------+ ---------------------------------> +--------+  answer timeout  +------+
//!   | quiet |            asked (PINGREQ)         | asking | ---------------> | dead |
//!   +-------+ <--------------------------------- +--------+                  +------+
//!                answered (PINGRESP)
//! ```

use std::time::{Duration, Instant};

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    /// `None`: the broker puts up with any silence.
    interval_s: Option<u16>,
    answer_timeout: Duration,
    last_sent: Instant,
    asked_at: Option<Instant>,
}

/// What is to be done now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pulse {
    /// Nothing, ever.
    Quiet,
    /// Nothing until then.
    Until(Instant),
    /// Send PINGREQ.
    Ping,
    /// Give up.
    Dead,
}

impl KeepAlive {
    pub(crate) fn new(interval_s: u16, answer_timeout: Duration, now: Instant) -> Self {
        let interval_s = (interval_s > 0).then_some(interval_s);
        Self { interval_s, answer_timeout, last_sent: now, asked_at: None }
    }

    pub(crate) fn interval_s(&self) -> u16 {
        self.interval_s.unwrap_or(0)
    }

    pub(crate) fn pulse(&self, now: Instant) -> Pulse {
        let Some(interval_s) = self.interval_s else { return Pulse::Quiet };
        // Half, because the broker counts from when it receives, and gives up at one and a half.
        let ping_after = Duration::from_secs(interval_s.into()) / 2;
        let (due, then) = match self.asked_at {
            None => (self.last_sent + ping_after, Pulse::Ping),
            Some(asked_at) => (asked_at + self.answer_timeout, Pulse::Dead),
        };
        if now >= due { then } else { Pulse::Until(due) }
    }

    /// Something was sent, which tells the broker as much as a ping does.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// A ping is on its way.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    /// The broker answered.
    pub(crate) fn answered(&mut self) {
        self.asked_at = None;
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
        assert_eq!(state.pulse(start), Pulse::Until(start + 5 * SECOND));
        state.sent(start + 2 * SECOND);
        assert_eq!(state.pulse(start + 5 * SECOND), Pulse::Until(start + 7 * SECOND));
        assert_eq!(state.pulse(start + 7 * SECOND), Pulse::Ping);
        state.asked(start + 7 * SECOND);
        state.sent(start + 7 * SECOND);
        assert_eq!(state.pulse(start + 9 * SECOND), Pulse::Until(start + 10 * SECOND));
        assert_eq!(state.pulse(start + 10 * SECOND), Pulse::Dead);
        state.answered();
        assert_eq!(state.pulse(start + 10 * SECOND), Pulse::Until(start + 12 * SECOND));
    }

    #[test]
    fn an_interval_of_zero_is_never_due() {
        let start = Instant::now();
        let state = KeepAlive::new(0, SECOND, start);
        assert_eq!(state.pulse(start + 1_000_000 * SECOND), Pulse::Quiet);
        assert_eq!(state.interval_s(), 0);
    }
}

//! When each message is due, where a run has a fixed rate.
//!
//! Message `n` of sender `s` is number `n * senders + s` of the run, and its due time is that number of intervals after
//! the first. All senders therefore advance together, and the due time follows from the sender and the number of the
//! message. Latency counts from the due time, so that nothing has to be written into messages, and messages delayed by
//! a stall count the wait.
//!
//! Times are nanoseconds since the run began, an instant that all threads share.

use std::time::Duration;

/// When the first message is due: all threads run by then.
const FIRST_DUE_NS: u64 = 10_000_000;

/// The due times of all messages.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Schedule {
    senders: u32,
    interval_ns: f64,
}

impl Schedule {
    /// `senders` that send `rate_per_s` messages a second all together. Both are above zero.
    #[must_use]
    pub(crate) fn new(rate_per_s: f64, senders: u32) -> Self {
        debug_assert!(rate_per_s > 0.0 && senders > 0);
        Self { senders, interval_ns: 1e9 / rate_per_s }
    }

    /// The time between two messages of the run.
    #[must_use]
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval_ns as u64)
    }

    /// When a sender's `n`th message is due.
    #[inline]
    #[must_use]
    pub(crate) fn due_ns(&self, sender: u32, n: u64) -> u64 {
        let index = n * u64::from(self.senders) + u64::from(sender);
        // Exact to the nanosecond for a hundred days.
        FIRST_DUE_NS.saturating_add((index as f64 * self.interval_ns) as u64)
    }
}

/// One thread's senders in the order in which their messages are due.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    schedule: Schedule,
    /// Senders in ascending order, how many messages each sends, and the caller's index for it.
    senders: Vec<(u32, u64, usize)>,
    /// Whose message is due next, and which: all before it in the list are one further.
    turn: usize,
    n: u64,
}

impl Pace {
    /// `senders` are their numbers, how many messages each sends, and the caller's index for it.
    pub(crate) fn new(schedule: Schedule, mut senders: Vec<(u32, u64, usize)>) -> Self {
        senders.sort_unstable();
        Self { schedule, senders, turn: 0, n: 0 }
    }

    /// When the next message is due; None after the last.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        let (sender, messages, _) = *self.senders.get(self.turn)?;
        // If the messages cannot be divided evenly, the first senders have one more. After the first sender without a
        // message, no sender has one.
        (self.n < messages).then(|| self.schedule.due_ns(sender, self.n))
    }

    /// Calls `due` with a sender's index for each message that has become due by `now_ns`.
    pub(crate) fn advance(&mut self, now_ns: u64, mut due: impl FnMut(usize)) {
        while self.next_due_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            due(self.senders[self.turn].2);
            self.turn += 1;
            if self.turn == self.senders.len() {
                (self.turn, self.n) = (0, self.n + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::spread::Spread;

    #[test]
    fn messages_of_all_senders_are_evenly_apart() {
        let schedule = Schedule::new(1000.0, 4);
        for (sender, n, ms) in
            [(0, 0, 0), (1, 0, 1), (3, 0, 3), (0, 1, 4), (2, 10, 42), (3, 900_000_000, 3_600_000_003)]
        {
            assert_eq!(schedule.due_ns(sender, n), FIRST_DUE_NS + ms * 1_000_000, "{sender} {n}");
        }
        assert_eq!(schedule.interval(), Duration::from_millis(1));
        // An interval that is no whole number of nanoseconds does not drift: the millionth message at three a second.
        assert_eq!(Schedule::new(3.0, 1).due_ns(0, 3_000_000), FIRST_DUE_NS + 1_000_000_000_000_000);
    }

    #[test]
    fn each_message_becomes_due_once_and_in_order() {
        for (senders, messages, threads) in [(1, 10, 1), (5, 23, 2), (7, 7, 3), (4, 2, 2), (3, 1000, 3)] {
            let (schedule, spread) = (Schedule::new(1e6, senders), Spread { senders, topics: 1, messages });
            for thread in 0..threads {
                let own = (0..senders).filter(|sender| sender % threads == thread);
                let own: Vec<_> = own.map(|sender| (sender, spread.of_sender(sender), sender as usize)).collect();
                let mut pace = Pace::new(schedule, own.iter().rev().copied().collect());
                let mut sent = vec![0; senders as usize];
                let mut last = 0;
                while let Some(due_ns) = pace.next_due_ns() {
                    assert!(due_ns > last);
                    last = due_ns;
                    pace.advance(due_ns - 1, |_| panic!("nothing is due before its time"));
                    let mut called = Vec::new();
                    pace.advance(due_ns, |index| called.push(index));
                    let [index] = called[..] else { panic!("{called:?} are due at one moment") };
                    assert_eq!(schedule.due_ns(index as u32, sent[index]), due_ns);
                    sent[index] += 1;
                }
                for (sender, messages, index) in own {
                    assert_eq!(sent[index], messages, "sender {sender} of {senders} of {messages}");
                }
            }
        }
    }

    #[test]
    fn whoever_is_late_gets_all_that_is_due() {
        let mut pace = Pace::new(Schedule::new(1000.0, 2), vec![(0, 50, 7), (1, 50, 8)]);
        let mut sent = Vec::new();
        pace.advance(FIRST_DUE_NS + 4_500_000, |index| sent.push(index));
        assert_eq!(sent, [7, 8, 7, 8, 7]);
        sent.clear();
        pace.advance(u64::MAX, |index| sent.push(index));
        assert_eq!((sent.len(), pace.next_due_ns()), (95, None));
    }
}

//! Which messages have come, where any of the receivers may get any message: a bit for each, shared by all threads.
//!
//! A million messages take 125 KB. Threads that receive at once set bits in one cache line seldom, since a broker hands out
//! messages by the batch, and a line has 512 of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::drive::spread::Spread;

/// The messages that some receiver has got.
#[derive(Debug)]
pub(crate) struct Seen {
    words: Box<[AtomicU64]>,
    /// Bits for each sender.
    of_sender: u64,
}

impl Seen {
    /// None yet. The memory is that of all messages to come, an eighth of a byte each.
    #[must_use]
    pub(crate) fn new(spread: &Spread) -> Self {
        let of_sender = spread.of_sender(0);
        let bits = of_sender * u64::from(spread.senders);
        Self { words: (0..bits.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(), of_sender }
    }

    /// Takes note of a message that exists. True if nobody had got it.
    #[inline]
    pub(crate) fn insert(&self, sender: u32, n: u64) -> bool {
        let (word, bit) = self.place(sender, n);
        self.words[word].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Whether somebody has got it.
    #[must_use]
    pub(crate) fn has(&self, sender: u32, n: u64) -> bool {
        let (word, bit) = self.place(sender, n);
        self.words[word].load(Ordering::Relaxed) & bit != 0
    }

    #[inline]
    fn place(&self, sender: u32, n: u64) -> (usize, u64) {
        debug_assert!(n < self.of_sender);
        let at = u64::from(sender) * self.of_sender + n;
        // Below the number of words, which are there.
        ((at / 64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_a_bit_of_its_own() {
        let spread = Spread { senders: 3, topics: 2, messages: 200 };
        let seen = Seen::new(&spread);
        for sender in 0..3 {
            for n in 0..spread.of_sender(sender) {
                assert!(!seen.has(sender, n) && seen.insert(sender, n), "{sender} {n}");
                assert!(seen.has(sender, n) && !seen.insert(sender, n), "{sender} {n}");
            }
        }
    }

    #[test]
    fn of_several_threads_one_is_the_first() {
        let spread = Spread { senders: 1, topics: 1, messages: 10_000 };
        let seen = Seen::new(&spread);
        let firsts = std::thread::scope(|scope| {
            let count = || (0..10_000).filter(|n| seen.insert(0, *n)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(firsts, 10_000);
    }
}

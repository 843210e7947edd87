//! When sessions expire after their connections have ended, and when wills are due (MQTT 5 sections 3.1.2.11.2 and
//! 3.1.3.2.2).

use std::collections::BTreeMap;

use crate::base::sync::{AtomicU64, Mutex, Ordering, rank};
use crate::state::will::Will;

/// When a session ends and its will is due.
#[derive(Debug)]
pub(crate) struct Lifetime {
    /// Seconds that the session outlives its connection; [`FOREVER_S`] for ever.
    pub(crate) expiry_s: u32,
    /// Published unless the client disconnects normally or reconnects in time.
    pub(crate) will: Option<Box<Will>>,
    /// Whether the session is counted among the kept ones.
    pub(crate) is_counted: bool,
    /// Whether the store has the session.
    pub(crate) is_recorded: bool,
    /// When the client has left; [`NEVER`] while it is connected.
    left_ms: u64,
    will_at_ms: u64,
    ends_at_ms: u64,
    /// Whether the session is in the timers, under [`Lifetime::next_ms`].
    is_filed: bool,
}

/// The time of an event that is not scheduled.
pub(crate) const NEVER: u64 = u64::MAX;

impl Default for Lifetime {
    fn default() -> Self {
        Self {
            expiry_s: 0,
            will: None,
            is_counted: false,
            is_recorded: false,
            left_ms: NEVER,
            will_at_ms: NEVER,
            ends_at_ms: NEVER,
            is_filed: false,
        }
    }
}

/// A session expiry interval that never passes.
pub(crate) const FOREVER_S: u32 = u32::MAX;

/// The parts of a session that are due.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) will: Option<Box<Will>>,
    pub(crate) ended: bool,
}

impl Lifetime {
    /// The client has connected: nothing is due while it stays. The delayed will of an earlier connection is cancelled
    /// [MQTT-3.1.3-9].
    pub(crate) fn begin<K: Clone>(&mut self, timers: &Timers<K>, key: usize, expiry_s: u32, will: Option<Box<Will>>) {
        self.unfile(timers, key);
        (self.left_ms, self.will_at_ms, self.ends_at_ms) = (NEVER, NEVER, NEVER);
        (self.expiry_s, self.will) = (expiry_s, will);
    }

    /// The client has disconnected. Returns the parts that are due now, and files the session in the timers for the
    /// others.
    pub(crate) fn leave<K: Clone>(&mut self, timers: &Timers<K>, (key, value): (usize, &K), now_ms: u64) -> Due {
        debug_assert!(!self.is_filed, "nothing is due while the client is connected");
        self.left_ms = now_ms;
        let after = |seconds: u32| now_ms + u64::from(seconds) * 1000;
        self.will_at_ms = self.will.as_ref().map_or(NEVER, |will| after(will.delay_s().min(self.expiry_s)));
        self.ends_at_ms = if self.expiry_s == FOREVER_S { NEVER } else { after(self.expiry_s) };
        self.expire(timers, (key, value), now_ms)
    }

    /// Returns the parts that are due at `now_ms`, and files the session in the timers for the others.
    pub(crate) fn expire<K: Clone>(&mut self, timers: &Timers<K>, (key, value): (usize, &K), now_ms: u64) -> Due {
        self.unfile(timers, key);
        let ended = self.ends_at_ms <= now_ms;
        let will = if ended || self.will_at_ms <= now_ms { self.will.take() } else { None };
        if will.is_some() {
            self.will_at_ms = NEVER;
        }
        if !ended {
            self.file(timers, (key, value));
        }
        Due { will, ended }
    }

    /// The client left before the broker started. `at_ms` is the engine's time so many seconds after the client left.
    pub(crate) fn restore<K: Clone>(
        &mut self,
        timers: &Timers<K>,
        (key, value): (usize, &K),
        (expiry_s, will): (u32, Option<Box<Will>>),
        at_ms: impl Fn(u32) -> u64,
    ) {
        self.left_ms = 0;
        self.will_at_ms = will.as_ref().map_or(NEVER, |will| at_ms(will.delay_s().min(expiry_s)));
        self.ends_at_ms = if expiry_s == FOREVER_S { NEVER } else { at_ms(expiry_s) };
        (self.expiry_s, self.will, self.is_recorded) = (expiry_s, will, true);
        self.file(timers, (key, value));
    }

    /// Whether the session has expired, though nobody has noticed.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.ends_at_ms <= now_ms
    }

    /// When the client has left. `None` while it is connected.
    pub(crate) fn left_ms(&self) -> Option<u64> {
        Some(self.left_ms).filter(|left_ms| *left_ms != NEVER)
    }

    /// When the will or the end is due.
    fn next_ms(&self) -> u64 {
        self.will_at_ms.min(self.ends_at_ms)
    }

    fn file<K: Clone>(&mut self, timers: &Timers<K>, (key, value): (usize, &K)) {
        self.is_filed = self.next_ms() != NEVER;
        if self.is_filed {
            timers.file(self.next_ms(), key, value);
        }
    }

    fn unfile<K: Clone>(&mut self, timers: &Timers<K>, key: usize) {
        if std::mem::take(&mut self.is_filed) {
            timers.unfile(self.next_ms(), key);
        }
    }
}

/// Values by the time at which they are due and a key.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    entries: Mutex<BTreeMap<(u64, usize), K>, { rank::TIMERS }>,
    /// The first time in `entries`, so that they are not locked before it.
    next_ms: AtomicU64,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { entries: Mutex::default(), next_ms: AtomicU64::new(NEVER) }
    }
}

impl<K: Clone> Timers<K> {
    /// Adds a value.
    pub(crate) fn file(&self, at_ms: u64, key: usize, value: &K) {
        let mut entries = self.entries.lock();
        entries.insert((at_ms, key), value.clone());
        self.note_next(&entries);
    }

    /// Removes a value.
    pub(crate) fn unfile(&self, at_ms: u64, key: usize) {
        let mut entries = self.entries.lock();
        entries.remove(&(at_ms, key));
        self.note_next(&entries);
    }

    fn note_next(&self, entries: &BTreeMap<(u64, usize), K>) {
        self.next_ms.store(entries.keys().next().map_or(NEVER, |(at_ms, _)| *at_ms), Ordering::Relaxed);
    }

    /// The first time at which a value is due, if there is any.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        Some(self.next_ms.load(Ordering::Relaxed)).filter(|next_ms| *next_ms != NEVER)
    }

    /// The values that are due by now. They stay until their owner removes or files them again.
    pub(crate) fn due(&self, now_ms: u64) -> Vec<K> {
        if self.next_ms().is_none_or(|next_ms| next_ms > now_ms) {
            return Vec::new();
        }
        self.entries.lock().range(..=(now_ms, usize::MAX)).map(|(_, value)| value.clone()).collect()
    }
}

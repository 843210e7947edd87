//! The locks and atomics of the broker, in one place so that loom can stand in for them.
//!
//! Each lock has a [`rank`]. A thread takes locks in the order of their ranks, and no two of the same rank at a time:
//! so no two threads can wait for each other. Debug builds check it.
//!
//! A panic while a lock is held ends the process in release builds (`panic = "abort"`) and fails the test in tests. So
//! poisoning carries no information, and the guards are handed out without it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

#[cfg(loom)]
use loom::sync as imp;
#[cfg(not(loom))]
use std::sync as imp;

pub use imp::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// The order in which locks are taken, lowest first.
pub mod rank {
    /// A worker's mailbox.
    pub const MAILBOX: u8 = 0;
    /// The requests of a connection of the admin listener, which are answered under it. Never taken with a mailbox.
    pub const REQUESTS: u8 = MAILBOX;
    /// The table of connections.
    pub const CONNECTIONS: u8 = 1;
    /// The sending half of a socket.
    pub const OUTPUT: u8 = 2;
    /// A shard of the registry.
    pub const REGISTRY: u8 = 3;
    /// A session's receiving half.
    pub const INCOMING: u8 = 4;
    /// A session's subscriptions.
    pub const SUBSCRIPTIONS: u8 = 5;
    /// The directory of queues.
    pub const DIRECTORY: u8 = 6;
    /// The topic tree.
    pub const TREE: u8 = 7;
    /// The retained messages.
    pub const RETAINED: u8 = 8;
    /// A topic queue or group.
    pub const QUEUE: u8 = 9;
    /// A session's sending half.
    pub const OUTGOING: u8 = 10;
    /// An outbox.
    pub const OUTBOX: u8 = 11;
    /// A session's lifetime.
    pub const LIFETIME: u8 = 12;
    /// The timers.
    pub const TIMERS: u8 = 13;
    /// The messages for a client in the process.
    pub const IN_PROCESS: u8 = 29;
    /// A transport over another one.
    pub const TRANSPORT: u8 = 30;
    /// A lock under which no other is taken.
    pub const LEAF: u8 = 31;
}

/// A mutex without poisoning.
#[derive(Debug, Default)]
pub struct Mutex<T, const RANK: u8>(imp::Mutex<T>);

/// A mutex that is locked.
pub struct MutexGuard<'a, T> {
    guard: imp::MutexGuard<'a, T>,
    _held: Held,
}

impl<T, const RANK: u8> Mutex<T, RANK> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = Held::new(RANK);
        MutexGuard { guard: self.0.lock().unwrap_or_else(PoisonError::into_inner), _held: held }
    }

    /// The lock if no thread holds it now.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        use std::sync::TryLockError;
        let guard = match self.0.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { guard, _held: Held::new(RANK) })
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A condition that threads wait for, each with the mutex that it holds.
#[derive(Debug)]
pub struct Condvar(imp::Condvar);

impl Default for Condvar {
    fn default() -> Self {
        Self(imp::Condvar::new())
    }
}

impl Condvar {
    /// Gives the lock back, waits to be notified, and takes the lock again. It may return without a notification.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard { guard, _held } = guard;
        MutexGuard { guard: self.0.wait(guard).unwrap_or_else(PoisonError::into_inner), _held }
    }

    /// The same for at most `timeout`.
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        let MutexGuard { guard, _held } = guard;
        let (guard, _) = self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
        MutexGuard { guard, _held }
    }

    /// Has all waiting threads look again.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A reader-writer lock without poisoning.
#[derive(Debug, Default)]
pub struct RwLock<T, const RANK: u8>(imp::RwLock<T>);

/// A reader-writer lock that is locked for reading.
pub struct RwLockReadGuard<'a, T> {
    guard: imp::RwLockReadGuard<'a, T>,
    _held: Held,
}

/// A reader-writer lock that is locked for writing.
pub struct RwLockWriteGuard<'a, T> {
    guard: imp::RwLockWriteGuard<'a, T>,
    _held: Held,
}

impl<T, const RANK: u8> RwLock<T, RANK> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(imp::RwLock::new(value))
    }

    /// Waits until no thread writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let held = Held::new(RANK);
        RwLockReadGuard { guard: self.0.read().unwrap_or_else(PoisonError::into_inner), _held: held }
    }

    /// Waits until no other thread reads or writes.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let held = Held::new(RANK);
        RwLockWriteGuard { guard: self.0.write().unwrap_or_else(PoisonError::into_inner), _held: held }
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// The rank of a lock that this thread holds. Empty in release builds, and under loom, where all threads run on one
/// thread of the host.
struct Held {
    #[cfg(all(debug_assertions, not(loom)))]
    rank: u8,
}

#[cfg(all(debug_assertions, not(loom)))]
thread_local! {
    /// A bit for each rank.
    static RANKS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[cfg(all(debug_assertions, not(loom)))]
impl Held {
    fn new(rank: u8) -> Self {
        // The thread's record is gone while the thread ends.
        let _ = RANKS.try_with(|ranks| {
            let higher = ranks.get() >> rank;
            assert!(higher == 0, "a lock of rank {rank} is taken while ranks {:#b} are held", ranks.get());
            ranks.set(ranks.get() | 1 << rank);
        });
        Self { rank }
    }
}

#[cfg(all(debug_assertions, not(loom)))]
impl Drop for Held {
    fn drop(&mut self) {
        let _ = RANKS.try_with(|ranks| ranks.set(ranks.get() & !(1 << self.rank)));
    }
}

#[cfg(not(all(debug_assertions, not(loom))))]
impl Held {
    #[inline]
    fn new(_: u8) -> Self {
        Self {}
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_in_the_order_of_their_ranks() {
        let (first, second) = (Mutex::<_, { rank::QUEUE }>::new(1), RwLock::<_, { rank::OUTBOX }>::new(2));
        let guard = first.lock();
        assert_eq!(*guard + *second.read(), 3);
        drop(guard);
        let value = *first.lock();
        *second.write() += value;
    }

    #[test]
    #[should_panic(expected = "a lock of rank 9 is taken")]
    fn another_order_is_found_in_debug_builds() {
        let (first, second) = (Mutex::<_, { rank::QUEUE }>::new(1), RwLock::<_, { rank::OUTBOX }>::new(2));
        let _guard = second.read();
        first.lock();
    }

    #[test]
    #[should_panic(expected = "a lock of rank 9 is taken")]
    fn two_locks_of_a_rank_are_not_held_at_once() {
        let (one, other) = (Mutex::<_, { rank::QUEUE }>::new(1), Mutex::<_, { rank::QUEUE }>::new(2));
        let _guard = one.lock();
        other.try_lock();
    }
}

//! The checks of passwords that wait: few at once, a bounded number, each not before its time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wisp_access::{Digest, Memory};
use wisp_engine::{ConnectRequest, PendingDecision, Verdict};

use super::failures::Origin;

/// Most checks that wait.
const WAITING_MAX: usize = 1024;
/// The longest that a check should wait for earlier ones. Clients and `connect-timeout-ms` give up after some seconds.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A worker that has to check passwords itself spends one of this many parts of its time on it.
const WORKER_PARTS: u32 = 4;

/// A password to check.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) user: Box<str>,
    pub(super) password: Password,
    pub(super) client_id: Box<str>,
    pub(super) listener: u16,
    pub(super) peer: Option<SocketAddr>,
    pub(super) origin: Origin,
    pub(super) digest: Digest,
    not_before: Instant,
}

/// A password, which no log shows.
pub(super) struct Password(Box<[u8]>);

/// Checks a password.
pub(super) trait Check: Send + Sync + Sized + 'static {
    /// The checks that wait.
    fn checker(&self) -> &Checker;

    /// Checks one. Called by threads, or by workers on hosts without.
    fn check(access: &Arc<Self>, job: &Job, memory: &mut Memory) -> Verdict;
}

/// The waiting checks.
#[derive(Debug)]
pub(super) struct Checker {
    threads_max: usize,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// In the order in which they may begin, and then came.
    jobs: BTreeMap<(Instant, u64), (Job, Arc<PendingDecision>)>,
    next_number: u64,
    threads: usize,
    idle: usize,
    /// Checks that workers do, since there are no threads.
    polled: usize,
    /// When a worker may check again.
    next_polled: Option<Instant>,
    /// The time that a check has taken lately.
    check_time: Duration,
    memory: Memory,
    is_closed: bool,
}

impl Job {
    pub(super) fn new(
        request: &ConnectRequest<'_>,
        password: &[u8],
        digest: Digest,
        origin: Origin,
        not_before: Instant,
    ) -> Self {
        Self {
            user: request.username.unwrap_or_default().into(),
            password: Password(password.into()),
            client_id: request.client_id.into(),
            listener: request.listener,
            peer: request.peer,
            origin,
            digest,
            not_before,
        }
    }
}

impl Checker {
    pub(super) fn new(has_threads: bool) -> Self {
        let threads_max = if has_threads { threads::max() } else { 0 };
        Self { threads_max, queue: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes a check. `None` if the checks before it would take too long.
    pub(super) fn submit<C: Check>(access: &Arc<C>, job: Job) -> Option<Arc<PendingDecision>> {
        let checker = access.checker();
        let mut queue = checker.queue();
        let waiting = queue.jobs.len() + queue.polled;
        let speed = if checker.threads_max == 0 { 1.0 / f64::from(WORKER_PARTS) } else { checker.threads_max as f64 };
        let wait = queue.check_time.mul_f64(waiting as f64 / speed);
        if waiting >= WAITING_MAX || wait > WAIT_MAX || queue.is_closed {
            return None;
        }
        if checker.threads_max == 0 {
            queue.polled += 1;
            let polled = PolledJob { job, access: Arc::clone(access) };
            return Some(Arc::new(PendingDecision::polled(move || polled.poll())));
        }
        let pending = Arc::<PendingDecision>::default();
        let key = (job.not_before, queue.next_number);
        queue.next_number += 1;
        queue.jobs.insert(key, (job, Arc::clone(&pending)));
        if queue.idle == 0 && queue.threads < checker.threads_max && threads::spawn(access) {
            queue.threads += 1;
        }
        if queue.threads == 0 {
            // The host gives no thread now. It may later.
            queue.jobs.remove(&key);
            return None;
        }
        drop(queue);
        checker.changed.notify_one();
        Some(pending)
    }

    /// Ends the threads.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        queue.is_closed = true;
        queue.jobs.clear();
        drop(queue);
        self.changed.notify_all();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn note_time(&mut self, took: Duration) {
        self.check_time = (self.check_time * 3 + took) / 4;
    }
}

/// A check that workers do. It counts as waiting as long as its connection is there.
struct PolledJob<C: Check> {
    job: Job,
    access: Arc<C>,
}

impl<C: Check> PolledJob<C> {
    /// Checks, if it is time.
    fn poll(&self) -> Option<Verdict> {
        let begun = Instant::now();
        let mut queue = self.access.checker().queue();
        if begun < self.job.not_before || queue.next_polled.is_some_and(|next| begun < next) {
            return None;
        }
        let mut memory = std::mem::take(&mut queue.memory);
        drop(queue);
        let verdict = C::check(&self.access, &self.job, &mut memory);
        let took = begun.elapsed();
        let mut queue = self.access.checker().queue();
        queue.memory = memory;
        queue.next_polled = Some(Instant::now() + took * (WORKER_PARTS - 1));
        queue.note_time(took);
        Some(verdict)
    }
}

impl<C: Check> Drop for PolledJob<C> {
    fn drop(&mut self) {
        self.access.checker().queue().polled -= 1;
    }
}

impl std::ops::Deref for Password {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

mod threads {
    use super::*;

    /// How long a thread waits for a check before it ends, and with it the memory that it kept.
    const IDLE_MAX: Duration = Duration::from_secs(10);

    /// Most threads: a part of the processors, since workers need the others.
    pub(super) fn max() -> usize {
        std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).clamp(1, 4))
    }

    /// Starts a thread. False if the host gives none.
    pub(super) fn spawn<C: Check>(access: &Arc<C>) -> bool {
        let access = Arc::clone(access);
        wisp_net::spawn_thread("wisp-passwords", move || work(&access)).is_ok()
    }

    fn work<C: Check>(access: &Arc<C>) {
        let mut memory = Memory::default();
        while let Some((job, pending)) = next(access.checker()) {
            // A connection that is gone holds no answer.
            if Arc::strong_count(&pending) > 1 {
                let begun = Instant::now();
                pending.answer(C::check(access, &job, &mut memory));
                access.checker().queue().note_time(begun.elapsed());
            }
        }
    }

    /// Waits for a check. `None` if the thread is to end.
    fn next(checker: &Checker) -> Option<(Job, Arc<PendingDecision>)> {
        let mut queue = checker.queue();
        let give_up_at = Instant::now() + IDLE_MAX;
        loop {
            let now = Instant::now();
            let first = queue.jobs.first_key_value().map(|((at, _), _)| *at);
            match first {
                _ if queue.is_closed => break,
                Some(at) if at <= now => return queue.jobs.pop_first().map(|(_, waiting)| waiting),
                None if now >= give_up_at => break,
                _ => {}
            }
            queue.idle += 1;
            let wait = first.unwrap_or(give_up_at) - now;
            let (guard, _) = checker.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            queue.idle -= 1;
        }
        queue.threads -= 1;
        None
    }
}

//! Subscribers that read all that comes and count it: messages, messages in each second, and latencies.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::clock::Clock;
use crate::client::{Acks, Client};

/// How often the thread looks whether it is to end.
const POLL_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The thread with its subscribers.
#[derive(Debug)]
pub(crate) struct Receivers {
    shared: Arc<Shared>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    stop: AtomicBool,
    received: AtomicU64,
    /// Subscribers that the broker disconnected.
    ended: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default, Debug)]
struct Seen {
    per_second: Vec<u64>,
    latencies_us: Vec<u32>,
}

/// The messages that subscribers received.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) count: u64,
    /// In each second of the clock.
    pub(crate) per_second: Vec<u64>,
    /// Sorted.
    pub(crate) latencies_us: Vec<u32>,
    /// Subscribers that the broker disconnected.
    pub(crate) ended: u64,
}

impl Receivers {
    /// Reads from these clients until [`finish`](Self::finish).
    pub(crate) fn start(mut clients: Vec<Client>, clock: Clock, acks: Acks) -> io::Result<Self> {
        for client in &clients {
            client.set_nonblocking()?;
        }
        let shared = Arc::new(Shared {
            clock,
            stop: AtomicBool::new(false),
            received: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let of_thread = shared.clone();
        let thread = thread::Builder::new().name("receivers".to_owned()).spawn(move || {
            // Messages that came right behind an answer are in the clients' buffers already.
            of_thread.serve_all(&mut clients, acks, |_| true);
            while !of_thread.stop.load(Ordering::Relaxed) {
                of_thread.turn(&mut clients, acks)?;
            }
            Ok(())
        })?;
        Ok(Self { shared, thread })
    }

    /// Messages so far.
    pub(crate) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Waits until that many messages have arrived, at most for a time. Says whether they have.
    pub(crate) fn wait_for(&self, count: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.received() < count && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.received() >= count
    }

    /// Forgets the latencies so far, which belong to the preparation of a case.
    pub(crate) fn forget_latencies(&self) {
        self.shared.seen().latencies_us.clear();
    }

    /// Ends the thread and its connections.
    pub(crate) fn finish(self) -> io::Result<Received> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the receivers' thread panicked"))??;
        let Seen { per_second, mut latencies_us } = std::mem::take(&mut *self.shared.seen());
        latencies_us.sort_unstable();
        let count = self.shared.received.load(Ordering::Relaxed);
        Ok(Received { count, per_second, latencies_us, ended: self.shared.ended.load(Ordering::Relaxed) })
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        // A panic while the lock is held leaves only a count undone.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the clients, and reads from each of them that is ready.
    fn turn(&self, clients: &mut Vec<Client>, acks: Acks) -> io::Result<()> {
        let wanted = |client: &Client| {
            if client.queued_bytes() == 0 { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
        };
        let mut waits: Vec<_> = clients.iter().map(|client| PollFd::new(client.stream(), wanted(client))).collect();
        match poll(&mut waits, Some(&POLL_TIMEOUT)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<_> = waits.iter().map(|wait| !wait.revents().is_empty()).collect();
        drop(waits);
        self.serve_all(clients, acks, |index| ready[index]);
        Ok(())
    }

    /// Serves the clients that are ready, and drops those that the broker disconnected.
    fn serve_all(&self, clients: &mut Vec<Client>, acks: Acks, is_ready: impl Fn(usize) -> bool) {
        let mut index = 0;
        clients.retain_mut(|client| {
            index += 1;
            if !is_ready(index - 1) || self.serve(client, acks).is_ok() {
                return true;
            }
            self.ended.fetch_add(1, Ordering::Relaxed);
            false
        });
    }

    fn serve(&self, client: &mut Client, acks: Acks) -> io::Result<()> {
        let (now_us, mut count, mut latencies) = (self.clock.now_us(), 0, Vec::new());
        client.receive_messages(acks, |publish| {
            count += 1;
            if let Some(due_us) = publish.payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)) {
                latencies.push(u32::try_from(now_us.saturating_sub(due_us)).unwrap_or(u32::MAX));
            }
        })?;
        client.flush()?;
        if count > 0 {
            let mut seen = self.seen();
            let second = (now_us / 1_000_000) as usize;
            if seen.per_second.len() <= second {
                seen.per_second.resize(second + 1, 0);
            }
            seen.per_second[second] += count;
            seen.latencies_us.append(&mut latencies);
            drop(seen);
            self.received.fetch_add(count, Ordering::Relaxed);
        }
        Ok(())
    }
}

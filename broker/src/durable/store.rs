//! The store itself: appending, tickets, flushes and their failures.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};
use wisp_engine::{Change, CommitState, Histogram, Key, Restoration, Restored, Store, StoreStats, Ticket};
use wisp_store::{Body, Files, FsFiles, Log, OpenError, Settings, Sync};

/// While more bytes than these wait for the disk, senders are held back.
const PENDING_BYTES_MAX: u64 = 64 << 20;

/// With more bytes than these, a flush does not wait for acknowledgements.
const PAUSED_BYTES_MAX: u64 = PENDING_BYTES_MAX / 4;

/// The pause after a write that has failed.
pub(super) const RETRY: Duration = Duration::from_millis(250);

/// The pause between two pieces of compaction while there is nothing else to write.
const COMPACTION_PAUSE: Duration = Duration::from_millis(10);

/// How often failing writes are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Where a broker keeps its state, and when it is synchronised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataDir {
    /// The folder. It is created if its parent is there.
    pub folder: PathBuf,
    /// When writes are synchronised. With an interval, or never, replies go out after the write.
    pub sync: Sync,
    /// The most bytes in the folder: senders of messages to keep are held back before. 0, the default: as many as the disk
    /// takes. [`DISK_BYTES_LEAST`] is the least.
    pub disk_bytes_max: u64,
}

/// The least value of [`DataDir::disk_bytes_max`] but 0: several segments, and room to compact them.
pub const DISK_BYTES_LEAST: u64 = 16 << 20;

impl DataDir {
    /// A folder that is synchronised before each acknowledgement.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), sync: Sync::Always, disk_bytes_max: 0 }
    }
}

/// The store of a running broker.
pub(crate) struct Durable {
    pub(super) log: Log,
    folder: PathBuf,
    sync: Sync,
    /// Whether a thread flushes.
    pub(super) has_thread: bool,
    /// The times that flushes of changes took.
    commits: Histogram,
    /// The last position for which a flush was asked.
    asked: AtomicU64,
    /// The last ticket of each worker.
    pub(super) tickets: Vec<AtomicU64>,
    has_failed: AtomicBool,
    /// The last write has failed, and is tried again.
    is_stuck: AtomicBool,
    /// The thread waits before a flush.
    is_pausing: AtomicBool,
    trouble: Mutex<Trouble>,
    /// Whether the thread has to flush, or to end.
    wanted: Mutex<Wanted>,
    pub(super) changed: Condvar,
}

#[derive(Default)]
pub(super) struct Wanted {
    pub(super) flush: bool,
    pub(super) end: bool,
}

/// Writes that have failed.
#[derive(Default)]
pub(super) struct Trouble {
    /// When to try again.
    retry: Option<Instant>,
    logged: Option<Instant>,
    /// Why the store is of no use any more.
    pub(super) fatal: Option<String>,
    /// The last flush that was made for compaction, or for a sync that was due, alone.
    tended: Option<Instant>,
}

/// The result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    Done,
    /// The disk is full, or away: later again.
    Later,
    Failed,
}

impl Durable {
    /// Opens the store. The objects are for [`wisp_engine::Shared::restore`].
    pub(crate) fn open(
        options: &DataDir,
        workers: usize,
        has_thread: bool,
    ) -> Result<(Self, Vec<Restored<Body>>), OpenError> {
        Self::open_on(FsFiles::new(&options.folder), options, workers, has_thread)
    }

    /// Opens the store on these files.
    pub(super) fn open_on(
        files: impl Files + 'static,
        options: &DataDir,
        workers: usize,
        has_thread: bool,
    ) -> Result<(Self, Vec<Restored<Body>>), OpenError> {
        let mut settings = Settings::default();
        settings.sync = options.sync;
        settings.disk_bytes_max = options.disk_bytes_max;
        let (log, live) = Log::open(files, &settings)?;
        let restored = live
            .into_iter()
            .filter_map(|object| Some(Restored { key: Key::new(object.key)?, kind: object.kind, body: object.body }));
        let restored = restored.collect();
        let durable = Self {
            asked: AtomicU64::new(log.position()),
            tickets: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            log,
            folder: options.folder.clone(),
            commits: Histogram::default(),
            sync: options.sync,
            has_thread,
            has_failed: AtomicBool::new(false),
            is_stuck: AtomicBool::new(false),
            is_pausing: AtomicBool::new(false),
            trouble: Mutex::default(),
            wanted: Mutex::default(),
            changed: Condvar::new(),
        };
        Ok((durable, restored))
    }

    /// Logs the counts of the restored objects, and the effective guarantee.
    pub(crate) fn announce(&self, options: &DataDir, restoration: &Restoration, host_syncs: bool) {
        let folder = options.folder.display();
        let recovery = self.log.recovery();
        if let Some(cut) = &recovery.cut {
            warn!(
                "{folder}/{}: the last write was not finished: {} bytes from offset {} on are left out",
                cut.file, cut.bytes, cut.offset
            );
        }
        info!(
            "restored from {folder} in {} ms: {} sessions, {} subscriptions, {} messages, {} retained messages",
            recovery.took.as_millis(),
            restoration.sessions,
            restoration.subscriptions,
            restoration.messages,
            restoration.retained
        );
        if restoration.objects_dropped > 0 {
            warn!("{} stored objects were dropped: their session or message was missing", restoration.objects_dropped);
        }
        for (limit, count) in &restoration.above_limits {
            warn!("{limit} is lower than the {count} restored, which are all kept");
        }
        let sync = Promise(options.sync);
        if host_syncs {
            info!("sync = {sync}");
        } else {
            warn!(
                "this host never synchronises a file: what is acknowledged survives the end of the process, and a power cut can lose \
                 it, unless each write is synchronous (on ext4: chattr +S {folder})"
            );
        }
    }

    /// A worker has ended a turn. On a host without threads this flushes; true if something was committed.
    pub(crate) fn end_turn(&self) -> bool {
        if self.has_thread {
            self.ask(self.log.position());
            return false;
        }
        let synced = self.log.synced();
        if self.log.position() > synced {
            return self.flush() == Flushed::Done && self.log.synced() > synced;
        }
        if self.tending_pause().is_some_and(|pause| self.was_tended(pause)) {
            self.flush();
        }
        false
    }

    /// Whether a worker has to flush at once, on a host without threads.
    pub(crate) fn is_due(&self) -> bool {
        !self.has_thread && self.log.position() > self.log.synced() && self.trouble().retry.is_none()
    }

    /// Asks the thread to flush the changes up to a position, once for each position.
    fn ask(&self, position: u64) {
        if self.has_thread && self.asked.fetch_max(position, Ordering::Relaxed) < position {
            self.wanted().flush = true;
            self.changed.notify_one();
        }
    }

    /// The pause after which a flush is worth its while though nothing was appended.
    pub(super) fn tending_pause(&self) -> Option<Duration> {
        match self.sync {
            _ if self.log.wants_compaction() => Some(COMPACTION_PAUSE),
            Sync::Every(interval) if self.log.has_unsynced() => Some(interval),
            _ => None,
        }
    }

    /// Whether so much time has gone by since the last flush for compaction or a sync alone. Then this is the next.
    fn was_tended(&self, pause: Duration) -> bool {
        let mut trouble = self.trouble();
        let is_due = trouble.tended.is_none_or(|at| at.elapsed() >= pause);
        if is_due {
            trouble.tended = Some(Instant::now());
        }
        is_due
    }

    /// Waits before a flush until no object waits for it, and no longer than this. False: there was nothing to wait for.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut has_paused = false;
        self.is_pausing.store(true, Ordering::SeqCst);
        let mut wanted = self.wanted();
        while !wanted.end && self.log.waiting_objects() > 0 && (self.log.pending_bytes() as u64) < PAUSED_BYTES_MAX {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            has_paused = true;
            wanted = self.changed.wait_timeout(wanted, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(wanted);
        self.is_pausing.store(false, Ordering::Relaxed);
        has_paused
    }

    /// Ends the pause before a flush if nothing is left to wait for.
    fn end_pause(&self) {
        if self.is_pausing.load(Ordering::Relaxed) && self.log.waiting_objects() == 0 {
            drop(self.wanted());
            self.changed.notify_one();
        }
    }

    pub(super) fn flush(&self) -> Flushed {
        if self.trouble().retry.is_some_and(|at| Instant::now() < at) {
            return Flushed::Later;
        }
        let (begun, is_commit) = (Instant::now(), self.log.position() > self.log.synced());
        let outcome = self.log.flush();
        self.is_stuck.store(outcome.is_err(), Ordering::Relaxed);
        if outcome.is_ok() && is_commit {
            self.commits.add(begun.elapsed(), 1);
        }
        let mut trouble = self.trouble();
        match outcome {
            Ok(_) => {
                if trouble.retry.take().is_some() {
                    trouble.logged = None;
                    info!("the data folder can be written again");
                }
                Flushed::Done
            }
            Err(failure) if failure.is_fatal() => {
                error!("{failure}: nothing that it covers is acknowledged; the broker stops");
                trouble.fatal = Some(failure.to_string());
                self.has_failed.store(true, Ordering::SeqCst);
                Flushed::Failed
            }
            Err(failure) => {
                let now = Instant::now();
                trouble.retry = Some(now + RETRY);
                if trouble.logged.is_none_or(|at| now - at >= LOG_INTERVAL) {
                    trouble.logged = Some(now);
                    warn!(
                        "{failure}. {} bytes wait; nothing of them is acknowledged, and senders of messages to keep are held back: \
                         make room on the disk of {}",
                        self.log.pending_bytes(),
                        self.folder.display()
                    );
                }
                Flushed::Later
            }
        }
    }

    /// Flushes all that is left, when all workers have ended.
    pub(super) fn finish(&self) {
        while self.log.position() > self.log.synced() && !self.has_failed.load(Ordering::SeqCst) {
            self.trouble().retry = None;
            if self.flush() == Flushed::Later {
                let reason = "the data folder cannot be written: the last changes, none of them acknowledged, are lost";
                self.trouble().fatal = Some(reason.to_owned());
                return;
            }
        }
    }

    pub(super) fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The heads of the objects of one call, and the end of each.
    static HEADS: RefCell<(Vec<u8>, Vec<usize>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl Store for Durable {
    fn append(&self, _: usize, changes: &[Change<'_>]) {
        HEADS.with_borrow_mut(|(heads, ends)| {
            heads.clear();
            ends.clear();
            // Before the lock is taken.
            for change in changes {
                if let Change::Put { object, .. } = change {
                    object.encode_head(heads);
                }
                ends.push(heads.len());
            }
            self.log.append(|log| {
                let mut start = 0;
                for (change, end) in changes.iter().zip(ends.iter()) {
                    match change {
                        Change::Put { key, object } => {
                            let refers_to = object.refers_to().map(Key::get);
                            let body = [&heads[start..*end], object.tail()];
                            log.put(key.get(), object.kind(), refers_to, object.is_shared(), &body);
                        }
                        Change::Delete { key } => log.delete(key.get()),
                    }
                    start = *end;
                }
            });
        });
        self.end_pause();
    }

    fn commit(&self, worker: usize) -> Ticket {
        let position = self.log.position();
        if let Some(ticket) = self.tickets.get(worker) {
            ticket.store(position, Ordering::SeqCst);
        }
        // A flush that is over by now has not seen the ticket, so the worker has to see the flush.
        fence(Ordering::SeqCst);
        // The turn may be long: the disk need not wait for its end.
        self.ask(position);
        Ticket(position)
    }

    fn state(&self, Ticket(position): Ticket) -> CommitState {
        if self.log.synced() >= position {
            CommitState::Committed
        } else if self.has_failed.load(Ordering::SeqCst) {
            CommitState::Failed
        } else {
            CommitState::Pending
        }
    }

    fn admits(&self) -> bool {
        !self.is_stuck.load(Ordering::Relaxed)
            && (self.log.pending_bytes() as u64) < PENDING_BYTES_MAX.min(self.log.room())
    }

    fn stats(&self) -> StoreStats {
        let stats = self.log.stats();
        StoreStats {
            writes: stats.writes,
            written_bytes: stats.written_bytes,
            syncs: stats.syncs,
            write_failures: stats.write_failures,
            objects: stats.objects,
            live_bytes: stats.live_bytes,
            disk_bytes: stats.disk_bytes,
            pending_bytes: self.log.pending_bytes() as u64,
            commits: self.commits.snapshot(),
        }
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable").field("sync", &self.sync).finish_non_exhaustive()
    }
}

/// The setting and the promise of it, for the log.
struct Promise(Sync);

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Sync::Always => write!(f, "always: what is acknowledged survives kill -9 and a power cut"),
            Sync::Every(interval) => write!(
                f,
                "{} ms: what is acknowledged survives kill -9; a power cut can lose the last {0} ms",
                interval.as_millis()
            ),
            Sync::Never => {
                write!(
                    f,
                    "never: what is acknowledged survives kill -9; a power cut can lose as much as the system has not written"
                )
            }
        }
    }
}

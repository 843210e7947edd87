//! The log: changes are appended by all threads, and written and synchronised by one.

mod batch;
mod evacuation;
mod groups;
mod pending;
mod state;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use batch::Batch;
use evacuation::Piece;
use pending::Pending;
use state::State;
use writer::Writer;

use crate::error::{FlushError, OpenError};
use crate::files::Files;
use crate::folder;
use crate::format::{Put, segment_number};
use crate::recovery::{self, Live, Opened, Recovery};
use crate::settings::{Settings, Stats};

/// A store that is open.
///
/// ```
/// use wisp_store::{FsFiles, Log, Settings};
///
/// let folder = tempfile::tempdir()?;
/// let open = || Log::open(FsFiles::new(folder.path()), &Settings::default());
/// let (log, live) = open()?;
/// assert!(live.is_empty());
/// log.put(1, 7, None, false, &[b"hello ", b"world"]);
/// log.put(2, 7, None, false, &[b"bye"]);
/// log.delete(2);
/// assert!(log.flush()? >= log.position());
/// drop(log);
///
/// let (_, live) = open()?;
/// assert_eq!((live.len(), live[0].key, &live[0].body[..]), (1, 1, &b"hello world"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Log {
    settings: Settings,
    state: Mutex<State>,
    writer: Mutex<Writer>,
    /// The sequence number of the last change that was appended.
    position: AtomicU64,
    /// The same of the last one that a flush has made as safe as the setting says.
    synced: AtomicU64,
    /// Bytes that wait for a flush, and bytes that a flush has taken and not written.
    waiting: AtomicUsize,
    unwritten: AtomicUsize,
    /// Objects that wait for a flush.
    waiting_objects: AtomicUsize,
    /// As of the last flush.
    room: AtomicU64,
    wants_compaction: AtomicBool,
    has_unsynced: AtomicBool,
    /// As of the last flush.
    stats: Mutex<Stats>,
    recovery: Recovery,
}

/// Changes that are appended together. The log's lock is held.
#[derive(Debug)]
pub struct Changes<'a> {
    state: &'a mut State,
}

impl Changes<'_> {
    /// Puts an object in place of the one with the same key, whose order it keeps, or behind all others. A reference to an
    /// object that is not live is left out. An object that is `shared` goes with the last one that refers to it, or when the
    /// store is opened and nothing refers to it.
    ///
    /// A key that others refer to is not deleted and then put again: their references would count for the new object.
    ///
    /// # Panics
    ///
    /// Panics if the key is 0.
    pub fn put(&mut self, key: u64, kind: u8, refers_to: Option<u64>, shared: bool, body: &[&[u8]]) {
        assert_ne!(key, 0, "0 is no key");
        let refers_to = refers_to.filter(|target| *target != 0);
        self.state.put(&Put { key, kind, refers_to, shared, order: None, body: &[] }, body);
    }

    /// Deletes the object of a key, if it is live, and each shared one to which nothing refers any more.
    pub fn delete(&mut self, key: u64) {
        self.state.delete(key);
    }
}

impl Log {
    /// Opens the store in a folder, or makes one in an empty folder. The objects come in the order of their first put.
    ///
    /// # Errors
    ///
    /// The folder is none or is in use, belongs to something else or to a newer version, or is damaged.
    pub fn open(files: impl Files + 'static, settings: &Settings) -> Result<(Self, Vec<Live>), OpenError> {
        let mut files: Box<dyn Files> = Box::new(files);
        let opened = recovery::open(&mut *files)?;
        Ok(Self::start(files, opened, settings))
    }

    /// Makes a store in an empty folder. Until [`Log::complete`] the folder is no store, whatever a crash leaves of it.
    pub(crate) fn create(files: impl Files + 'static, settings: &Settings) -> Result<Self, OpenError> {
        let mut files: Box<dyn Files> = Box::new(files);
        match recovery::create(&mut *files) {
            Ok(opened) => Ok(Self::start(files, opened, settings).0),
            Err(error) => Err(error),
        }
    }

    /// Makes the folder a store, with all that was flushed.
    pub(crate) fn complete(&self) -> Result<(), OpenError> {
        let mut writer = self.writer();
        let identity = writer.identity;
        folder::write_marker(&mut *writer.files, identity)
    }

    /// Removes all segments, of a store that is not complete.
    pub(crate) fn discard(&self) {
        let mut writer = self.writer();
        let names = writer.files.list().unwrap_or_default();
        for name in names.iter().filter(|name| segment_number(name).is_some()) {
            // What stays has no marker, and is no store.
            let _ = writer.files.remove(name);
        }
    }

    fn start(files: Box<dyn Files>, mut opened: Opened, settings: &Settings) -> (Self, Vec<Live>) {
        let mut state = State::new(opened.index, opened.ahead, opened.next_sequence);
        let position = opened.next_sequence - 1;
        if !opened.orphans.is_empty() {
            for key in opened.orphans {
                state.delete(key);
            }
            // An orphan may have been the last to refer to another shared object.
            opened.live.retain(|object| state.index.get(object.key).is_some());
        }
        let writer = Writer::new(files, opened.identity, settings, opened.ahead, opened.next_group);
        let log = Self {
            settings: settings.clone(),
            waiting: AtomicUsize::new(state.pending.len()),
            state: Mutex::new(state),
            writer: Mutex::new(writer),
            position: AtomicU64::new(position),
            synced: AtomicU64::new(position),
            unwritten: AtomicUsize::new(0),
            waiting_objects: AtomicUsize::new(0),
            room: AtomicU64::new(0),
            wants_compaction: AtomicBool::new(false),
            has_unsynced: AtomicBool::new(false),
            stats: Mutex::default(),
            recovery: opened.recovery,
        };
        log.publish_stats(&log.writer());
        (log, opened.live)
    }

    /// Appends changes that belong together: after a crash all of them are there, or none.
    pub fn append(&self, changes: impl FnOnce(&mut Changes<'_>)) {
        let mut state = self.state();
        state.pending.may_end();
        changes(&mut Changes { state: &mut state });
        if !state.pending.is_empty() {
            self.waiting.store(state.pending.len(), Ordering::Relaxed);
            self.waiting_objects.store(state.waiting_puts, Ordering::Release);
            self.position.store(state.next_sequence - 1, Ordering::Release);
        }
    }

    /// Appends one change: see [`Changes::put`].
    ///
    /// # Panics
    ///
    /// Panics if the key is 0.
    pub fn put(&self, key: u64, kind: u8, refers_to: Option<u64>, shared: bool, body: &[&[u8]]) {
        self.append(|changes| changes.put(key, kind, refers_to, shared, body));
    }

    /// Appends one change: see [`Changes::delete`].
    pub fn delete(&self, key: u64) {
        self.append(|changes| changes.delete(key));
    }

    /// The position of the last change: it is safe once [`Log::synced`] is not below.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// The position up to which all changes are as safe as the setting says.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// The bytes that are appended and not written.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.waiting.load(Ordering::Relaxed) + self.unwritten.load(Ordering::Relaxed)
    }

    /// The objects that the next flush will write, unless they are deleted before.
    #[must_use]
    pub fn waiting_objects(&self) -> usize {
        self.waiting_objects.load(Ordering::Acquire)
    }

    /// The bytes that may wait for a flush: with more, the disk would have more than `disk_bytes_max`. As of the last flush.
    /// Deletions free room, so they are always appended, and small changes that go with them.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.room.load(Ordering::Relaxed)
    }

    /// Whether compaction has more to do: then a flush is worth its while even if nothing was appended.
    #[must_use]
    pub fn wants_compaction(&self) -> bool {
        self.wants_compaction.load(Ordering::Relaxed)
    }

    /// Whether the last flush was written and not synchronised: then a flush is worth its while once the interval is over.
    #[must_use]
    pub fn has_unsynced(&self) -> bool {
        self.has_unsynced.load(Ordering::Relaxed)
    }

    /// The findings of opening.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Counters and sizes, as of the last flush.
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_stats(&self, writer: &Writer) {
        let state = self.state();
        let stats = Stats {
            objects: state.index.len() as u64,
            live_bytes: state.index.live_bytes(),
            disk_bytes: state.index.disk_bytes(),
            segments: state.index.segments().len() as u64,
            churn: state.churn_taken,
            ..writer.stats
        };
        let load = state.load();
        drop(state);
        self.room.store(self.settings.room(stats.disk_bytes, load), Ordering::Relaxed);
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    /// Writes all that was appended with one write, synchronises it with one sync if the setting says so, and returns
    /// [`Log::synced`]. A bounded piece of compaction goes with the same write. Other threads append meanwhile.
    ///
    /// # Errors
    ///
    /// The write failed: everything is kept, and the next flush tries again. Or a sync failed: the log is of no use any more.
    pub fn flush(&self) -> Result<u64, FlushError> {
        let mut writer = self.writer();
        let outcome = self.flush_with(&mut writer);
        self.has_unsynced.store(writer.has_unsynced(), Ordering::Relaxed);
        self.publish_stats(&writer);
        outcome.map(|()| self.synced())
    }

    fn flush_with(&self, writer: &mut Writer) -> Result<(), FlushError> {
        writer.check()?;
        let (batch, piece) = match writer.stuck.take() {
            Some(batch) => (Some(batch), None),
            None => self.collect(writer),
        };
        if let Some(mut batch) = batch {
            let is_written = !batch.groups.is_empty();
            if is_written && let Err(error) = writer.write(&mut batch) {
                let batch = batch.without_moves();
                self.unwritten.store(batch.groups.len(), Ordering::Relaxed);
                writer.stuck = (!batch.groups.is_empty()).then_some(batch);
                return Err(error);
            }
            writer.settle()?;
            self.unwritten.store(0, Ordering::Relaxed);
            let mut state = self.state();
            if is_written {
                state.index.set_length(batch.segment, writer.length_of(batch.segment));
            }
            let dropped = batch.apply(&mut state.index);
            self.note_debt(writer, &state);
            let target = self.settings.segment_target(state.load());
            drop(state);
            self.synced.store(batch.end - 1, Ordering::Release);
            writer.dropped(dropped);
            writer.stats.moved_bytes += batch.moved_bytes;
            writer.spare = batch.groups;
            writer.prepare_next(target);
        } else {
            writer.settle()?;
        }
        if let Some(piece) = piece {
            writer.evacuation.advance(&piece);
        }
        Ok(())
    }

    /// Takes all that was appended, with the next piece of compaction.
    fn collect(&self, writer: &mut Writer) -> (Option<Batch>, Option<Piece>) {
        let piece = self.next_piece(writer);
        let mut state = self.state();
        let survivors = piece.as_ref().map(|piece| piece.survivors(&mut state.index)).unwrap_or_default();
        let mut drops = state.index.droppable(state.target);
        drops.extend(writer.evacuation.finished(&state.index).filter(|segment| !drops.contains(segment)));
        let moves = (survivors.len() + drops.len()) as u64;
        if state.pending.is_empty() && moves == 0 {
            self.note_debt(writer, &state);
            return (None, piece);
        }
        let next = Pending::reuse(std::mem::take(&mut writer.spare), state.pending.records());
        let pending = state.take_pending(next);
        let (segment, end, bytes) = (state.target, state.next_sequence, pending.bytes_to_write());
        let first_move = state.take_sequences(moves);
        let list_sequence = state.list_sequence;
        let is_first = !writer.is_head(segment) && (bytes > 0 || moves > 0);
        let list = is_first.then(|| state.index.lengths_below(segment));
        writer.evacuation.earn(bytes as u64 + state.index.take_killed());
        let moved = piece.as_ref().map_or(0, Piece::len);
        state.note_flush(bytes as u64 + moved);
        let length = writer.length_of(segment) + bytes as u64 + moved;
        if length >= self.settings.segment_target(state.load()) {
            state.end_segment();
        }
        self.unwritten.store(bytes, Ordering::Relaxed);
        self.waiting.store(0, Ordering::Relaxed);
        self.waiting_objects.store(0, Ordering::Relaxed);
        drop(state);
        let mut batch = Batch::new(segment, pending.squeeze(), end);
        if let Some(list) = list {
            batch.prepend_segments(list_sequence, &list);
        }
        if moves > 0 {
            batch.append_moves(first_move, &survivors, drops);
        }
        (Some(batch), piece)
    }

    fn next_piece(&self, writer: &mut Writer) -> Option<Piece> {
        {
            let state = self.state();
            writer.evacuation.choose(&state, &self.settings);
        }
        match writer.read_piece() {
            Ok(piece) => piece,
            Err(_) => {
                writer.evacuation.give_up();
                writer.stats.compaction_failures += 1;
                None
            }
        }
    }

    fn note_debt(&self, writer: &Writer, state: &State) {
        self.wants_compaction.store(writer.evacuation.has_more(state, &self.settings), Ordering::Relaxed);
    }

    /// Compacts everything: afterwards hardly more than the live objects is on the disk. Takes as long as it takes to read and
    /// write them all.
    ///
    /// # Errors
    ///
    /// As [`Log::flush`]. Everything that was compacted before stays so.
    pub fn compact(&self) -> Result<(), FlushError> {
        while self.position() > self.synced() {
            self.flush()?;
        }
        {
            let mut writer = self.writer();
            let mut state = self.state();
            if writer.is_head(state.target) {
                state.end_segment();
            }
            writer.evacuation.want_all_below(state.target);
        }
        self.wants_compaction.store(true, Ordering::Relaxed);
        while self.wants_compaction() {
            self.flush()?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic ends the broker; in tests the other threads need not fail for it too.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

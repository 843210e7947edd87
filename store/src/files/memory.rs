//! Files in memory with the faults of real ones: a crash at any operation keeps each unsynchronised write whole, in
//! part, out of order or not at all; disks are full; syncs fail, and then forget.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::interface::Files;

/// A small generator of random numbers (splitmix64), so that a seed names a run.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// One of two.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// The end of a process, by the files that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends, as by SIGKILL: all that was written is there.
    Killed,
    /// The machine ends: each write since a file's last sync is there whole, in part or not.
    PowerCut,
}

/// The bytes that reach the disk together.
const SECTOR: usize = 16;

/// Files in memory. Clones are the same folder.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<String, Content>,
    /// Removed since the last power cut; one may bring them back.
    removed: Vec<(String, Content)>,
    random: Option<Random>,
    operations: u64,
    stop_at: Option<u64>,
    stopped: bool,
    capacity: Option<u64>,
    failing_syncs: u32,
    locked: bool,
    clock: Duration,
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// Synchronised at least once: before that, its name may be lost.
    is_named: bool,
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => write_at(bytes, *offset, written),
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }

    /// Applies the part of the change that a power cut lets through.
    fn apply_some(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        match (self, random.below(4)) {
            (_, 0) => {}
            (_, 1) | (Self::Truncate(_), _) => self.apply(bytes),
            (Self::Write(offset, written), 2) => {
                write_at(bytes, *offset, &written[..random.below(written.len() as u64 + 1) as usize]);
            }
            (Self::Write(offset, written), _) => {
                for (index, sector) in written.chunks(SECTOR).enumerate() {
                    if random.coin() {
                        write_at(bytes, offset + index * SECTOR, sector);
                    }
                }
            }
        }
    }
}

fn write_at(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    if bytes.len() < offset + written.len() {
        bytes.resize(offset + written.len(), 0);
    }
    bytes[offset..offset + written.len()].copy_from_slice(written);
}

impl MemoryFiles {
    /// An empty folder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of operations so far that change something.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Stops in the middle of the operation with this number; it and all later ones fail.
    pub fn stop_at(&self, operation: u64) {
        self.disk().stop_at = Some(operation);
    }

    /// Whether an operation was reached at which to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.disk().stopped
    }

    /// The bytes that all files together may have.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// The bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.disk().used()
    }

    /// Lets the next syncs fail, which then forget the writes that they should have synchronised.
    pub fn fail_syncs(&self, count: u32) {
        self.disk().failing_syncs = count;
    }

    /// Lets time go by.
    pub fn advance(&self, time: Duration) {
        self.disk().clock += time;
    }

    /// The folder after a crash.
    #[must_use]
    pub fn after(&self, crash: Crash, random: &mut Random) -> Self {
        let disk = self.disk();
        let mut survivors = BTreeMap::new();
        if crash == Crash::PowerCut {
            for (name, content) in &disk.removed {
                if random.coin() {
                    survivors.insert(name.clone(), Content::of(content.durable.clone()));
                }
            }
        }
        for (name, content) in &disk.files {
            if crash == Crash::PowerCut && !content.is_named && random.coin() {
                continue;
            }
            let bytes = match crash {
                Crash::Killed => content.now.clone(),
                Crash::PowerCut => {
                    let mut bytes = content.durable.clone();
                    for change in &content.unsynced {
                        change.apply_some(&mut bytes, random);
                    }
                    bytes
                }
            };
            survivors.insert(name.clone(), Content::of(bytes));
        }
        drop(disk);
        Self(Arc::new(Mutex::new(Disk { files: survivors, ..Disk::default() })))
    }

    /// Gives the folder back, as the end of a process does.
    pub fn unlock(&self) {
        self.disk().locked = false;
    }

    /// A file's bytes.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.disk().files.get(name).map(|content| content.now.clone())
    }

    /// Replaces a file, or creates it.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        self.disk().files.insert(name.to_owned(), Content::of(bytes));
    }

    /// The names of all files.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.disk().files.keys().cloned().collect()
    }

    /// Another folder with the same files, synchronised.
    #[must_use]
    pub fn copy(&self) -> Self {
        self.after(Crash::Killed, &mut Random(0))
    }
}

impl Content {
    fn of(bytes: Vec<u8>) -> Self {
        Self { is_named: true, now: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }
}

impl Disk {
    fn used(&self) -> u64 {
        self.files.values().map(|content| content.now.len() as u64).sum()
    }

    /// Counts an operation that changes something. `Ok(true)`: it is the one to stop in.
    fn begin(&mut self) -> io::Result<bool> {
        self.check()?;
        self.operations += 1;
        self.stopped = self.stop_at == Some(self.operations);
        Ok(self.stopped)
    }

    fn check(&self) -> io::Result<()> {
        if self.stopped { Err(stopped()) } else { Ok(()) }
    }

    fn random(&mut self) -> &mut Random {
        let seed = self.operations ^ self.used();
        self.random.get_or_insert(Random(seed))
    }

    fn file(&mut self, name: &str) -> io::Result<&mut Content> {
        self.check()?;
        self.files.get_mut(name).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Writes as much as fits, or as much as comes before the crash.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let stops = self.begin()?;
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        let cut = if stops { self.random().below(bytes.len() as u64 + 1) } else { u64::MAX };
        let file = self.file_even_if_stopped(name)?;
        let offset = offset as usize;
        let grows = (offset + bytes.len()).saturating_sub(file.now.len()) as u64;
        let missing = grows.saturating_sub(room);
        let length = (bytes.len() as u64).saturating_sub(missing).min(cut) as usize;
        if length > 0 {
            let change = Change::Write(offset, bytes[..length].to_vec());
            change.apply(&mut file.now);
            file.unsynced.push(change);
        }
        match (stops, missing) {
            (true, _) => Err(stopped()),
            (false, 0) => Ok(()),
            (false, _) => Err(ErrorKind::StorageFull.into()),
        }
    }

    fn file_even_if_stopped(&mut self, name: &str) -> io::Result<&mut Content> {
        self.files.get_mut(name).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

impl Files for MemoryFiles {
    fn folder(&self) -> String {
        "memory".to_owned()
    }

    fn prepare(&mut self, _: bool) -> io::Result<()> {
        self.disk().check()
    }

    fn lock(&mut self) -> io::Result<bool> {
        Ok(!std::mem::replace(&mut self.disk().locked, true))
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        self.disk().check()?;
        Ok(self.names())
    }

    fn length(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.disk().file(name)?.now.len() as u64)
    }

    fn read(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk();
        let bytes = disk.file(name)?.now.get(offset as usize..).unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn create(&mut self, name: &str, contents: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check()?;
        if disk.files.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        disk.files.insert(name.to_owned(), Content::default());
        if let Err(error) = disk.write(name, 0, contents) {
            if !disk.stopped {
                disk.files.remove(name);
            }
            return Err(error);
        }
        disk.sync(name)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk().write(name, offset, bytes)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.begin()? {
            return Err(stopped());
        }
        let file = disk.file(name)?;
        let change = Change::Truncate(length as usize);
        change.apply(&mut file.now);
        file.unsynced.push(change);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.disk().sync(name)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.begin()? {
            return Err(stopped());
        }
        let content = disk.files.remove(name).ok_or(ErrorKind::NotFound)?;
        disk.removed.push((name.to_owned(), content));
        Ok(())
    }

    fn elapsed(&mut self) -> Duration {
        self.disk().clock
    }

    fn random(&mut self) -> u64 {
        0x0123_4567_89AB_CDEF
    }
}

impl Disk {
    fn sync(&mut self, name: &str) -> io::Result<()> {
        if self.begin()? {
            return Err(stopped());
        }
        let fails = self.failing_syncs > 0;
        self.failing_syncs = self.failing_syncs.saturating_sub(1);
        let file = self.file(name)?;
        let changes = std::mem::take(&mut file.unsynced);
        if fails {
            // The kernel takes the pages for clean and may lose them.
            return Err(io::Error::other("the device has failed"));
        }
        file.is_named = true;
        for change in changes {
            change.apply(&mut file.durable);
        }
        Ok(())
    }
}

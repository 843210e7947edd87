//! A folder of the file system, by the standard library.
//!
//! Under WASI a folder cannot be synchronised and there are no locks. So no step of the log depends on the order of
//! names: files are created and synchronised before they are needed, and a file that was removed and comes back is
//! recognised.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::interface::Files;

const LOCK: &str = "lock";

/// The most files open for writing: the segment being written, and the next.
const WRITERS_MAX: usize = 2;

/// A folder of the file system.
#[derive(Debug)]
pub struct FsFiles {
    folder: PathBuf,
    writers: Vec<(String, File)>,
    reader: Option<(String, File)>,
    lock: Option<File>,
    started: Instant,
}

impl FsFiles {
    /// A folder, which need not be there yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), writers: Vec::new(), reader: None, lock: None, started: Instant::now() }
    }

    fn writer(&mut self, name: &str) -> io::Result<&mut File> {
        let index = match self.writers.iter().position(|(open, _)| open == name) {
            Some(index) => index,
            None => {
                let file = OpenOptions::new().read(true).write(true).open(self.folder.join(name))?;
                self.keep_writer(name, file)
            }
        };
        Ok(&mut self.writers[index].1)
    }

    fn keep_writer(&mut self, name: &str, file: File) -> usize {
        if self.writers.len() == WRITERS_MAX {
            self.writers.remove(0);
        }
        self.writers.push((name.to_owned(), file));
        self.writers.len() - 1
    }

    fn reader(&mut self, name: &str) -> io::Result<&mut File> {
        if self.reader.as_ref().is_none_or(|(open, _)| open != name) {
            self.reader = Some((name.to_owned(), File::open(self.folder.join(name))?));
        }
        self.reader.as_mut().map(|(_, file)| file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Makes a new name durable. Not all systems can; then the file's own sync must do.
    fn sync_folder(&self) {
        #[cfg(not(target_family = "wasm"))]
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
    }
}

impl Files for FsFiles {
    fn folder(&self) -> String {
        self.folder.display().to_string()
    }

    fn prepare(&mut self, create: bool) -> io::Result<()> {
        match fs::metadata(&self.folder) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == ErrorKind::NotFound && create => fs::create_dir(&self.folder),
            Err(error) => Err(error),
        }
    }

    fn lock(&mut self) -> io::Result<bool> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.folder.join(LOCK))?;
        #[cfg(unix)]
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            // A file system without locks, as some network file systems are.
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOLCK | rustix::io::Errno::NOSYS) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        self.lock = Some(file);
        Ok(true)
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != LOCK {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn length(&mut self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.folder.join(name))?.len())
    }

    fn read(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = self.reader(name)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut have = 0;
        while have < into.len() {
            match file.read(&mut into[have..]) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(have)
    }

    fn create(&mut self, name: &str, contents: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(self.folder.join(name))?;
        let written = file.write_all(contents).and_then(|()| file.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(self.folder.join(name));
            return written;
        }
        self.sync_folder();
        self.keep_writer(name, file);
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.writer(name)?;
        // The place is remembered by the file: it is the end of the last write, but after a failure.
        if file.stream_position()? != offset {
            file.seek(SeekFrom::Start(offset))?;
        }
        file.write_all(bytes)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.writer(name)?.set_len(length)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.writer(name)?.sync_data()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.writers.retain(|(open, _)| open != name);
        self.reader.take_if(|(open, _)| open == name);
        fs::remove_file(self.folder.join(name))
    }

    fn elapsed(&mut self) -> Duration {
        self.started.elapsed()
    }

    fn random(&mut self) -> u64 {
        RandomState::new().build_hasher().finish()
    }
}

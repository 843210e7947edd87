//! All that a log does with files.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

/// The files of one folder. The log calls it from one thread at a time.
pub trait Files: Debug + Send {
    /// The folder's name, for messages.
    fn folder(&self) -> String;

    /// Makes sure that the folder is there; creates it if `create` is set and its parent is there.
    ///
    /// # Errors
    ///
    /// It is not there, is no folder, or may not be used.
    fn prepare(&mut self, create: bool) -> io::Result<()>;

    /// Takes the folder for this process, where the host can. `false`: another process has it.
    ///
    /// # Errors
    ///
    /// The lock file cannot be opened.
    fn lock(&mut self) -> io::Result<bool>;

    /// The names of all entries but the lock file.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// The length of a file.
    ///
    /// # Errors
    ///
    /// It is not there, or cannot be read.
    fn length(&mut self, name: &str) -> io::Result<u64>;

    /// Reads from `offset` on, fewer bytes than asked for only at the file's end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    fn read(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Creates a file and makes its contents durable, and its name if the host can.
    ///
    /// # Errors
    ///
    /// It is there already, or cannot be written.
    fn create(&mut self, name: &str, contents: &[u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// The file cannot be written. Some of the bytes may have been.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;

    /// Makes all writes to a file durable.
    ///
    /// # Errors
    ///
    /// Some of the writes may be lost, and no later sync will say so.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Removes a file. A power cut may bring it back.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// The time since some moment.
    fn elapsed(&mut self) -> Duration;

    /// A number that is different for each store.
    fn random(&mut self) -> u64;
}

//! A started broker: its cost, whether it lives, and its end.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use wisp_client::TlsOptions;

use super::files::unwritable;
use super::kinds::Broker;
use super::readiness::{Probe, Readiness};
use super::transport::Entrance;
use super::usage::Usage;
use crate::failure::{Failure, Interrupt};
use crate::process::{kill, kill_group, spawn};

/// Lines of a broker's standard error that are shown when it fails.
const LAST_WORDS_LINES: usize = 3;
/// How much of it is looked at for them: a broker may have told every message.
const LAST_WORDS_BYTES: u64 = 64 * 1024;

/// A broker that answers. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    broker: Broker,
    // Several threads may ask whether it lives.
    child: Mutex<Child>,
    process: u32,
    address: SocketAddr,
    /// The listener for its clients, if it is not the one of plain TCP.
    entrance: Option<Entrance>,
    startup: Duration,
    /// Its own folder, gone when it is.
    folder: PathBuf,
}

/// Where a broker's standard error goes, in its folder.
const WORDS_FILE: &str = "stderr";

impl Running {
    /// Starts the command of a broker that is to listen on an address, and waits until it answers there.
    pub(super) fn start(
        broker: Broker,
        mut command: Command,
        address: SocketAddr,
        entrance: Option<Entrance>,
        folder: PathBuf,
        timeout: Duration,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let stderr = fs::File::create(folder.join(WORDS_FILE)).map_err(|error| unwritable(&error))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let begin = Instant::now();
        let child = spawn(&mut command).map_err(|error| {
            let program = command.get_program().to_string_lossy();
            Failure::Setup(format!("cannot start {} ({program}): {error}", broker.name()))
        })?;
        let process = child.id();
        let child = Mutex::new(child);
        let mut running = Self { broker, child, process, address, entrance, startup: Duration::ZERO, folder };
        running.wait_until_it_answers(begin, timeout, interrupt)?;
        Ok(running)
    }

    fn wait_until_it_answers(
        &mut self,
        begin: Instant,
        timeout: Duration,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let mut probe = Probe::new(self.address, self.broker.protocol());
        let fails = |running: &Self, how: String| {
            Failure::Setup(format!("{} {how}: {}", running.broker.name(), running.last_words()))
        };
        loop {
            match probe.poll() {
                Readiness::Ready => {
                    self.startup = begin.elapsed();
                    return Ok(());
                }
                Readiness::Refused(why) => {
                    return Err(Failure::Setup(format!("{} is of no use here: {why}", self.broker.name())));
                }
                Readiness::NotYet => {}
            }
            interrupt.check()?;
            if let Some(status) = self.ended() {
                return Err(fails(self, format!("ended at its start ({status})")));
            }
            if begin.elapsed() >= timeout {
                let protocol = self.broker.protocol().title();
                return Err(fails(self, format!("does not answer {protocol} on {} after {timeout:?}", self.address)));
            }
        }
    }

    /// Which one it is.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for clients, as in `mqtt://127.0.0.1:1883`.
    #[must_use]
    pub fn url(&self) -> String {
        if let Some(entrance) = &self.entrance {
            return entrance.url();
        }
        format!("{}://{}", self.broker.protocol().scheme(), self.address)
    }

    /// The certificates for clients, where the transport is TLS.
    #[must_use]
    pub fn tls(&self) -> TlsOptions {
        self.entrance.as_ref().map(Entrance::tls).unwrap_or_default()
    }

    /// Its process, which is the broker itself where that is a native program, and the runtime's where it is a module.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process
    }

    /// The time from the start of its process until it had accepted a client: to its CONNACK, or to its PONG for NATS.
    /// The time of launcher scripts is not included, unless the clients' transport is another one than plain TCP. Its files may
    /// have been in the page cache.
    #[must_use]
    pub fn startup(&self) -> Duration {
        self.startup
    }

    /// Its usage so far; None where the system does not count it, as only Linux does.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        Usage::of_group(self.process)
    }

    /// How it has died, if it has, with the last that it said.
    #[must_use]
    pub fn has_died(&self) -> Option<String> {
        let status = self.ended()?;
        Some(format!("{} died while it was measured ({status}): {}", self.broker.name(), self.last_words()))
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it has died by itself before.
    pub fn stop(self) -> Result<(), Failure> {
        self.has_died().map_or(Ok(()), |death| Err(Failure::Broken(death)))
    }

    /// The last lines of its standard error.
    #[must_use]
    pub fn last_words(&self) -> String {
        let bytes = end_of(&self.folder.join(WORDS_FILE), LAST_WORDS_BYTES).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&bytes)).unwrap_or_else(|| "it said nothing".to_owned())
    }

    fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("a child can be waited for")
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        // A panic while the lock is held leaves the child unchanged.
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only a given command may have other processes; the rest are one.
        match self.broker {
            Broker::Command(_) => kill_group(&mut self.child()),
            _ => kill(&mut self.child()),
        }
        // A file that stays behind goes with the scratch folder.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The last bytes of a file, at most `bytes_max`.
fn end_of(file: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(file)?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last lines of a text in one; None if there are none.
#[must_use]
pub fn last_lines(text: &str) -> Option<String> {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let kept = &lines[lines.len().saturating_sub(LAST_WORDS_LINES)..];
    (!kept.is_empty()).then(|| kept.join(" / "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_one_line() {
        assert_eq!(last_lines("a\n\n b\nc\nd\n").as_deref(), Some("b / c / d"));
        assert_eq!(last_lines("\n"), None);
    }

    #[test]
    fn no_more_than_the_end_of_a_file_is_read() {
        let scratch = crate::paths::Scratch::new().unwrap();
        let file = scratch.file("words");
        fs::write(&file, "a long first line\nlast\n").unwrap();
        assert_eq!(end_of(&file, 9).unwrap(), b"ine\nlast\n");
        assert_eq!(end_of(&file, 1000).unwrap(), fs::read(&file).unwrap());
        assert!(end_of(&scratch.file("none"), 9).is_err());
    }
}

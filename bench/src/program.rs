//! A program that is started for one task and reports its cost.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use wait4::{ResUse, Wait4};

use wisp_lab::broker::last_lines;
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::paths::Scratch;
use wisp_lab::proc;
use wisp_lab::process::{kill, spawn};

/// How often it is looked how much memory the program has, and whether the run was interrupted.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Before this time a program is still being loaded, and its memory is not its own yet.
const LOADED_AFTER: Duration = Duration::from_millis(20);

/// A program that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    name: String,
    /// None once it was waited for, when its number may be another process's.
    child: Option<Child>,
    started: Instant,
    words: PathBuf,
    /// Receives its standard output when it ends.
    output: Receiver<String>,
    written: Option<String>,
}

/// The output of a program, and its cost.
#[derive(Clone, PartialEq, Debug)]
pub struct Finished {
    /// Its standard output.
    pub output: String,
    /// From before it was started until it had ended.
    pub wall_s: f64,
    /// Processor time, its own and the system's for it.
    pub cpu_s: f64,
    /// The most memory that it had at once; None if it was little, and gone before anybody could look.
    pub peak_rss_bytes: Option<u64>,
}

impl Program {
    /// Starts it. `name` is its name in errors.
    ///
    /// # Errors
    /// If the system cannot start it.
    pub fn start(name: &str, command: &mut Command, scratch: &Scratch) -> Result<Self, Failure> {
        let words = scratch.file("program.stderr");
        let missing = |error| Failure::Setup(format!("cannot start {name}: {error}"));
        let stderr = File::create(&words).map_err(missing)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let started = Instant::now();
        let mut child = spawn(command).map_err(missing)?;
        let mut stdout = child.stdout.take().expect("it is piped");
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // An unreadable rest shows in the parsed output.
            drop(stdout.read_to_end(&mut bytes));
            // Nobody waits any more when the run was interrupted.
            drop(sender.send(String::from_utf8_lossy(&bytes).into_owned()));
        });
        Ok(Self { name: name.to_owned(), child: Some(child), started, words, output, written: None })
    }

    /// Whether it has ended, or is about to.
    pub fn has_ended(&mut self) -> bool {
        if self.written.is_none() {
            self.written = self.output.try_recv().ok();
        }
        self.written.is_some()
    }

    /// Waits until it ends, at most until the deadline.
    ///
    /// # Errors
    /// If it fails or takes longer, with its last output; or if interrupted.
    pub fn finish(mut self, deadline: Instant, interrupt: &Interrupt) -> Result<Finished, Failure> {
        let mut peak_seen = None;
        while self.written.is_none() {
            interrupt.check()?;
            if Instant::now() >= deadline {
                return Err(self.broken("did not end in time"));
            }
            if self.started.elapsed() >= LOADED_AFTER {
                let process = self.child.as_ref().map_or(0, Child::id);
                peak_seen = peak_rss_bytes(process).or(peak_seen);
            }
            match self.output.recv_timeout(LOOK_EVERY) {
                Ok(output) => self.written = Some(output),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.broken("has an output that nobody reads")),
            }
        }
        let mut child = self.child.take().expect("it was not waited for before");
        let waited = child.wait4().map_err(|error| self.broken(&format!("cannot be waited for ({error})")))?;
        let wall_s = self.started.elapsed().as_secs_f64();
        let ResUse { status, rusage } = waited;
        if !status.success() {
            return Err(self.broken(&format!("failed ({status})")));
        }
        Ok(Finished {
            output: self.written.take().unwrap_or_default(),
            wall_s,
            cpu_s: (rusage.utime + rusage.stime).as_secs_f64(),
            peak_rss_bytes: peak_of(rusage.maxrss, peak_rss_bytes(process::id()), peak_seen),
        })
    }

    /// A failure that blames the program, with its last output.
    #[must_use]
    pub fn broken(&self, what: &str) -> Failure {
        let text = fs::read(&self.words).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let words = last_lines(&text).map(|words| format!(": {words}")).unwrap_or_default();
        Failure::Broken(format!("{} {what}{words}", self.name))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            kill(child);
        }
    }
}

impl Finished {
    /// Reads the last line, which is JSON. WasmEdge may write the names of compiled modules before it.
    ///
    /// # Errors
    /// If it is something else; `name` is the program's name in the error.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        let line = self.output.trim().lines().next_back().unwrap_or_default();
        serde_json::from_str(line)
            .map_err(|error| Failure::Broken(format!("{name} wrote something else than its figures ({error}): {line}")))
    }
}

/// The most memory that a process had so far. None when it is gone, or was never there.
fn peak_rss_bytes(process: u32) -> Option<u64> {
    proc::peak_rss_bytes(process).ok()?
}

/// The system's figure for an ended process includes the memory that this program had when it started it. Above that
/// value it is exact; below, the largest value seen meanwhile is used.
fn peak_of(at_end: u64, own: Option<u64>, seen: Option<u64>) -> Option<u64> {
    if own.is_none_or(|own| at_end > own) { Some(at_end) } else { seen }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn shell(script: &str, scratch: &Scratch) -> Program {
        Program::start("the shell", Command::new("sh").args(["-c", script]), scratch).unwrap()
    }

    #[test]
    fn what_it_took_is_told_when_it_ends() {
        let scratch = Scratch::new().unwrap();
        let busy = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; echo said before; echo \"[$i]\"";
        let finished = shell(busy, &scratch).finish(soon(), &Interrupt::default()).unwrap();
        assert_eq!(finished.read::<Vec<u32>>("the shell"), Ok(vec![20_000]));
        assert!(finished.cpu_s > 0.0 && finished.wall_s > 0.0);
        assert!(finished.peak_rss_bytes.is_none_or(|bytes| bytes > 100_000), "{:?}", finished.peak_rss_bytes);
    }

    #[test]
    fn a_program_that_fails_is_reported_with_its_last_words() {
        let scratch = Scratch::new().unwrap();
        let failed = shell("echo alas >&2; exit 3", &scratch).finish(soon(), &Interrupt::default()).unwrap_err();
        assert!(
            matches!(&failed, Failure::Broken(what) if what.contains("exit status: 3") && what.ends_with(": alas"))
        );
        let nonsense = shell("echo alas", &scratch).finish(soon(), &Interrupt::default()).unwrap();
        assert!(matches!(nonsense.read::<u32>("the shell"), Err(Failure::Broken(what)) if what.ends_with(": alas")));
        let late = shell("sleep 600", &scratch).finish(Instant::now(), &Interrupt::default()).unwrap_err();
        assert!(matches!(late, Failure::Broken(what) if what.contains("in time")));
        let missing = Program::start("nothing", &mut Command::new("/nothing"), &scratch).unwrap_err();
        assert!(matches!(missing, Failure::Setup(what) if what.contains("cannot start nothing")));
    }

    #[test]
    fn a_peak_below_ones_own_is_that_which_was_seen() {
        assert_eq!(peak_of(900, Some(500), Some(800)), Some(900));
        assert_eq!(peak_of(500, Some(500), Some(300)), Some(300));
        assert_eq!(peak_of(500, Some(500), None), None);
        assert_eq!(peak_of(500, None, None), Some(500));
        assert!(peak_rss_bytes(process::id()).unwrap() > 100_000);
        assert_eq!(peak_rss_bytes(0), None);
    }
}

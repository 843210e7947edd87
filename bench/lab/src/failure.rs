//! Why a run ended early, by whose fault, and how an interrupt is noticed.

use std::fmt;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use wisp_loadgen::Stopped;
use wisp_loadgen::{Progress, Watch};

use crate::proc;
use crate::process::kill_all;

/// A signal that comes so soon after the first is the same one, which a terminal, a shell and make may each have sent.
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// Why a run ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A broker lost, doubled, reordered or changed messages, or died over them.
    Broken(String),
    /// Something that the run needs is not there, or the machine does not let it.
    Setup(String),
    /// Somebody asked the run to end.
    Interrupted,
}

impl Failure {
    /// The failure of something that the run needs, by the error that says why.
    pub fn setup(error: impl std::error::Error) -> Self {
        Self::Setup(error.to_string())
    }

    /// The status to end with.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Broken(_) => 1,
            Self::Setup(_) => 2,
            Self::Interrupted => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(what) | Self::Setup(what) => f.write_str(what),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Interrupted => Self::Interrupted,
            thread @ Stopped::Thread(_) => Self::Setup(thread.to_string()),
        }
    }
}

/// Whether the run was asked to end. The first signal only sets a flag, so that the code that started a process stops
/// it.
#[derive(Clone, Default, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Handles SIGINT, SIGTERM and SIGHUP, the last one unless it is ignored, as under `nohup`. A second signal ends
    /// the program and its children at once; temporary files are then left behind. `program` is the prefix of the
    /// message about it.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn on_signals(program: &'static str) -> io::Result<Self> {
        let interrupt = Self::default();
        let told = interrupt.clone();
        let hang_up = Some(SIGHUP).filter(|signal| !is_ignored(*signal));
        let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hang_up))?;
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut first = None;
            for _ in signals.forever() {
                let asked = *first.get_or_insert_with(Instant::now);
                if asked.elapsed() >= AGAIN_AFTER {
                    end_at_once(program);
                }
                told.set();
            }
        })?;
        Ok(interrupt)
    }

    /// Asks the run to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails once the run was asked to end.
    ///
    /// # Errors
    /// [`Failure::Interrupted`].
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_set() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Whether the run was asked to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A run ends on an interrupt.
impl Watch for Interrupt {
    fn progress(&self, _: Progress) {}

    fn is_interrupted(&self) -> bool {
        self.is_set()
    }
}

/// Whether the parent process had a signal ignored. False where the system does not tell.
fn is_ignored(signal: i32) -> bool {
    proc::ignored_signals().is_ok_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Ends the program without waiting for anything.
fn end_at_once(program: &str) -> ! {
    let left = match kill_all() {
        Ok(()) => "",
        Err(_) => "; a broker that was started may still run, for the system does not tell which",
    };
    eprintln!("{program}: interrupted again, and ended at once{left}");
    process::exit(Failure::Interrupted.status().into())
}

//! Why a run ended early, by whose fault, and how an interrupt is noticed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Why a run ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A broker lost, doubled, reordered or changed messages, or died over them.
    Broken(String),
    /// Something that the run needs is not there, or the machine does not let it.
    Missing(String),
    /// Somebody asked the run to end.
    Interrupted,
}

impl Failure {
    /// The status to end with.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Broken(_) => 1,
            Self::Missing(_) => 2,
            Self::Interrupted => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(what) | Self::Missing(what) => f.write_str(what),
            Self::Interrupted => f.write_str("interrupted: every broker is stopped"),
        }
    }
}

/// Tells whether the run was asked to end. The signals only set it, so that whoever started a process gets to stop it.
#[derive(Clone, Default, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over SIGINT, SIGTERM and SIGHUP.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn on_signals() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.0))?;
        }
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

//! The memory of a process, as Linux counts it, without the kernel's memory for its sockets.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::proc::{self, Memory};

/// How long the figures have to stay the same before they count, and how long to wait for that.
const STILL_FOR: Duration = Duration::from_millis(1500);
const STILL_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOKS_MIN: u32 = 5;

/// Memory in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Debug)]
pub struct Resident {
    /// Pages that are in memory.
    pub rss_bytes: u64,
    /// The same, with pages that several processes have counted in part.
    pub pss_bytes: u64,
    /// Pages of no file: heap and stacks.
    pub anonymous_bytes: u64,
}

impl Resident {
    /// The memory of a process now.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn of(process: u32) -> Result<Self, Failure> {
        let Memory { rss_bytes, pss_bytes, anonymous_bytes } = proc::memory(process).map_err(|error| {
            Failure::Setup(format!("the system does not tell the memory of process {process}: {error}"))
        })?;
        Ok(Self { rss_bytes, pss_bytes, anonymous_bytes })
    }

    /// The memory of a process once it has not changed for a while.
    ///
    /// # Errors
    /// If the system does not tell, if it keeps changing, or if interrupted.
    pub fn settled(process: u32, interrupt: &Interrupt) -> Result<Self, Failure> {
        Self::settled_for(STILL_FOR, process, interrupt)
    }

    /// As [`settled`](Self::settled), once that has not changed for so long.
    ///
    /// # Errors
    /// As [`settled`](Self::settled).
    pub fn settled_for(still_for: Duration, process: u32, interrupt: &Interrupt) -> Result<Self, Failure> {
        let deadline = Instant::now() + STILL_TIMEOUT;
        let (mut last, mut since) = (Self::of(process)?, Instant::now());
        while since.elapsed() < still_for {
            interrupt.check()?;
            thread::sleep(LOOK_EVERY.min(still_for / LOOKS_MIN));
            let now = Self::of(process)?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if Instant::now() >= deadline {
                return Err(Failure::Broken(format!("the broker's memory is not still after {STILL_TIMEOUT:?}")));
            }
        }
        Ok(last)
    }
}

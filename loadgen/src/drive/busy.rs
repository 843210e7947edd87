//! Tells whether the generator itself limited a run, by the share of the time in which its threads had work.
//!
//! A thread sleeps while it waits for the broker: for room in a socket or for something to read. A thread that never
//! slept had work of its own all the time, whether it ran or waited for a processor that another thread, the broker's
//! included, was using. A faster generator or more processors would then have given another result, so the run does not
//! show the broker's limit. The kernel counts running and waiting time of each thread in nanoseconds.

use std::time::Duration;

/// From this share on a thread counts as one that never slept. The rest is for its last tick, which the kernel
/// may not have counted, and for the ends of the run, when a sender has sent everything and a receiver has not begun.
const SATURATED_SHARE: f64 = 0.97;
/// The shortest run of which the share says something: each thread sleeps and wakes many times in it, if it sleeps at all.
const TELLING: Duration = Duration::from_millis(100);

/// The times of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Times {
    running_ns: u64,
    /// On a processor's queue, ready to run.
    waiting_ns: u64,
}

impl Times {
    /// Of the calling thread since it began. None where the system does not tell, which is everywhere but on Linux.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_this_thread() -> Option<Self> {
        let process = procfs::process::Process::myself().ok()?;
        let thread = process.task_from_tid(rustix::thread::gettid().as_raw_nonzero().get()).ok()?;
        let counted = thread.schedstat().ok()?;
        Some(Self { running_ns: counted.sum_exec_runtime, waiting_ns: counted.run_delay })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of_this_thread() -> Option<Self> {
        None
    }

    /// The difference to an `earlier` reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            running_ns: self.running_ns.saturating_sub(earlier.running_ns),
            waiting_ns: self.waiting_ns.saturating_sub(earlier.waiting_ns),
        }
    }
}

/// The load of the generator's threads in a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Busy {
    /// Processor time of all threads together.
    pub(crate) cpu_s: f64,
    /// The share of the time in which the busiest one ran or waited for a processor.
    pub(crate) share: f64,
    /// The part of it in which it waited.
    pub(crate) waiting_share: f64,
    /// Whether that one never slept; None if the run was too short to tell.
    pub(crate) is_saturated: Option<bool>,
}

impl Busy {
    /// Of threads in a run of such a length. None if one of them is not known, or nothing was done.
    pub(crate) fn new(threads: &[Option<Times>], elapsed: Duration) -> Option<Self> {
        let threads = threads.iter().copied().collect::<Option<Vec<_>>>()?;
        let busiest = threads.iter().max_by_key(|times| times.running_ns + times.waiting_ns)?;
        // A kernel that does not count says that nobody has run.
        if elapsed.is_zero() || busiest.running_ns == 0 {
            return None;
        }
        // Threads are stopped somewhat after the run has ended, and do next to nothing in between.
        let share = |ns: u64| (ns as f64 / elapsed.as_nanos() as f64).min(1.0);
        let busy = share(busiest.running_ns + busiest.waiting_ns);
        Some(Self {
            cpu_s: threads.iter().map(|times| times.running_ns).sum::<u64>() as f64 / 1e9,
            share: busy,
            waiting_share: share(busiest.waiting_ns),
            is_saturated: (elapsed >= TELLING).then_some(busy > SATURATED_SHARE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(running_ms: u64, waiting_ms: u64) -> Times {
        Times { running_ns: running_ms * 1_000_000, waiting_ns: waiting_ms * 1_000_000 }
    }

    #[test]
    fn a_thread_that_waits_for_a_processor_is_busy() {
        let second = Duration::from_secs(1);
        for (threads, cpu_s, share, waiting, saturated) in [
            (vec![times(500, 480), times(600, 0)], 1.1, 0.98, 0.48, true),
            (vec![times(990, 0)], 0.99, 0.99, 0.0, true),
            (vec![times(900, 10), times(500, 400)], 1.4, 0.91, 0.01, false),
            // A run ends before its threads do.
            (vec![times(1001, 1)], 1.001, 1.0, 0.001, true),
        ] {
            let threads: Vec<_> = threads.into_iter().map(Some).collect();
            let busy = Busy::new(&threads, second).unwrap();
            let expected = Busy { cpu_s, share, waiting_share: waiting, is_saturated: Some(saturated) };
            assert_eq!(busy, expected);
        }
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        assert_eq!(Busy::new(&[Some(times(1, 1)), None], Duration::from_secs(1)), None);
        assert_eq!(Busy::new(&[], Duration::from_secs(1)), None);
        assert_eq!(Busy::new(&[Some(times(1, 1))], Duration::ZERO), None);
        assert_eq!(Busy::new(&[Some(times(0, 0))], Duration::from_secs(1)), None);
        let short = Busy::new(&[Some(times(10, 0))], Duration::from_millis(10)).unwrap();
        assert_eq!((short.share, short.is_saturated), (1.0, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn work_counts_as_running() {
        let Some(before) = Times::of_this_thread() else { return };
        let begun = std::time::Instant::now();
        let mut count = 0u64;
        while begun.elapsed() < Duration::from_millis(50) {
            count = std::hint::black_box(count + 1);
        }
        // The kernel counts when a thread leaves its processor.
        std::thread::sleep(Duration::from_millis(1));
        let Times { running_ns, waiting_ns } = Times::of_this_thread().unwrap().since(before);
        // A machine full of others' work may let it wait for long, and that is counted too.
        assert!(running_ns + waiting_ns >= 40_000_000, "{running_ns} {waiting_ns}");
    }
}

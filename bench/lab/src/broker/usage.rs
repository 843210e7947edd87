//! The resources that a broker has used, as Linux counts them.

use crate::proc;

/// The resources used by a broker since its start, with all threads, and with the other processes of its group if it
/// has any.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Usage {
    /// Seconds in which it ran on a processor, by itself and within the kernel.
    pub cpu_s: f64,
    /// Resident memory, with mapped files. Memory shared by several processes of the group counts for each of them.
    pub rss_bytes: u64,
    /// The most that ever was; of several processes, the sum of the most of each.
    pub peak_rss_bytes: u64,
    /// Threads that it has now.
    pub threads: u32,
}

impl Usage {
    /// The usage of a group of processes, including ended children that were waited for. None if there is no such
    /// group, or the system does not count it, as only Linux does.
    #[must_use]
    pub fn of_group(group: u32) -> Option<Self> {
        let processes = proc::usage_of_group(group).ok()?;
        let mut all = None;
        for one in processes {
            let sum: &mut Self = all.get_or_insert_default();
            sum.cpu_s += one.cpu_s;
            sum.rss_bytes += one.rss_bytes;
            sum.peak_rss_bytes += one.peak_rss_bytes;
            sum.threads += u32::try_from(one.threads).unwrap_or(u32::MAX);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::process::{kill_group, spawn};

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_burns_time_is_seen_with_its_children() {
        // The shell that was started waits for one that works.
        let mut child = spawn(Command::new("sh").args(["-c", "sh -c 'while :; do :; done'; true"])).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let usage = loop {
            let usage = Usage::of_group(child.id()).unwrap();
            if usage.cpu_s >= 0.2 || Instant::now() >= deadline {
                break usage;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let group = child.id();
        assert!(usage.cpu_s >= 0.2 && usage.threads == 2, "{usage:?}");
        assert!(usage.rss_bytes > 0 && usage.peak_rss_bytes >= usage.rss_bytes, "{usage:?}");
        kill_group(&mut child);
        let is_gone = || Usage::of_group(group).is_none_or(|usage| usage.rss_bytes == 0);
        while !is_gone() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(is_gone(), "the inner shell goes on");
    }
}

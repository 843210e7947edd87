//! The resources that a broker has used, as Linux counts them.

use std::fs;
#[cfg(target_os = "linux")]
use std::time::Duration;

#[cfg(target_os = "linux")]
use nix::{time::ClockId, unistd::Pid};

/// The kernel's unit for processor times in `/proc`, whatever the rate of its own clock.
const TICKS_PER_S: f64 = 100.0;

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
        let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut all = None;
        for process in processes {
            // One that ends meanwhile is as one that has ended before.
            let Some(one) = of_process(process, group) else { continue };
            let sum: &mut Self = all.get_or_insert_default();
            sum.cpu_s += one.cpu_s;
            sum.rss_bytes += one.rss_bytes;
            sum.peak_rss_bytes += one.peak_rss_bytes;
            sum.threads += one.threads;
        }
        all
    }
}

/// The usage of a process, if it is in this group.
fn of_process(process: u32, group: u32) -> Option<Usage> {
    let stat = parse_stat(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)?;
    if stat.group != group {
        return None;
    }
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let kib = |name| field(&status, name).unwrap_or(0);
    Some(Usage {
        cpu_s: process_clock_s(process).unwrap_or(stat.own_s) + stat.children_s,
        // A process that has ended and was not waited for has no memory.
        rss_bytes: kib("VmRSS") * 1024,
        peak_rss_bytes: kib("VmHWM") * 1024,
        threads: u32::try_from(kib("Threads")).ok()?,
    })
}

/// Of `/proc/PID/stat`.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Stat {
    group: u32,
    own_s: f64,
    children_s: f64,
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name comes second, in parentheses, and may have anything in it.
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<_> = after_name.split_ascii_whitespace().collect();
    // proc(5) counts from 1, and the first one after the name is the third.
    let seconds = |number: usize| Some(fields.get(number - 3)?.parse::<u32>().ok().map(f64::from)? / TICKS_PER_S);
    Some(Stat {
        group: fields.get(5 - 3)?.parse().ok()?,
        own_s: seconds(14)? + seconds(15)?,
        children_s: seconds(16)? + seconds(17)?,
    })
}

/// The processor time of all threads that a process has or had, in nanoseconds where `/proc/PID/stat` has hundredths of a second.
#[cfg(target_os = "linux")]
fn process_clock_s(process: u32) -> Option<f64> {
    let process = Pid::from_raw(process.try_into().ok()?);
    let time = ClockId::pid_cpu_clock_id(process).and_then(ClockId::now).ok()?;
    Some(Duration::from(time).as_secs_f64())
}

#[cfg(not(target_os = "linux"))]
fn process_clock_s(_: u32) -> Option<f64> {
    None
}

/// The number in the line `name: number` of `/proc/PID/status`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::process::{kill_group, spawn};

    #[test]
    fn fields_are_found_after_a_name_with_anything_in_it() {
        let text = "42 (a) S ) b) R 1 77 42 0 -1 4194304 9 8 7 6 150 50 30 20 20 0 3 0 99 1 2";
        let expected = Stat { group: 77, own_s: 2.0, children_s: 0.5 };
        assert_eq!(parse_stat(text), Some(expected));
        assert_eq!(parse_stat("42 (a) R 1 77"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let text = "Name:\tVmRSS\nVmRSS:\t    12 kB\nThreads:\t3\n";
        assert_eq!((field(text, "VmRSS"), field(text, "Threads"), field(text, "Vm")), (Some(12), Some(3), None));
    }

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

//! `/proc`, as Linux has it.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;
use procfs::process::{ClearRefs, MMPermissions, MMapPath, MemoryMaps, Process, all_processes};
use procfs::{CpuInfo, Current, CurrentSI, KernelStats, Meminfo, ProcError};

use super::figures::{Memory, ProcessUsage, ProcessorTicks};

const KIB: u64 = 1024;

fn system(error: ProcError) -> io::Error {
    match error {
        ProcError::Io(error, _) => error,
        other => io::Error::other(other),
    }
}

fn open(process: u32) -> io::Result<Process> {
    let process = i32::try_from(process).map_err(io::Error::other)?;
    Process::new(process).map_err(system)
}

/// The memory of a process now.
///
/// # Errors
/// If there is no such process, or it is somebody else's.
pub fn memory(process: u32) -> io::Result<Memory> {
    let rollup = open(process)?.smaps_rollup().map_err(system)?;
    let map = rollup.memory_map_rollup.into_iter().next().map(|map| map.extension.map).unwrap_or_default();
    let bytes =
        |name: &str| map.get(name).copied().ok_or_else(|| io::Error::other(format!("there is no {name} in it")));
    Ok(Memory { rss_bytes: bytes("Rss")?, pss_bytes: bytes("Pss")?, anonymous_bytes: bytes("Anonymous")? })
}

/// The most memory that a process had so far. None once it has ended.
///
/// # Errors
/// If there is no such process.
pub fn peak_rss_bytes(process: u32) -> io::Result<Option<u64>> {
    let status = open(process)?.status().map_err(system)?;
    Ok(status.vmhwm.map(|kib| kib * KIB))
}

/// Lets the count of the most memory that a process ever had begin anew.
///
/// # Errors
/// If there is no such process, or it is somebody else's.
pub fn forget_peak(process: u32) -> io::Result<()> {
    open(process)?.clear_refs(ClearRefs::PeakRSS).map_err(system)
}

/// The program of a process.
///
/// # Errors
/// If there is no such process, or it is somebody else's.
pub fn program(process: u32) -> io::Result<PathBuf> {
    open(process)?.exe().map_err(system)
}

/// The bytes that a process has given to disks: whole pages, and a page again each time that more of it was written after a sync.
///
/// # Errors
/// If there is no such process, or it is somebody else's.
pub fn written_bytes(process: u32) -> io::Result<u64> {
    Ok(open(process)?.io().map_err(system)?.write_bytes)
}

/// The files of which a process runs code: its program and all libraries that it has loaded by now.
///
/// # Errors
/// If there is no such process, or it is somebody else's.
pub fn code_files(process: u32) -> io::Result<BTreeSet<PathBuf>> {
    Ok(executable_files(open(process)?.maps().map_err(system)?))
}

/// The files of which something may be executed. A deleted file is skipped.
fn executable_files(maps: MemoryMaps) -> BTreeSet<PathBuf> {
    let code = maps.into_iter().filter(|map| map.perms.contains(MMPermissions::EXECUTE));
    let file = |path| match path {
        MMapPath::Path(file) if !file.as_os_str().as_encoded_bytes().ends_with(b"(deleted)") => Some(file),
        _ => None,
    };
    code.filter_map(|map| file(map.pathname)).collect()
}

/// The usage of each process of a group, including ended children that were waited for.
pub(crate) fn usage_of_group(group: u32) -> io::Result<Vec<ProcessUsage>> {
    let all = all_processes().map_err(system)?;
    // One that ends meanwhile is as one that has ended before.
    Ok(all.filter_map(|process| usage_in_group(&process.ok()?, group)).collect())
}

/// The usage of a process, if it is in this group.
fn usage_in_group(process: &Process, group: u32) -> Option<ProcessUsage> {
    let stat = process.stat().ok()?;
    if u32::try_from(stat.pgrp) != Ok(group) {
        return None;
    }
    let status = process.status().ok()?;
    let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
    let own_s = process_clock_s(process.pid()).unwrap_or_else(|| seconds(stat.utime + stat.stime));
    let children_s = seconds(u64::try_from(stat.cutime + stat.cstime).unwrap_or(0));
    // A process that has ended and was not waited for has no memory.
    let bytes = |kib: Option<u64>| kib.unwrap_or(0) * KIB;
    Some(ProcessUsage {
        cpu_s: own_s + children_s,
        rss_bytes: bytes(status.vmrss),
        peak_rss_bytes: bytes(status.vmhwm),
        threads: status.threads,
    })
}

/// The processor time of all threads that a process has or had, in nanoseconds where `/proc/PID/stat` has hundredths of a second.
fn process_clock_s(process: i32) -> Option<f64> {
    let time = ClockId::pid_cpu_clock_id(Pid::from_raw(process)).and_then(ClockId::now).ok()?;
    Some(Duration::from(time).as_secs_f64())
}

/// The children of all threads of this process.
pub(crate) fn children() -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in Process::myself().and_then(|own| own.tasks()).map_err(system)? {
        match thread.and_then(|thread| thread.children()) {
            Ok(some) => children.extend(some),
            // The thread has ended, and its children are another's.
            Err(ProcError::NotFound(_)) => {}
            Err(error) => return Err(system(error)),
        }
    }
    Ok(children)
}

/// The signals that this process ignores, a bit for each, the first for signal 1.
pub(crate) fn ignored_signals() -> io::Result<u64> {
    let status = Process::myself().and_then(|own| own.status()).map_err(system)?;
    Ok(status.sigign)
}

/// The time of all processors so far.
pub(crate) fn processor_ticks() -> io::Result<ProcessorTicks> {
    let time = KernelStats::current().map_err(system)?.total;
    let waiting = time.iowait.unwrap_or(0);
    let interrupts = [time.irq, time.softirq, time.steal].map(Option::unwrap_or_default).iter().sum::<u64>();
    let idle = time.idle + waiting;
    Ok(ProcessorTicks { all: time.user + time.nice + time.system + idle + interrupts, idle })
}

/// The model of the processors. None if the system has no name for it.
pub(crate) fn processor_model() -> io::Result<Option<String>> {
    let info = CpuInfo::current().map_err(system)?;
    Ok(info.model_name(0).map(str::to_owned))
}

/// The size of the memory.
pub(crate) fn memory_bytes() -> io::Result<u64> {
    Ok(Meminfo::current().map_err(system)?.mem_total)
}

#[cfg(test)]
mod tests {
    use procfs::FromRead;

    use super::*;

    #[test]
    fn files_with_code_are_found_once() {
        let maps = "\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/a program
00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/a program
00652000-00655000 r-xp 00052000 08:02 173521      /usr/bin/a program
00e03000-00e24000 rw-p 00000000 00:00 0           [heap]
35b1800000-35b1820000 r-xp 00000000 08:02 135522  /usr/lib/ld.so
35b1a21000-35b1a22000 rw-p 00000000 00:00 0\x20
35b1c00000-35b1dac000 r--p 00000000 08:02 135870  /usr/share/data
7f2c6ff8c000-7f2c7078c000 r-xp 00000000 00:00 9   /memfd:code (deleted)
7fffb2d48000-7fffb2d49000 r-xp 00000000 00:00 0   [vdso]
";
        let maps = MemoryMaps::from_read(maps.as_bytes()).unwrap();
        let files: Vec<_> = executable_files(maps).into_iter().collect();
        assert_eq!(files, [PathBuf::from("/usr/bin/a program"), "/usr/lib/ld.so".into()]);
    }

    #[test]
    fn the_own_process_is_told() {
        let own = std::process::id();
        assert_eq!(program(own).unwrap(), std::env::current_exe().unwrap());
        assert!(code_files(own).unwrap().contains(&program(own).unwrap()));
        let memory = memory(own).unwrap();
        assert!(
            memory.rss_bytes >= memory.pss_bytes && memory.pss_bytes > 0 && memory.anonymous_bytes > 0,
            "{memory:?}"
        );
        assert!(peak_rss_bytes(own).unwrap().unwrap() > 100_000);
        assert!(ignored_signals().is_ok() && memory_bytes().unwrap() > 1 << 20);
        let ticks = processor_ticks().unwrap();
        assert!(ticks.all >= ticks.idle && ticks.all > 0, "{ticks:?}");
    }

    #[test]
    fn bytes_for_disks_are_counted() {
        let own = std::process::id();
        let before = written_bytes(own).unwrap();
        // The system's folder for temporary files may be in memory.
        let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        std::fs::write(folder.path().join("file"), vec![1; 1 << 20]).unwrap();
        assert!(written_bytes(own).unwrap() >= before + (1 << 20));
    }

    #[test]
    fn a_process_that_never_was_is_an_error() {
        assert!(memory(0).is_err() && peak_rss_bytes(0).is_err() && program(0).is_err());
        assert!(usage_of_group(u32::MAX).unwrap().is_empty());
    }
}

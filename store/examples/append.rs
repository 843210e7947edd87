//! How fast a log is: groups and messages a second for groups of several sizes, and the time to open it.
//!
//! `cargo run --release -p wisp-store --example append [FOLDER] [RECORDS]`: in a new folder below FOLDER (by default the
//! system's for temporary files, which may be in memory: then syncs cost nothing); RECORDS, by default 100,000, is the number of
//! records of 1 KB to open.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wisp_store::{FsFiles, Log, Settings};

const BODY: [u8; 1024] = [0x5A; 1024];
const RUN: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let records: u64 = arguments.next().map_or(Ok(100_000), |records| records.parse())?;
    let folder = parent.join("wisp-store-append");
    for group in [1, 10, 100, 1000] {
        append(folder.clone(), group)?;
        std::fs::remove_dir_all(&folder)?;
    }
    open(folder.clone(), records)?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// A queue of at most 10,000: each flush puts a group, and deletes the oldest one.
fn append(folder: PathBuf, group: u64) -> Result<(), Box<dyn Error>> {
    let (log, _) = Log::open(FsFiles::new(folder), &Settings::default())?;
    let started = Instant::now();
    let mut times = Vec::new();
    let mut key = 0;
    while started.elapsed() < RUN {
        for _ in 0..group {
            key += 1;
            log.put(key, 1, None, false, &[&BODY]);
            if key > 10_000 {
                log.delete(key - 10_000);
            }
        }
        let before = Instant::now();
        log.flush()?;
        times.push(before.elapsed());
    }
    let seconds = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let stats = log.stats();
    println!(
        "groups of {group}: {:.0} groups/s, {:.0} messages/s, flush p50 {:.2} ms, p99 {:.2} ms, {} MB on disk for {} MB live",
        times.len() as f64 / seconds,
        key as f64 / seconds,
        times[times.len() / 2].as_secs_f64() * 1e3,
        times[times.len() * 99 / 100].as_secs_f64() * 1e3,
        stats.disk_bytes >> 20,
        stats.live_bytes >> 20
    );
    Ok(())
}

fn open(folder: PathBuf, records: u64) -> Result<(), Box<dyn Error>> {
    let (log, _) = Log::open(FsFiles::new(&folder), &Settings::default())?;
    let started = Instant::now();
    for key in 1..=records {
        log.put(key, 1, None, false, &[&BODY]);
        if key % 1000 == 0 {
            log.flush()?;
        }
    }
    log.flush()?;
    let written = started.elapsed();
    drop(log);
    let started = Instant::now();
    let (log, live) = Log::open(FsFiles::new(&folder), &Settings::default())?;
    let took = started.elapsed();
    println!(
        "{} records, {} MB: written in {:.2} s, opened in {:.2} s",
        live.len(),
        log.stats().disk_bytes >> 20,
        written.as_secs_f64(),
        took.as_secs_f64()
    );
    Ok(())
}

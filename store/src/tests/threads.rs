//! Many threads append while one flushes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::settings;
use crate::{FsFiles, Log};

const THREADS: u64 = 4;
const PUTS: u64 = 3_000;

#[test]
fn all_threads_append_while_one_flushes_and_all_that_is_synced_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Log::open(FsFiles::new(folder.path()), &settings(100_000)).expect("it opens");
    let (log, _) = open();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) || log.synced() < log.position() {
                log.flush().expect("it flushes");
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|worker| {
                scope.spawn({
                    let log = &log;
                    move || work(log, worker)
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("it works");
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(log.pending_bytes(), 0);
    drop(log);
    let (_, live) = open();
    let mut expected: Vec<u64> = (0..THREADS)
        .flat_map(|worker| (1..=PUTS).filter(|put| put % 3 == 0).map(move |put| worker << 32 | put))
        .collect();
    let mut keys: Vec<u64> = live.iter().map(|object| object.key).collect();
    // Each thread's own are in their order.
    for worker in 0..THREADS {
        assert!(keys.iter().filter(|key| *key >> 32 == worker).is_sorted());
    }
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected);
}

/// Puts many, deletes two in three, and waits for the sync of each hundredth.
fn work(log: &Log, worker: u64) {
    for put in 1..=PUTS {
        log.put(worker << 32 | put, 1, None, false, &[&put.to_le_bytes(), &[0; 40]]);
        if put % 3 != 0 {
            log.delete(worker << 32 | put);
        }
        if put % 100 == 0 {
            let position = log.position();
            while log.synced() < position {
                thread::yield_now();
            }
        }
    }
}

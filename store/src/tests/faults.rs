//! Full disks, failed syncs, and the settings of sync, one at a time.

use std::time::Duration;

use super::{live, object, open, put, settings};
use crate::{Crash, FlushError, Log, MemoryFiles, Random, Settings, Sync};

#[test]
fn a_full_disk_loses_nothing_and_the_next_flush_goes_on() {
    let files = MemoryFiles::new();
    let (log, _) = open(&files, 1 << 20);
    put(&log, &object(1, &[1; 100]));
    log.flush().expect("it flushes");
    files.set_capacity(Some(files.total_bytes() + 50));
    put(&log, &object(2, &[2; 100]));
    let pending = log.pending_bytes();
    for _ in 0..3 {
        let error = log.flush().expect_err("the disk is full");
        assert!(matches!(error, FlushError::Write { .. }) && !error.is_fatal(), "{error}");
        assert!(log.synced() < log.position());
        assert_eq!(log.pending_bytes() > pending, log.pending_bytes() != pending);
    }
    assert_eq!(live(&files), [object(1, &[1; 100])]);
    put(&log, &object(3, &[3; 100]));
    assert!(log.pending_bytes() > pending);
    files.set_capacity(None);
    while log.flush().expect("there is room again") < log.position() {}
    assert_eq!(log.pending_bytes(), 0);
    assert_eq!(live(&files), [1, 2, 3].map(|key| object(key, &[key as u8; 100])));
    assert_eq!(log.stats().write_failures, 3);
}

#[test]
fn a_failed_sync_is_the_end_and_nothing_is_ever_acknowledged_after_it() {
    let files = MemoryFiles::new();
    let (log, _) = open(&files, 1 << 20);
    put(&log, &object(1, b"before"));
    log.flush().expect("it flushes");
    files.fail_syncs(1);
    put(&log, &object(2, b"lost"));
    let synced = log.synced();
    assert!(log.flush().expect_err("the sync fails").is_fatal());
    put(&log, &object(3, b"after"));
    // The device works again, but nobody knows which bytes it has.
    assert!(log.flush().expect_err("it has failed before").is_fatal());
    assert_eq!(log.synced(), synced);
    let cut = files.after(Crash::PowerCut, &mut Random(1));
    assert_eq!(live(&cut)[0], object(1, b"before"));
}

/// The writes and syncs of some flushes with a pause after each.
fn syncs(sync: Sync, flushes: u64, pause: Duration) -> (u64, u64) {
    let files = MemoryFiles::new();
    let (log, _) = Log::open(files.clone(), &Settings { sync, ..Settings::default() }).expect("it opens");
    for key in 1..=flushes {
        put(&log, &object(key, b"x"));
        assert!(log.flush().expect("it flushes") >= log.position());
        files.advance(pause);
    }
    (log.stats().writes, log.stats().syncs)
}

#[test]
fn a_flush_is_one_write_and_as_many_syncs_as_the_setting_says() {
    let pause = Duration::from_millis(10);
    assert_eq!(syncs(Sync::Always, 20, pause), (20, 20));
    assert_eq!(syncs(Sync::Never, 20, pause), (20, 0));
    assert_eq!(syncs(Sync::Every(Duration::from_millis(50)), 20, pause), (20, 3));
}

#[test]
fn an_idle_log_synchronises_its_rest_when_it_is_time() {
    let files = MemoryFiles::new();
    let every = Sync::Every(Duration::from_millis(50));
    let (log, _) = Log::open(files.clone(), &Settings { sync: every, ..settings(1 << 20) }).expect("it opens");
    put(&log, &object(1, b"x"));
    log.flush().expect("it flushes");
    assert_eq!((log.stats().syncs, log.has_unsynced()), (0, true));
    files.advance(Duration::from_millis(60));
    log.flush().expect("nothing is pending");
    assert_eq!((log.stats().writes, log.stats().syncs, log.has_unsynced()), (1, 1, false));
    assert_eq!(live(&files.after(Crash::PowerCut, &mut Random(3))), [object(1, b"x")]);
}

#[test]
fn the_next_segment_cannot_be_created_on_a_full_disk_and_is_later() {
    let files = MemoryFiles::new();
    let (log, _) = open(&files, 700);
    let mut key = 0;
    let mut write = |room: u64| {
        key += 1;
        files.set_capacity(Some(files.total_bytes() + room));
        put(&log, &object(key, &[0; 150]));
        log.flush()
    };
    write(1_000).expect("there is room");
    // Room for a group, and not for a header besides.
    let group = 210;
    let error = loop {
        match write(group) {
            Ok(_) => assert!(log.stats().objects < 10),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("segment-0000000003.log"), "{error}");
    files.set_capacity(None);
    while log.flush().expect("there is room again") < log.position() {}
    let objects: Vec<_> = (1..=key).map(|key| object(key, &[0; 150])).collect();
    assert_eq!(live(&files), objects);
}

#[test]
fn a_large_flush_is_several_groups_and_a_crash_leaves_the_first_ones() {
    let mut random = Random(2);
    let mut parts = std::collections::BTreeSet::new();
    for (crash, count) in [Crash::Killed, Crash::PowerCut].into_iter().cycle().zip(16_000..16_040) {
        let files = MemoryFiles::new();
        let (log, _) = open(&files, 1 << 20);
        for key in (1..=count).step_by(2) {
            log.append(|changes| {
                changes.put(key, 1, None, false, &[&[key as u8; 1000]]);
                changes.put(key + 1, 1, None, false, &[&[(key + 1) as u8; 1000]]);
            });
        }
        files.stop_at(files.operations() + 1);
        log.flush().expect_err("the machine stops");
        let live = live(&files.after(crash, &mut random));
        assert!(live.iter().zip(1..).all(|(found, key)| *found == object(key, &[key as u8; 1000])));
        assert!(live.len().is_multiple_of(2), "half of the changes that belong together: {}", live.len());
        parts.insert(live.len());
    }
    // Nothing, and several parts of it.
    assert!(parts.len() > 3 && parts.contains(&0) && parts.iter().all(|part| *part <= 16_040), "{parts:?}");
    let count = 20_000;
    let files = MemoryFiles::new();
    let (log, _) = open(&files, 1 << 20);
    for key in 1..=count {
        put(&log, &object(key, &[key as u8; 1000]));
    }
    log.flush().expect("it flushes");
    assert_eq!(log.stats().writes, 1);
    assert_eq!(live(&files).len() as u64, count);
}

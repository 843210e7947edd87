//! Objects that are deleted or replaced before the flush: they are not written, and nobody can tell.

use super::{live, object, open, put};
use crate::{Crash, Log, MemoryFiles, Random};

/// Appends, flushes, and returns the bytes that this has written.
fn written(log: &Log, append: impl FnOnce()) -> u64 {
    let before = log.stats().written_bytes;
    append();
    assert!(log.flush().expect("it flushes") >= log.position());
    assert_eq!(log.pending_bytes(), 0);
    log.stats().written_bytes - before
}

/// A store with object 1 in it.
fn begun() -> (MemoryFiles, Log) {
    let files = MemoryFiles::new();
    let (log, _) = open(&files, 1 << 20);
    put(&log, &object(1, b"first"));
    log.flush().expect("it flushes");
    (files, log)
}

#[test]
fn an_object_that_goes_before_the_flush_is_not_written() {
    let (files, log) = begun();
    let (syncs, position) = (log.stats().syncs, log.position());
    let bytes = written(&log, || {
        put(&log, &object(2, &[2; 1000]));
        log.delete(2);
        // The message goes with the last object that refers to it.
        log.put(3, 1, None, true, &[&[3; 1000]]);
        log.put(4, 1, Some(3), false, &[]);
        log.put(5, 1, Some(3), false, &[]);
        log.delete(4);
        log.delete(5);
        assert!(log.position() > position);
    });
    assert_eq!((bytes, log.stats().syncs), (0, syncs));
    assert_eq!(live(&files), [object(1, b"first")]);
    // What stays is written, and no more.
    let bytes = written(&log, || {
        put(&log, &object(2, &[2; 1000]));
        put(&log, &object(3, &[3; 100]));
        log.delete(2);
        put(&log, &object(2, &[4; 100]));
    });
    assert!((200..300).contains(&bytes), "{bytes}");
    assert_eq!(live(&files), [object(1, b"first"), object(3, &[3; 100]), object(2, &[4; 100])]);
}

#[test]
fn an_object_that_is_replaced_before_the_flush_is_written_once_and_keeps_its_order() {
    let (files, log) = begun();
    let bytes = written(&log, || {
        for number in 0..10 {
            put(&log, &object(2, &[number; 1000]));
            put(&log, &object(3, &[number; 1000]));
        }
        log.delete(3);
        put(&log, &object(4, &[4; 10]));
        put(&log, &object(2, &[2; 1000]));
    });
    assert!(bytes < 1_200, "{bytes}");
    assert_eq!(live(&files), [object(1, b"first"), object(2, &[2; 1000]), object(4, &[4; 10])]);
}

#[test]
fn an_object_on_the_disk_is_deleted_though_its_last_record_was_not_written() {
    let (files, log) = begun();
    let bytes = written(&log, || {
        put(&log, &object(1, &[1; 1000]));
        log.delete(1);
    });
    assert!((1..100).contains(&bytes), "{bytes}");
    assert_eq!(live(&files), []);
    put(&log, &object(2, b"second"));
    files.set_capacity(Some(files.total_bytes()));
    log.flush().expect_err("the disk is full");
    // It may be written by now, for all that is known.
    log.delete(2);
    files.set_capacity(None);
    while log.flush().expect("there is room again") < log.position() {}
    assert_eq!(live(&files), []);
}

#[test]
fn each_part_of_a_large_flush_is_a_state_that_there_was() {
    const MIDDLE: u64 = 10_000;
    let mut random = Random(4);
    let mut parts = std::collections::BTreeSet::new();
    for (crash, end) in [Crash::Killed, Crash::PowerCut].into_iter().cycle().zip(16_000..16_040) {
        let files = MemoryFiles::new();
        let (log, _) = open(&files, 1 << 20);
        for key in 1..=end {
            put(&log, &object(key, &[key as u8; 1000]));
            if key == MIDDLE {
                // In the first group, and likely in the one being collected.
                log.delete(1);
                log.delete(MIDDLE - 1);
            }
        }
        files.stop_at(files.operations() + 1);
        log.flush().expect_err("the machine stops");
        let keys: Vec<u64> = live(&files.after(crash, &mut random)).iter().map(|object| object.key).collect();
        let last = keys.last().copied().unwrap_or_default();
        let gone = if last > MIDDLE { vec![1, MIDDLE - 1] } else { Vec::new() };
        // The order in which the group of the deletions began is no part of the test.
        let is_between = last == MIDDLE;
        assert!(
            is_between || keys.iter().copied().eq((1..=last).filter(|key| !gone.contains(key))),
            "{crash:?}: {last}"
        );
        parts.insert(last);
    }
    assert!(parts.iter().any(|last| (1..MIDDLE).contains(last)), "{parts:?}");
    assert!(parts.iter().any(|last| (MIDDLE + 1..16_000).contains(last)), "{parts:?}");
}

#[test]
fn changes_that_belong_together_are_not_torn_apart_where_a_group_ends() {
    const TOKEN: u64 = 1 << 20;
    let mut random = Random(6);
    let mut parts = std::collections::BTreeSet::new();
    for (crash, end) in [Crash::Killed, Crash::PowerCut].into_iter().cycle().zip(16_000..16_040) {
        let files = MemoryFiles::new();
        let (log, _) = open(&files, 1 << 20);
        for number in 1..=end {
            // A token moves, and each move leaves an object behind.
            log.append(|changes| {
                changes.delete(TOKEN + number - 1);
                changes.put(number, 1, None, false, &[&[1; 1000]]);
                changes.put(TOKEN + number, 1, None, false, &[&[2; 10]]);
            });
        }
        files.stop_at(files.operations() + 1);
        log.flush().expect_err("the machine stops");
        let keys: Vec<u64> = live(&files.after(crash, &mut random)).iter().map(|object| object.key).collect();
        let moves = keys.len().saturating_sub(1) as u64;
        let token = (moves > 0).then_some(TOKEN + moves);
        assert!(keys.iter().copied().eq((1..=moves).chain(token)), "{crash:?}: {moves} moves");
        parts.insert(moves);
    }
    assert!(parts.iter().any(|moves| (1..16_000).contains(moves)), "{parts:?}");
}

#[test]
fn large_flushes_share_segments_and_later_small_ones_have_small_segments() {
    const FLUSH: u64 = 1_000;
    let files = MemoryFiles::new();
    let (log, _) = open(&files, crate::SEGMENT_BYTES);
    let flush = |first: u64, count: u64| {
        (first..first + count).for_each(|key| put(&log, &object(key, &[0; 1000])));
        log.flush().expect("it flushes");
        (first..first + count).for_each(|key| log.delete(key));
    };
    for number in 0..40 {
        flush(1 + number * FLUSH, FLUSH);
    }
    let dropped = log.stats().dropped_segments;
    assert!((5..=14).contains(&dropped), "{dropped} segments for 40 flushes of 1 MB");
    for number in 0..100 {
        flush(1_000_000 + number, 1);
    }
    assert!(files.total_bytes() < 1 << 20, "{:?}", log.stats());
}

//! The bytes on the disk beside the live ones: bounded while it runs, and close to them after compaction.

use std::collections::VecDeque;

use super::{live, object, open, put};
use crate::settings::Load;
use crate::{Log, MemoryFiles, Random, Settings, Stats};

const SEGMENT_BYTES: u64 = 64 << 10;
const BODY: [u8; 1000] = [7; 1000];

fn amplification(stats: &Stats) -> f64 {
    stats.disk_bytes as f64 / stats.live_bytes as f64
}

/// Flushes, and checks that the files are as long as the log says.
fn flush(log: &Log, files: &MemoryFiles) -> Stats {
    log.flush().expect("it flushes");
    let stats = log.stats();
    // The store's name, and the next segment's header.
    let others = files.total_bytes() - stats.disk_bytes;
    assert!(others < 200, "{others} bytes more than the log knows");
    stats
}

/// A queue with `waiting` objects, through which many go; each flush puts and deletes 20.
fn queue(waiting: u64, through: u64, mut take: impl FnMut(&mut VecDeque<u64>) -> u64) -> (MemoryFiles, Log, f64) {
    let files = MemoryFiles::new();
    let (log, _) = open(&files, SEGMENT_BYTES);
    let mut keys = VecDeque::new();
    let mut worst = 0.0_f64;
    for key in 1..=waiting + through {
        put(&log, &object(key, &BODY));
        keys.push_back(key);
        if keys.len() as u64 > waiting {
            log.delete(take(&mut keys));
        }
        if key % 20 == 0 {
            let stats = flush(&log, &files);
            if key >= waiting {
                worst = worst.max(amplification(&stats));
            }
        }
    }
    (files, log, worst)
}

#[test]
fn a_queue_in_order_needs_little_more_than_what_waits_and_moves_nothing() {
    let (files, log, worst) = queue(1_000, 20_000, |keys| keys.pop_front().expect("one waits"));
    assert!(worst < 1.5, "{worst}");
    assert_eq!(log.stats().moved_bytes, 0);
    assert_eq!(live(&files).len(), 1_000);
}

#[test]
fn a_queue_in_any_order_stays_below_two_and_a_half() {
    let mut random = Random(5);
    let any = |keys: &mut VecDeque<u64>| {
        let index = random.below(keys.len() as u64) as usize;
        keys.swap_remove_back(index).expect("one waits")
    };
    let (files, log, worst) = queue(1_000, 20_000, any);
    assert!(worst < 2.5, "{worst}");
    let stats = log.stats();
    // 21,000 objects of 1 KB came; each was moved less than once.
    assert!(stats.moved_bytes < 21_000_000, "{stats:?}");
    log.compact().expect("it compacts");
    assert!(amplification(&log.stats()) < 1.1, "{:?}", log.stats());
    assert_eq!(live(&files).len(), 1_000);
}

#[test]
fn old_objects_that_stay_do_not_hold_the_segments_after_them() {
    let files = MemoryFiles::new();
    let (log, _) = open(&files, SEGMENT_BYTES);
    let mut random = Random(1);
    // Most of the first stay for ever, the deletions of the others lie in segments behind.
    for key in 1..=1_000 {
        put(&log, &object(key, &BODY));
    }
    log.flush().expect("it flushes");
    let mut worst = 0.0_f64;
    let mut waiting = VecDeque::new();
    for key in 1_001..=30_000 {
        put(&log, &object(key, &BODY));
        waiting.push_back(key);
        if waiting.len() > 200 {
            let index = random.below(200) as usize;
            log.delete(waiting.swap_remove_back(index).expect("one waits"));
        }
        if key % 250 == 0 {
            log.delete(key / 250);
        }
        if key % 20 == 0 {
            worst = worst.max(amplification(&flush(&log, &files)));
        }
    }
    assert!(worst < 2.5, "{worst}");
    let kept = live(&files);
    assert_eq!(kept.len(), 884 + 200);
    assert!(kept.iter().take(884).map(|object| object.key).eq((1..=4).chain(121..=1_000)));
}

#[test]
fn a_store_that_is_emptied_becomes_small_without_being_written_to() {
    let (files, log, _) = queue(2_000, 0, |_| unreachable!("none is taken"));
    for key in (1..=2_000).filter(|key| key % 100 != 0) {
        log.delete(key);
    }
    log.flush().expect("it flushes");
    while log.wants_compaction() {
        flush(&log, &files);
    }
    let stats = log.stats();
    // Below one segment there is nothing to gain.
    assert!(stats.disk_bytes < stats.live_bytes * 7 / 4 + SEGMENT_BYTES, "{stats:?}");
    log.compact().expect("it compacts");
    assert!(amplification(&log.stats()) < 1.3, "{:?}", log.stats());
    assert_eq!(live(&files).len(), 20);
}

#[test]
fn compaction_keeps_the_order_of_the_first_put() {
    let files = MemoryFiles::new();
    let (log, _) = open(&files, 2_000);
    for key in 1..=100 {
        put(&log, &object(key, &[1; 50]));
    }
    log.flush().expect("it flushes");
    for key in (3..=100).step_by(3) {
        put(&log, &object(key, &[2; 50]));
        log.delete(key - 1);
    }
    log.flush().expect("it flushes");
    let before = live(&files);
    log.compact().expect("it compacts");
    assert_eq!(live(&files), before);
    assert!(before.iter().map(|object| object.key).eq((1..=100).filter(|key| key % 3 != 2 || *key > 99)));
    log.compact().expect("it compacts again");
    assert_eq!(live(&files), before);
}

#[test]
fn the_work_of_a_flush_is_bounded() {
    let (_, log, _) = queue(4_000, 0, |_| unreachable!("none is taken"));
    for key in (1..=4_000).filter(|key| key % 2 != 0) {
        log.delete(key);
    }
    log.flush().expect("it flushes");
    // Two bytes are read for each that was written or deleted, and a small piece at least.
    let mut moved = log.stats().moved_bytes;
    let mut flushes = 0;
    while log.wants_compaction() {
        log.flush().expect("it flushes");
        let now = log.stats().moved_bytes;
        assert!(now - moved <= SEGMENT_BYTES + 2_000, "{}", now - moved);
        moved = now;
        flushes += 1;
    }
    assert!(flushes > 4 && moved > 0, "{flushes} flushes moved {moved} bytes");
}

#[test]
fn a_limit_on_the_disk_holds_and_most_of_it_can_be_used_again_and_again() {
    const MOST: u64 = 2 << 20;
    let files = MemoryFiles::new();
    let settings = Settings { segment_bytes: SEGMENT_BYTES, disk_bytes_max: MOST, ..Settings::default() };
    let (log, _) = Log::open(files.clone(), &settings).expect("it opens");
    let mut random = Random(3);
    let (mut keys, mut next, mut most_live) = (VecDeque::new(), 1, 0);
    for _ in 0..40 {
        // As much as fits, however long compaction takes to make room.
        loop {
            while log.pending_bytes() < 20_000 && (log.pending_bytes() as u64) < log.room() {
                put(&log, &object(next, &BODY));
                keys.push_back(next);
                next += 1;
            }
            flush(&log, &files);
            assert!(files.total_bytes() <= MOST, "{:?}", log.stats());
            if log.room() == 0 && !log.wants_compaction() {
                break;
            }
        }
        most_live = log.stats().live_bytes.max(most_live);
        assert!(log.stats().live_bytes > MOST / 4 * 3, "{:?}", log.stats());
        // Then some go, anywhere.
        for _ in 0..keys.len() / 2 {
            let index = random.below(keys.len() as u64) as usize;
            log.delete(keys.swap_remove_back(index).expect("one waits"));
            if random.below(20) == 0 {
                flush(&log, &files);
                assert!(files.total_bytes() <= MOST, "{:?}", log.stats());
            }
        }
    }
    flush(&log, &files);
    assert_eq!(live(&files).len(), keys.len());
    assert_eq!(Settings::default().room(1 << 60, Load::default()), u64::MAX, "without a limit");
}

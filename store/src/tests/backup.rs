//! Copies of a store while a thread writes to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::settings;
use crate::{FsFiles, Live, Log, OpenError, backup};

/// Keys that are put again and again, two with each change.
const KEYS: u64 = 40;
const SEGMENT_BYTES: u64 = 10_000;
const COPIES: u64 = 40;

fn value(live: &Live) -> u64 {
    u64::from_le_bytes(live.body[..8].try_into().expect("8 bytes"))
}

/// The state after `count` changes: each key's last number, if it was not deleted.
fn model(count: u64) -> BTreeMap<u64, u64> {
    let mut state = BTreeMap::new();
    for number in count.saturating_sub(8 * KEYS)..=count {
        change(number, |key, value| match value {
            Some(value) => _ = state.insert(key, value),
            None => _ = state.remove(&key),
        });
    }
    state
}

/// The change with this number: two keys get it, and one in three loses a key besides.
fn change(number: u64, mut apply: impl FnMut(u64, Option<u64>)) {
    if number == 0 {
        return;
    }
    apply(1 + number % KEYS, Some(number));
    apply(1 + KEYS, Some(number));
    if number.is_multiple_of(3) {
        apply(1 + (number / 2) % KEYS, None);
    }
}

fn check_copy(folder: &Path, at_least: u64) -> u64 {
    let (_, live) = Log::open(FsFiles::new(folder), &settings(SEGMENT_BYTES)).expect("the copy opens");
    let state: BTreeMap<u64, u64> = live.iter().map(|object| (object.key, value(object))).collect();
    let last = state.values().copied().max().unwrap_or(0);
    assert!(last >= at_least, "the copy has {last} changes, and {at_least} were synchronised before");
    assert_eq!(state, model(last), "after {last} changes");
    last
}

#[test]
fn a_copy_of_a_store_that_is_written_to_is_the_store_as_of_one_moment() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("data");
    let (log, _) = Log::open(FsFiles::new(&folder), &settings(SEGMENT_BYTES)).expect("it opens");
    let (done, synced) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut copied = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !done.load(Ordering::Acquire) {
                for _ in 0..20 {
                    number += 1;
                    log.append(|changes| {
                        change(number, |key, value| match value {
                            Some(value) => changes.put(key, 1, None, false, &[&value.to_le_bytes(), &[7; 200]]),
                            None => changes.delete(key),
                        });
                    });
                }
                log.flush().expect("it flushes");
                synced.store(number, Ordering::Release);
            }
        });
        for copy in 0..COPIES {
            let before = synced.load(Ordering::Acquire);
            let to = parent.path().join(format!("copy-{copy}"));
            let report = backup(&folder, FsFiles::new(&to)).expect("it is copied");
            assert!(report.segments > 0 && report.bytes > 0);
            copied = check_copy(&to, before);
            fs::remove_dir_all(&to).expect("it is ours");
        }
        done.store(true, Ordering::Release);
    });
    let stats = log.stats();
    assert!(stats.dropped_segments > COPIES, "segments were dropped meanwhile: {stats:?}");
    assert!(copied > 1000, "much was written meanwhile");
}

#[test]
fn a_folder_with_files_is_not_copied_to_and_a_damaged_store_is_not_copied() {
    let parent = tempfile::tempdir().expect("a folder");
    let [folder, to, none] = ["data", "copy", "none"].map(|name| parent.path().join(name));
    let (log, _) = Log::open(FsFiles::new(&folder), &settings(10_000)).expect("it opens");
    for number in 0..100_u64 {
        log.put(1 + number, 1, None, false, &[&number.to_le_bytes(), &[7; 1000]]);
        log.flush().expect("it flushes");
    }
    drop(log);
    fs::create_dir(&to).expect("a folder");
    fs::write(to.join("other"), "").expect("a file");
    let refusal = |from: &Path, to: &Path| backup(from, FsFiles::new(to)).expect_err("it is refused");
    assert!(matches!(refusal(&folder, &to), OpenError::Folder { reason, .. } if reason.starts_with("not empty")));
    fs::remove_file(to.join("other")).expect("it is ours");
    assert!(matches!(refusal(&to, &none), OpenError::Folder { reason, .. } if reason == "no store"));
    let segment = folder.join("segment-0000000002.log");
    let mut bytes = fs::read(&segment).expect("it is there");
    bytes[100] ^= 1;
    fs::write(&segment, &bytes).expect("it can be written");
    let refused = refusal(&folder, &to);
    assert!(matches!(&refused, OpenError::Damaged { file, .. } if file == "segment-0000000002.log"), "{refused}");
    assert_eq!(fs::read_dir(&to).expect("a folder").count(), 0, "nothing is left");
    let last = fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.path()).max_by_key(|path| {
        let is_begun = path.extension().is_some() && path.metadata().is_ok_and(|segment| segment.len() > 100);
        is_begun.then(|| path.clone())
    });
    let last = last.expect("a segment");
    let whole = fs::read(&last).expect("it is there");
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    fs::write(&last, &flipped).expect("it can be written");
    assert!(matches!(refusal(&folder, &to), OpenError::Damaged { offset: 32.., .. }));
    fs::write(&last, &whole).expect("it can be written");
    fs::remove_file(&segment).expect("it is ours");
    assert!(matches!(refusal(&folder, &to), OpenError::Damaged { what: "the file is missing", .. }));
    bytes[100] ^= 1;
    fs::write(&segment, &bytes).expect("it can be written");
    backup(&folder, FsFiles::new(&to)).expect("it is copied");
    let (_, live) = Log::open(FsFiles::new(&to), &settings(10_000)).expect("it opens");
    assert_eq!(live.len(), 100);
}

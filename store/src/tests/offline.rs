//! Checking, listing, compacting and repairing.

use super::{live, object, open, put, settings};
use crate::offline::{OfflineError, check, compact, create, dump, repair};
use crate::{Crash, Log, MemoryFiles, OpenError, Random, Settings, Stats};

/// Twenty objects in segments of about three.
fn store() -> MemoryFiles {
    let files = MemoryFiles::new();
    let (log, _) = open(&files, 800);
    for key in 1..=20 {
        put(&log, &object(key, &[key as u8; 200]));
        log.flush().expect("it flushes");
    }
    log.put(21, 2, Some(4), false, &[b"refers"]);
    log.delete(20);
    log.flush().expect("it flushes");
    drop(log);
    files.copy()
}

/// The place of an object's contents in a file.
fn find(files: &MemoryFiles, name: &str) -> Option<usize> {
    files.bytes(name)?.windows(200).position(|bytes| bytes == [9; 200])
}

fn damaged() -> MemoryFiles {
    let files = store();
    let name = files.names().into_iter().find(|name| find(&files, name).is_some()).expect("one has it");
    let mut bytes = files.bytes(&name).expect("a segment");
    bytes[find(&files, &name).expect("it has it")] ^= 1;
    files.set_bytes(&name, bytes);
    files
}

#[test]
fn a_whole_store_has_no_problems() {
    let report = check(store()).expect("a store");
    assert_eq!((report.problems, report.recovery.objects, report.recovery.cut), (vec![], 20, None));
    assert!(report.live_bytes > 3_800 && report.disk_bytes > report.live_bytes);
    let (objects, problems) = dump(store()).expect("a store");
    assert_eq!((objects, problems), (live(&store()), vec![]));
}

#[test]
fn damage_is_listed_with_its_length_and_the_rest_is_read() {
    let files = damaged();
    let before = files.copy();
    let report = check(files.copy()).expect("a store");
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    let place = find(&store(), &problem.file).expect("the file has it") as u64;
    assert!(problem.offset < place && place + 200 <= problem.offset + problem.bytes, "{problem:?}");
    let text = format!("{}: offset {}, {} bytes: ", problem.file, problem.offset, problem.bytes);
    assert_eq!(problem.to_string(), text + "the checksum of a group is wrong");
    assert_eq!(report.recovery.objects, 19);
    for name in before.names() {
        assert_eq!(files.bytes(&name), before.bytes(&name), "{name} was changed");
    }
}

#[test]
fn a_repair_saves_all_but_the_damage_to_a_new_store_and_leaves_the_old_one() {
    let (from, to) = (damaged(), MemoryFiles::new());
    let report = repair(from.copy(), to.clone(), &Settings::default()).expect("a store");
    assert_eq!((report.saved, report.problems.len()), (19, 1));
    let saved = live(&to);
    let whole = live(&store());
    assert!(saved.iter().all(|object| whole.contains(object)) && saved.len() == 19);
    assert!(saved.iter().map(|object| object.key).is_sorted());
    assert_eq!(saved.last().and_then(|object| object.refers_to), Some(4));
    assert_eq!(check(to.copy()).expect("a store").problems, vec![]);
    // Again to the same place: there are objects.
    assert!(matches!(repair(from, to.copy(), &Settings::default()), Err(OfflineError::NotEmpty)));
}

#[test]
fn a_store_without_its_name_or_its_list_is_repaired_too() {
    let nameless = MemoryFiles::new();
    let whole = store();
    for name in whole.names().iter().filter(|name| *name != "wisp-store") {
        nameless.set_bytes(name, whole.bytes(name).expect("it is there"));
    }
    let to = MemoryFiles::new();
    let report = repair(nameless, to.clone(), &Settings::default()).expect("a store");
    assert_eq!((report.saved, report.problems.len()), (20, 1));
    assert_eq!(live(&to), live(&whole));
}

#[test]
fn compaction_leaves_little_more_than_the_objects() {
    let files = store();
    let (before, after) = compact(files.clone(), &Settings::default()).expect("a store");
    assert!(after.disk_bytes < before.disk_bytes && after.disk_bytes < after.live_bytes * 13 / 10 + 200, "{after:?}");
    assert_eq!(live(&files).len(), 20);
}

#[test]
fn an_empty_folder_is_no_store_and_stays_empty() {
    let files = MemoryFiles::new();
    assert!(matches!(check(files.clone()), Err(OpenError::Folder { .. })));
    assert_eq!(files.names(), Vec::<String>::new());
}

/// Makes a store of twenty objects in several segments.
fn create_twenty(files: &MemoryFiles) -> Result<Stats, OfflineError> {
    create(files.clone(), &settings(800), |log| {
        for key in 1..=20 {
            put(log, &object(key, &[key as u8; 200]));
            log.flush()?;
        }
        Ok(())
    })
}

#[test]
fn a_new_store_is_whole_or_none_after_a_crash_at_any_operation() {
    let whole = MemoryFiles::new();
    let stats = create_twenty(&whole).expect("it is made");
    let operations = whole.operations();
    assert!(stats.objects == 20 && stats.segments > 3, "{stats:?}");
    let expected = live(&whole);
    assert_eq!(expected.len(), 20);
    let (mut refused, mut made) = (0, 0);
    for operation in 1..=operations {
        for crash in [Crash::Killed, Crash::PowerCut] {
            let files = MemoryFiles::new();
            files.stop_at(operation);
            let outcome = create_twenty(&files);
            assert!(outcome.is_err(), "at {operation}");
            let after = files.after(crash, &mut Random(operation));
            match Log::open(after, &settings(800)) {
                // The crash came before the first object, or behind all.
                Ok((_, live)) if live.is_empty() => {}
                Ok((_, live)) => {
                    assert_eq!(live, expected, "at {operation} {crash:?}");
                    made += 1;
                }
                Err(OpenError::Damaged { file, .. }) if file == "wisp-store" => refused += 1,
                Err(error) => panic!("at {operation} {crash:?}: {error}"),
            }
        }
    }
    assert!(refused > 10 && made < 10, "{refused} {made}");
}

#[test]
fn a_new_store_that_cannot_be_written_leaves_nothing() {
    let full = MemoryFiles::new();
    full.set_capacity(Some(2_000));
    assert!(matches!(create_twenty(&full), Err(OfflineError::Flush(_))));
    let failing = MemoryFiles::new();
    let outcome = create(failing.clone(), &settings(800), |log| {
        put(log, &object(1, b"one"));
        failing.fail_syncs(1);
        Ok(())
    });
    assert!(matches!(outcome, Err(OfflineError::Flush(_))), "{outcome:?}");
    for files in [full, failing] {
        assert_eq!(files.names(), Vec::<String>::new());
    }
}

#[test]
fn a_new_store_takes_no_folder_of_another() {
    let files = MemoryFiles::new();
    create_twenty(&files).expect("it is made");
    let again = create_twenty(&files.copy()).unwrap_err().to_string();
    assert!(again.ends_with("has a store already: name a new folder"), "{again}");
    let foreign = MemoryFiles::new();
    foreign.set_bytes("letter.txt", b"dear".to_vec());
    let refused = create_twenty(&foreign.copy());
    assert!(matches!(refused, Err(OfflineError::Open(OpenError::Foreign { .. }))), "{refused:?}");
}

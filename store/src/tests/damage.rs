//! Files that are cut at every byte and flipped at every bit: opened as the state of some flush, or refused.

use super::{live, object, open, put};
use crate::format::{
    GROUP_HEADER_BYTES, GroupPlace, Identity, Seal, close_group, file_name, identity_of, segment_number, write_delete,
};
use crate::{Live, Log, MemoryFiles, OpenError, Settings};

/// A folder of several segments, with the states after each flush.
fn folder() -> (MemoryFiles, Vec<Vec<Live>>) {
    let files = MemoryFiles::new();
    let mut states = vec![Vec::new()];
    for run in 0..2_u64 {
        let (log, _) = open(&files, 700);
        for step in 1..7_u64 {
            let key = 10 * run + step;
            put(&log, &object(key, &[key as u8; 150]));
            if step % 3 == 0 {
                log.delete(key - 1);
            }
            log.put(key, 2, Some(1), false, &[b"second"]);
            log.flush().expect("it flushes");
            states.push(live(&files));
        }
        drop(log);
        // The lock belongs to the process.
        files.unlock();
    }
    (files, states)
}

/// The last segment with a group, which may be cut.
fn head(files: &MemoryFiles) -> String {
    let begun =
        |name: &&String| files.bytes(name).is_some_and(|bytes| bytes.len() > 32) && segment_number(name).is_some();
    files.names().iter().rev().find(begun).cloned().expect("a segment")
}

/// A segment before the last one.
fn closed(files: &MemoryFiles) -> String {
    files.names().into_iter().find(|name| segment_number(name).is_some()).expect("a segment")
}

/// Whether it opens; then it is one of the states.
fn opens(files: &MemoryFiles, states: &[Vec<Live>]) -> Option<usize> {
    match Log::open(files.copy(), &Settings::default()) {
        Ok((_, live)) => {
            let state = states.iter().rposition(|state| *state == live);
            Some(state.unwrap_or_else(|| panic!("{live:?} is no state")))
        }
        Err(_) => None,
    }
}

#[test]
fn a_file_cut_at_any_byte_opens_as_it_was_at_some_flush_or_is_refused() {
    let (files, states) = folder();
    let head = head(&files);
    let (mut opened, mut refused, mut head_opened) = (0, 0, 0);
    for name in files.names() {
        let bytes = files.bytes(&name).expect("it is there");
        for length in 0..bytes.len() {
            let cut = files.copy();
            cut.set_bytes(&name, bytes[..length].to_vec());
            let found = opens(&cut, &states);
            match found {
                Some(_) => opened += 1,
                None => refused += 1,
            }
            if name < head && segment_number(&name).is_some() {
                assert_eq!(found, None, "{name} cut to {length}");
            }
            // A segment that the lost groups have dropped may be missed, and then it is refused.
            head_opened += u32::from(name == head && found.is_some());
        }
    }
    assert!(opened >= head_opened && head_opened > 100 && refused > 100, "{opened} opened, {refused} refused");
}

#[test]
fn a_flip_of_any_bit_never_invents_an_object_and_is_refused_before_the_tail() {
    let (files, states) = folder();
    let head = head(&files);
    let last = states.len() - 1;
    for name in files.names() {
        let bytes = files.bytes(&name).expect("it is there");
        for bit in 0..8 * bytes.len() {
            let flipped = files.copy();
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            flipped.set_bytes(&name, bytes);
            let found = opens(&flipped, &states);
            if name < head && segment_number(&name).is_some() {
                assert_eq!(found, None, "{name} bit {bit}");
            }
            if let Some(state) = found
                && name == head
            {
                assert!(state >= last - 1, "{name} bit {bit}: more than the last group is gone");
            }
        }
    }
}

#[test]
fn any_number_of_files_may_be_missing_without_a_panic_and_no_object_is_invented() {
    let (files, states) = folder();
    let names = files.names();
    for mask in 0..1_u32 << names.len().min(12) {
        let some = MemoryFiles::new();
        for (index, name) in names.iter().enumerate() {
            if mask & (1 << index) == 0 {
                some.set_bytes(name, files.bytes(name).expect("it is there"));
            }
        }
        opens(&some, &states);
    }
}

#[test]
fn damage_in_the_middle_is_refused_with_file_offset_and_remedy() {
    let (files, _) = folder();
    let name = closed(&files);
    let mut bytes = files.bytes(&name).expect("a segment");
    bytes[60] ^= 1;
    files.set_bytes(&name, bytes);
    let error = Log::open(files.copy(), &Settings::default()).map(|_| ()).expect_err("it is damaged");
    assert!(matches!(&error, OpenError::Damaged { file, offset: 32, .. } if *file == name), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("memory/{name}: damaged at offset 32")), "{text}");
    assert!(text.contains("wisp-broker store check memory") && text.contains("store repair memory"), "{text}");
}

#[test]
fn damage_to_the_drop_of_a_segment_is_not_taken_for_a_missing_segment() {
    let files = MemoryFiles::new();
    let (log, _) = open(&files, 1 << 20);
    // With the first flush the store drops the segment with which it was made.
    for key in 1..=3 {
        put(&log, &object(key, b"x"));
        log.flush().expect("it flushes");
    }
    assert_eq!(files.bytes(&file_name(1)), None);
    let name = file_name(2);
    let bytes = files.bytes(&name).expect("the head");
    let second = 32 + bytes[32..].windows(4).skip(1).position(|four| four == b"grp\n").expect("a group") as u64 + 1;
    let mut damaged = bytes.clone();
    damaged[second as usize + 6] ^= 1;
    files.set_bytes(&name, damaged);
    let error = Log::open(files.copy(), &Settings::default()).map(|_| ()).expect_err("it is damaged");
    assert!(matches!(&error, OpenError::Damaged { file, offset, .. } if *file == name && *offset == second), "{error}");
    let problems = crate::offline::check(files.copy()).expect("a store").problems;
    assert_eq!(problems.iter().map(|problem| problem.offset).collect::<Vec<_>>(), [second]);
}

#[test]
fn a_segment_that_is_missing_is_refused_by_name() {
    let (files, _) = folder();
    let without = MemoryFiles::new();
    let missing = closed(&files);
    for name in files.names().iter().filter(|name| **name != missing) {
        without.set_bytes(name, files.bytes(name).expect("it is there"));
    }
    let error = Log::open(without, &Settings::default()).map(|_| ()).expect_err("a segment is missing").to_string();
    assert!(error.contains(&missing) && error.contains("missing"), "{error}");
}

/// A payload that is a group of the format, as a client could send it, in a write that is torn.
fn forged(identity: impl Fn(Identity) -> Identity) -> Result<usize, OpenError> {
    let files = MemoryFiles::new();
    let (log, _) = open(&files, 1 << 20);
    put(&log, &object(1, b"kept"));
    log.flush().expect("it flushes");
    let name = file_name(2);
    let bytes = files.bytes(&name).expect("the head");
    let own = identity_of(&bytes).expect("a header");
    // In front of the payload are the header of the group around it, and tag, kind, key and length.
    let offset = bytes.len() as u64;
    let inner = offset + GROUP_HEADER_BYTES as u64 + 4;
    let mut group = vec![0; GROUP_HEADER_BYTES];
    write_delete(&mut group, 1, 1);
    let place = GroupPlace { offset: inner, number: 9, first_sequence: 99, count: 1, settled: inner };
    close_group(&mut group, &place, Seal::new(identity(own), 2));
    put(&log, &object(2, &group));
    log.flush().expect("it flushes");
    let mut bytes = files.bytes(&name).expect("the head");
    assert_eq!(bytes[inner as usize..][..group.len()], group);
    bytes[offset as usize + 5] ^= 1;
    files.set_bytes(&name, bytes);
    Log::open(files.copy(), &Settings::default()).map(|(_, live)| live.len())
}

#[test]
fn a_payload_that_looks_like_a_group_is_none() {
    // Only the store itself knows its identity; with it, the group would prove that the write before was synchronised.
    assert_eq!(forged(|own| Identity(own.0 ^ 1)).expect("a torn tail"), 1);
    assert!(matches!(forged(|own| own), Err(OpenError::Damaged { .. })));
}

//! The work as the program does it, on files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use wisp_compute::random::Random;
use wisp_compute::{NUMBER_BYTES, decode, make_random, sort_file};

/// A folder that is gone when this is dropped.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn write_numbers(file: &Path, count: usize) -> Vec<u64> {
    let mut random = Random::new(7);
    let numbers: Vec<u64> = (0..count).map(|_| random.next_number()).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    fs::write(file, bytes).unwrap();
    numbers
}

#[test]
fn a_file_is_sorted_into_another() {
    let folder = Folder::new();
    let (from, to) = (folder.file("from"), folder.file("to"));
    for count in [0, 1, 2, 1000] {
        let mut expected = write_numbers(&from, count);
        let sorted = sort_file(&from, &to).unwrap();
        expected.sort_unstable();
        assert_eq!(decode(&fs::read(&to).unwrap()), expected);
        assert_eq!(sorted.numbers, count as u64);
    }
}

#[test]
fn a_file_that_is_no_list_of_numbers_is_refused() {
    let folder = Folder::new();
    let (from, to) = (folder.file("from"), folder.file("to"));
    fs::write(&from, [0; NUMBER_BYTES + 1]).unwrap();
    assert_eq!(sort_file(&from, &to).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(sort_file(&folder.file("none"), &to).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!to.exists());
}

#[test]
fn the_same_numbers_are_made_everywhere() {
    // Computed apart, from the formula.
    assert_eq!(make_random(1000).sum, 9_724_339_546_021_941_182);
    assert_eq!(make_random(0).sum, 0);
}

#[test]
fn the_program_says_what_it_did_or_what_is_wrong() {
    let folder = Folder::new();
    let (from, to) = (folder.file("from"), folder.file("to"));
    write_numbers(&from, 3);
    let run = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_wisp-compute")).args(words).output().unwrap();
    let names = [from.to_str().unwrap(), to.to_str().unwrap()];
    let done = run(&["sort", "--file", names[0], "--out", names[1]]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && said.starts_with(r#"{"numbers":3,"read_s":"#), "{said}");
    let done = run(&["random", "--count", "1000"]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.starts_with(r#"{"sum":9724339546021941182,"compute_s":"#), "{said}");
    for (words, status) in [(&["sort"][..], 2), (&["sort", "--file", "/none", "--out", names[1]], 1)] {
        let done = run(words);
        assert_eq!(done.status.code(), Some(status));
        assert_eq!(String::from_utf8(done.stderr).unwrap().lines().count(), 1);
    }
}

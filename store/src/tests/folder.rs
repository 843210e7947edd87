//! Folders of the file system: refused if they are no store, in use, newer or foreign.

use std::fs;
use std::path::Path;

use crate::{FsFiles, Log, OpenError, Settings};

fn refusal(folder: &Path) -> String {
    match Log::open(FsFiles::new(folder), &Settings::default()) {
        Ok(_) => panic!("{} opens", folder.display()),
        Err(error) => error.to_string(),
    }
}

fn write_and_close(folder: &Path) {
    let (log, _) = Log::open(FsFiles::new(folder), &Settings::default()).expect("it opens");
    log.put(1, 1, None, false, &[b"one"]);
    log.flush().expect("it flushes");
}

#[test]
fn a_folder_is_created_if_its_parent_is_there() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("store");
    write_and_close(&folder);
    assert!(folder.join("wisp-store").is_file());
    let (_, live) = Log::open(FsFiles::new(&folder), &Settings::default()).expect("it opens again");
    assert_eq!(live.len(), 1);
    let orphan = parent.path().join("no/store");
    assert!(refusal(&orphan).contains("parent folder is missing"), "{}", refusal(&orphan));
}

#[test]
fn a_store_in_use_is_refused_and_free_again_afterwards() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, _) = Log::open(FsFiles::new(folder.path()), &Settings::default()).expect("it opens");
    assert!(refusal(folder.path()).contains("in use by another process"));
    drop(log);
    write_and_close(folder.path());
}

#[test]
fn a_folder_with_other_files_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("letter.txt"), "dear").expect("a file");
    let text = refusal(folder.path());
    assert!(text.contains("not a store") && text.contains("letter.txt"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    fs::remove_file(folder.path().join("letter.txt")).expect("it is there");
    // As the root of a file system, or a folder under version control.
    fs::create_dir(folder.path().join("lost+found")).expect("a folder");
    fs::write(folder.path().join(".gitignore"), "*").expect("a file");
    write_and_close(folder.path());
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let parent = tempfile::tempdir().expect("a folder");
    let file = parent.path().join("file");
    fs::write(&file, "").expect("a file");
    assert!(refusal(&file).ends_with("not a folder"), "{}", refusal(&file));
    assert!(refusal(&file.join("below")).contains("below: "), "{}", refusal(&file.join("below")));
}

#[test]
fn a_newer_store_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write_and_close(folder.path());
    let text = "wisp-store 2 0123456789abcdef";
    let newer = format!("{text} {:08x}\n", crc32c::crc32c(text.as_bytes()));
    fs::write(folder.path().join("wisp-store"), newer).expect("a file");
    let text = refusal(folder.path());
    assert!(text.contains("wisp-store: format version 2, this version reads up to 1"), "{text}");
}

#[test]
fn a_segment_of_another_store_is_refused() {
    let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write_and_close(one.path());
    write_and_close(other.path());
    let name = "segment-0000000002.log";
    fs::copy(other.path().join(name), one.path().join(name)).expect("a copy");
    let text = refusal(one.path());
    assert!(text.contains("another store") && text.contains(name), "{text}");
}

#[test]
fn segments_without_the_file_that_says_so_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write_and_close(folder.path());
    fs::remove_file(folder.path().join("wisp-store")).expect("it is there");
    let error = Log::open(FsFiles::new(folder.path()), &Settings::default()).map(|_| ()).expect_err("it is damaged");
    assert!(matches!(&error, OpenError::Damaged { file, .. } if file == "wisp-store"), "{error}");
}

//! Any bytes as a password file: refused with a line that exists, or read, changed and read again with the same users.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wisp_access::{HashKind, Memory, PasswordFile, PasswordHash, SALT_BYTES, Users};

fuzz_target!(|text: &[u8]| {
    let users = match Users::parse(text) {
        Ok(users) => users,
        Err(error) => {
            assert!(error.line >= 1 && error.line <= text.split(|byte| *byte == b'\n').count());
            assert!(!error.to_string().contains(['\n', '\r']));
            return;
        }
    };
    let mut file = PasswordFile::parse(text).expect("a broker reads it");
    let hash =
        PasswordHash::new(HashKind::Sha512, b"p", [1; SALT_BYTES], &mut Memory::default()).expect("no memory needed");
    let is_new = file.set("fuzz", &hash).expect("a plain name");
    let changed = Users::parse(file.as_str().as_bytes()).expect("a change leaves the file readable");
    assert_eq!(changed.len(), users.len() + usize::from(is_new));
    assert!(changed.hash("fuzz").is_some_and(|found| **found == hash));
    assert!(file.remove("fuzz"));
    assert_eq!(Users::parse(file.as_str().as_bytes()).expect("still readable").len(), changed.len() - 1);
});

//! The memory of this process, which therefore has no other test in it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use wisp_bench::resident::Resident;

#[test]
fn memory_that_is_used_is_seen() {
    let own = std::process::id();
    let before = Resident::of(own).unwrap();
    let used = vec![7u8; 64 << 20];
    let after = Resident::of(own).unwrap();
    assert!(std::hint::black_box(&used).iter().all(|byte| *byte == 7));
    assert!(after.anonymous_bytes >= before.anonymous_bytes + (60 << 20), "{before:?} {after:?}");
}

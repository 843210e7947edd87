//! The log against a naive model, with crashes at every operation; cuts and flips; folders; sizes.

mod backup;
mod compaction;
mod damage;
mod faults;
mod folder;
mod model;
mod offline;
mod runs;
mod threads;
mod voids;

use crate::{Live, Log, MemoryFiles, Random, Settings};

/// Small segments, so that a short run has many.
fn settings(segment_bytes: u64) -> Settings {
    Settings { segment_bytes, ..Settings::default() }
}

fn open(files: &MemoryFiles, segment_bytes: u64) -> (Log, Vec<Live>) {
    Log::open(files.clone(), &settings(segment_bytes)).expect("it opens")
}

/// The objects of a folder, which stays as it is.
fn live(files: &MemoryFiles) -> Vec<Live> {
    Log::open(files.copy(), &settings(1 << 20)).expect("it opens").1
}

fn object(key: u64, body: &[u8]) -> Live {
    Live { key, kind: 1, refers_to: None, shared: false, body: body.to_vec().into() }
}

fn put(log: &Log, object: &Live) {
    log.put(object.key, object.kind, object.refers_to, object.shared, &[&object.body]);
}

fn body(random: &mut Random, length_max: u64) -> Vec<u8> {
    let length = random.below(length_max + 1);
    (0..length).map(|_| random.below(256) as u8).collect()
}

//! A store whose groups have right checksums and any records, with bytes changed: it opens or is refused, without a panic; and
//! if it opens it can be written to, compacted, and opened again with the same objects.
#![no_main]

use wisp_store::format::{GROUP_HEADER_BYTES, GroupPlace, Identity, Seal, close_group, file_name, identity_of, write_header};
use wisp_store::{Log, MemoryFiles, Settings, offline};

libfuzzer_sys::fuzz_target!(|input: (Vec<Vec<(Vec<u8>, u8)>>, Vec<(u8, u16, u8)>)| {
    let (segments, changes) = input;
    let files = MemoryFiles::new();
    drop(Log::open(files.clone(), &Settings::default()));
    let Some(identity) = files.bytes(&file_name(1)).and_then(|bytes| identity_of(&bytes)) else { return };
    let mut number = 2;
    for (index, groups) in segments.iter().take(4).enumerate() {
        let segment = index as u32 + 2;
        files.set_bytes(&file_name(segment), bytes(identity, segment, groups, &mut number));
    }
    for (segment, place, byte) in changes {
        let name = file_name(u32::from(segment % 6));
        if let Some(mut bytes) = files.bytes(&name)
            && let Some(old) = bytes.get_mut(usize::from(place))
        {
            *old = byte;
            files.set_bytes(&name, bytes);
        }
    }
    let _ = offline::check(files.copy());
    let _ = offline::repair(files.copy(), MemoryFiles::new(), &Settings::default());
    let files = files.copy();
    let Ok((log, live)) = Log::open(files.clone(), &Settings::default()) else { return };
    log.put(u64::MAX, 1, None, false, &[b"new"]);
    log.compact().expect("it can be written");
    drop(log);
    let (_, again) = Log::open(files.copy(), &Settings::default()).expect("it opens again");
    let count = live.iter().filter(|object| object.key != u64::MAX).count();
    assert_eq!(again.len(), count + 1, "{live:?} {again:?}");
});

/// A segment: each group's records, and the number of them that its header says.
fn bytes(identity: Identity, segment: u32, groups: &[(Vec<u8>, u8)], number: &mut u64) -> Vec<u8> {
    let mut bytes = write_header(identity, segment).to_vec();
    for (records, count) in groups {
        let offset = bytes.len() as u64;
        let mut group = vec![0; GROUP_HEADER_BYTES];
        group.extend_from_slice(records);
        let place =
            GroupPlace { offset, number: *number, first_sequence: *number << 8, count: (*count).into(), settled: offset };
        close_group(&mut group, &place, Seal::new(identity, segment));
        bytes.extend_from_slice(&group);
        *number += 1;
    }
    bytes
}

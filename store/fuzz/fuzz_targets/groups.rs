//! Any bytes as the records of a group with a right checksum: read to an end, without a panic, and each record survives being
//! written and read again.
#![no_main]

use wisp_store::format::{
    GROUP_HEADER_BYTES, GroupPlace, Identity, Record, Seal, Walk, close_group, write_delete, write_dropped, write_put,
    write_segments,
};

libfuzzer_sys::fuzz_target!(|input: (&[u8], u32)| {
    let (records, count) = input;
    let seal = Seal::new(Identity(1), 1);
    let group = |records: &[u8], count| {
        let mut bytes = vec![0; GROUP_HEADER_BYTES];
        bytes.extend_from_slice(records);
        close_group(&mut bytes, &GroupPlace { offset: 0, number: 1, first_sequence: 1, count, settled: 0 }, seal);
        bytes
    };
    let bytes = group(records, count);
    let read = |bytes: &[u8], again: &mut Vec<u8>| -> Vec<String> {
        let group = Walk::new(bytes, 0, seal).next().expect("a whole group");
        let whole = group.records().map_while(Result::ok);
        whole
            .map(|(_, _, record)| {
                match &record {
                    Record::Put(put) => write_put(again, put, &[put.body]),
                    Record::Delete { key, oldest } => write_delete(again, *key, *oldest),
                    Record::Dropped { segment } => write_dropped(again, *segment),
                    Record::Segments(segments) => write_segments(again, segments),
                }
                format!("{record:?}")
            })
            .collect()
    };
    let mut again = Vec::new();
    let first = read(&bytes, &mut again);
    let bytes = group(&again, first.len() as u32);
    assert_eq!(read(&bytes, &mut Vec::new()), first);
});

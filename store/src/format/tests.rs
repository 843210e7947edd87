//! The bytes of docs/storage.md, and records and groups there and back.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::group::Group;
use super::*;

const IDENTITY: Identity = Identity(0x1122_3344_5566_7788);

/// A group at the front of a segment.
fn group(records: &[u8], count: u32, place: GroupPlace) -> Vec<u8> {
    let mut bytes = vec![0; GROUP_HEADER_BYTES];
    bytes.extend_from_slice(records);
    close_group(&mut bytes, &GroupPlace { count, ..place }, Seal::new(IDENTITY, 3));
    bytes
}

fn place(offset: u64) -> GroupPlace {
    GroupPlace { offset, number: 5, first_sequence: 9, count: 0, settled: 32 }
}

#[test]
fn records_are_the_bytes_that_the_documentation_shows() {
    let mut bytes = Vec::new();
    let put = Put { key: 300, kind: 7, refers_to: Some(5), shared: true, order: Some(128), body: b"" };
    write_put(&mut bytes, &put, &[b"a", b"bc"]);
    assert_eq!(bytes, [0x39, 7, 0xAC, 0x02, 5, 0x80, 0x01, 3, b'a', b'b', b'c']);
    bytes.clear();
    write_put(&mut bytes, &Put { key: 1, kind: 2, refers_to: None, shared: false, order: None, body: b"" }, &[b"x"]);
    assert_eq!(bytes, [0x01, 2, 1, 1, b'x']);
    bytes.clear();
    write_delete(&mut bytes, 300, 2);
    assert_eq!(bytes, [0x02, 0xAC, 0x02, 2]);
    bytes.clear();
    write_dropped(&mut bytes, 9);
    assert_eq!(bytes, [0x03, 9]);
    bytes.clear();
    write_segments(&mut bytes, &[(1, 80), (4, 200)]);
    assert_eq!(bytes, [0x04, 2, 1, 80, 4, 0xC8, 0x01]);
}

#[test]
fn headers_are_the_bytes_that_the_documentation_shows() {
    let header = write_header(IDENTITY, 3);
    let expected = [
        b'w', b'i', b's', b'p', b' ', b'l', b'o', b'g', 1, 0, 0, 0, 3, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33,
        0x22, 0x11, 0, 0, 0, 0,
    ];
    assert_eq!(header[..28], expected);
    assert_eq!(header[28..], crc32c::crc32c(&expected).to_le_bytes());
    let bytes = group(&[0x03, 9], 1, place(32));
    assert_eq!(bytes[..4], *b"grp\n");
    assert_eq!(
        bytes[8..],
        [
            2, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0,
            0, 0, 0, 0, 0, 0x03, 9,
        ]
    );
    let sealed = [&IDENTITY.0.to_le_bytes()[..], &3_u32.to_le_bytes(), &bytes[8..]].concat();
    assert_eq!(bytes[4..8], crc32c::crc32c(&sealed).to_le_bytes());
}

#[test]
fn the_name_of_a_segment_is_its_number() {
    assert_eq!(file_name(7), "segment-0000000007.log");
    assert_eq!(segment_number("segment-0000000007.log"), Some(7));
    assert_eq!(segment_number(&file_name(u32::MAX)), Some(u32::MAX));
    for other in ["segment-7.log", "segment-00000000+7.log", "segment-0000000007.log.bak", "wisp-store"] {
        assert_eq!(segment_number(other), None, "{other}");
    }
}

#[test]
fn a_header_says_of_which_version_store_and_segment_it_is() {
    let header = write_header(IDENTITY, 3);
    assert_eq!(read_header(&header, IDENTITY, 3), Ok(()));
    assert_eq!(read_header(&header, Identity(1), 3), Err(HeaderError::Foreign));
    assert_eq!(read_header(&header, IDENTITY, 4), Err(HeaderError::Foreign));
    assert_eq!(read_header(&header[..31], IDENTITY, 3), Err(HeaderError::Damaged));
    let mut newer = header;
    newer[8] = 2;
    let checksum = crc32c::crc32c(&newer[..28]);
    newer[28..].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(read_header(&newer, IDENTITY, 3), Err(HeaderError::Newer(2)));
    assert_eq!(identity_of(&header), Some(IDENTITY));
}

#[test]
fn a_tail_is_torn_unless_a_later_group_proves_that_it_was_synchronised() {
    let seal = Seal::new(IDENTITY, 3);
    let first = group(&[0x03, 9], 1, place(0));
    let length = first.len() as u64;
    let next = |settled| group(&[0x03, 9], 1, GroupPlace { number: 6, first_sequence: 10, settled, ..place(length) });
    let walked = |bytes: &[u8]| {
        let mut walk = Walk::new(bytes, 0, seal);
        (walk.by_ref().count(), walk.tail())
    };
    assert_eq!(walked(&[first.clone(), next(0)].concat()), (2, Tail::Clean));
    assert_eq!(walked(&[&first[..], &next(0)[..30]].concat()), (1, Tail::Torn));
    let mut broken = first.clone();
    broken[49] ^= 1;
    assert_eq!(walked(&[broken.clone(), next(0)].concat()), (0, Tail::Torn));
    assert_eq!(walked(&[broken.clone(), next(length)].concat()), (0, Tail::Damaged));
    // The proof follows directly after a group that is none.
    let third = GroupPlace { number: 7, first_sequence: 11, settled: length, ..place(2 * length) };
    assert_eq!(walked(&[broken, next(0), group(&[0x03, 9], 1, third)].concat()), (0, Tail::Damaged));
}

fn any_put() -> impl Strategy<Value = (u64, u8, Option<u64>, bool, Option<u64>, Vec<u8>)> {
    (1_u64.., any::<u8>(), of(1_u64..), any::<bool>(), of(any::<u64>()), vec(any::<u8>(), 0..300))
}

proptest! {
    #[test]
    fn puts_there_and_back(puts in vec(any_put(), 1..10)) {
        let puts: Vec<Put<'_>> = puts
            .iter()
            .map(|(key, kind, refers_to, shared, order, body)| Put {
                key: *key, kind: *kind, refers_to: *refers_to, shared: *shared, order: *order, body,
            })
            .collect();
        let mut records = Vec::new();
        for put in &puts {
            let (front, back) = put.body.split_at(put.body.len() / 2);
            write_put(&mut records, put, &[front, back]);
        }
        let bytes = group(&records, puts.len() as u32, place(0));
        let group = Group::parse(&bytes, 0, Seal::new(IDENTITY, 3)).expect("a whole group");
        let read: Vec<_> = group.records().map(|record| record.expect("a record")).collect();
        prop_assert_eq!(read.iter().map(|(_, length, _)| *length as usize).sum::<usize>(), records.len());
        for (index, ((sequence, _, record), put)) in read.into_iter().zip(puts).enumerate() {
            prop_assert_eq!(sequence, 9 + index as u64);
            prop_assert_eq!(record, Record::Put(put));
        }
    }

    #[test]
    fn any_bytes_are_records_or_an_error_at_the_end(records in vec(any::<u8>(), 0..100), count in 0_u32..10) {
        let bytes = group(&records, count, place(0));
        let group = Group::parse(&bytes, 0, Seal::new(IDENTITY, 3)).expect("a whole group");
        let read: Vec<_> = group.records().collect();
        prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
        prop_assert!(read.len() as u32 <= count + 1);
    }

    #[test]
    fn any_bytes_are_walked_to_an_end(bytes in vec(any::<u8>(), 0..300), base in 0_u64..100) {
        let mut walk = Walk::new(&bytes, base, Seal::new(IDENTITY, 3));
        prop_assert_eq!(walk.by_ref().count(), 0);
        prop_assert_ne!(walk.tail(), Tail::Damaged);
        prop_assert!(walk.find_next().is_none());
    }
}

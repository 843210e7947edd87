//! Decoding never allocates, whatever the bytes, and encoding grows its output once.

mod common;

use allocation_counter::measure;
use common::{read_all, seed, version, with_packet};
use proptest::collection::vec;
use proptest::prelude::*;
use wisp_wire::decode;

const PACKET_BYTES_MAX: u32 = 1 << 20;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn decoding_a_packet_and_reading_it_allocates_nothing(seed in seed()) {
        with_packet(&seed, |packet| {
            let mut bytes = Vec::new();
            packet.encode(seed.version, &mut bytes).unwrap();
            let count = measure(|| {
                let (decoded, _) = decode(&bytes, seed.version, PACKET_BYTES_MAX).unwrap().unwrap();
                std::hint::black_box(read_all(&decoded));
            });
            assert_eq!(count.count_total, 0);
        });
    }

    #[test]
    fn decoding_any_bytes_allocates_nothing(version in version(), bytes in vec(any::<u8>(), 0..120)) {
        let count = measure(|| {
            if let Ok(Some((packet, _))) = decode(&bytes, version, PACKET_BYTES_MAX) {
                std::hint::black_box(read_all(&packet));
            }
        });
        assert_eq!(count.count_total, 0);
    }

    #[test]
    fn encoding_allocates_once(seed in seed()) {
        with_packet(&seed, |packet| {
            let count = measure(|| {
                let mut bytes = Vec::new();
                packet.encode(seed.version, &mut bytes).unwrap();
                std::hint::black_box(&bytes);
            });
            assert_eq!(count.count_total, 1);
        });
    }
}

/// A length field causes no allocation before its bytes have arrived.
#[test]
fn a_claimed_length_allocates_nothing() {
    let count = measure(|| {
        assert_eq!(decode(b"\x30\xFF\xFF\xFF\x7F\x00\x01a", wisp_wire::ProtocolVersion::Mqtt5, u32::MAX), Ok(None));
    });
    assert_eq!(count.count_total, 0);
}

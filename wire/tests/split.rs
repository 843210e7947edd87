//! However the network splits the bytes, the same packets are decoded; and no bytes make the decoder panic.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{read_all, seed, version, with_packet};
use proptest::collection::vec;
use proptest::prelude::*;
use wisp_wire::{DecodeError, ProtocolVersion, decode, packet_len};

const PACKET_BYTES_MAX: u32 = 1 << 20;

fn bytes_of(seed: &common::Seed) -> Vec<u8> {
    let mut bytes = Vec::new();
    with_packet(seed, |packet| packet.encode(seed.version, &mut bytes).unwrap());
    bytes
}

/// A prefix of `bytes` is incomplete, or decodes like the whole, or is refused if the whole is refused.
fn prefixes_agree(bytes: &[u8], version: ProtocolVersion) {
    let whole = decode(bytes, version, PACKET_BYTES_MAX);
    if let Ok(Some((packet, len))) = &whole {
        assert!(*len <= bytes.len());
        assert_eq!(packet_len(bytes, PACKET_BYTES_MAX), Ok(Some(*len)));
        read_all(packet);
    }
    let mut refused: Option<DecodeError> = None;
    for cut in 0..bytes.len() {
        match decode(&bytes[..cut], version, PACKET_BYTES_MAX) {
            Ok(None) => assert_eq!(refused, None, "refused at first and then waited for"),
            Ok(Some((packet, len))) => assert_eq!(whole, Ok(Some((packet, len))), "{cut} of {}", bytes.len()),
            Err(error) => {
                assert!(whole.is_err(), "refused early: {error}");
                refused = Some(error);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_packet_is_waited_for_until_its_last_byte(seed in seed()) {
        let bytes = bytes_of(&seed);
        for cut in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..cut], seed.version, PACKET_BYTES_MAX), Ok(None));
        }
    }

    #[test]
    fn any_split_of_a_stream_gives_the_same_packets(
        seeds in vec(seed(), 1..6),
        chunks in vec(1..40usize, 1..200),
    ) {
        let version = seeds[0].version;
        let packets: Vec<Vec<u8>> =
            seeds.iter().filter(|seed| seed.version == version).map(bytes_of).collect();
        let stream = packets.concat();

        let (mut buffer, mut arrived, mut fed) = (Vec::new(), Vec::new(), 0);
        for chunk in chunks.iter().cycle() {
            let end = stream.len().min(fed + chunk);
            buffer.extend_from_slice(&stream[fed..end]);
            fed = end;
            while let Some((packet, len)) = decode(&buffer, version, PACKET_BYTES_MAX).unwrap() {
                let mut again = Vec::new();
                packet.encode(version, &mut again).unwrap();
                arrived.push(again);
                buffer.drain(..len);
            }
            if fed == stream.len() {
                break;
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(arrived, packets);
    }

    #[test]
    fn no_bytes_panic_and_prefixes_agree(version in version(), bytes in vec(any::<u8>(), 0..120)) {
        prefixes_agree(&bytes, version);
    }

    /// Damaged packets get further into the decoder than random bytes.
    #[test]
    fn no_damaged_packet_panics_and_prefixes_agree(
        seed in seed(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        as_version in version(),
    ) {
        let mut bytes = bytes_of(&seed);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        prefixes_agree(&bytes, seed.version);
        prefixes_agree(&bytes, as_version);
    }
}

//! Bytes that no client sends: the session ends or continues, without further effects.

use proptest::prelude::*;
use wisp_engine::{EndReason, Limits};
use wisp_wire::{Properties, ProtocolVersion, decode};

use crate::support::{ALL, V3, V5, World, connect, encoded, one_of_each, plain, publish, publish_with, subscribe};

/// A change of bytes that were legal.
#[derive(Clone, Debug)]
enum Mutation {
    Set { at: usize, byte: u8 },
    Flip { at: usize, bit: u8 },
    Insert { at: usize, byte: u8 },
    Remove { at: usize },
    Cut { at: usize },
    Repeat { at: usize, len: usize },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = 0..400_usize;
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set { at, byte }),
        (at.clone(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Mutation::Insert { at, byte }),
        at.clone().prop_map(|at| Mutation::Remove { at }),
        at.clone().prop_map(|at| Mutation::Cut { at }),
        (at, 1..60_usize).prop_map(|(at, len)| Mutation::Repeat { at, len }),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let len = bytes.len().max(1);
    match *mutation {
        Mutation::Insert { at, byte } => bytes.insert(at % len % (bytes.len() + 1), byte),
        _ if bytes.is_empty() => {}
        Mutation::Set { at, byte } => bytes[at % len] = byte,
        Mutation::Flip { at, bit } => bytes[at % len] ^= 1 << bit,
        Mutation::Remove { at } => drop(bytes.remove(at % len)),
        Mutation::Cut { at } => bytes.truncate(at % len),
        Mutation::Repeat { at, len: part } => {
            let piece = bytes[at % len..(at % len + part).min(len)].to_vec();
            bytes.extend(piece);
        }
    }
}

/// A few hundred legal bytes, beginning with CONNECT.
fn life(version: ProtocolVersion, picks: &[usize]) -> Vec<u8> {
    let expiring = [wisp_wire::Property::SessionExpiryInterval(9)];
    let with_properties = wisp_wire::Connect { properties: Properties::from_slice(&expiring), ..plain(V5, "c") };
    let mut packets = one_of_each(version);
    packets.push(publish(version, "a/b", b"payload"));
    packets.push(subscribe(version, &["a/+", "#", "t"]));
    if version.is_v5() {
        packets.push(publish_with("t", &[wisp_wire::Property::UserProperty(("k", "v"))]));
        packets.push(encoded(|out| with_properties.encode(V5, out)));
    }
    let mut bytes = connect(version, "c");
    for pick in picks {
        bytes.extend(&packets[pick % packets.len()]);
    }
    bytes
}

/// Feeds the bytes to a new connection, in reads that end at `cuts`, and checks the state it leaves.
fn assert_harmless(bytes: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let mut world = World::new(Limits::DEFAULT.with(|limits| {
        limits.topic_levels_max = 8;
        limits.session_expiry_s_max = 8;
    }));
    let mut witness = world.connected(V5, "witness");
    world.feed(&mut witness, &subscribe(V5, &["#"]));
    let mut peer = world.accept();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    for end in ends {
        let outcome = world.feed(&mut peer, &bytes[start..end]);
        start = end;
        assert_replies(&outcome.replies, peer.version())?;
        if outcome.end.is_some() {
            break;
        }
    }
    world.close(&mut peer, EndReason::Closed);
    // The witness can read every message that it got.
    witness.messages();
    world.feed(&mut witness, &publish(V5, "t", b"still here"));
    let last = witness.messages().pop();
    prop_assert_eq!(last, Some(("t".to_owned(), b"still here".to_vec())));
    // Any session that it asked for has ended.
    world.close(&mut witness, EndReason::Closed);
    world.pass_ms(9_000);
    prop_assert_eq!((world.stats().sessions, world.stats().buffered_bytes), (0, 0));
    prop_assert!(world.stats().retained > 0 || world.stats().stored_bytes == 0);
    Ok(())
}

/// The replies are MQTT, for any bytes sent.
fn assert_replies(mut replies: &[u8], version: ProtocolVersion) -> Result<(), TestCaseError> {
    while !replies.is_empty() {
        let decoded = decode(replies, version, 1 << 20).or_else(|_| decode(replies, V3, 1 << 20));
        let decoded = decoded.or_else(|_| decode(replies, V5, 1 << 20));
        let Ok(Some((_, len))) = decoded else {
            return Err(TestCaseError::fail(format!("answered with {replies:02x?}")));
        };
        replies = &replies[len..];
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 8))]

    #[test]
    fn random_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        assert_harmless(&bytes, &[])?;
    }

    #[test]
    fn random_bytes_after_connect_are_harmless(
        version in prop::sample::select(&ALL[..]),
        first in prop::sample::select((1..16_u8).map(|kind| kind << 4).collect::<Vec<_>>()),
        flags in 0..16_u8,
        body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = connect(version, "c");
        bytes.extend([first | flags, body.len() as u8]);
        bytes.extend(body);
        assert_harmless(&bytes, &[])?;
    }

    #[test]
    fn mutated_packet_sequences_are_harmless(
        version in prop::sample::select(&ALL[..]),
        picks in prop::collection::vec(any::<usize>(), 0..12),
        mutations in prop::collection::vec(mutation(), 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..4),
    ) {
        let mut bytes = life(version, &picks);
        mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
        assert_harmless(&bytes, &cuts)?;
    }
}

//! Properties that hold for any input; each fuzz target checks one of them.

use wisp_wire::{Packet, PacketType, Properties, ProtocolVersion, TopicFilter, TopicName, decode, packet_len};

const PACKET_BYTES_MAX: u32 = 1 << 16;

/// Decoding does not panic, and a decoded packet encodes and decodes to the same packet.
pub fn decode_encode_decode(input: &[u8], version: ProtocolVersion) {
    let Ok(Some((packet, len))) = decode(input, version, PACKET_BYTES_MAX) else { return };
    assert!(len <= input.len());
    assert_eq!(packet_len(input, PACKET_BYTES_MAX), Ok(Some(len)));
    assert_eq!(PacketType::of(input[0]), Some(packet.packet_type()));
    read(&packet);

    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).expect("a decoded packet is legal");
    assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
    assert!(bytes.len() <= len, "the canonical form is never the longer one");
    assert_eq!(decode(&bytes, version, PACKET_BYTES_MAX), Ok(Some((packet, bytes.len()))));
}

/// A truncated input is incomplete or refused; it never decodes to another packet.
pub fn any_cut_waits(input: &[u8], version: ProtocolVersion) {
    let whole = decode(input, version, PACKET_BYTES_MAX);
    let mut refused = false;
    for cut in 0..input.len() {
        match decode(&input[..cut], version, PACKET_BYTES_MAX) {
            Ok(None) => assert!(!refused),
            Ok(some) => assert_eq!(whole, Ok(some)),
            Err(_) => {
                assert!(whole.is_err());
                refused = true;
            }
        }
    }
}

/// `TopicFilter::matches` agrees with a literal reading of the standards. The input is a filter and a name, separated
/// by a line break.
pub fn filter_matches_by_the_book(input: &str) {
    let Some((filter, name)) = input.split_once('\n') else { return };
    let (Ok(filter), Ok(name)) = (TopicFilter::new(filter), TopicName::new(name)) else { return };
    let own = filter.shared().map_or(filter, |(_, own)| own);
    let levels: Vec<&str> = own.levels().collect();
    let parts: Vec<&str> = name.levels().collect();
    let hidden = parts[0].starts_with('$') && ["+", "#"].contains(&levels[0]);
    assert_eq!(filter.matches(name), !hidden && matches(&levels, &parts));
}

fn matches(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, name @ ..]) => matches(filter, name),
        ([level, filter @ ..], [part, name @ ..]) => level == part && matches(filter, name),
        _ => false,
    }
}

/// Reads the parts of a packet that decoding leaves for later.
fn read(packet: &Packet<'_>) {
    // Debug iterates over every list and property block.
    let _ = format!("{packet:?}");
    if let Packet::Publish(publish) = packet {
        let _ = publish.payload_keeps_format();
        stored_properties_survive(&publish.properties);
    }
}

fn stored_properties_survive(properties: &Properties<'_>) {
    let mut block = Vec::new();
    properties.copy_where(&mut block, |_| true).expect("a decoded packet is legal");
    assert_eq!(Properties::from_bytes(&block, wisp_wire::PropertyOwner::Publish), Ok(*properties));
}

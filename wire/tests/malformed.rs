//! Every rule that the decoder enforces: each row has bytes that break it, the version they break it in, and the
//! error.

mod common;

use common::{PACKET_TYPES, PROPERTIES, PropertySeed, property};
use wisp_wire::DecodeError as E;
use wisp_wire::ProtocolVersion::{self, Mqtt5 as V5, Mqtt31 as V31, Mqtt311 as V311};
use wisp_wire::{
    Connect, DecodeError, Packet, PacketType, Properties, Property, PropertyOwner, ReasonCode, decode, packet_len,
};

const PACKET_BYTES_MAX: u32 = 1024;

/// Whole packets and prefixes of packets: an error in the fixed header is reported early.
const FRAMES: &[(ProtocolVersion, &[u8], DecodeError)] = &[
    (V311, b"\x00", E::PacketTypeReserved),
    (V5, b"\x0F\x00", E::PacketTypeReserved),
    (V31, b"\xF0", E::PacketTypeReserved),
    (V311, b"\xF0\x00", E::PacketTypeReserved),
    (V5, b"\xF1", E::HeaderFlags),
    (V5, b"\x21", E::HeaderFlags),
    (V311, b"\x42", E::HeaderFlags),
    (V311, b"\x5F", E::HeaderFlags),
    (V311, b"\x60", E::HeaderFlags),
    (V5, b"\x6A", E::HeaderFlags),
    (V31, b"\x6B", E::HeaderFlags),
    (V311, b"\x72", E::HeaderFlags),
    (V311, b"\x80", E::HeaderFlags),
    (V311, b"\x8A", E::HeaderFlags),
    (V31, b"\x83", E::HeaderFlags),
    (V5, b"\x92", E::HeaderFlags),
    (V5, b"\xA0", E::HeaderFlags),
    (V5, b"\xB2", E::HeaderFlags),
    (V5, b"\xC1", E::HeaderFlags),
    (V5, b"\xD8", E::HeaderFlags),
    (V5, b"\xE1", E::HeaderFlags),
    (V5, b"\x36", E::Qos),
    (V311, b"\x3F", E::Qos),
    (V5, b"\x38", E::DupWithoutQos),
    (V311, b"\x39", E::DupWithoutQos),
    (V311, b"\x30\xFF\xFF\xFF\xFF", E::LengthTooLong),
    (V5, b"\x10\x80\x80\x80\x80\x01", E::LengthTooLong),
    (V5, b"\xC0\x80\x00", E::LengthNotMinimal),
    (V5, b"\x30\x84\x00\x00\x01a\x00", E::LengthNotMinimal),
    (V311, b"\x10\x90\x00\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x03abc", E::LengthNotMinimal),
    (V311, b"\x30\xFF\x07", E::PacketTooLarge),
    (V5, b"\x10\xFF\xFF\xFF\x7F", E::PacketTooLarge),
    (V5, b"\xC0\x01", E::Leftover),
    (V311, b"\xD0\x01", E::Leftover),
    (V311, b"\xE0\x01", E::Leftover),
    (V311, b"\x40\x03", E::Leftover),
    (V311, b"\x40\x01", E::Truncated),
    (V311, b"\xB0\x04", E::Leftover),
    (V31, b"\x20\x03", E::Leftover),
    // An incomplete CONNECT that cannot become a legal one.
    (V5, b"\x10\x20\x00\x05", E::ProtocolName),
    (V5, b"\x10\x20\x00\x04HTTP", E::ProtocolName),
    (V5, b"\x10\x20\x00\x04MQTT\x09", E::ProtocolLevel),
    (V5, b"\x10\x20\x00\x04MQTT\x05\x01", E::ConnectFlagReserved),
    (V31, b"\x11\x20\x00\x04MQTT\x04", E::HeaderFlags),
    (V31, b"\x18\x20\x00\x04MQTT\x05", E::HeaderFlags),
];

/// First byte and body; the test inserts the remaining length.
const BODIES: &[(ProtocolVersion, u8, &[u8], DecodeError)] = &[
    // CONNECT
    (V5, 0x10, b"", E::Truncated),
    (V5, 0x10, b"\x00\x04MQ", E::Truncated),
    (V5, 0x10, b"\x00\x04mqtt\x04\x02\x00\x00\x00\x01a", E::ProtocolName),
    (V5, 0x10, b"\x00\x06MQisdp\x03\x02\x00\x00\x00\x01a", E::ProtocolName),
    (V5, 0x10, b"\x00\x00\x04\x02\x00\x00\x00\x01a", E::ProtocolName),
    (V5, 0x10, b"\x00\x04MQTT\x03\x02\x00\x00\x00\x01a", E::ProtocolLevel),
    (V5, 0x10, b"\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x01a", E::ProtocolLevel),
    (V5, 0x10, b"\x00\x04MQTT\x85\x02\x00\x00\x00\x01a", E::ProtocolLevel),
    (V5, 0x10, b"\x00\x06MQIsdp\x04\x02\x00\x00\x00\x01a", E::ProtocolLevel),
    (V5, 0x10, b"\x00\x04MQTT\x04\x03\x00\x00\x00\x01a", E::ConnectFlagReserved),
    (V5, 0x10, b"\x00\x04MQTT\x04\x0A\x00\x00\x00\x01a", E::WillQosWithoutWill),
    (V5, 0x10, b"\x00\x04MQTT\x04\x22\x00\x00\x00\x01a", E::WillRetainWithoutWill),
    (V5, 0x10, b"\x00\x04MQTT\x04\x1E\x00\x00\x00\x01a\x00\x01w\x00\x00", E::WillQos),
    (V5, 0x10, b"\x00\x04MQTT\x04\x42\x00\x00\x00\x01a\x00\x01p", E::PasswordWithoutUsername),
    (V5, 0x10, b"\x00\x06MQIsdp\x03\x42\x00\x00\x00\x01a\x00\x01p", E::PasswordWithoutUsername),
    (V5, 0x10, b"\x00\x04MQTT\x04\x00\x00\x00\x00\x00", E::ClientIdEmpty),
    (V5, 0x10, b"\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00", E::ClientIdEmpty),
    (V5, 0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x02a", E::Truncated),
    (V5, 0x10, b"\x00\x04MQTT\x04\x02\x00", E::Truncated),
    (V5, 0x10, b"\x00\x04MQTT\x05\x02\x00\x00\x05\x00\x01a", E::Truncated),
    (V5, 0x10, b"\x00\x04MQTT\x04\x82\x00\x00\x00\x01a", E::Truncated),
    (V5, 0x10, b"\x00\x04MQTT\x04\xC2\x00\x00\x00\x01a\x00\x01u", E::Truncated),
    (V5, 0x10, b"\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x01w\x00\x09x", E::Truncated),
    (V5, 0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01aX", E::Leftover),
    (V5, 0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01\x00", E::Nul),
    (V5, 0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x02\xC0\x80", E::Utf8),
    (V5, 0x10, b"\x00\x04MQTT\x04\x82\x00\x00\x00\x01a\x00\x03\xED\xA0\x80", E::Utf8),
    (V5, 0x10, b"\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x00\x00\x00", E::TopicNameEmpty),
    (V5, 0x10, b"\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x01#\x00\x00", E::TopicNameWildcard),
    (V5, 0x10, b"\x00\x04MQTT\x05\x02\x00\x00\x03\x16\x00\x00\x00\x01a", E::AuthenticationMethodMissing),
    // CONNACK
    (V311, 0x20, b"\x02\x00", E::ConnAckFlags),
    (V5, 0x20, b"\x81\x00\x00", E::ConnAckFlags),
    (V311, 0x20, b"\x01\x05", E::SessionPresentWithError),
    (V5, 0x20, b"\x01\x87\x00", E::SessionPresentWithError),
    (V311, 0x20, b"\x00\x06", E::ReasonCodeUnknown),
    (V5, 0x20, b"\x00\x05\x00", E::ReasonCodeUnknown),
    (V5, 0x20, b"\x00\x8E\x00", E::ReasonCodeMisplaced),
    (V5, 0x20, b"\x00\x00", E::Truncated),
    (V5, 0x20, b"\x00\x00\x00\x00", E::Leftover),
    // PUBLISH
    (V311, 0x30, b"", E::Truncated),
    (V311, 0x30, b"\x00", E::Truncated),
    (V311, 0x30, b"\x00\x02a", E::Truncated),
    (V311, 0x32, b"\x00\x01a\x00", E::Truncated),
    (V5, 0x30, b"\x00\x01a", E::Truncated),
    (V5, 0x30, b"\x00\x01a\x01", E::Truncated),
    (V5, 0x30, b"\x00\x01a\x03\x26\x00\x00", E::Truncated),
    (V5, 0x30, b"\x00\x01a\x01\x02\x00\x00\x00\x09", E::Truncated),
    (V5, 0x30, b"\x00\x01a\x80\x00", E::LengthNotMinimal),
    (V5, 0x30, b"\x00\x01a\x80\x80\x80\x80\x01", E::LengthTooLong),
    (V5, 0x30, b"\x00\x01a\x03\x81\x00\x00", E::LengthNotMinimal),
    (V5, 0x30, b"\x00\x01a\x03\x0B\x81\x00", E::LengthNotMinimal),
    (V311, 0x32, b"\x00\x01a\x00\x00", E::PacketIdZero),
    (V5, 0x34, b"\x00\x01a\x00\x00\x00", E::PacketIdZero),
    (V311, 0x30, b"\x00\x00", E::TopicNameEmpty),
    (V31, 0x30, b"\x00\x00x", E::TopicNameEmpty),
    (V5, 0x30, b"\x00\x00\x00", E::TopicMissing),
    (V5, 0x30, b"\x00\x00\x02\x01\x01", E::TopicMissing),
    (V311, 0x30, b"\x00\x01+", E::TopicNameWildcard),
    (V311, 0x30, b"\x00\x03a/#", E::TopicNameWildcard),
    (V5, 0x30, b"\x00\x0Aaaaaaaaaa+\x00", E::TopicNameWildcard),
    (V311, 0x30, b"\x00\x02a\x00", E::Nul),
    (V311, 0x30, b"\x00\x02\xC3\x28", E::Utf8),
    (V5, 0x30, b"\x00\x03\xED\xBF\xBF\x00", E::Utf8),
    (V5, 0x30, b"\x00\x01a\x03\x23\x00\x00", E::TopicAliasZero),
    (V5, 0x30, b"\x00\x01a\x03\x08\x00\x00", E::ResponseTopic),
    (V5, 0x30, b"\x00\x01a\x04\x08\x00\x01+", E::ResponseTopic),
    (V5, 0x30, b"\x00\x01a\x04\x08\x00\x01\x00", E::Nul),
    (V5, 0x30, b"\x00\x01a\x04\x03\x00\x01\xFF", E::Utf8),
    (V5, 0x30, b"\x00\x01a\x02\x04\x00", E::PropertyUnknown),
    (V5, 0x30, b"\x00\x01a\x01\x00", E::PropertyUnknown),
    (V5, 0x30, b"\x00\x01a\x02\xFF\x7F", E::PropertyUnknown),
    (V5, 0x30, b"\x00\x01a\x03\x13\x00\x01", E::PropertyMisplaced),
    (V5, 0x30, b"\x00\x01a\x04\x01\x00\x01\x00", E::PropertyDuplicate),
    (V5, 0x30, b"\x00\x01a\x02\x01\x02", E::PropertyValue),
    (V5, 0x30, b"\x00\x01a\x02\x0B\x00", E::PropertyValue),
    // PUBACK, PUBREC, PUBREL, PUBCOMP
    (V311, 0x40, b"\x00\x00", E::PacketIdZero),
    (V311, 0x50, b"\x00\x00", E::PacketIdZero),
    (V311, 0x62, b"\x00\x00", E::PacketIdZero),
    (V5, 0x70, b"\x00\x00", E::PacketIdZero),
    (V5, 0x40, b"\x00", E::Truncated),
    (V5, 0x40, b"\x00\x01\x07", E::ReasonCodeUnknown),
    (V5, 0x40, b"\x00\x01\x92", E::ReasonCodeMisplaced),
    (V5, 0x62, b"\x00\x01\x10", E::ReasonCodeMisplaced),
    (V5, 0x40, b"\x00\x01\x00\x05", E::Truncated),
    (V5, 0x40, b"\x00\x01\x00\x00\x00", E::Leftover),
    // SUBSCRIBE
    (V311, 0x82, b"", E::Truncated),
    (V311, 0x82, b"\x00\x00\x00\x01a\x00", E::PacketIdZero),
    (V311, 0x82, b"\x00\x01", E::NoFilters),
    (V5, 0x82, b"\x00\x01\x00", E::NoFilters),
    (V311, 0x82, b"\x00\x01\x00\x01a", E::Truncated),
    (V311, 0x82, b"\x00\x01\x00\x00\x00", E::TopicFilterEmpty),
    (V311, 0x82, b"\x00\x01\x00\x02a#\x00", E::TopicFilterHash),
    (V311, 0x82, b"\x00\x01\x00\x03#/a\x00", E::TopicFilterHash),
    (V311, 0x82, b"\x00\x01\x00\x02a+\x00", E::TopicFilterPlus),
    (V5, 0x82, b"\x00\x01\x00\x00\x08$share/g\x00", E::TopicFilterShare),
    (V5, 0x82, b"\x00\x01\x00\x00\x0A$share/+/a\x00", E::TopicFilterShare),
    (V311, 0x82, b"\x00\x01\x00\x01\x00\x00", E::Nul),
    (V311, 0x82, b"\x00\x01\x00\x01\xFE\x00", E::Utf8),
    (V311, 0x82, b"\x00\x01\x00\x01a\x03", E::SubscriptionQos),
    (V5, 0x82, b"\x00\x01\x00\x00\x01a\x03", E::SubscriptionQos),
    (V311, 0x82, b"\x00\x01\x00\x01a\x04", E::SubscriptionOptionsReserved),
    (V5, 0x82, b"\x00\x01\x00\x00\x01a\x40", E::SubscriptionOptionsReserved),
    (V5, 0x82, b"\x00\x01\x00\x00\x01a\x80", E::SubscriptionOptionsReserved),
    (V5, 0x82, b"\x00\x01\x00\x00\x01a\x30", E::RetainHandling),
    (V5, 0x82, b"\x00\x01\x00\x00\x0A$share/g/a\x04", E::NoLocalShared),
    (V5, 0x82, b"\x00\x01\x04\x0B\x01\x0B\x02\x00\x01a\x00", E::PropertyDuplicate),
    (V311, 0x82, b"\x00\x01\x00\x01a\x00\x00\x01b", E::Truncated),
    // SUBACK
    (V311, 0x90, b"\x00\x01", E::NoReasonCodes),
    (V5, 0x90, b"\x00\x01\x00", E::NoReasonCodes),
    (V311, 0x90, b"\x00\x01\x03", E::ReasonCodeUnknown),
    (V311, 0x90, b"\x00\x01\x87", E::ReasonCodeUnknown),
    (V5, 0x90, b"\x00\x01\x00\x03", E::ReasonCodeUnknown),
    (V5, 0x90, b"\x00\x01\x00\x11", E::ReasonCodeMisplaced),
    (V5, 0x90, b"\x00\x00\x00\x00", E::PacketIdZero),
    // UNSUBSCRIBE
    (V311, 0xA2, b"\x00\x01", E::NoFilters),
    (V5, 0xA2, b"\x00\x01\x00", E::NoFilters),
    (V311, 0xA2, b"\x00\x00\x00\x01a", E::PacketIdZero),
    (V311, 0xA2, b"\x00\x01\x00\x00", E::TopicFilterEmpty),
    (V311, 0xA2, b"\x00\x01\x00\x03a/+b", E::Truncated),
    (V311, 0xA2, b"\x00\x01\x00\x04a/+b", E::TopicFilterPlus),
    // UNSUBACK
    (V5, 0xB0, b"\x00\x01\x00", E::NoReasonCodes),
    (V5, 0xB0, b"\x00\x01\x00\x01", E::ReasonCodeMisplaced),
    (V311, 0xB0, b"\x00\x00", E::PacketIdZero),
    // DISCONNECT and AUTH
    (V5, 0xE0, b"\x84", E::ReasonCodeMisplaced),
    (V5, 0xE0, b"\x01", E::ReasonCodeMisplaced),
    (V5, 0xE0, b"\xFF", E::ReasonCodeUnknown),
    (V5, 0xE0, b"\x00\x00\x00", E::Leftover),
    (V5, 0xE0, b"\x00\x05\x11\x00\x00\x00", E::Truncated),
    (V5, 0xF0, b"\x18", E::Truncated),
    (V5, 0xF0, b"\x80\x00", E::ReasonCodeMisplaced),
    (V5, 0xF0, b"\x18\x00", E::AuthenticationMethodMissing),
    (V5, 0xF0, b"\x18\x04\x16\x00\x01x", E::AuthenticationMethodMissing),
    (V5, 0xF0, b"\x18\x03\x15\x00\x00\x00", E::Leftover),
];

/// Values outside the range of their property, each in a packet that may carry it.
const PROPERTY_VALUES: &[(PropertyOwner, &[u8])] = &[
    (PropertyOwner::Publish, b"\x01\x02"),
    (PropertyOwner::Subscribe, b"\x0B\x00"),
    (PropertyOwner::Connect, b"\x17\x02"),
    (PropertyOwner::Connect, b"\x19\xFF"),
    (PropertyOwner::Connect, b"\x21\x00\x00"),
    (PropertyOwner::Connect, b"\x27\x00\x00\x00\x00"),
    (PropertyOwner::ConnAck, b"\x24\x02"),
    (PropertyOwner::ConnAck, b"\x25\x02"),
    (PropertyOwner::ConnAck, b"\x28\x02"),
    (PropertyOwner::ConnAck, b"\x29\x02"),
    (PropertyOwner::ConnAck, b"\x2A\x02"),
];

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[first, body.len() as u8], body].concat()
}

#[test]
fn every_malformed_packet_is_refused_for_its_rule() {
    for &(version, bytes, error) in FRAMES {
        assert_eq!(decode(bytes, version, PACKET_BYTES_MAX), Err(error), "{version}: {}", bytes.escape_ascii());
    }
    for &(version, first, body, error) in BODIES {
        let bytes = framed(first, body);
        assert_eq!(decode(&bytes, version, PACKET_BYTES_MAX), Err(error), "{version}: {}", bytes.escape_ascii());
    }
    for &(owner, block) in PROPERTY_VALUES {
        assert_eq!(Properties::from_bytes(block, owner), Err(E::PropertyValue), "{}", block.escape_ascii());
    }
}

#[test]
fn every_rule_has_a_row() {
    for rule in DecodeError::ALL {
        let framed = FRAMES.iter().any(|(_, _, error)| error == rule);
        let in_body = BODIES.iter().any(|(_, _, _, error)| error == rule);
        assert!(framed || in_body, "nothing breaks the rule: {rule}");
        assert_eq!(rule.to_string(), rule.rule());
    }
}

#[test]
fn a_wrong_fixed_header_is_refused_before_the_packet_is_complete() {
    for &(version, bytes, error) in FRAMES.iter().filter(|(_, bytes, _)| bytes[0] >> 4 != 1) {
        let shown = (1..=bytes.len()).find_map(|len| decode(&bytes[..len], version, PACKET_BYTES_MAX).err());
        assert_eq!(shown, Some(error), "{version}: {}", bytes.escape_ascii());
    }
}

#[test]
fn each_packet_takes_its_properties_once_and_no_others() {
    let seed = PropertySeed { which: 0, number: 1, text: "t".into(), other: "o".into(), topic: "a".into() };
    let ids: Vec<u8> = (0..=0x2A).filter(|id| PROPERTIES.iter().any(|(_, legal)| legal.contains(id))).collect();
    assert_eq!(ids.len(), 27);
    for (owner, legal) in PROPERTIES {
        for &id in &ids {
            let mut block = Vec::new();
            let with_method = [Property::AuthenticationMethod("m"), property(id, &seed)];
            let needs_method = id != 0x15 && (owner == PropertyOwner::Auth || id == 0x16);
            let list = if needs_method { &with_method[..] } else { &with_method[1..] };
            let misplaced_method = needs_method && !legal.contains(&0x15);
            Properties::from_slice(list).copy_where(&mut block, |_| true).unwrap();
            let once = Properties::from_bytes(&block, owner);
            if !legal.contains(&id) || misplaced_method {
                assert_eq!(once, Err(E::PropertyMisplaced), "{id:#x} in {owner:?}");
                continue;
            }
            assert_eq!(once, Ok(Properties::from_slice(list)), "{id:#x} in {owner:?}");

            let single = Properties::from_slice(&with_method[1..]);
            single.copy_where(&mut block, |_| true).unwrap();
            let repeats = id == 0x26 || id == 0x0B && owner == PropertyOwner::Publish;
            let twice = Properties::from_bytes(&block, owner);
            if repeats {
                assert_eq!(twice.unwrap().iter().count(), list.len() + 1);
            } else {
                assert_eq!(twice, Err(E::PropertyDuplicate), "{id:#x} in {owner:?}");
            }
        }
    }
}

#[test]
fn each_packet_takes_its_reason_codes_and_no_others() {
    let legal = |packet: PacketType| -> &[u8] {
        match packet {
            PacketType::ConnAck => &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
                0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
            ],
            PacketType::PubAck | PacketType::PubRec => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
            PacketType::PubRel | PacketType::PubComp => &[0x00, 0x92],
            PacketType::SubAck => &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
            PacketType::UnsubAck => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91],
            PacketType::Disconnect => &[
                0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
                0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
            ],
            PacketType::Auth => &[0x00, 0x18, 0x19],
            _ => &[],
        }
    };
    for packet in PACKET_TYPES {
        for code in 0..=0xFF {
            let taken = ReasonCode::try_from(code).is_ok_and(|code| code.is_legal_in(packet));
            assert_eq!(taken, legal(packet).contains(&code), "{code:#x} in {packet}");
        }
    }
}

/// An older version is not held to the rules of a newer one.
#[test]
fn each_version_is_held_to_its_own_rules() {
    let good: &[(ProtocolVersion, &[u8])] = &[
        // Only MQTT 5 forbids a longer form of the remaining length.
        (V311, b"\xC0\x80\x00"),
        (V311, b"\x30\x84\x00\x00\x01a\x00"),
        // MQTT 3.1 sets DUP on retransmissions, and leaves a CONNECT flag and a CONNACK byte unused.
        (V31, b"\x8A\x06\x00\x01\x00\x01a\x00"),
        (V31, b"\xAA\x05\x00\x01\x00\x01a"),
        (V31, b"\x6A\x02\x00\x01"),
        (V31, b"\x20\x02\x77\x00"),
        (V31, b"\x10\x0F\x00\x06MQIsdp\x03\x03\x00\x00\x00\x01a"),
        // MQTT 3.1 ignores the flags in the fixed header of CONNECT.
        (V31, b"\x1F\x0F\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01a"),
        // MQTT 5 accepts a password without a user name, and an empty identifier for a session that is kept.
        (V5, b"\x10\x11\x00\x04MQTT\x05\x42\x00\x00\x00\x00\x01a\x00\x01p"),
        (V5, b"\x10\x0D\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x00"),
        // MQTT 3.1.1 accepts an empty identifier for a session that ends with the connection.
        (V311, b"\x10\x0C\x00\x04MQTT\x04\x02\x00\x00\x00\x00"),
        // An omitted reason code means success without properties.
        (V5, b"\x40\x02\x00\x01"),
        (V5, b"\x40\x03\x00\x01\x10"),
        (V5, b"\x40\x04\x00\x01\x00\x00"),
        (V5, b"\xE0\x00"),
        (V5, b"\xE0\x01\x04"),
        (V5, b"\xE0\x02\x00\x00"),
        (V5, b"\xF0\x00"),
    ];
    for &(version, bytes) in good {
        let decoded = decode(bytes, version, PACKET_BYTES_MAX);
        assert!(matches!(decoded, Ok(Some((_, len))) if len == bytes.len()), "{}: {decoded:?}", bytes.escape_ascii());
    }
}

#[test]
fn the_limit_is_on_the_whole_packet() {
    let packet = b"\x30\x04\x00\x01ab";
    assert!(decode(packet, V311, 6).unwrap().is_some());
    assert_eq!(decode(packet, V311, 5), Err(E::PacketTooLarge));
    assert_eq!(packet_len(packet, 6), Ok(Some(6)));
    assert_eq!(packet_len(&packet[..2], 6), Ok(Some(6)));
    assert_eq!(packet_len(&packet[..1], 6), Ok(None));
    assert_eq!(packet_len(b"\x31\x85", 5), Ok(None));
    assert_eq!(packet_len(packet, 5), Err(E::PacketTooLarge));
}

/// A refused CONNECT is answered in its own version.
#[test]
fn the_version_of_a_refused_connect_is_known() {
    let refused = b"\x10\x0D\x00\x04MQTT\x04\x03\x00\x00\x00\x01a";
    assert_eq!(decode(refused, V5, PACKET_BYTES_MAX), Err(E::ConnectFlagReserved));
    assert_eq!(Connect::peek_version(refused), Some(V311));
    assert_eq!(Connect::peek_version(&refused[..8]), None);
    assert_eq!(Connect::peek_version(b"\x10\x0D\x00\x04MQTT\x07"), None);
    assert_eq!(Connect::peek_version(b"\xC0\x00"), None);
    assert_eq!(Connect::peek_level(refused), Some(4));
    assert_eq!(Connect::peek_level(b"\x10\x0D\x00\x04MQTT\x07"), Some(7));
    assert_eq!(Connect::peek_level(b"\x10\x0D\x00\x06MQIsdp\x07"), None);
    assert_eq!(Connect::peek_level(&refused[..8]), None);
    // The highest bit is that of bridges, in versions 3.1 and 3.1.1 only.
    for (start, version) in [
        (&b"\x10\x0D\x00\x04MQTT\x84"[..], Some(ProtocolVersion::Mqtt311)),
        (b"\x10\x0D\x00\x06MQIsdp\x83", Some(ProtocolVersion::Mqtt31)),
        (b"\x10\x0D\x00\x04MQTT\x85", None),
        (b"\x10\x0D\x00\x04MQTT\x83", None),
        (b"\x10\x0D\x00\x06MQIsdp\x84", None),
    ] {
        assert_eq!(Connect::peek_version(start), version, "{start:?}");
        assert!(Connect::peek_is_bridge(start) && !Connect::peek_is_bridge(&start[..start.len() - 1]));
    }
    assert!(!Connect::peek_is_bridge(b"\x10\x0D\x00\x04MQTT\x04") && !Connect::peek_is_bridge(b"\x30\x00"));
    assert_eq!(Connect::peek_has_will(refused), Some(false));
    assert_eq!(Connect::peek_has_will(b"\x10\x0D\x00\x04MQTT\x05\x06"), Some(true));
    assert_eq!(Connect::peek_has_will(&refused[..9]), None);
}

#[test]
fn a_payload_is_checked_against_its_format_only_on_demand() {
    let keeps = |bytes: &[u8]| match decode(bytes, V5, PACKET_BYTES_MAX).unwrap().unwrap().0 {
        Packet::Publish(publish) => publish.payload_keeps_format(),
        other => panic!("{other:?}"),
    };
    assert!(!keeps(b"\x30\x07\x00\x01a\x02\x01\x01\xFF"));
    assert!(keeps(b"\x30\x07\x00\x01a\x02\x01\x01x"));
    assert!(keeps(b"\x30\x07\x00\x01a\x02\x01\x00\xFF"));
    assert!(keeps(b"\x30\x05\x00\x01a\x00\xFF"));
}

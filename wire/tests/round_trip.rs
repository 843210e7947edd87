//! An encoded packet decodes to the same packet, in every version that has it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{read_all, seed, version, with_packet};
use proptest::prelude::*;
use wisp_wire::{Packet, Properties, Property, PropertyOwner, ProtocolVersion, decode};

const PACKET_BYTES_MAX: u32 = 1 << 20;

fn encode(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).unwrap();
    assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
    bytes
}

fn properties_of<'a>(packet: &Packet<'a>) -> Vec<Properties<'a>> {
    match packet {
        Packet::Connect(connect) => {
            [connect.properties].into_iter().chain(connect.will.map(|will| will.properties)).collect()
        }
        Packet::Publish(publish) => vec![publish.properties],
        Packet::Subscribe(subscribe) => vec![subscribe.properties],
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn every_packet_survives_in_every_version(seed in seed()) {
        with_packet(&seed, |packet| {
            let bytes = encode(packet, seed.version);
            let (decoded, len) = decode(&bytes, seed.version, PACKET_BYTES_MAX).unwrap().unwrap();
            assert_eq!(&decoded, packet);
            assert_eq!(len, bytes.len());
            assert_eq!(decoded.packet_type(), seed.packet);
            // A decoded view encodes to the bytes it was decoded from.
            assert_eq!(encode(&decoded, seed.version), bytes);
            read_all(&decoded);
        });
    }

    /// A broker forwards a message of one version to receivers of another.
    #[test]
    fn a_publish_decoded_in_one_version_is_encoded_in_any(seed in seed(), to in version()) {
        with_packet(&seed, |packet| {
            let bytes = encode(packet, seed.version);
            let Some((Packet::Publish(publish), _)) = decode(&bytes, seed.version, PACKET_BYTES_MAX).unwrap() else {
                return;
            };
            if publish.topic.is_none() && !to.is_v5() {
                assert!(publish.encode(to, &mut Vec::new()).is_err());
                return;
            }
            let forwarded = encode(&Packet::Publish(publish), to);
            let (Packet::Publish(arrived), _) = decode(&forwarded, to, PACKET_BYTES_MAX).unwrap().unwrap() else {
                panic!("a PUBLISH became something else");
            };
            assert_eq!((arrived.topic, arrived.payload, arrived.qos), (publish.topic, publish.payload, publish.qos));
            let kept = if to.is_v5() { publish.properties } else { Properties::EMPTY };
            assert_eq!(arrived.properties, kept);
        });
    }

    /// A getter passes over the properties before its own without decoding them.
    #[test]
    fn a_getter_finds_the_property_that_iteration_finds(seed in seed()) {
        with_packet(&seed, |packet| {
            let bytes = encode(packet, seed.version);
            let (decoded, _) = decode(&bytes, seed.version, PACKET_BYTES_MAX).unwrap().unwrap();
            for properties in properties_of(&decoded) {
                let found = |id| properties.iter().find(|property| property.id() == id);
                let got = [
                    properties.payload_is_utf8().map(Property::PayloadFormatIndicator),
                    properties.message_expiry_interval_s().map(Property::MessageExpiryInterval),
                    properties.content_type().map(Property::ContentType),
                    properties.response_topic().map(Property::ResponseTopic),
                    properties.correlation_data().map(Property::CorrelationData),
                    properties.subscription_identifier().map(Property::SubscriptionIdentifier),
                    properties.session_expiry_interval_s().map(Property::SessionExpiryInterval),
                    properties.authentication_method().map(Property::AuthenticationMethod),
                    properties.will_delay_interval_s().map(Property::WillDelayInterval),
                    properties.receive_maximum().map(Property::ReceiveMaximum),
                    properties.topic_alias().map(Property::TopicAlias),
                    properties.maximum_packet_size().map(Property::MaximumPacketSize),
                ];
                let expected = [0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x11, 0x15, 0x18, 0x21, 0x23, 0x27].map(found);
                assert_eq!(got, expected);
            }
        });
    }

    #[test]
    fn stored_properties_survive_and_can_be_left_out(seed in seed()) {
        with_packet(&seed, |packet| {
            let Packet::Publish(publish) = packet else { return };
            let mut all = Vec::new();
            publish.properties.copy_where(&mut all, |_| true).unwrap();
            assert_eq!(Properties::from_bytes(&all, PropertyOwner::Publish), Ok(publish.properties));

            let mut some = Vec::new();
            publish.properties.copy_where(&mut some, |property| property.id() != 0x23).unwrap();
            let some = Properties::from_bytes(&some, PropertyOwner::Publish).unwrap();
            assert_eq!(some.topic_alias(), None);
            assert!(some.iter().eq(publish.properties.iter().filter(|property| property.id() != 0x23)));
        });
    }
}

//! Objects come back as they were, and no bytes are taken for an object that cannot be one.

use std::borrow::Cow;

use proptest::prelude::*;
use wisp_wire::{
    PacketId, Properties, Property, ProtocolVersion, Publish, QoS, RetainHandling, SubscriptionId, SubscriptionOptions,
    TopicName,
};

use super::*;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn body(object: &Object<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    object.encode_head(&mut body);
    body.extend(object.tail());
    body
}

fn key(number: u64) -> Key {
    Key::new(number).unwrap()
}

/// The parts of objects, in a form that owns them.
#[derive(Clone, Debug)]
struct Parts {
    texts: (String, String),
    bytes: Vec<u8>,
    numbers: (u64, u64, u32, u16),
    flags: (bool, bool, u8),
    ids: Vec<u32>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let text = || "[a-z/\u{e9}]{0,12}";
    let numbers = (1..u64::MAX, 0..1_u64 << 50, any::<u32>(), 1..=u16::MAX);
    let ids = prop::collection::vec(1..268_435_456_u32, 0..5);
    let flags = (any::<bool>(), any::<bool>(), 0..9_u8);
    ((text(), text()), prop::collection::vec(any::<u8>(), 0..40), numbers, flags, ids)
        .prop_map(|(texts, bytes, numbers, flags, ids)| Parts { texts, bytes, numbers, flags, ids })
}

fn properties() -> Vec<u8> {
    let (listed, mut copied) = ([Property::ContentType("x")], Vec::new());
    Properties::from_slice(&listed).copy_where(&mut copied, |_| true).unwrap();
    copied
}

fn will_packet() -> Vec<u8> {
    let mut packet = Vec::new();
    Publish::new(TopicName::new("will").unwrap(), b"x").encode(ProtocolVersion::Mqtt5, &mut packet).unwrap();
    packet
}

/// One object of each kind.
fn objects<'a>(parts: &'a Parts, properties: &'a [u8], will: &'a [u8], ids: &'a [SubscriptionId]) -> Vec<Object<'a>> {
    let Parts { texts: (one, other), bytes, numbers: (number, time, short, id), flags: (first, second, which), .. } =
        parts;
    let (session, packet_id) = (key(*number), PacketId::new(*id).unwrap());
    let qos = QOS[usize::from(which % 3)];
    let message = MessageObject {
        topic: "t/1",
        properties: if *first { properties } else { &[] },
        payload: bytes,
        qos,
        retain: *second,
        expires_ms: (*time > 0).then_some(*time),
    };
    let state = match which {
        0..3 => WaitingState::Pending,
        3..6 => WaitingState::Sent(packet_id),
        _ => WaitingState::Released(packet_id),
    };
    let is_released = matches!(state, WaitingState::Released(_));
    let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][usize::from(which % 3)];
    vec![
        Object::Session {
            client_id: one,
            expiry_s: *short,
            away_since_ms: (*time > 0).then_some(*time),
            user: first.then_some(other.as_str()),
            will: second.then_some(WillObject { version: ProtocolVersion::Mqtt5, delay_s: *short, packet: will }),
        },
        Object::Subscription {
            session,
            filter: "a/+/#",
            options: SubscriptionOptions {
                qos,
                no_local: *first,
                retain_as_published: *second,
                retain_handling: handling,
            },
            id: ids.first().copied(),
        },
        Object::Message(message),
        Object::Waiting {
            session,
            message: (!is_released).then_some(session),
            qos: if is_released { QoS::ExactlyOnce } else { QOS[1 + usize::from(which % 2)] },
            retain: *first,
            subscription_ids: Cow::Borrowed(ids),
            state,
        },
        Object::Incoming { session, packet_id },
        Object::Retained { sender: one, message },
        Object::Queued {
            queue: if *first { "$queue/q" } else { "$share/g/a/#" },
            message: session,
            deliveries: *id,
            loan: second.then_some(LoanObject {
                session: first.then_some(session),
                qos: QOS[1 + usize::from(which % 2)],
                retain: *first,
                packet_id,
                subscription_ids: Cow::Borrowed(ids),
            }),
        },
    ]
}

proptest! {
    #[test]
    fn an_object_comes_back_as_it_was(parts in parts()) {
        let ids: Vec<SubscriptionId> = parts.ids.iter().filter_map(|id| SubscriptionId::new(*id)).collect();
        let (properties, will) = (properties(), will_packet());
        for object in objects(&parts, &properties, &will, &ids) {
            let body = body(&object);
            prop_assert_eq!(Object::decode(key(1), object.kind(), &body), Ok(object.clone()));
            // Each part of it is too short, unless only its tail is.
            for len in 0..body.len() - object.tail().len() {
                prop_assert!(Object::decode(key(1), object.kind(), &body[..len]).is_err(), "{:?} to {}", object, len);
            }
        }
    }

    /// A decoded object is encoded alike.
    #[test]
    fn any_bytes_are_an_object_or_an_error(kind in 0..9_u8, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        match Object::decode(key(7), kind, &bytes) {
            Ok(object) => prop_assert_eq!(body(&object), bytes),
            Err(error) => prop_assert_eq!((error.key, error.kind), (key(7), kind)),
        }
    }

    /// A flipped bit gives another legal object, or an error.
    #[test]
    fn a_flipped_bit_is_no_panic(parts in parts(), bit in any::<prop::sample::Index>()) {
        let ids: Vec<SubscriptionId> = parts.ids.iter().filter_map(|id| SubscriptionId::new(*id)).collect();
        let (properties, will) = (properties(), will_packet());
        for object in objects(&parts, &properties, &will, &ids) {
            let mut bytes = body(&object);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Object::decode(key(1), object.kind(), &bytes) {
                prop_assert_eq!(body(&other), bytes);
            }
        }
    }
}

#[test]
fn an_error_names_the_object() {
    let unknown = Object::decode(key(5), 99, &[]).unwrap_err();
    assert_eq!(unknown.to_string(), "the stored object 5 of kind 99 is of a kind that this version does not know");
    let short = Object::decode(key(6), 5, &[1, 0, 0]).unwrap_err();
    assert_eq!(short.to_string(), "the stored object 6 of kind 5 ends too early");
    let long = Object::decode(key(6), 5, &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]).unwrap_err();
    assert_eq!(long.to_string(), "the stored object 6 of kind 5 has bytes behind its end");
    let illegal = Object::decode(key(6), 5, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(illegal.to_string(), "the stored object 6 of kind 5 has an illegal packet identifier");
}

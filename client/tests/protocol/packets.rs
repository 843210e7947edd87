//! Packets in, events and packets out.

use std::time::Instant;

use wisp_client::protocol::{Event, Protocol};
use wisp_client::{Error, PublishOptions, QoS, ReasonCode, SubscriptionOptions};
use wisp_wire::{ConnAck, Disconnect, List, Packet, PacketId, Properties, Property, PubAck, SubAck, UnsubAck};

use crate::support::{Sent, V5, V311, connected, encoded, message, options, receive, sent};

const AT_MOST: QoS = QoS::AtMostOnce;
const AT_LEAST: QoS = QoS::AtLeastOnce;
const EXACTLY: QoS = QoS::ExactlyOnce;

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// The events and the sent packets of a client that gets `stream` in these pieces, and accepts every message.
fn outcome(stream: &[u8], cuts: &[usize]) -> (Vec<Event>, Vec<Sent>) {
    let now = Instant::now();
    let mut protocol = Protocol::new(&options(V5), now).unwrap();
    let mut begin = 0;
    let mut events = Vec::new();
    for end in cuts.iter().copied().chain([stream.len()]) {
        receive(&mut protocol, &stream[begin..end]);
        while let Some(event) = protocol.poll_event(now) {
            match &event {
                Event::Connected => {
                    protocol.publish("p", b"", PublishOptions::new(AT_LEAST)).unwrap();
                    protocol.subscribe(&[("a", SubscriptionOptions::new(EXACTLY))], None).unwrap();
                }
                Event::Message(delivered) => drop(protocol.acknowledge(delivered.clone())),
                _ => {}
            }
            events.push(event);
        }
        begin = end;
    }
    protocol.check_open().unwrap();
    (events, sent(&mut protocol, V5, now))
}

#[test]
fn the_pieces_that_bytes_arrive_in_change_nothing() {
    let codes = List::from_slice(&[ReasonCode::GrantedQoS2]);
    let connack = ConnAck { session_present: false, code: ReasonCode::Success, properties: Properties::EMPTY };
    let suback = SubAck { packet_id: id(2), properties: Properties::EMPTY, codes };
    let stream = [
        encoded(V5, &Packet::ConnAck(connack)),
        message(V5, AT_MOST, 0, b"zero", false),
        encoded(V5, &Packet::PubAck(PubAck::new(id(1)))),
        message(V5, EXACTLY, 5, b"two", false),
        message(V5, EXACTLY, 5, b"two", true),
        encoded(V5, &Packet::SubAck(suback)),
        message(V5, AT_LEAST, 6, &[7; 300], false),
    ]
    .concat();
    let (events, packets) = outcome(&stream, &[]);
    assert_eq!(events.len(), 6, "{events:?}");
    assert_eq!(packets[3..], [Sent::PubRec(5), Sent::PubRec(5), Sent::PubAck(6)]);
    for cut in 0..stream.len() {
        assert_eq!(outcome(&stream, &[cut]), (events.clone(), packets.clone()), "cut at {cut}");
    }
    let every_byte: Vec<usize> = (0..stream.len()).collect();
    assert_eq!(outcome(&stream, &every_byte), (events, packets));
}

#[test]
fn a_message_that_is_not_polled_stays_undecoded_and_one_that_is_not_accepted_unacknowledged() {
    let now = Instant::now();
    let mut protocol = connected(&options(V311), &[], now);
    let second = message(V311, AT_LEAST, 2, b"2", false);
    receive(&mut protocol, &[message(V311, AT_LEAST, 1, b"1", false), second.clone()].concat());
    let Some(Event::Message(first)) = protocol.poll_event(now) else { panic!("the message is there") };
    assert_eq!((first.message().payload.as_slice(), protocol.undecoded()), (&b"1"[..], second.as_slice()));
    assert_eq!(sent(&mut protocol, V311, now), []);
    assert_eq!(protocol.acknowledge(first).payload, b"1");
    assert_eq!(sent(&mut protocol, V311, now), [Sent::PubAck(1)]);
    protocol.discard_input();
    assert_eq!((protocol.poll_event(now), protocol.undecoded()), (None, &[][..]));
}

#[test]
fn a_violation_ends_the_connection_with_its_code_as_the_last_words() {
    let subscribe = |protocol: &mut Protocol| {
        protocol.subscribe(&[("a", SubscriptionOptions::new(AT_MOST)); 2], None).unwrap();
    };
    let codes = List::from_slice(&[ReasonCode::Success]);
    let one_code = encoded(V5, &Packet::SubAck(SubAck { packet_id: id(1), properties: Properties::EMPTY, codes }));
    for (bytes, code) in [
        (vec![0x20, 3, 0, 0, 0], ReasonCode::ProtocolError),
        (one_code, ReasonCode::ProtocolError),
        (vec![0x40, 2, 0, 1], ReasonCode::ProtocolError),
        (vec![0x00, 0], ReasonCode::MalformedPacket),
    ] {
        let now = Instant::now();
        let mut protocol = connected(&options(V5), &[], now);
        subscribe(&mut protocol);
        receive(&mut protocol, &[bytes.clone(), message(V5, AT_MOST, 0, b"after", false)].concat());
        assert_eq!(protocol.poll_event(now), None, "{bytes:x?}");
        assert!(matches!(protocol.check_open(), Err(Error::Protocol(_))), "{bytes:x?}");
        let packets = sent(&mut protocol, V5, now);
        assert_eq!(packets, [Sent::Subscribe { id: 1, filters: 2 }, Sent::Disconnect(code)], "{bytes:x?}");
        protocol.handle_close(None);
        assert!(matches!(protocol.check_open(), Err(Error::Protocol(_))), "the first reason stays");
        assert_eq!((protocol.poll_event(now), protocol.poll_transmit()), (None, &[][..]));
    }
}

#[test]
fn before_connack_no_other_packet_is_legal_but_a_disconnect_says_why() {
    let now = Instant::now();
    for (bytes, is_violation) in [
        (vec![0xD0, 0], true),
        (message(V5, AT_MOST, 0, b"", false), true),
        (vec![0x62, 2, 0, 1], true),
        (vec![0xE0, 1, 0x8B], false),
    ] {
        let mut protocol = Protocol::new(&options(V5), now).unwrap();
        receive(&mut protocol, &bytes);
        assert_eq!(protocol.poll_event(now), None);
        match protocol.check_open() {
            Err(Error::Protocol(_)) => assert!(is_violation, "{bytes:x?}"),
            Err(Error::Closed { code: Some(ReasonCode::ServerShuttingDown), .. }) => assert!(!is_violation),
            other => panic!("{bytes:x?}: {other:?}"),
        }
    }
}

#[test]
fn events_before_the_end_still_come_and_a_disconnect_replaces_the_reason_of_the_socket() {
    let now = Instant::now();
    let mut protocol = connected(&options(V5), &[], now);
    let code = ReasonCode::ServerShuttingDown;
    let reason = [Property::ReasonString("maintenance")];
    let disconnect = Disconnect { code, properties: Properties::from_slice(&reason) };
    let disconnect = encoded(V5, &Packet::Disconnect(disconnect));
    receive(&mut protocol, &[message(V5, AT_MOST, 0, b"last", false), disconnect].concat());
    protocol.handle_close(Some(std::io::ErrorKind::ConnectionReset.into()));
    assert!(matches!(protocol.check_open(), Err(Error::Transport(_))));
    assert!(matches!(protocol.poll_event(now), Some(Event::Message(_))));
    assert_eq!(protocol.poll_event(now), None);
    let error = protocol.check_open().unwrap_err();
    let Error::Closed { code: Some(told), reason: Some(text) } = &error else { panic!("{error}") };
    assert_eq!((*told, text.as_str()), (code, "maintenance"));
}

#[test]
fn an_answer_fits_one_request_and_a_late_or_foreign_one_is_ignored() {
    let now = Instant::now();
    let mut protocol = connected(&options(V311), &[], now);
    let subscribed = protocol.subscribe(&[("a", SubscriptionOptions::new(AT_LEAST))], None).unwrap();
    let unsubscribed = protocol.unsubscribe(&["a", "b"]).unwrap();
    assert_ne!(subscribed, unsubscribed);
    let codes = List::from_slice(&[ReasonCode::GrantedQoS1]);
    let suback = |packet_id| encoded(V311, &Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, codes }));
    let unsuback = UnsubAck { packet_id: unsubscribed, properties: Properties::EMPTY, codes: List::from_slice(&[]) };
    let unsuback = encoded(V311, &Packet::UnsubAck(unsuback));
    let stream = [suback(id(99)), suback(unsubscribed), suback(subscribed), suback(subscribed), unsuback].concat();
    receive(&mut protocol, &stream);
    let codes = vec![ReasonCode::GrantedQoS1];
    assert_eq!(protocol.poll_event(now), Some(Event::Subscribed { packet_id: subscribed, codes }));
    let codes = vec![ReasonCode::Success; 2];
    assert_eq!(protocol.poll_event(now), Some(Event::Unsubscribed { packet_id: unsubscribed, codes }));
    assert_eq!(protocol.poll_event(now), None);
    assert!(protocol.check_open().is_ok());
}

#[test]
fn a_request_that_the_broker_does_not_accept_queues_nothing() {
    let now = Instant::now();
    let limits = [
        Property::MaximumQoS(AT_LEAST),
        Property::RetainAvailable(false),
        Property::ReceiveMaximum(1.try_into().unwrap()),
        Property::MaximumPacketSize(50.try_into().unwrap()),
    ];
    let mut protocol = connected(&options(V5), &limits, now);
    let mut retained = PublishOptions::default();
    retained.retain = true;
    for (payload, how) in
        [(&b""[..], PublishOptions::new(EXACTLY)), (b"", retained), (&[0; 60], PublishOptions::new(AT_LEAST))]
    {
        assert!(matches!(protocol.publish("t", payload, how), Err(Error::Usage(_))));
        assert_eq!(protocol.unsent_bytes(), 0);
    }
    let first = protocol.publish("t", b"", PublishOptions::new(AT_LEAST)).unwrap().unwrap();
    assert!(matches!(protocol.publish("t", b"", PublishOptions::new(AT_LEAST)), Err(Error::Usage(_))));
    receive(&mut protocol, &encoded(V5, &Packet::PubAck(PubAck::new(first))));
    assert!(matches!(protocol.poll_event(now), Some(Event::Published { packet_id, .. }) if packet_id == first));
    assert!(protocol.publish("t", b"", PublishOptions::new(AT_LEAST)).is_ok());
}

//! Every call of the client, at QoS 0.

use std::time::{Duration, Instant};

use crate::common::{PATIENCE, Peer, broker, connected, final_error, options};
use wisp_client::{ByteStream, Client, Error, Fault, Message, ProtocolVersion, ReasonCode};
use wisp_net::memory::MemoryHost;
use wisp_wire::{Disconnect, List, Packet, PacketId, Properties, Property, QoS, SubAck, UnsubAck};

const V311: ProtocolVersion = ProtocolVersion::Mqtt311;
const V5: ProtocolVersion = ProtocolVersion::Mqtt5;

/// Asserts that `received` is a plain message with QoS 0.
fn assert_message(received: Option<Message>, topic: &str, payload: &[u8]) {
    let message = received.expect("a message has arrived");
    assert_eq!((message.topic.as_str(), message.payload.as_slice()), (topic, payload));
    let flags = (message.qos, message.dup, message.retain, message.subscription_ids.as_slice());
    assert_eq!(flags, (QoS::AtMostOnce, false, false, &[][..]));
}

#[test]
fn connect_says_what_the_options_say() {
    for version in ProtocolVersion::ALL {
        let host = MemoryHost::new();
        let (address, thread) = broker(&host, version, move |peer| {
            peer.take(|packet| {
                let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
                assert_eq!(connect.version, version);
                assert_eq!((connect.client_id, connect.keep_alive_s, connect.clean_start), ("me", 7, false));
                assert_eq!((connect.username, connect.password), (Some("user"), Some(&b"word"[..])));
                assert!(connect.will.is_none());
            });
            peer.send_bytes(if version.is_v5() { &[0x20, 3, 1, 0, 0] } else { &[0x20, 2, 1, 0] });
            peer.take(|packet| assert!(matches!(packet, Packet::Disconnect(_))));
        });
        let mut options = options(version);
        options.client_id = "me".to_owned();
        options.keep_alive_s = 7;
        options.clean_start = false;
        options.username = Some("user".to_owned());
        options.password = Some(b"word".to_vec());
        let client = Client::connect_on(&host, address, options).unwrap();
        // In MQTT 3.1 the bits of the flag are reserved.
        assert_eq!(client.session_present(), version != ProtocolVersion::Mqtt31);
        assert_eq!((client.client_id(), client.keep_alive_s(), client.version()), ("me", 7, version));
        client.disconnect().unwrap();
        thread.join().unwrap();
    }
}

#[test]
fn limits_of_the_broker_are_kept() {
    let host = MemoryHost::new();
    let (address, thread) = broker(&host, V5, |peer| {
        let limits = [
            Property::AssignedClientIdentifier("given"),
            Property::ServerKeepAlive(99),
            Property::MaximumPacketSize(100.try_into().unwrap()),
        ];
        peer.answer_connect(Properties::from_slice(&limits), ReasonCode::Success, false);
        peer.take_message()
    });
    let mut client = Client::connect_on(&host, address, options(V5)).unwrap();
    assert_eq!((client.client_id(), client.keep_alive_s()), ("given", 99));
    let error = client.publish("t", &[0; 200], false).unwrap_err();
    assert!(error.fault() == Fault::Caller && !error.is_final(), "{error}");
    client.publish_now("t", b"small", false).unwrap();
    assert_eq!(thread.join().unwrap(), ("t".to_owned(), b"small".to_vec()));
}

#[test]
fn a_refused_connection_says_why() {
    for (version, reason) in [(V311, None), (V5, Some("go away"))] {
        let host = MemoryHost::new();
        let (address, thread) = broker(&host, version, move |peer| {
            let properties = reason.map(Property::ReasonString);
            let properties = Properties::from_slice(if version.is_v5() { properties.as_slice() } else { &[] });
            peer.answer_connect(properties, ReasonCode::NotAuthorized, false);
        });
        match Client::connect_on(&host, address, options(version)) {
            Err(Error::Refused { code: ReasonCode::NotAuthorized, reason: told }) => {
                assert_eq!(told.as_deref(), reason);
            }
            other => panic!("{:?}", other.err()),
        }
        thread.join().unwrap();
    }
}

#[test]
fn connecting_fails_in_time_whatever_is_there() {
    let host = MemoryHost::new();
    let nobody = "10.0.0.2:1".parse().unwrap();
    assert!(
        matches!(Client::connect_on(&host, nobody, options(V5)), Err(Error::Connect { address, .. }) if address == nobody)
    );

    let (address, thread) = broker(&host, V5, Peer::wait_for_end);
    let mut hasty = options(V5);
    hasty.connect_timeout = Duration::from_millis(50);
    assert!(matches!(Client::connect_on(&host, address, hasty), Err(Error::Timeout { .. })));
    thread.join().unwrap();

    let (address, thread) = broker(&host, V5, Peer::finish_sending);
    assert!(matches!(Client::connect_on(&host, address, options(V5)), Err(Error::Closed { .. })));
    thread.join().unwrap();

    let (address, thread) = broker(&host, V5, |peer| peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let error = Client::connect_on(&host, address, options(V5)).err().expect("HTTP is not MQTT");
    assert!(matches!(error, Error::WebSocket { .. }) && error.to_string().contains("use ws://"), "{error}");
    thread.join().unwrap();

    let (address, thread) = broker(&host, V5, |peer| peer.send_bytes(b"SSH-2.0-OpenSSH_9.6\r\n"));
    assert!(matches!(Client::connect_on(&host, address, options(V5)), Err(Error::Protocol(_))));
    thread.join().unwrap();
}

#[test]
fn published_messages_wait_for_flush() {
    for version in ProtocolVersion::ALL {
        let (told, tell) = std::sync::mpsc::channel();
        let (mut client, thread) = connected(options(version), move |peer| {
            tell.recv().unwrap();
            assert_eq!(peer.waiting_bytes(), 0, "nothing is sent before flush");
            tell.recv().unwrap();
            (peer.take_message(), peer.take_message())
        });
        client.publish("a", b"1", false).unwrap();
        told.send(()).unwrap();
        client.publish("b/c", b"", false).unwrap();
        // The broker has looked before it waits for the second time.
        told.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        client.flush().unwrap();
        let expected = (("a".to_owned(), b"1".to_vec()), ("b/c".to_owned(), Vec::new()));
        assert_eq!(thread.join().unwrap(), expected);
    }
}

#[test]
fn more_than_the_socket_holds_arrives_whole_and_in_order() {
    const COUNT: u32 = 3000;
    let (mut client, thread) = connected(options(V311), |peer| {
        for number in 0..COUNT {
            let (_, payload) = peer.take_message();
            assert_eq!((payload.len(), &payload[..4]), (500, &number.to_be_bytes()[..]));
        }
        peer.take(|packet| assert!(matches!(packet, Packet::Disconnect(_))));
    });
    for number in 0..COUNT {
        let mut payload = [0; 500];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        client.publish("t", &payload, false).unwrap();
    }
    client.disconnect().unwrap();
    thread.join().unwrap();
}

#[test]
fn messages_that_come_before_the_answer_are_kept() {
    let (mut client, thread) = connected(options(V5), |peer| {
        peer.take_subscribe(&[("a", b"1"), ("b", b"2")]);
        peer.send_message("c", &[7; 200_000]);
        peer.wait_for_end();
    });
    assert_eq!(client.subscribe(&["a", "b/#"]).unwrap(), [ReasonCode::Success; 2]);
    assert_message(client.recv(PATIENCE).unwrap(), "a", b"1");
    assert_message(client.recv(PATIENCE).unwrap(), "b", b"2");
    assert_message(client.recv(PATIENCE).unwrap(), "c", &[7; 200_000]);
    assert_eq!(client.recv(Duration::ZERO).unwrap(), None);
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_full_inbox_is_an_answer_and_loses_nothing() {
    for (messages_max, bytes_max) in [(10, usize::MAX), (usize::MAX, 3000)] {
        let mut options = options(V311);
        options.inbox_messages_max = messages_max;
        options.inbox_bytes_max = bytes_max;
        let (mut client, thread) = connected(options, |peer| {
            let many = vec![("t", &[1u8; 300][..]); 25];
            peer.take_subscribe(&many);
            peer.take_subscribe(&[]);
            peer.send_message("last", b"");
            peer.wait_for_end();
        });
        let error = client.subscribe(&["t"]).unwrap_err();
        assert!(matches!(error, Error::InboxFull { messages: 1.. }) && !error.is_final(), "{error}");
        for _ in 0..25 {
            assert_message(client.recv(PATIENCE).unwrap(), "t", &[1; 300]);
        }
        // The late answer to the first call does not pass for the answer to the second.
        assert_eq!(client.subscribe(&["u"]).unwrap(), [ReasonCode::Success]);
        assert_message(client.recv(PATIENCE).unwrap(), "last", b"");
        drop(client);
        thread.join().unwrap();
    }
}

#[test]
fn codes_of_the_broker_are_given_as_they_are() {
    for version in [V311, V5] {
        let (mut client, thread) = connected(options(version), |peer| {
            let packet_id = peer.take(|packet| match packet {
                Packet::Subscribe(subscribe) => subscribe.packet_id,
                other => panic!("{other:?}"),
            });
            let codes = [ReasonCode::UnspecifiedError, ReasonCode::GrantedQoS1];
            let codes = List::from_slice(&codes);
            peer.send(&Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, codes }));
            let packet_id = peer.take(|packet| match packet {
                Packet::Unsubscribe(unsubscribe) => unsubscribe.packet_id,
                other => panic!("{other:?}"),
            });
            let codes = List::from_slice(&[ReasonCode::NoSubscriptionExisted]);
            peer.send(&Packet::UnsubAck(UnsubAck { packet_id, properties: Properties::EMPTY, codes }));
            peer.wait_for_end();
        });
        let codes = client.subscribe(&["a", "b"]).unwrap();
        assert_eq!(codes, [ReasonCode::UnspecifiedError, ReasonCode::GrantedQoS1]);
        let expected = if version.is_v5() { ReasonCode::NoSubscriptionExisted } else { ReasonCode::Success };
        assert_eq!(client.unsubscribe(&["a"]).unwrap(), [expected]);
        drop(client);
        thread.join().unwrap();
    }
}

#[test]
fn an_answer_with_too_few_codes_is_refused() {
    let (mut client, thread) = connected(options(V5), |peer| {
        peer.take(|packet| assert!(matches!(packet, Packet::Subscribe(_))));
        let codes = List::from_slice(&[ReasonCode::Success]);
        let packet_id = PacketId::new(1).unwrap();
        peer.send(&Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, codes }));
        peer.wait_for_end();
    });
    assert!(matches!(client.subscribe(&["a", "b"]), Err(Error::Protocol(_))));
    assert!(matches!(final_error(&mut client), Error::Protocol(_)));
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_missing_answer_is_a_timeout_after_which_the_client_goes_on() {
    let mut options = options(V5);
    options.answer_timeout = Duration::from_millis(50);
    let (mut client, thread) = connected(options, |peer| {
        peer.take(|packet| assert!(matches!(packet, Packet::Subscribe(_))));
        peer.take_message()
    });
    assert!(matches!(client.subscribe(&["a"]), Err(Error::Timeout { .. })));
    client.publish_now("still", b"here", false).unwrap();
    assert_eq!(thread.join().unwrap(), ("still".to_owned(), b"here".to_vec()));
}

#[test]
fn pings_by_itself_while_it_waits_and_notices_silence() {
    let mut options = options(V311);
    options.keep_alive_s = 1;
    options.answer_timeout = Duration::from_millis(300);
    let (mut client, thread) = connected(options, |peer| {
        for _ in 0..2 {
            peer.take(|packet| assert!(matches!(packet, Packet::PingReq)));
            peer.send(&Packet::PingResp);
        }
        peer.send_message("after", b"pings");
        peer.take(|packet| assert!(matches!(packet, Packet::PingReq)));
        peer.wait_for_end();
    });
    let begun = Instant::now();
    assert_message(client.recv(PATIENCE).unwrap(), "after", b"pings");
    assert!(begun.elapsed() >= Duration::from_secs(1), "two pings, half an interval before each");
    assert!(matches!(client.recv(Duration::MAX), Err(Error::Silent { .. })));
    assert!(matches!(client.publish("t", b"", false), Err(Error::Silent { .. })));
    drop(client);
    thread.join().unwrap();
}

#[test]
fn after_the_end_every_call_says_why_and_earlier_messages_still_come() {
    for (version, goodbye) in [(V311, None), (V5, Some(ReasonCode::ServerShuttingDown))] {
        let (mut client, thread) = connected(options(version), move |peer| {
            peer.send_message("last", b"words");
            if let Some(code) = goodbye {
                let reason = [Property::ReasonString("maintenance")];
                let properties = Properties::from_slice(&reason);
                peer.send(&Packet::Disconnect(Disconnect { code, properties }));
            }
            peer.finish_sending();
            peer.wait_for_end();
        });
        assert_message(client.recv(PATIENCE).unwrap(), "last", b"words");
        let reason = goodbye.map(|_| "maintenance");
        let is_right = |error: Error| match error {
            Error::Closed { code, reason: told } => code == goodbye && told.as_deref() == reason,
            _ => false,
        };
        assert!(is_right(final_error(&mut client)));
        assert!(is_right(client.publish("t", b"", false).unwrap_err()));
        assert!(is_right(client.flush().unwrap_err()));
        assert!(is_right(client.subscribe(&["a"]).unwrap_err()));
        assert!(is_right(client.unsubscribe(&["a"]).unwrap_err()));
        assert!(is_right(client.recv(Duration::ZERO).unwrap_err()));
        assert!(is_right(client.disconnect().unwrap_err()));
        thread.join().unwrap();
    }
}

#[test]
fn a_publisher_learns_the_reason_too() {
    let (mut client, thread) = connected(options(V5), |peer| {
        peer.take_message();
        let code = ReasonCode::QuotaExceeded;
        peer.send(&Packet::Disconnect(Disconnect { code, properties: Properties::EMPTY }));
        // The peer is dropped, so that sending fails from now on.
    });
    client.publish_now("t", b"1", false).unwrap();
    thread.join().unwrap();
    let error = client.publish_now("t", b"2", false).unwrap_err();
    assert!(matches!(error, Error::Closed { code: Some(ReasonCode::QuotaExceeded), .. }), "{error}");
}

#[test]
fn a_broker_that_stops_reading_is_a_timeout() {
    let mut options = options(V311);
    options.answer_timeout = Duration::from_millis(100);
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let (mut client, thread) = connected(options, move |_peer| told.recv());
    let error = (0..1000).find_map(|_| client.publish("t", &[0; 10_000], false).err());
    assert!(matches!(error, Some(Error::Timeout { .. })), "{error:?}");
    drop(tell);
    assert!(thread.join().unwrap().is_err());
    assert!(final_error(&mut client).is_final());
}

#[test]
fn a_broker_that_breaks_the_rules_is_left_with_a_reason() {
    for (bytes, code) in [
        (vec![0x40, 2, 0, 1], ReasonCode::ProtocolError),
        (vec![0x50, 2, 0, 1], ReasonCode::ProtocolError),
        (vec![0x70, 2, 0, 1], ReasonCode::ProtocolError),
        (vec![0x30, 5, 0, 1, b'#', 0, 0], ReasonCode::TopicNameInvalid),
        (vec![0x20, 3, 0, 0, 0], ReasonCode::ProtocolError),
        (vec![0xC0, 0], ReasonCode::ProtocolError),
        (vec![0x00, 0], ReasonCode::MalformedPacket),
    ] {
        let shown = format!("{bytes:x?}");
        let (mut client, thread) = connected(options(V5), move |peer| {
            peer.send_bytes(&bytes);
            let code = peer.take(|packet| match packet {
                Packet::Disconnect(disconnect) => disconnect.code,
                other => panic!("{other:?}"),
            });
            peer.wait_for_end();
            code
        });
        let error = final_error(&mut client);
        assert!(error.fault() == Fault::Broker && matches!(error, Error::Protocol(_)), "{shown}: {error}");
        assert_eq!(thread.join().unwrap(), code, "{shown}");
    }
}

#[test]
fn illegal_topics_are_the_callers_fault_and_change_nothing() {
    let (mut client, thread) = connected(options(V5), Peer::take_message);
    for error in [
        client.publish("a/#", b"", false).unwrap_err(),
        client.publish("", b"", false).unwrap_err(),
        client.subscribe(&["a", "b#"]).unwrap_err(),
        client.subscribe(&[]).unwrap_err(),
        client.unsubscribe(&["+a"]).unwrap_err(),
    ] {
        assert!(error.fault() == Fault::Caller && !error.is_final(), "{error}");
    }
    client.publish_now("fine", b"", false).unwrap();
    assert_eq!(thread.join().unwrap().0, "fine");
}

#[test]
fn parts_hold_everything_that_came() {
    let (client, thread) = connected(options(V311), |peer| {
        peer.take_subscribe(&[("kept", b"1")]);
        peer.send_bytes(&[0x30, 9, 0]);
        peer.wait_for_end();
    });
    let mut client = client;
    client.subscribe(&["#"]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut parts = client.into_parts().unwrap();
    while parts.bytes.len() < 3 {
        let mut rest = [0; 3];
        if let Ok(read) = parts.stream.read(&mut rest) {
            parts.bytes.extend_from_slice(&rest[..read.bytes]);
        }
        assert!(Instant::now() < deadline);
    }
    assert_eq!((parts.messages.len(), parts.bytes), (1, vec![0x30, 9, 0]));
    assert_message(parts.messages.pop(), "kept", b"1");
    drop(parts.stream);
    thread.join().unwrap();
}

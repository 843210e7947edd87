//! QoS 1 and 2, sessions and wills.

use std::time::Duration;

use crate::common::{PATIENCE, Peer, broker, connected, final_error, options};
use wisp_client::{
    Client, Error, Fault, ProtocolVersion, PublishOptions, QoS, ReasonCode, RetainHandling, SubscriptionId,
    SubscriptionOptions, Will,
};
use wisp_net::memory::MemoryHost;
use wisp_wire::{
    List, Packet, PacketId, Properties, Property, PubAck, PubComp, PubRec, PubRel, Publish, SubAck, TopicName,
};

const V311: ProtocolVersion = ProtocolVersion::Mqtt311;
const V5: ProtocolVersion = ProtocolVersion::Mqtt5;
const ONCE: QoS = QoS::AtLeastOnce;
const EXACTLY: QoS = QoS::ExactlyOnce;

/// Takes a PUBLISH and gives its QoS, whether it is to be retained, and its identifier.
fn take_publish(peer: &mut Peer) -> (QoS, bool, PacketId) {
    peer.take(|packet| match packet {
        Packet::Publish(publish) if !publish.dup => (publish.qos, publish.retain, publish.packet_id.unwrap()),
        other => panic!("expected PUBLISH: {other:?}"),
    })
}

fn take_released(peer: &mut Peer) -> PacketId {
    peer.take(|packet| match packet {
        Packet::PubRel(release) => release.packet_id,
        other => panic!("expected PUBREL: {other:?}"),
    })
}

fn deliver(peer: &mut Peer, qos: QoS, id: u16, payload: &[u8], dup: bool) {
    let publish = Publish::new(TopicName::new("t").unwrap(), payload);
    peer.send(&Packet::Publish(Publish { qos, dup, packet_id: PacketId::new(id), ..publish }));
}

#[test]
fn publishing_with_qos_1_waits_for_the_answer_and_gives_its_code() {
    for version in ProtocolVersion::ALL {
        let (mut client, thread) = connected(options(version), move |peer| {
            let (qos, retain, packet_id) = take_publish(peer);
            assert_eq!((qos, retain), (ONCE, true));
            peer.send_message("between", b"1");
            let code = ReasonCode::NoMatchingSubscribers;
            peer.send(&Packet::PubAck(PubAck { code, ..PubAck::new(packet_id) }));
            peer.wait_for_end();
        });
        let mut how = PublishOptions::new(ONCE);
        how.retain = true;
        let code = client.publish_with("t", b"x", how).unwrap();
        let expected = if version.is_v5() { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success };
        assert_eq!(code, expected);
        assert_eq!(client.recv(Duration::ZERO).unwrap().unwrap().topic, "between");
        drop(client);
        thread.join().unwrap();
    }
}

#[test]
fn publishing_with_qos_2_takes_four_packets() {
    for version in ProtocolVersion::ALL {
        let (mut client, thread) = connected(options(version), |peer| {
            let mut ids = Vec::new();
            for _ in 0..2 {
                let (qos, _, packet_id) = take_publish(peer);
                assert_eq!(qos, EXACTLY);
                peer.send(&Packet::PubRec(PubRec::new(packet_id)));
                assert_eq!(take_released(peer), packet_id);
                peer.send(&Packet::PubComp(PubComp::new(packet_id)));
                ids.push(packet_id);
            }
            assert_ne!(ids[0], ids[1]);
            peer.wait_for_end();
        });
        for _ in 0..2 {
            assert_eq!(client.publish_with("t", b"x", PublishOptions::new(EXACTLY)).unwrap(), ReasonCode::Success);
        }
        drop(client);
        thread.join().unwrap();
    }
}

#[test]
fn a_message_that_is_not_taken_is_an_error_after_which_the_client_goes_on() {
    let (mut client, thread) = connected(options(V5), |peer| {
        let (code, reason) = (ReasonCode::QuotaExceeded, [Property::ReasonString("full")]);
        let properties = Properties::from_slice(&reason);
        let (_, _, packet_id) = take_publish(peer);
        peer.send(&Packet::PubAck(PubAck { packet_id, code, properties }));
        let (_, _, packet_id) = take_publish(peer);
        peer.send(&Packet::PubRec(PubRec { packet_id, code, properties }));
        // Without a PUBREL in between.
        let (_, _, packet_id) = take_publish(peer);
        peer.send(&Packet::PubAck(PubAck::new(packet_id)));
        peer.wait_for_end();
    });
    for qos in [ONCE, EXACTLY] {
        let error = client.publish_with("t", b"x", PublishOptions::new(qos)).unwrap_err();
        assert!(matches!(&error, Error::NotTaken { code: ReasonCode::QuotaExceeded, reason: Some(_) }), "{error}");
        assert!(!error.is_final() && error.fault() == Fault::Broker && error.to_string().contains("full"));
    }
    client.publish_with("t", b"x", PublishOptions::new(ONCE)).unwrap();
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_late_answer_does_not_pass_for_that_to_the_next_message() {
    let mut options = options(V5);
    options.answer_timeout = Duration::from_millis(100);
    let (tell, told) = std::sync::mpsc::channel();
    let (mut client, thread) = connected(options, move |peer| {
        let (_, _, first) = take_publish(peer);
        told.recv().unwrap();
        let code = ReasonCode::QuotaExceeded;
        peer.send(&Packet::PubAck(PubAck { code, ..PubAck::new(first) }));
        let (_, _, second) = take_publish(peer);
        assert_ne!(first, second);
        peer.send(&Packet::PubAck(PubAck::new(second)));
        peer.wait_for_end();
    });
    let error = client.publish_with("t", b"1", PublishOptions::new(ONCE)).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    tell.send(()).unwrap();
    // A slow machine may make the second answer late as well, but never an error of the broker's.
    match client.publish_with("t", b"2", PublishOptions::new(ONCE)) {
        Ok(ReasonCode::Success) | Err(Error::Timeout { .. }) => {}
        other => panic!("{other:?}"),
    }
    drop(client);
    thread.join().unwrap();
}

#[test]
fn limits_of_the_broker_are_the_callers_fault_to_exceed() {
    let host = MemoryHost::new();
    let (address, thread) = broker(&host, V5, |peer| {
        let limits = [
            Property::MaximumQoS(ONCE),
            Property::RetainAvailable(false),
            Property::ReceiveMaximum(1.try_into().unwrap()),
        ];
        peer.answer_connect(Properties::from_slice(&limits), ReasonCode::Success, false);
        take_publish(peer);
        peer.wait_for_end();
    });
    let mut options = options(V5);
    options.answer_timeout = Duration::from_millis(50);
    let mut client = Client::connect_on(&host, address, options).unwrap();
    assert_eq!((client.receive_max(), client.qos_max()), (1, ONCE));
    let mut retained = PublishOptions::default();
    retained.retain = true;
    let unanswered = client.publish_with("t", b"", PublishOptions::new(ONCE)).unwrap_err();
    assert!(matches!(unanswered, Error::Timeout { .. }));
    for how in [PublishOptions::new(EXACTLY), retained, PublishOptions::new(ONCE)] {
        let error = client.publish_with("t", b"", how).unwrap_err();
        assert!(error.fault() == Fault::Caller && !error.is_final(), "{how:?}: {error}");
    }
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_message_is_acknowledged_when_it_is_received_and_not_before() {
    for version in ProtocolVersion::ALL {
        let (subscribed, is_subscribed) = std::sync::mpsc::channel();
        let (looked, has_looked) = std::sync::mpsc::channel();
        let (mut client, thread) = connected(options(version), move |peer| {
            deliver(peer, ONCE, 5, b"1", false);
            deliver(peer, ONCE, 6, b"2", true);
            peer.take_subscribe(&[]);
            is_subscribed.recv().unwrap();
            assert_eq!(peer.waiting_bytes(), 0, "nothing was received yet");
            looked.send(()).unwrap();
            for id in [5, 6] {
                peer.take(|packet| assert_eq!(packet, Packet::PubAck(PubAck::new(PacketId::new(id).unwrap()))));
            }
            peer.wait_for_end();
        });
        client.subscribe(&["t"]).unwrap();
        client.flush().unwrap();
        subscribed.send(()).unwrap();
        has_looked.recv().unwrap();
        let (first, second) = (client.recv(PATIENCE).unwrap().unwrap(), client.recv(PATIENCE).unwrap().unwrap());
        assert_eq!((first.payload.as_slice(), first.qos, first.dup), (&b"1"[..], ONCE, false));
        assert_eq!((second.payload.as_slice(), second.qos, second.dup), (&b"2"[..], ONCE, true));
        client.disconnect().unwrap();
        thread.join().unwrap();
    }
}

#[test]
fn a_message_with_qos_2_is_received_once_until_it_is_released() {
    for version in ProtocolVersion::ALL {
        let (mut client, thread) = connected(options(version), |peer| {
            let id = PacketId::new(9).unwrap();
            let take_record = |peer: &mut Peer| peer.take(|packet| assert_eq!(packet, Packet::PubRec(PubRec::new(id))));
            // Again while it waits to be received, and again after that.
            deliver(peer, EXACTLY, 9, b"1", false);
            deliver(peer, EXACTLY, 9, b"1", true);
            peer.take_subscribe(&[]);
            take_record(peer);
            deliver(peer, EXACTLY, 9, b"1", true);
            take_record(peer);
            for _ in 0..2 {
                // A second PUBREL is answered, too: the broker may not have got the first answer.
                peer.send(&Packet::PubRel(PubRel::new(id)));
                peer.take(|packet| assert_eq!(packet, Packet::PubComp(PubComp::new(id))));
            }
            deliver(peer, EXACTLY, 9, b"2", false);
            take_record(peer);
            peer.finish_sending();
            peer.wait_for_end();
        });
        client.subscribe(&["t"]).unwrap();
        let mut received = Vec::new();
        while let Ok(Some(message)) = client.recv(PATIENCE) {
            received.push(message.payload);
        }
        assert_eq!(received, [b"1", b"2"], "{version}");
        assert!(matches!(final_error(&mut client), Error::Closed { .. }));
        drop(client);
        thread.join().unwrap();
    }
}

#[test]
fn sessions_and_wills_are_said_at_the_beginning() {
    let mut will = Will::new("w", *b"gone");
    (will.qos, will.retain, will.delay_s) = (EXACTLY, true, 4);
    let sent = will.clone();
    let host = MemoryHost::new();
    let (address, thread) = broker(&host, V5, move |peer| {
        peer.take(|packet| {
            let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
            assert_eq!(connect.properties.session_expiry_interval_s(), Some(300));
            assert_eq!(connect.properties.receive_maximum().map(u16::from), Some(8));
            let will = connect.will.unwrap();
            assert_eq!((will.topic.as_str(), will.payload), (sent.topic.as_str(), sent.payload.as_slice()));
            assert_eq!((will.qos, will.retain, will.properties.will_delay_interval_s()), (EXACTLY, true, Some(4)));
        });
        peer.send_bytes(&[0x20, 3, 1, 0, 0]);
        peer.wait_for_end();
    });
    let mut with_all = options(V5);
    (with_all.session_expiry_s, with_all.receive_max, with_all.will) = (300, 8, Some(will.clone()));
    let client = Client::connect_on(&host, address, with_all).unwrap();
    assert!(client.session_present());
    drop(client);
    thread.join().unwrap();

    let mut without_window = options(V5);
    without_window.receive_max = 0;
    let plain = |change: &dyn Fn(&mut wisp_client::ConnectOptions)| {
        let mut options = options(V311);
        change(&mut options);
        options
    };
    for wrong in [
        plain(&|options| options.session_expiry_s = 1),
        plain(&|options| options.receive_max = 1),
        plain(&|options| options.topic_alias_max = 1),
        plain(&|options| options.will = Some(will.clone())),
        plain(&|options| options.will = Some(Will::new("#", b""))),
        without_window,
    ] {
        let host = MemoryHost::new();
        let (address, thread) = broker(&host, V5, Peer::wait_for_end);
        let error = Client::connect_on(&host, address, wrong).err().unwrap();
        assert_eq!(error.fault(), Fault::Caller, "{error}");
        thread.join().unwrap();
    }
}

#[test]
fn subscriptions_carry_their_options_and_messages_their_identifiers() {
    let how = SubscriptionOptions {
        qos: EXACTLY,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let (mut client, thread) = connected(options(V5), move |peer| {
        let packet_id = peer.take(|packet| {
            let Packet::Subscribe(subscribe) = packet else { panic!("{packet:?}") };
            assert_eq!(subscribe.properties.subscription_identifier().map(SubscriptionId::get), Some(7));
            let filters: Vec<_> = subscribe.filters.iter().map(|(filter, how)| (filter.as_str(), how)).collect();
            assert_eq!(filters, [("a", how), ("b", SubscriptionOptions::new(ONCE))]);
            subscribe.packet_id
        });
        let codes = List::from_slice(&[ReasonCode::GrantedQoS2, ReasonCode::GrantedQoS1]);
        peer.send(&Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, codes }));
        let ids = [7, 300].map(|id| Property::SubscriptionIdentifier(SubscriptionId::new(id).unwrap()));
        let publish = Publish::new(TopicName::new("a").unwrap(), b"");
        peer.send(&Packet::Publish(Publish { retain: true, properties: Properties::from_slice(&ids), ..publish }));
        peer.wait_for_end();
    });
    let filters = [("a", how), ("b", SubscriptionOptions::new(ONCE))];
    let codes = client.subscribe_with(&filters, SubscriptionId::new(7)).unwrap();
    assert_eq!(codes, [ReasonCode::GrantedQoS2, ReasonCode::GrantedQoS1]);
    let message = client.recv(PATIENCE).unwrap().unwrap();
    assert_eq!((message.subscription_ids.as_slice(), message.retain), (&[7, 300][..], true));
    drop(client);
    thread.join().unwrap();

    let (mut old, thread) = connected(options(V311), Peer::wait_for_end);
    for (filters, id) in [(filters, None), ([filters[1]; 2], SubscriptionId::new(7))] {
        let error = old.subscribe_with(&filters, id).unwrap_err();
        assert!(error.fault() == Fault::Caller && !error.is_final(), "{error}");
    }
    drop(old);
    thread.join().unwrap();
}

#[test]
fn topics_are_said_by_their_aliases_both_ways() {
    let host = MemoryHost::new();
    let (address, thread) = broker(&host, V5, |peer| {
        let one = [Property::TopicAliasMaximum(1)];
        peer.answer_connect(Properties::from_slice(&one), ReasonCode::Success, false);
        let sent: Vec<_> = (0..4)
            .map(|_| {
                peer.take(|packet| {
                    let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                    let topic = publish.topic.map(|topic| topic.as_str().to_owned());
                    (topic, publish.properties.topic_alias().map(u16::from))
                })
            })
            .collect();
        for (topic, alias) in [(Some("x"), 2), (None, 2), (None, 3)] {
            let property = [Property::TopicAlias(alias.try_into().unwrap())];
            let topic = topic.map(|topic| TopicName::new(topic).unwrap());
            let publish = Publish::new(TopicName::new("t").unwrap(), b"");
            peer.send(&Packet::Publish(Publish { topic, properties: Properties::from_slice(&property), ..publish }));
        }
        let goodbye = peer.take(|packet| match packet {
            Packet::Disconnect(disconnect) => disconnect.code,
            other => panic!("{other:?}"),
        });
        (sent, goodbye)
    });
    let mut options = options(V5);
    (options.use_topic_aliases, options.topic_alias_max) = (true, 2);
    let mut client = Client::connect_on(&host, address, options).unwrap();
    for topic in ["a", "b", "a", "b"] {
        client.publish_now(topic, b"", false).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(client.recv(PATIENCE).unwrap().unwrap().topic, "x");
    }
    assert!(matches!(final_error(&mut client), Error::Protocol(_)));
    let (sent, goodbye) = thread.join().unwrap();
    let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
    assert_eq!(sent, [(a, Some(1)), (b.clone(), None), (None, Some(1)), (b, None)]);
    assert_eq!(goodbye, ReasonCode::TopicAliasInvalid);
}

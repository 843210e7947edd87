//! Messages between clients in the process and on sockets.

use std::num::NonZeroUsize;
use std::thread;

use wisp_broker::{
    Broker, ClientError, ClientOptions, Config, MessageProperties, Publication, QoS, ReasonCode, RetainHandling,
    Subscription, SubscriptionId, TopicError,
};

use crate::support::{
    PATIENT, Peer, client, client_with, config, deliver, number, numbered, receive, start, subscribe, text, wait_until,
};

const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
fn a_socket_gets_the_messages_of_the_process_with_their_properties() {
    let broker = start();
    let mut peer = Peer::of(&broker, "peer");
    peer.subscribe("t/#", QoS::ExactlyOnce);
    let client = client(&broker, "here");
    for qos in LEVELS {
        let topic = format!("t/{}", qos as u8);
        let publication = Publication::new(topic.as_str(), "payload").qos(qos).with_properties(|properties| {
            properties.content_type = Some("text/plain".into());
            properties.correlation_data = Some("data".into());
        });
        assert_eq!(client.publish(&publication).unwrap().wait(), Ok(ReasonCode::Success));
        let message = peer.message();
        assert_eq!((message.topic, &message.payload[..], message.qos), (topic, &b"payload"[..], qos));
        assert_eq!(message.content_type.as_deref(), Some("text/plain"));
        assert_eq!(message.correlation_data.as_deref(), Some(&b"data"[..]));
        assert!(!message.retain);
    }
}

#[test]
fn the_process_gets_the_messages_of_a_socket() {
    let broker = start();
    let client = client(&broker, "here");
    subscribe(&client, "t", QoS::ExactlyOnce);
    let mut peer = Peer::of(&broker, "peer");
    for qos in LEVELS {
        peer.publish("t", b"payload", qos);
        let message = receive(&client);
        assert_eq!((&**message.topic(), &message.payload()[..], message.qos()), ("t", &b"payload"[..], qos));
        assert!(!message.retain() && !message.dup() && message.properties().is_none());
    }
}

#[test]
fn every_message_at_qos_2_arrives_once_and_in_order_on_both_sides() {
    const COUNT: u32 = 3000;
    let broker = start();
    let (sender, receiver) = (client(&broker, "sender"), client(&broker, "receiver"));
    subscribe(&receiver, "t", QoS::ExactlyOnce);
    let mut peer = Peer::of(&broker, "peer");
    peer.subscribe("t", QoS::ExactlyOnce);
    thread::scope(|scope| {
        scope.spawn(|| {
            let publish = |n| sender.publish(&numbered("t", n, 64, QoS::ExactlyOnce)).unwrap();
            let published: Vec<_> = (0..COUNT).map(publish).collect();
            published.into_iter().for_each(|published| assert_eq!(published.wait(), Ok(ReasonCode::Success)));
        });
        scope.spawn(|| (0..COUNT).for_each(|n| assert_eq!(number(receive(&receiver).payload()), n)));
        (0..COUNT).for_each(|n| assert_eq!(number(&peer.message().payload), n));
    });
    assert!(receiver.messages().is_empty());
    assert_eq!(broker.stats().messages_dropped, 0);
}

#[test]
fn messages_at_qos_0_keep_their_order_between_clients_of_any_worker() {
    const COUNT: u32 = 50_000;
    let broker = start();
    let (sender, receiver) = (client(&broker, "sender"), client(&broker, "receiver"));
    subscribe(&receiver, "t/#", QoS::AtMostOnce);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..COUNT {
                // Long ones are sent from where they lie.
                let len = if n % 100 == 0 { 5000 } else { 16 };
                sender.publish(&numbered("t/a", n, len, QoS::AtMostOnce)).unwrap();
            }
        });
        (0..COUNT).for_each(|n| assert_eq!(number(receive(&receiver).payload()), n));
    });
}

#[test]
fn threads_share_a_client() {
    let broker = start();
    let client = client(&broker, "here");
    subscribe(&client, "#", QoS::AtLeastOnce);
    thread::scope(|scope| {
        for thread in 0..4 {
            let client = &client;
            scope.spawn(move || {
                let topic = format!("t/{thread}");
                for n in 0..500 {
                    client.publish(&numbered(&topic, n, 4, QoS::AtLeastOnce)).unwrap();
                }
            });
        }
        let mut next = [0; 4];
        for _ in 0..2000 {
            let message = receive(&client);
            let thread: usize = message.topic()[2..].parse().unwrap();
            assert_eq!(number(message.payload()), next[thread]);
            next[thread] += 1;
        }
    });
}

#[test]
fn a_broker_without_a_listener_serves_the_process() {
    for workers in [1, 3] {
        let config = Config::builder().without_listener().workers(NonZeroUsize::new(workers)).limits(PATIENT);
        let broker = Broker::start(config.build().unwrap()).unwrap();
        assert!(broker.local_addrs().is_empty());
        let (one, other) = (client(&broker, ""), client(&broker, ""));
        assert!(!one.client_id().is_empty() && one.client_id() != other.client_id(), "the broker assigns them");
        subscribe(&one, "t", QoS::AtLeastOnce);
        assert_eq!(other.publish(&numbered("t", 5, 4, QoS::AtLeastOnce)).unwrap().wait(), Ok(ReasonCode::Success));
        assert_eq!(number(receive(&one).payload()), 5);
        broker.shutdown().unwrap();
    }
}

#[test]
fn subscriptions_have_all_their_options() {
    let broker = start();
    let client = client(&broker, "here");
    deliver(&client, &Publication::new("kept", "1").retain(true).qos(QoS::AtLeastOnce));
    let identifier = SubscriptionId::new(77).unwrap();
    let kept = Subscription::new("kept", QoS::AtMostOnce).retain_as_published(true);
    let own = Subscription::new("own", QoS::AtMostOnce).no_local(true);
    let silent = Subscription::new("kept/#", QoS::AtLeastOnce).retain_handling(RetainHandling::DoNotSend);
    let codes = client.subscribe_as(identifier, &[kept, own, silent]).unwrap();
    assert_eq!(codes, [ReasonCode::Success, ReasonCode::Success, ReasonCode::GrantedQoS1]);
    let message = receive(&client);
    assert!(message.retain());
    assert_eq!(message.properties().unwrap().subscription_identifiers, [77]);
    drop(message);
    client.publish(&Publication::new("own", "not for itself")).unwrap();
    let codes = client.unsubscribe(&["kept", "nothing"]).unwrap();
    assert_eq!(codes, [ReasonCode::Success, ReasonCode::NoSubscriptionExisted]);
    client.publish(&Publication::new("kept", "2")).unwrap();
    assert_eq!(text(&client), "2", "the subscription to kept/# is left");
    assert!(client.messages().is_empty());
}

#[test]
fn a_message_of_a_topic_queue_and_of_a_group_has_one_receiver() {
    let broker = start();
    let (one, other) = (client(&broker, "one"), client(&broker, "other"));
    let mut peer = Peer::of(&broker, "peer");
    peer.subscribe("all", QoS::AtMostOnce);
    for (filter, topic) in [("$queue/jobs", "$queue/jobs"), ("$share/group/all", "all")] {
        subscribe(&one, filter, QoS::AtLeastOnce);
        subscribe(&other, filter, QoS::AtLeastOnce);
        for n in 0..10 {
            deliver(&one, &numbered(topic, n, 4, QoS::AtLeastOnce));
        }
        let mut numbers = Vec::new();
        wait_until("the messages", || {
            for client in [&one, &other] {
                numbers.extend(client.messages().try_iter().map(|message| number(message.payload())));
            }
            numbers.len() >= 10
        });
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..10), "{filter}: {numbers:?}");
    }
    (0..10).for_each(|n| assert_eq!(number(&peer.message().payload), n));
}

#[test]
fn a_request_is_answered_by_the_process() {
    let broker = start();
    let service = client(&broker, "service");
    subscribe(&service, "add/one", QoS::AtLeastOnce);
    let caller = client(&broker, "caller");
    subscribe(&caller, "answers/caller", QoS::AtLeastOnce);
    let request = Publication::new("add/one", "41").with_properties(|properties| {
        properties.response_topic = Some("answers/caller".into());
        properties.correlation_data = Some("first".into());
        properties.user_properties.push(("hop".into(), "1".into()));
        properties.payload_is_utf8 = true;
    });
    caller.publish(&request).unwrap();
    let received = receive(&service);
    let properties = received.properties().unwrap();
    assert_eq!(properties.user_properties, [("hop".into(), "1".into())]);
    assert!(properties.payload_is_utf8);
    let sum = 1 + str::from_utf8(received.payload()).unwrap().parse::<u32>().unwrap();
    service.publish(&received.response(sum.to_string()).unwrap()).unwrap();
    let answer = receive(&caller);
    assert_eq!((&answer.payload()[..], answer.response("")), (&b"42"[..], None));
    let mut expected = MessageProperties::default();
    expected.correlation_data = Some("first".into());
    assert_eq!(answer.properties(), Some(&expected));
}

#[test]
fn illegal_messages_are_errors_and_do_not_end_the_connection() {
    let limits = PATIENT.with(|limits| {
        limits.packet_bytes_max = 1000;
        limits.connect_bytes_max = 500;
        limits.retained_count_max = 0;
    });
    let broker = Broker::start(config().limits(limits).build().unwrap()).unwrap();
    let client = client(&broker, "here");
    let publish = |publication: Publication| client.publish(&publication).map(drop);
    assert_eq!(publish(Publication::new("a/#", "")), Err(ClientError::Topic("a/#".into(), TopicError::Wildcard)));
    assert_eq!(publish(Publication::new("", "")), Err(ClientError::Topic("".into(), TopicError::Empty)));
    let long = publish(Publication::new("a", vec![0; 1000]));
    assert_eq!(long, Err(ClientError::PacketTooLong { bytes: 1007, max: 1000 }));
    assert_eq!(publish(Publication::new("a", "").retain(true)), Err(ClientError::RetainNotAvailable));
    let bad = client.subscribe(&[Subscription::new("#/a", QoS::AtMostOnce)]);
    assert_eq!(bad, Err(ClientError::Topic("#/a".into(), TopicError::Hash)));
    assert!(matches!(client.subscribe(&[]), Err(ClientError::Encode(_))));
    let bad = Publication::new("a", "").with_properties(|properties| properties.response_topic = Some("+".into()));
    assert_eq!(publish(bad), Err(ClientError::Topic("+".into(), TopicError::Wildcard)));
    assert_eq!(client.end(), None);
    subscribe(&client, "a", QoS::AtMostOnce);
    publish(Publication::new("a", "legal")).unwrap();
    assert_eq!(text(&client), "legal");
}

#[test]
fn a_client_has_as_many_messages_as_it_may_without_having_handled_them() {
    let broker = start();
    let receiver = client_with(&broker, ClientOptions::builder("receiver").receive_messages_max(10));
    subscribe(&receiver, "t", QoS::AtMostOnce);
    let sender = client(&broker, "sender");
    (0..100).for_each(|n| drop(sender.publish(&numbered("t", n, 4, QoS::AtMostOnce)).unwrap()));
    let mut kept: Vec<_> = (0..10).map(|_| receive(&receiver)).collect();
    assert!(receiver.messages().is_empty());
    assert!(kept.iter().map(|message| number(message.payload())).eq(0..10));
    // Half of the room has to be free before more come.
    kept.drain(..5);
    let mut numbers = 10..;
    while kept.len() < 10 {
        let message = receive(&receiver);
        assert_eq!(Some(number(message.payload())), numbers.next());
        kept.push(message);
    }
    assert!(receiver.messages().is_empty());
    drop(kept);
    (15..100).for_each(|n| assert_eq!(number(receive(&receiver).payload()), n));
}

//! Back-pressure: a client that takes no messages, and one that sends more than the broker reads.

use std::thread;

use crossbeam_channel::select;
use wisp_broker::{Broker, ClientError, ClientOptions, ConfigBuilder, Limits, QoS, StallPolicy};

use crate::support::{
    PATIENCE, PATIENT, Peer, QUEUE_BYTES, client, client_with, config, number, numbered, subscribe, wait_until,
    wait_until_full,
};

fn start(configure: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Broker {
    Broker::start(configure(config()).build().unwrap()).unwrap()
}

#[test]
fn a_receiver_that_takes_nothing_holds_its_senders_back_and_memory_is_bounded() {
    const COUNT: u32 = 2000;
    const LEN: usize = 50_000;
    let broker = start(|config| config);
    let slow = client_with(&broker, ClientOptions::builder("slow").receive_bytes_max(QUEUE_BYTES as u64));
    subscribe(&slow, "t", QoS::AtMostOnce);
    let sender = client(&broker, "sender");
    // Far more than all buffers on the way hold together.
    let mut sent = 0;
    wait_until("the buffers to be full", || {
        loop {
            match sender.try_publish(&numbered("t", sent, LEN, QoS::AtMostOnce)) {
                Ok(_) => sent += 1,
                Err(error) => {
                    assert_eq!(error, ClientError::Full);
                    break;
                }
            }
        }
        broker.stats().buffered_bytes as usize > QUEUE_BYTES - 2 * LEN
    });
    assert!(sent < 200, "{sent} messages of {LEN} bytes");
    assert!(slow.messages().len() <= QUEUE_BYTES / LEN + 1);
    thread::scope(|scope| {
        let rest = sent..COUNT;
        scope.spawn(|| rest.for_each(|n| drop(sender.publish(&numbered("t", n, LEN, QoS::AtMostOnce)).unwrap())));
        (0..COUNT).for_each(|n| {
            let message = slow.messages().recv_timeout(PATIENCE).unwrap();
            assert_eq!(number(message.payload()), n);
        });
    });
    assert_eq!(broker.stats().messages_dropped, 0);
}

#[test]
fn a_socket_is_held_back_for_a_client_in_the_process() {
    const COUNT: u32 = 500;
    let broker = start(|config| config);
    let slow = client_with(&broker, ClientOptions::builder("slow").receive_messages_max(2));
    subscribe(&slow, "t", QoS::AtMostOnce);
    let address = broker.local_addrs()[0];
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut peer = Peer::connect(address, "peer");
            for n in 0..COUNT {
                let mut payload = vec![0; 50_000];
                payload[..4].copy_from_slice(&n.to_be_bytes());
                peer.publish("t", &payload, QoS::AtMostOnce);
            }
            // The messages are read before the end.
            peer.publish("end", b"", QoS::AtLeastOnce);
        });
        wait_until_full(&broker);
        (0..COUNT).for_each(|n| {
            let message = slow.messages().recv_timeout(PATIENCE).unwrap();
            assert_eq!(number(message.payload()), n);
        });
    });
    assert_eq!(broker.stats().messages_dropped, 0);
}

#[test]
fn messages_for_a_receiver_that_takes_nothing_for_long_are_dropped_and_counted() {
    let limits = Limits::DEFAULT.with(|limits| {
        limits.queue_bytes_max = 64 * 1024;
        limits.stall_ms_max = Some(50);
        limits.stall_policy = StallPolicy::Drop;
    });
    let broker = start(|config| config.limits(limits));
    let slow = client_with(&broker, ClientOptions::builder("slow").receive_messages_max(5));
    subscribe(&slow, "t", QoS::AtMostOnce);
    let sender = client(&broker, "sender");
    let mut count = 0;
    wait_until("a drop", || {
        (0..100).for_each(|_| drop(sender.publish(&numbered("t", 0, 1000, QoS::AtMostOnce)).unwrap()));
        count += 100;
        broker.stats().messages_dropped > 0
    });
    assert_eq!(slow.messages().len(), 5);
    drop(sender);
    let mut received = 0;
    wait_until("the rest", || {
        received += slow.messages().try_iter().count() as u64;
        received + broker.stats().messages_dropped == count
    });
}

#[test]
fn the_window_of_the_broker_bounds_unacknowledged_messages() {
    let limits = PATIENT.with(|limits| limits.receive_maximum = 5);
    let broker = start(|config| config.limits(limits));
    let sender = client(&broker, "sender");
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        // If one were sent beyond the window, the broker would end the connection.
        let published: Vec<_> = (0..500).map(|n| sender.publish(&numbered("t", n, 4, qos)).unwrap()).collect();
        assert!(published.into_iter().all(|published| published.wait().is_ok()));
    }
    assert_eq!(sender.end(), None);
}

#[test]
fn a_program_selects_among_the_messages_of_its_clients() {
    let broker = start(|config| config);
    let (one, other) = (client(&broker, "one"), client(&broker, "other"));
    subscribe(&one, "one", QoS::AtMostOnce);
    subscribe(&other, "other", QoS::AtMostOnce);
    let mut peer = Peer::of(&broker, "peer");
    for n in 0..20 {
        let topic = if n % 3 == 0 { "one" } else { "other" };
        peer.publish(topic, &[n], QoS::AtMostOnce);
        let message = select! {
            recv(one.messages()) -> message => message.unwrap(),
            recv(other.messages()) -> message => message.unwrap(),
            default(PATIENCE) => panic!("no message comes"),
        };
        assert_eq!((&**message.topic(), &message.payload()[..]), (topic, &[n][..]));
    }
}

//! The end of clients and of the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use wisp_broker::{
    Broker, ClientEnd, ClientError, ClientOptions, Event, InProcessClient, InvalidClientOptions, Publication, QoS,
    StopError, Subscription, TopicError,
};

use crate::support::{
    Peer, QUEUE_BYTES, client, client_with, config, numbered, receive, start, subscribe, text, wait_until,
    wait_until_full,
};

fn with_will(id: &str) -> wisp_broker::ClientOptionsBuilder {
    ClientOptions::builder(id).will(Publication::new("wills", id.to_owned()).qos(QoS::AtLeastOnce))
}

#[test]
fn a_will_is_published_unless_the_client_disconnects() {
    let broker = start();
    let watcher = client(&broker, "watcher");
    subscribe(&watcher, "wills", QoS::AtLeastOnce);
    let mut peer = Peer::of(&broker, "peer");
    peer.subscribe("wills", QoS::AtMostOnce);
    client_with(&broker, with_will("disconnected")).disconnect();
    drop(client_with(&broker, with_will("dropped")));
    assert_eq!(text(&watcher), "dropped");
    client_with(&broker, with_will("with will")).disconnect_with_will();
    assert_eq!(text(&watcher), "with will");
    assert_eq!(peer.message().payload, b"dropped");
    assert_eq!(peer.message().payload, b"with will");
    // The next client of this identifier comes before the will is due.
    let delayed = || with_will("delayed").will_delay_s(3600).session_expiry_s(3600).clean_start(false);
    drop(client_with(&broker, delayed()));
    client_with(&broker, delayed()).disconnect();
    client_with(&broker, with_will("last")).disconnect_with_will();
    assert_eq!(text(&watcher), "last");
}

#[test]
fn a_disconnect_comes_after_all_that_was_published() {
    let broker = start();
    let receiver = client(&broker, "receiver");
    subscribe(&receiver, "t", QoS::AtMostOnce);
    for _ in 0..20 {
        let sender = client(&broker, "sender");
        (0..50).for_each(|n| drop(sender.publish(&numbered("t", n, 2000, QoS::AtMostOnce)).unwrap()));
        sender.disconnect();
        (0..50).for_each(|n| assert_eq!(receive(&receiver).payload()[..4], u32::to_be_bytes(n)));
    }
}

#[test]
fn a_client_that_is_full_of_its_own_messages_can_end() {
    let broker = start();
    let all: [fn(InProcessClient); 2] = [InProcessClient::disconnect, drop];
    for ends in all {
        let client = client_with(&broker, ClientOptions::builder("here").receive_messages_max(3));
        subscribe(&client, "t", QoS::AtMostOnce);
        while client.try_publish(&numbered("t", 0, 50_000, QoS::AtMostOnce)).is_ok()
            || (broker.stats().buffered_bytes as usize) < QUEUE_BYTES / 2
        {}
        ends(client);
        wait_until("the end", || broker.stats().sessions == 0);
    }
}

#[test]
fn the_end_of_the_broker_ends_every_wait() {
    let broker = start();
    let slow = client_with(&broker, ClientOptions::builder("slow").receive_messages_max(1));
    subscribe(&slow, "t", QoS::AtMostOnce);
    let sender = client(&broker, "sender");
    let idle = client(&broker, "idle");
    let stopped = ClientError::Ended(ClientEnd::BrokerStopped);
    thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            loop {
                if let Err(error) = sender.publish(&numbered("t", 0, 10_000, QoS::AtMostOnce)) {
                    return error;
                }
            }
        });
        let receiving = scope.spawn(|| idle.messages().recv().is_err());
        wait_until_full(&broker);
        broker.shutdown().unwrap();
        assert_eq!(publishing.join().unwrap(), stopped);
        assert!(receiving.join().unwrap());
    });
    assert_eq!((idle.end(), sender.end()), (Some(ClientEnd::BrokerStopped), Some(ClientEnd::BrokerStopped)));
    assert_eq!(idle.subscribe(&[Subscription::new("t", QoS::AtMostOnce)]), Err(stopped));
    slow.disconnect();
}

#[test]
fn a_broker_that_has_stopped_takes_no_client() {
    let broker = start();
    let control = broker.control();
    let options = ClientOptions::builder("late").build().unwrap();
    assert!(control.client(&options).is_ok());
    broker.shutdown().unwrap();
    assert_eq!(control.client(&options).unwrap_err(), ClientError::Ended(ClientEnd::BrokerStopped));
}

#[test]
fn clients_that_come_while_the_broker_stops_are_told() {
    for _ in 0..20 {
        let broker = start();
        let control = broker.control();
        thread::scope(|scope| {
            for id in ["one", "two"] {
                let control = control.clone();
                scope.spawn(move || {
                    let options = ClientOptions::builder(id).build().unwrap();
                    while let Ok(client) = control.client(&options) {
                        drop(client);
                    }
                });
            }
            thread::sleep(Duration::from_millis(5));
            broker.shutdown().unwrap();
        });
    }
}

#[test]
fn a_worker_that_panics_ends_its_clients() {
    let panics = Arc::new(AtomicBool::new(false));
    let observer = {
        let panics = Arc::clone(&panics);
        move |event: &Event| {
            if matches!(event, Event::Subscribed { .. }) && panics.load(Ordering::Relaxed) {
                // As a panic, but without a message among the results of the tests.
                std::panic::resume_unwind(Box::new("the observer panics"));
            }
        }
    };
    let broker = Broker::start(config().observer(observer).build().unwrap()).unwrap();
    let (one, other) = (client(&broker, "one"), client(&broker, "other"));
    subscribe(&one, "t", QoS::AtMostOnce);
    panics.store(true, Ordering::Relaxed);
    // The answer may come before the event.
    let _ = one.subscribe(&[Subscription::new("t", QoS::AtMostOnce)]);
    for client in [one, other] {
        assert!(client.messages().recv().is_err());
        assert_eq!(client.end(), Some(ClientEnd::BrokerStopped));
    }
    assert!(matches!(broker.shutdown(), Err(StopError::WorkerPanicked(0))));
}

#[test]
fn options_are_checked() {
    let error = |options: wisp_broker::ClientOptionsBuilder| options.build().unwrap_err();
    let options = || ClientOptions::builder("client");
    assert_eq!(error(options().receive_messages_max(0)), InvalidClientOptions::ReceiveMessages(0));
    assert_eq!(error(options().receive_bytes_max(0)), InvalidClientOptions::ReceiveBytes(0));
    let wildcard = ClientError::Topic("a/#".into(), TopicError::Wildcard);
    assert_eq!(error(options().will(Publication::new("a/#", ""))), InvalidClientOptions::Connect(wildcard));
    assert!(matches!(error(ClientOptions::builder("a\0b")), InvalidClientOptions::Connect(ClientError::Encode(_))));
    let text = error(options().receive_messages_max(0)).to_string();
    assert_eq!(text, "receive_messages_max = 0: not a number from 1 to 1048576");
    let options = options().password(&b"secret"[..]).build().unwrap();
    assert_eq!(format!("{options:?}"), r#"ClientOptions { client_id: "client", .. }"#, "without the password");
}

//! Lines about limits in the log: at the first time one with the limit's name and the client, and then one a minute at
//! most.

use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish};
use wisp_e2e::raw::RawClient;

fn lines_with(broker: &Broker, text: &str) -> Vec<String> {
    broker.log().into_iter().filter(|line| line.contains(text)).collect()
}

#[test]
fn a_limit_that_is_reached_is_named_once_with_the_client() {
    if cannot(Ability::Wisp) {
        return;
    }
    let limits =
        ["--subscriptions-max", "2", "--retained-max", "1", "--topic-levels-max", "3", "--topic-queues-max", "0"];
    let broker = Broker::start_with(&[&limits[..], &["--messages-per-s-max", "100"]].concat());
    let mut greedy = Client::clean(&broker, Version::V5, "greedy");
    let mut subscribe = |filter: &str| greedy.subscribe_with(&Default::default(), &[(filter, 0)]);
    assert_eq!([subscribe("a"), subscribe("b")].concat(), [0, 0]);
    for _ in 0..3 {
        assert_eq!([subscribe("c"), subscribe("a/b/c/d"), subscribe("$queue/q")].concat(), [0x97, 0x8F, 0x97]);
    }
    greedy.publish(&Publish::new("state/1", "x").qos(1).retained());
    (0..3).for_each(|_| assert_eq!(greedy.publish_code(&Publish::new("state/2", "x").qos(1).retained()), 0x97));
    (0..300).for_each(|_| _ = greedy.send_publish(&Publish::new("fast", "x")));
    greedy.ping();
    let names = ["subscriptions-max", "topic-levels-max", "retained-max", "messages-per-s-max"];
    for name in names {
        let line = broker.wait_log(&format!("limit reached: {name}"));
        assert!(line.contains("greedy"), "{line}");
    }
    for name in names {
        assert_eq!(lines_with(&broker, name).len(), 1, "{name}: {:?}", broker.log());
    }
}

#[test]
fn connections_that_end_at_the_same_limit_are_one_line() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&["--packet-bytes-max", "1000"]);
    for number in 0..20 {
        let mut client = RawClient::connect(broker.addr(), Version::V5, &format!("client {number}"));
        client.send(&[0x30, 0xFF, 0x7F]);
        client.expect_disconnect(0x95);
    }
    let line = broker.wait_log("packet-bytes-max");
    assert!(line.contains("client 0"), "{line}");
    // The last of them has been told, so a line about it would be there.
    assert_eq!(lines_with(&broker, "packet-bytes-max").len(), 1, "{:?}", broker.log());
}

#[test]
fn a_stuck_receiver_is_one_line() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&["--stall-ms-max", "50", "--queue-bytes-max", "65536"]);
    let mut stuck = RawClient::connect(broker.addr(), Version::V311, "stuck");
    stuck.subscribe(&["flood"]);
    let mut sender = Client::connect(&broker, &Connect::new(Version::V311, "sender"));
    let payload = vec![b'x'; 16 * 1024];
    let mut until = None;
    // As long as four reports of the engine, after the first one.
    while until.is_none_or(|until| Instant::now() < until) {
        (0..100).for_each(|_| _ = sender.send_publish(&Publish::new("flood", &payload)));
        sender.ping();
        if until.is_none() && !lines_with(&broker, "messages dropped").is_empty() {
            until = Some(Instant::now() + Duration::from_secs(1));
        }
    }
    let lines = lines_with(&broker, "stall-ms-max");
    assert!(lines.len() == 1 && lines[0].contains("stuck"), "{lines:?}");
}

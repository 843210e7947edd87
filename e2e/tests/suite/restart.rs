//! A broker that is killed and restarted: clients get errors instead of hanging, and can reconnect.

use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::mosquitto;
use wisp_e2e::raw::{Incoming, RawClient};
use wisp_e2e::wait::wait_until;
use wisp_e2e::{Version, paho};

#[test]
fn clients_of_a_killed_broker_get_errors_and_reconnect_to_the_next() {
    let addr = free_addr();
    let mut first = Broker::start_at(addr, &[]);
    let mut idle: Vec<RawClient> =
        Version::ALL.iter().map(|version| RawClient::connect(addr, *version, &format!("idle {version:?}"))).collect();
    let mosquitto = mosquitto::Subscriber::start(addr, Version::V5, &["news"]);
    let paho = paho::Subscriber::start(addr, Version::V311, &["news"]);
    mosquitto::publish(addr, Version::V311, "news", b"first broker");
    mosquitto.wait_for_messages(1);
    paho.wait_for_messages(1);

    first.kill();

    for client in &mut idle {
        assert_eq!(client.read(), Incoming::Closed, "{:?}: the connection ends", client.version());
    }
    paho.wait_for_lines("disconnected", 1);
    assert!(RawClient::try_open(addr, Version::V5).is_err(), "nobody accepts connections");
    let refused = mosquitto::run_publisher(addr, Version::V5, &["-t", "news", "-m", "nobody hears this"], b"");
    assert!(!refused.status.success(), "mosquitto_pub must not think that it has published");

    let second = Broker::start_at(addr, &[]);
    // Both reconnect and subscribe again by themselves.
    paho.wait_for_lines("subscribed", 2);
    mosquitto.settle();
    mosquitto::publish(second.addr(), Version::V311, "news", b"second broker");
    for messages in [mosquitto.wait_for_messages(2), paho.wait_for_messages(2)] {
        assert_eq!(messages[1].payload, b"second broker");
    }
}

#[test]
fn a_sender_at_full_speed_notices_that_the_broker_was_killed() {
    let mut broker = Broker::start();
    let mut sender = RawClient::connect(broker.addr(), Version::V311, "sender");
    let message = wisp_e2e::packet::publish(Version::V311, "nobody/listens", &[7; 1024]);
    for _ in 0..1000 {
        sender.send(&message);
    }
    broker.kill();
    wait_until("an error at the sender", || sender.try_send(&message).is_err());
}

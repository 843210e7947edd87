//! Answers that the standards allow or demand, and that some clients do not expect: docs/limits.md, "What clients make of
//! it".

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, Host, cannot};
use wisp_e2e::packet::{Connect, Publish, kind};
use wisp_e2e::peer::{Options, mqtt_js_program, node_is_missing};

#[test]
fn mqtt_js_that_ignores_the_receive_maximum_is_told_message_by_message() {
    if node_is_missing() || cannot(Ability::Wisp) {
        return;
    }
    const SENT: usize = 3_000;
    let broker = Broker::start();
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    subscriber.subscribe("burst", 0);
    let mut hasty = mqtt_js_program(&Options::new(broker.addr(), Version::V5, "hasty"));
    hasty.tell(&format!("burst {SENT} burst"));
    // Each of its callbacks is called.
    let line = hasty.wait_stdout("the answers", |lines| lines.iter().find(|line| line.starts_with("burst")).cloned());
    let answers: Vec<usize> = line.split(' ').skip(1).map(|word| word.parse().expect("a number")).collect();
    let [accepted, refused] = answers[..] else { panic!("{line}") };
    assert!(accepted >= 1024 && accepted + refused == SENT, "{line}");
    for _ in 0..accepted {
        subscriber.receive();
    }
    subscriber.nothing_came();
    // It is still connected.
    hasty.tell("publish 1 0 burst 6f6b");
    assert_eq!(subscriber.receive().text(), "ok");
}

#[test]
fn mqtt_js_that_subscribes_to_a_group_with_no_local_is_told_why_it_is_disconnected() {
    if node_is_missing() || cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut client = mqtt_js_program(&Options::new(broker.addr(), Version::V5, "confused"));
    client.tell("subscribe_no_local $share/group/topic");
    let line =
        client.wait_stdout("DISCONNECT", |lines| lines.iter().find(|line| line.starts_with("disconnect")).cloned());
    assert!(line.starts_with("disconnect 130 ") && line.contains("no local on a shared subscription"), "{line}");
    let line = broker.wait_log("no local on a shared subscription");
    assert!(line.contains("protocol error") && !line.contains("malformed"), "{line}");
}

#[test]
fn a_message_sent_again_is_delivered_once_in_a_kept_session_and_again_in_a_new_one() {
    let broker = Broker::start();
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    subscriber.subscribe("again", 0);
    for (connect, deliveries) in [
        (Connect::kept(Version::V5, "kept", 3600), 1),
        (Connect::new(Version::V5, "new"), if Host::current().lacks(Ability::Wisp).is_some() { 1 } else { 2 }),
    ] {
        for again in [false, true] {
            let mut sender = Client::connect(&broker, &connect);
            let message = Publish::new("again", "x").qos(2);
            let message = if again { message.duplicate() } else { message };
            sender.send(&message.encode(Version::V5, 7));
            assert!(sender.await_code(kind::PUBREC, 7) < 0x80);
            if again {
                sender.answer(kind::PUBREL, 7);
                assert_eq!(sender.await_code(kind::PUBCOMP, 7), 0);
            }
            sender.die();
        }
        (0..deliveries).for_each(|_| assert_eq!(subscriber.receive().text(), "x"));
        subscriber.nothing_came();
    }
}

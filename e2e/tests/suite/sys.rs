//! The topics of `$SYS`: names, payloads and flags, beside mosquitto's own, and nobody else publishes there.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::mosquitto;
use wisp_e2e::packet::{Connect, Publish, Will};
use wisp_e2e::program::Program;
use wisp_e2e::raw::RawClient;
use wisp_e2e::wait::wait_until;

const OFTEN: [&str; 2] = ["--sys-interval-s", "1"];

/// The topics that a new subscriber gets, with their payloads.
fn retained(addr: SocketAddr) -> BTreeMap<String, String> {
    let mut client = RawClient::connect(addr, Version::V5, "reader");
    client.send(&Publish::new("end", "end").qos(1).retained().encode(Version::V5, 1));
    client.read_packet();
    // The messages of the second filter come behind those of the first.
    client.subscribe(&["$SYS/#", "end"]);
    let mut found = BTreeMap::new();
    loop {
        let message = client.read_packet().message(Version::V5);
        let payload = message.text().to_owned();
        match message.topic.as_str() {
            "end" => return found,
            topic if message.retain => assert_eq!(found.insert(topic.to_owned(), payload), None, "{topic} twice"),
            // An update.
            _ => {}
        }
    }
}

/// Waits until an update of the topic has this payload.
fn wait_for_update(client: &mut RawClient, topic: &str, payload: &str) {
    wait_until(&format!("{topic} to be {payload}"), || {
        let message = client.read_packet().message(Version::V5);
        message.topic == topic && message.text() == payload
    });
}

#[test]
fn the_topics_are_those_of_mosquitto_and_wisps_own() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&OFTEN);
    let ours = retained(broker.addr());
    let addr = free_addr();
    let mut command = Command::new("/usr/sbin/mosquitto");
    command.args(["-p", &addr.port().to_string()]);
    let _mosquitto = Program::start(command);
    wait_until("mosquitto accepts", || TcpStream::connect(addr).is_ok());
    let theirs = retained(addr);
    assert!(theirs.len() > 40, "{theirs:?}");
    for (topic, payload) in &theirs {
        let own = ours.get(topic).unwrap_or_else(|| panic!("{topic} is missing: {ours:?}"));
        assert_eq!(shape(own), shape(payload), "{topic}: {own}, in mosquitto {payload}");
    }
    let added = ours.keys().filter(|topic| !theirs.contains_key(*topic));
    assert!(added.clone().count() > 20 && added.clone().any(|topic| topic == "$SYS/broker/wisp/sessions"), "{ours:?}");
}

/// The payload with each number replaced by one digit, and the broker's name and version left out.
fn shape(payload: &str) -> String {
    let words = payload.split(' ').map(|word| match word.parse::<u64>() {
        Ok(_) => "9".to_owned(),
        Err(_) if word.parse::<f64>().is_ok() => {
            format!("9.{}", "9".repeat(word.split('.').nth(1).map_or(0, str::len)))
        }
        Err(_) => word.to_owned(),
    });
    let words: Vec<String> = words.collect();
    if words.get(1).is_some_and(|word| word == "version") { "NAME version NUMBER".to_owned() } else { words.join(" ") }
}

#[test]
fn updates_tell_what_the_broker_does() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&OFTEN);
    let mut watcher = RawClient::connect(broker.addr(), Version::V5, "watcher");
    let topics = ["publish/messages/received", "publish/bytes/received", "publish/bytes/sent", "clients/connected"];
    let topics = topics.map(|topic| format!("$SYS/broker/{topic}"));
    watcher.subscribe(&topics.each_ref().map(String::as_str));
    let mut retained_count = 0;
    wait_until("the retained values", || {
        retained_count += usize::from(watcher.read_packet().message(Version::V5).retain);
        retained_count == topics.len()
    });
    let mut other = RawClient::connect(broker.addr(), Version::V311, "other");
    wait_for_update(&mut watcher, "$SYS/broker/clients/connected", "2");
    other.subscribe(&["t"]);
    for number in 0..10_u8 {
        other.publish("t", &[number; 100]);
        other.read_message("t");
    }
    let mut last = BTreeMap::new();
    wait_until("the messages to be counted", || {
        let message = watcher.read_packet().message(Version::V5);
        assert!(!message.retain, "an update of {}", message.topic);
        last.insert(message.topic.clone(), message.text().parse::<u64>().expect("a number"));
        let [messages, received, sent] = [0, 1, 2].map(|index| last.get(&topics[index]).copied().unwrap_or_default());
        assert!(messages <= 10 && received <= 1_000, "{last:?}");
        // The updates are sent messages themselves.
        messages == 10 && received == 1_000 && sent > 1_000
    });
    drop(other);
    wait_for_update(&mut watcher, "$SYS/broker/clients/connected", "1");
    let values = retained(broker.addr());
    let number = |topic: &str| -> u64 { values[&format!("$SYS/broker/{topic}")].parse().expect(topic) };
    assert!(number("bytes/received") > 1_000 && number("bytes/sent") > 1_000, "{values:?}");
    assert!(number("messages/received") >= 14 && number("messages/sent") >= 14, "{values:?}");
    assert!(number("connections/socket/count") >= 2 && number("wisp/connects_received") >= 2, "{values:?}");
    let load: f64 = values["$SYS/broker/load/bytes/received/1min"].parse().expect("a number");
    assert!(load > 100.0, "{load}");
}

#[test]
fn mosquitto_sub_shows_retained_values_and_then_updates() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&OFTEN);
    let mut command = mosquitto::client_command("mosquitto_sub", broker.addr(), Version::V311);
    command.args(["-t", "$SYS/broker/uptime", "-t", "#", "-q", "2", "-F", "%q %r %t %p", "-C", "3", "-W", "60"]);
    let finished = Program::run(command, b"");
    assert!(finished.status.success(), "{:?}", finished.stderr);
    let [first, second, third] = &finished.stdout[..] else { panic!("{:?}", finished.stdout) };
    assert!(first.starts_with("2 1 $SYS/broker/uptime ") && first.ends_with(" seconds"), "{first}");
    for update in [second, third] {
        assert!(update.starts_with("2 0 $SYS/broker/uptime ") && update.ends_with(" seconds"), "{update}");
    }
}

#[test]
fn nobody_but_the_broker_publishes_to_sys() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut watcher = RawClient::connect(broker.addr(), Version::V311, "watcher");
    watcher.subscribe(&["$SYS/x"]);
    let mut sender = RawClient::connect(broker.addr(), Version::V5, "sender");
    for qos in [1, 2] {
        sender.send(&Publish::new("$SYS/x", "x").qos(qos).retained().encode(Version::V5, 7));
        assert_eq!(sender.read_packet().publish_acknowledgement(Version::V5).code, 0x87, "QoS {qos}");
    }
    sender.send(&Publish::new("$SYS/broker/version", "").qos(1).retained().encode(Version::V5, 7));
    assert_eq!(sender.read_packet().publish_acknowledgement(Version::V5).code, 0x87);
    let mut old = RawClient::open(broker.addr(), Version::V311);
    old.send(&Connect::new(Version::V311, "old").will(Will::new("$SYS/x", "gone")).encode());
    assert_eq!(old.read_packet().conn_ack(Version::V311).code, 0);
    old.send(&Publish::new("$SYS/x", "x").qos(1).encode(Version::V311, 8));
    assert_eq!(old.read_packet().publish_acknowledgement(Version::V311).packet_id, 8);
    drop(old);
    let line = broker.wait_log("only the broker publishes there");
    assert!(line.contains("sender"), "{line}");
    // Nothing of it has come.
    watcher.ping();
    assert!(retained(broker.addr())["$SYS/broker/version"].starts_with("wisp version "));
}

#[test]
fn without_an_interval_there_are_no_topics() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&["--sys-interval-s", "0"]);
    assert_eq!(retained(broker.addr()), BTreeMap::new());
}

//! The state of a mosquitto, imported to a data folder: each client gets what waited for it, in order and once, and goes on with its
//! exchanges.
//!
//! `WISP_E2E_KEEP_DB=FILE` keeps mosquitto's file, and `WISP_E2E_MOSQUITTO` names another mosquitto than Debian's: in this way the files
//! of `programs/wisp-broker/fuzz/seeds/mosquitto_db` were made.

use std::env;
use std::fs;
use std::path::Path;

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot, native_program};
use wisp_e2e::mosquitto::{client_command, run_publisher};
use wisp_e2e::packet::{Connect, Publish, kind};
use wisp_e2e::program::{Finished, Program};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{
    CONTENT_TYPE, CORRELATION_DATA, MESSAGE_EXPIRY_INTERVAL, RESPONSE_TOPIC, SUBSCRIPTION_IDENTIFIER,
};

use crate::durable::Folder;

/// RETAIN as published, of the options of a subscription.
const AS_PUBLISHED: u8 = 8;

fn import(file: &Path, new: &Path) -> Finished {
    let mut command = std::process::Command::new(native_program("wisp-broker", "WISP_BROKER_BIN"));
    command.args(["store", "import", "mosquitto.db"]).args([file, new]);
    Program::run(command, b"")
}

/// mosquitto_sub with a kept session and these arguments.
fn tool(broker: &Broker, arguments: &[&str]) -> Vec<String> {
    let mut command = client_command("mosquitto_sub", broker.addr(), Version::V311);
    command.args(["-i", "tool", "-c", "-q", "1", "-t", "tool/#"]).args(arguments);
    let finished = Program::run(command, b"");
    assert!(finished.status.success(), "{:?}", finished.stderr);
    finished.stdout
}

/// Clients that are connected until mosquitto ends.
struct Connected {
    _fly: Client,
    _unkept: Client,
    _sender: Client,
    /// The packet identifier of the message that `sender` has not released.
    unreleased: u16,
}

fn properties() -> Properties {
    let properties = Properties::NONE.number(MESSAGE_EXPIRY_INTERVAL, 50_000).data(CONTENT_TYPE, "text/x");
    properties.data(RESPONSE_TOPIC, "re/ply").data(CORRELATION_DATA, [0, 0xff]).user("k", "v")
}

fn fill(broker: &Broker) -> Connected {
    let mut old = Client::kept(broker, Version::V311, "old");
    old.subscribe("a/#", 1);
    old.subscribe("two", 2);
    old.subscribe("/lead/x", 0);
    old.disconnect();
    let mut new = Client::kept(broker, Version::V5, "new");
    let id = Properties::NONE.number(SUBSCRIPTION_IDENTIFIER, 77);
    assert_eq!(new.subscribe_with(&id, &[("a/+", 2 | AS_PUBLISHED)]), [2]);
    new.disconnect();
    tool(broker, &["-E"]);
    let mut fly = Client::kept(broker, Version::V5, "fly");
    fly.subscribe("fly/#", 2);
    let mut unkept = Client::connect(broker, &Connect::kept(Version::V5, "unkept", 0));
    unkept.subscribe("a/#", 1);

    let mut publisher = Client::clean(broker, Version::V5, "publisher");
    publisher.publish(&Publish::new("a/1", "one").qos(1).properties(&properties()));
    publisher.publish(&Publish::new("a/2", "two").qos(2).retained());
    publisher.publish(&Publish::new("two", "three").qos(2));
    publisher.publish(&Publish::new("a/0", "at QoS 0"));
    publisher.publish(&Publish::new("ret/1", "first").retained());
    for (topic, qos) in [("fly/1", 1), ("fly/2", 2), ("fly/3", 2), ("fly/4", 2), ("tool/1", 1), ("tool/2", 1)] {
        publisher.publish(&Publish::new(topic, topic).qos(qos));
    }
    publisher.ping();
    let retained = ["-t", "ret/2", "-m", "second", "-r", "-q", "1"];
    assert!(run_publisher(broker.addr(), Version::V311, &retained, b"").status.success());

    // One of them is between PUBREC and PUBCOMP, the others are unacknowledged.
    let messages = [(); 4].map(|()| fly.next_message());
    fly.answer(kind::PUBREC, messages[1].packet_id);
    fly.await_code(kind::PUBREL, messages[1].packet_id);
    let mut sender = Client::kept(broker, Version::V311, "sender");
    let unreleased = sender.send_publish(&Publish::new("a/3", "unreleased").qos(2).retained());
    sender.await_code(kind::PUBREC, unreleased);
    Connected { _fly: fly, _unkept: unkept, _sender: sender, unreleased }
}

fn check_report(report: &str, is_of_2_0: bool) {
    let mut expected = vec![
        "note: 1 message at QoS 2 that mosquitto would have delivered when their senders had released them: delivered now",
    ];
    if is_of_2_0 {
        expected.push("left out: 1 session of clients whose sessions end with their connections: \"unkept\"");
    }
    expected.push("left out: 1 session of mosquitto's own bridges, by their names: \"local.bridge\"");
    expected.push(
        "left out: 2 messages at QoS 0, which does not wait for clients here: \"a/0\" for \"old\", \"a/0\" for \"new\"",
    );
    expected.push(
        "imported: 5 sessions, 6 subscriptions, 12 messages for them, 4 retained messages, 2 packet identifiers at QoS 2 in use",
    );
    for line in expected {
        assert!(report.lines().any(|found| found == line), "{line}\n\nis not in\n\n{report}");
    }
}

fn check_receivers(broker: &Broker, unreleased: u16) {
    let mut old = Client::kept(broker, Version::V311, "old");
    assert_eq!(old.session_present(), Some(true));
    let messages: Vec<(u8, String)> = (0..4).map(|_| old.receive()).map(|it| (it.qos, it.text().to_owned())).collect();
    let expected = [(1, "one"), (1, "two"), (2, "three"), (1, "unreleased")];
    assert_eq!(messages, expected.map(|(qos, text)| (qos, text.to_owned())));
    old.nothing_came();

    let mut new = Client::kept(broker, Version::V5, "new");
    let first = new.receive();
    assert_eq!((first.qos, first.retain, first.text()), (1, false, "one"));
    assert!((40_000..=50_000).contains(&first.properties.get(MESSAGE_EXPIRY_INTERVAL).expect("it expires")));
    let rest = first.properties.clone().without(MESSAGE_EXPIRY_INTERVAL);
    let sent = properties().without(MESSAGE_EXPIRY_INTERVAL).number(SUBSCRIPTION_IDENTIFIER, 77);
    assert_eq!(rest, sent);
    let second = new.receive();
    assert_eq!((second.qos, second.retain, second.text()), (2, true, "two"));
    let third = new.receive();
    assert_eq!((third.qos, third.retain, third.text()), (2, true, "unreleased"));
    assert_eq!(third.properties.subscription_ids(), [77]);
    new.nothing_came();
    // Its subscription is there.
    new.publish(&Publish::new("a/4", "later").qos(2));
    assert_eq!(new.receive().text(), "later");

    let mut fly = Client::kept(broker, Version::V5, "fly");
    let messages = [(); 3].map(|()| fly.next_message());
    let expected = [(1, 1, "fly/1"), (2, 3, "fly/3"), (2, 4, "fly/4")];
    for (message, (qos, packet_id, topic)) in messages.iter().zip(expected) {
        assert_eq!((message.qos, message.packet_id, message.text()), (qos, packet_id, topic));
        assert!(message.duplicate, "it was sent before");
    }
    fly.await_code(kind::PUBREL, 2);
    fly.answer(kind::PUBCOMP, 2);
    messages.iter().for_each(|message| fly.acknowledge(message));
    fly.nothing_came();

    let mut sender = Client::kept(broker, Version::V311, "sender");
    sender.answer(kind::PUBREL, unreleased);
    sender.await_code(kind::PUBCOMP, unreleased);
    sender.nothing_came();
    let unkept = Client::connect(broker, &Connect::kept(Version::V5, "unkept", 0));
    assert_eq!(unkept.session_present(), Some(false));
    assert_eq!(tool(broker, &["-C", "2"]), ["tool/1", "tool/2"]);

    let mut reader = Client::clean(broker, Version::V5, "reader");
    reader.subscribe("ret/#", 1);
    reader.subscribe("a/#", 1);
    let mut retained: Vec<(String, String)> =
        (0..4).map(|_| reader.receive()).map(|it| (it.topic.clone(), it.text().to_owned())).collect();
    retained.sort();
    let expected = [("a/2", "two"), ("a/3", "unreleased"), ("ret/1", "first"), ("ret/2", "second")];
    assert_eq!(retained, expected.map(|(topic, text)| (topic.to_owned(), text.to_owned())));
    reader.nothing_came();
}

#[test]
fn clients_of_mosquitto_go_on_where_they_were() {
    if cannot(Ability::Signals) {
        return;
    }
    let (folder, parent, bridged) = (Folder::new(), Folder::new(), free_addr());
    let new = Folder(parent.0.join("new"));
    let mut mosquitto = Broker::start_mosquitto(&format!(
        "persistence true\npersistence_location {}/\nqueue_qos0_messages true\n\
         connection bridge\naddress {bridged}\nlocal_clientid local.bridge\ntopic a/# out 1\ncleansession false",
        folder.0.display()
    ));
    let connected = fill(&mosquitto);
    mosquitto.signal("TERM");
    let is_of_2_0 = mosquitto.finish().stderr.iter().any(|line| line.contains("mosquitto version 2.0."));
    let unreleased = connected.unreleased;
    drop(connected);
    let file = folder.0.join("mosquitto.db");
    if let Some(kept) = env::var_os("WISP_E2E_KEEP_DB") {
        fs::copy(&file, kept).expect("mosquitto has written its file");
    }

    let imported = import(&file, &new.0);
    assert_eq!(imported.status.code(), Some(0), "{:?}", imported.stderr);
    check_report(&imported.stdout.join("\n"), is_of_2_0);
    let again = import(&file, &new.0);
    assert_eq!(again.status.code(), Some(2), "{:?}", again.stdout);
    assert!(again.stderr.concat().ends_with("has a store already: name a new folder"), "{:?}", again.stderr);

    let mut broker = Broker::start_with(&new.flags());
    check_receivers(&broker, unreleased);
    broker.kill();
    let broker = Broker::start_with(&new.flags());
    for (client_id, version) in [("old", Version::V311), ("fly", Version::V5), ("sender", Version::V311)] {
        let mut client = Client::kept(&broker, version, client_id);
        assert_eq!(client.session_present(), Some(true), "{client_id}");
        if client_id == "old" {
            assert_eq!(client.receive().text(), "later");
        }
        client.nothing_came();
    }
}

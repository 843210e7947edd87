//! Attempts of clients to do what they may not: docs/attempts.md lists them all, with the tests of the other files.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish, subscribe};
use wisp_e2e::raw::RawClient;

use crate::users::{Folder, connect_as};

const TOPIC_ALIAS: u8 = 0x23;

/// A broker with the users joe, who may do anything below his name, and ann, who may do anything; and a client of ann's that sees
/// every message.
fn guarded() -> (Folder, Broker, RawClient) {
    let folder = Folder::new();
    folder.add_user("joe", "joe", &[]);
    let users = folder.add_user("ann", "ann", &[]);
    let rules = folder.write("rules", "user joe\ntopic joe/#\nuser ann\ntopic #\n");
    let broker = Broker::start_with(&["--password-file", &users, "--acl-file", &rules]);
    let mut watcher = connect_as(broker.addr(), "watcher", "ann");
    assert_eq!(watcher.subscribe_code("#", 0), 0);
    (folder, broker, watcher)
}

/// The topics of all messages up to one that ann publishes now.
fn topics(broker: &Broker, watcher: &mut RawClient) -> Vec<String> {
    let mut ann = connect_as(broker.addr(), "end", "ann");
    ann.publish("end", b"");
    let mut topics = Vec::new();
    while topics.last().is_none_or(|topic| topic != "end") {
        topics.push(watcher.read_packet().publish(Version::V5).0.to_owned());
    }
    topics.pop();
    topics
}

#[test]
fn packets_behind_a_connect_that_is_refused_do_nothing() {
    if cannot(Ability::Files) {
        return;
    }
    let (_folder, broker, mut watcher) = guarded();
    for version in Version::ALL {
        for user in [None, Some(("joe", "guess")), Some(("nobody", "joe"))] {
            let mut bytes = Connect { user, ..Connect::new(version, "eager") }.encode();
            bytes.extend(subscribe(version, 1, &[("#", 0)]));
            for qos in 0..3 {
                bytes.extend(Publish::new("joe/eager", "x").qos(qos).retained().encode(version, 7));
            }
            let mut client = RawClient::open(broker.addr(), version);
            client.send(&bytes);
            let packets = client.read_to_close();
            assert_eq!(packets.len(), 1, "{version:?} {user:?}: nothing but the refusal");
            assert!(packets[0].conn_ack(version).code > 0, "{version:?} {user:?}");
        }
    }
    assert_eq!(topics(&broker, &mut watcher), Vec::<String>::new());
}

#[test]
fn a_topic_alias_carries_no_message_past_the_rules() {
    if cannot(Ability::Files) {
        return;
    }
    let (_folder, broker, mut watcher) = guarded();
    let mut joe = connect_as(broker.addr(), "joe", "joe");
    let mut codes = Vec::new();
    for (topic, alias) in
        [("joe/own", 1), ("", 1), ("ann/secret", 1), ("", 1), ("ann/other", 2), ("", 2), ("joe/own", 1), ("", 1)]
    {
        joe.send(&Publish::new(topic, "x").qos(1).with(TOPIC_ALIAS, alias).encode(Version::V5, 7));
        codes.push(joe.read_packet().publish_acknowledgement(Version::V5).code);
    }
    assert_eq!(codes, [0, 0, 0x87, 0x87, 0x87, 0x87, 0, 0]);
    assert_eq!(topics(&broker, &mut watcher), ["joe/own"; 4]);
}

#[test]
fn a_client_identifier_that_is_taken_gives_its_messages_to_nobody_without_the_right() {
    if cannot(Ability::Files) {
        return;
    }
    let (_folder, broker, _watcher) = guarded();
    // A kept session of ann's, with a message that waits.
    let kept = |user| {
        let mut client = RawClient::open(broker.addr(), Version::V311);
        let connect = Connect { clean_start: false, ..Connect::new(Version::V311, "kept").user(user, user) };
        client.send(&connect.encode());
        assert_eq!(client.read_packet().conn_ack(Version::V311).code, 0);
        client
    };
    let mut ann = kept("ann");
    assert_eq!(ann.subscribe_code("#", 1), 1);
    drop(ann);
    let mut other = connect_as(broker.addr(), "other", "ann");
    for topic in ["ann/secret", "joe/own"] {
        other.send(&Publish::new(topic, "x").qos(1).encode(Version::V5, 7));
        assert!(other.read_packet().publish_acknowledgement(Version::V5).code < 0x80);
    }
    let mut thief = kept("joe");
    assert_eq!(thief.read_packet().message(Version::V311).topic, "joe/own", "the other one is not his");
    other.publish("ann/more", b"x");
    other.publish("joe/more", b"x");
    other.ping();
    // A retransmission may come between.
    loop {
        let topic = thief.read_packet().message(Version::V311).topic;
        assert!(topic.starts_with("joe/"), "{topic}");
        if topic == "joe/more" {
            break;
        }
    }
}

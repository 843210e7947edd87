//! `disk-bytes-max`: senders are held back, and refused after a time, and go on when there is room. A client that publishes to itself does
//! not wait for itself.

use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Publish, kind};
use wisp_e2e::raw::Incoming;
use wisp_e2e::wait::{TIMEOUT, wait_until};

use crate::durable::Folder;

/// Messages for about a 250th of the limit each.
fn payload(number: u32) -> String {
    format!("{number}{:60000}", "")
}

fn start(folder: &Folder, more: &[&str]) -> Broker {
    let limit = ["--disk-bytes-max", "16777216", "--sync", "never"];
    Broker::start_with(&[&folder.roomy_flags()[..], &limit, more].concat())
}

#[test]
fn a_sender_at_the_limit_is_refused_in_time_and_goes_on_when_there_is_room() {
    if cannot(Ability::Wisp) {
        return;
    }
    let folder = Folder::new();
    let broker = start(&folder, &["--queue-stall-ms-max", "300", "--sys-interval-s", "1"]);
    let mut receiver = Client::kept(&broker, Version::V311, "receiver");
    receiver.subscribe("load", 1);
    receiver.disconnect();
    let mut sender = Client::clean(&broker, Version::V5, "sender");
    let mut publish = |number| sender.publish_code(&Publish::new("load", &payload(number)).qos(1));
    let mut acknowledged: Vec<u32> = Vec::new();
    let refusal = (0..).find_map(|number| match publish(number) {
        0 => {
            acknowledged.push(number);
            None
        }
        code => Some(code),
    });
    assert_eq!(refusal, Some(0x97));
    assert!(acknowledged.len() > 50, "most of the folder is used: {acknowledged:?}");
    let line = broker.wait_log("limit reached: data-dir");
    assert!(line.contains("sender") && line.contains("disk-bytes-max"), "{line}");
    for version in [Version::V31, Version::V311] {
        let mut old = Client::clean(&broker, version, "old");
        old.send_publish(&Publish::new("load", "text").qos(1));
        assert_eq!(old.read_to_close(), [], "it has no code for a refusal");
    }
    let mut reader = Client::clean(&broker, Version::V5, "reader");
    reader.subscribe("$SYS/broker/wisp/store_refusals", 0);
    wait_until("the count of refusals", || reader.next_message().text().parse::<u32>().is_ok_and(|count| count >= 3));
    let mut receiver = Client::kept(&broker, Version::V311, "receiver");
    for number in &acknowledged {
        assert_eq!(receiver.receive().text().trim_end(), number.to_string());
    }
    let next = acknowledged.len() as u32 + 1;
    wait_until("room for a message", || publish(next) == 0);
    assert_eq!(receiver.receive().text().trim_end(), next.to_string());
}

#[test]
fn a_client_that_publishes_to_itself_at_the_limit_does_not_wait_for_itself() {
    if cannot(Ability::Wisp) {
        return;
    }
    for version in Version::ALL {
        let folder = Folder::new();
        let broker = start(&folder, &[]);
        let mut client = Client::kept(&broker, version, "self");
        client.subscribe("self", 1);
        let (began, mut unacknowledged) = (Instant::now(), Vec::new());
        let mut number = 0;
        // It acknowledges no message until one of its own waits. Then the acknowledgements stand behind that one.
        let waiting = 'sent: loop {
            number += 1;
            let sent = client.send_publish(&Publish::new("self", &payload(number)).qos(1));
            loop {
                match client.read_within(Duration::from_millis(100)) {
                    Some(Incoming::Packet(packet)) if packet.kind() == kind::PUBACK => break,
                    Some(Incoming::Packet(packet)) => unacknowledged.push(packet.message(version).packet_id),
                    Some(Incoming::Closed) => panic!("{version:?}: the connection has ended"),
                    None if broker.log().iter().any(|line| line.contains("limit reached: data-dir")) => {
                        break 'sent sent;
                    }
                    None => assert!(began.elapsed() < TIMEOUT, "{version:?}: {number} messages"),
                }
            }
        };
        assert!(number > 50, "{version:?}: most of the folder is used after {number}");
        unacknowledged.into_iter().for_each(|packet_id| client.answer(kind::PUBACK, packet_id));
        assert_eq!(client.await_code(kind::PUBACK, waiting), 0, "{version:?}");
        assert_eq!(client.receive().text().trim_end(), number.to_string(), "{version:?}");
    }
}

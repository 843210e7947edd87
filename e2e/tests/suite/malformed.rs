//! A packet that no client may send ends the connection it came on, and no other.

use std::time::Duration;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Received, kind};
use wisp_e2e::raw::{Bystanders, RawClient};
use wisp_e2e::wait::wait_until;

use crate::malformed_cases::{Case, after_connect, in_place_of_connect};

/// Every connection that ends with an error leaves at least one line in the log.
const LOG: [&str; 2] = ["--log", "debug"];

/// Shorter than elsewhere, so that one run can report all failing cases.
const CASE_TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn malformed_packets_end_their_own_connection_in_v31() {
    malformed_packets_end_their_own_connection(Version::V31);
}

#[test]
fn malformed_packets_end_their_own_connection_in_v311() {
    malformed_packets_end_their_own_connection(Version::V311);
}

#[test]
fn malformed_packets_end_their_own_connection_in_v5() {
    malformed_packets_end_their_own_connection(Version::V5);
}

fn malformed_packets_end_their_own_connection(version: Version) {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&LOG);
    let mut bystanders = Bystanders::connect(broker.addr(), "malformed");
    let mut wrong = Vec::new();
    for case in after_connect().into_iter().filter(|case| case.version == version) {
        let mut client = RawClient::connect(broker.addr(), version, "malformed");
        let log_lines = broker.log().len();
        // The broker may close the connection in the middle of the bytes.
        drop(client.try_send(&case.bytes));
        let (words, closed) = client.read_to_close_within(CASE_TIMEOUT);
        if !(closed && is_right(&case, &words)) {
            let end = if closed { "closed" } else { "left open" };
            let bytes = &case.bytes;
            wrong.push(format!("{}: {bytes:02X?} was answered with {words:02X?} and {end}", case.rule));
            continue;
        }
        bystanders.round_trip();
        wait_until(case.rule, || broker.log().len() > log_lines);
    }
    assert!(wrong.is_empty(), "{version:?}:\n{}", wrong.join("\n"));
}

/// In MQTT 5 the broker sends the reason; in earlier versions it only closes the connection.
fn is_right(case: &Case, words: &[Received]) -> bool {
    match words {
        [] => !case.version.is_v5(),
        [word] => {
            case.version.is_v5() && word.kind() == kind::DISCONNECT && case.codes.contains(&word.disconnect_code())
        }
        _ => false,
    }
}

#[test]
fn a_first_packet_that_is_not_a_connect_is_refused() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&LOG);
    let mut bystanders = Bystanders::connect(broker.addr(), "not-connect");
    for (rule, bytes) in in_place_of_connect() {
        let mut client = RawClient::open(broker.addr(), Version::V5);
        drop(client.try_send(&bytes));
        for answer in client.read_to_close() {
            // Before MQTT 5, codes 1 to 5 are refusals; in MQTT 5, codes from 0x80 are.
            let refused = answer.kind() == kind::CONNACK && matches!(answer.body[1], 1..=5 | 0x80..);
            let disconnected = answer.kind() == kind::DISCONNECT && answer.disconnect_code() >= 0x80;
            assert!(refused || disconnected, "{rule}: {answer:02X?}");
        }
        bystanders.round_trip();
    }
}

#[test]
fn random_bytes_disturb_no_other_client() {
    let broker = Broker::start();
    let mut bystanders = Bystanders::connect(broker.addr(), "random");
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..300 {
        let version = Version::ALL[round % Version::ALL.len()];
        let mut client = match next() % 4 {
            0 => RawClient::open(broker.addr(), version),
            _ => RawClient::connect(broker.addr(), version, "random"),
        };
        let length = next() % 200;
        let mut bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        if let [first, second, ..] = &mut bytes[..] {
            // A plausible header often enough, so that the rest is read too.
            *first = [*first, 0x30, 0x82, 0xA2, 0x10][next() as usize % 5];
            *second %= 128;
        }
        drop(client.try_send(&bytes));
        if round % 50 == 0 {
            bystanders.round_trip();
        }
    }
    bystanders.round_trip();
}

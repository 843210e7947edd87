//! The programs `wisp pub` and `wisp sub`, on the broker's host, together with mosquitto's.

use std::net::SocketAddr;
use std::process::Command;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, Host, cannot};
use wisp_e2e::mosquitto::{self, Message};
use wisp_e2e::program::Program;
use wisp_e2e::wait::wait_until;

const VERSIONS: [(&str, Version); 2] = [("3.1.1", Version::V311), ("5", Version::V5)];

fn wisp(command: &str, addr: SocketAddr, version: &str, arguments: &[&str]) -> Command {
    let url = format!("mqtt://{addr}");
    Host::current().client_command(&[&[command, "-u", &url, "-V", version], arguments].concat())
}

#[test]
fn mosquitto_sub_gets_what_wisp_pub_publishes() {
    if cannot(Ability::Clients) {
        return;
    }
    let broker = Broker::start();
    for (name, version) in VERSIONS {
        let subscriber = mosquitto::Subscriber::start(broker.addr(), version, &["from/wisp"]);
        let publish = |arguments: &[&str], input: &str| {
            let finished = Program::run(wisp("pub", broker.addr(), name, arguments), input.as_bytes());
            assert!(finished.status.success(), "wisp pub: {:?}", finished.stderr);
        };
        publish(&["-t", "from/wisp", "-m", "one message"], "");
        subscriber.wait_for_messages(1);
        publish(&["-t", "from/wisp", "-l"], "first line\nsecond line, ümläüt\n");
        let messages = subscriber.wait_for_messages(3);
        let expected = ["one message", "first line", "second line, ümläüt"];
        assert_eq!(messages, expected.map(|text| Message::new("from/wisp", text)), "{version:?}");
    }
}

#[test]
fn wisp_sub_gets_what_mosquitto_pub_publishes() {
    if cannot(Ability::Clients) {
        return;
    }
    let broker = Broker::start();
    for (name, version) in VERSIONS {
        let subscriber = Program::start(wisp("sub", broker.addr(), name, &["-t", "to/+"]));
        let came = |text: &str| subscriber.with_stdout(|lines| lines.iter().any(|line| line.ends_with(text)));
        // wisp sub does not report its subscription, so one message is repeated until it arrives.
        wait_until("the first message at wisp sub", || {
            mosquitto::publish(broker.addr(), version, "to/wisp", b"is anybody there?");
            came("is anybody there?")
        });
        mosquitto::publish_lines(broker.addr(), version, "to/wisp", &[], &["one", "two ünd", "three"]);
        wait_until("the last message at wisp sub", || came("three"));
        let mut lines = subscriber.stdout();
        lines.retain(|line| !line.ends_with("is anybody there?"));
        let texts: Vec<&str> = lines.iter().map(|line| line.strip_prefix("to/wisp ").unwrap_or(line)).collect();
        assert_eq!(texts, ["one", "two ünd", "three"], "{version:?}");
    }
}

#[test]
fn wisp_sub_ends_after_the_messages_it_was_asked_for() {
    if cannot(Ability::Clients) {
        return;
    }
    let broker = Broker::start();
    for (name, version) in VERSIONS {
        let mut subscriber = Program::start(wisp("sub", broker.addr(), name, &["-t", "count", "-n", "3"]));
        wait_until("wisp sub to have three messages", || {
            mosquitto::publish(broker.addr(), version, "count", b"another");
            subscriber.ended().is_some()
        });
        let finished = subscriber.finish();
        assert!(finished.status.success(), "{:?}", finished.stderr);
        assert_eq!(finished.stdout.len(), 3, "{:?}", finished.stdout);
    }
}

#[test]
fn without_a_broker_both_programs_report_it_and_fail() {
    if cannot(Ability::Clients) {
        return;
    }
    let nowhere = wisp_e2e::broker::free_addr();
    for (name, _) in VERSIONS {
        let publisher = wisp("pub", nowhere, name, &["-t", "a", "-m", "b"]);
        let subscriber = wisp("sub", nowhere, name, &["-t", "a"]);
        for command in [publisher, subscriber] {
            let finished = Program::run(command, b"");
            assert!(!finished.status.success());
            assert!(finished.stdout.is_empty(), "{:?}", finished.stdout);
            assert!(!finished.stderr.is_empty(), "an error is described");
        }
    }
}

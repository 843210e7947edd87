//! Clients of MQTT 3.1.1 that send messages at QoS 2 and never release them.

use std::io;
use std::time::Duration;

use wisp_wire::{Packet, QoS};

use super::memory::rss_mib;
use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{ANSWER_TIMEOUT, Client, Options, encode_publish};
use crate::setup::Setup;

const TOPIC: &str = "nobody";
const BATCH: u64 = 500;
const SETTLE: Duration = Duration::from_millis(1500);

pub(super) const CASE: Case = Case {
    name: "qos2-unreleased",
    section: Section::Memory,
    question: "20 clients of MQTT 3.1.1 with kept sessions send 60,000 messages at QoS 2 each (to peers 20,000, \
               which take quadratic time) and no PUBREL.",
    figures: &[
        Figure { name: "kib_each", title: "memory a client, KiB", target: Target::AtMost(8.0) },
        Figure { name: "accepted_each", title: "messages accepted of each", target: Target::None },
        Figure { name: "ended", title: "clients disconnected", target: Target::None },
    ],
    setup: Setup::DEFAULTS,
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let clients = attack.size(20, 4);
    let each = attack.size(if attack.subject.is_wisp() { 60_000 } else { 20_000 }, 2000);
    let before_mib = rss_mib(attack)?;
    let (mut open, mut accepted, mut ended) = (Vec::new(), 0, 0_u64);
    for number in 0..clients {
        let mut client = Client::connect(attack.address(), &format!("sender{number}"), &Options::kept())?;
        client.set_read_timeout(ANSWER_TIMEOUT)?;
        if send_all(&mut client, each, &mut accepted).is_err() {
            ended += 1;
        }
        open.push(client);
    }
    attack.pause(SETTLE);
    let grown_mib = rss_mib(attack)? - before_mib;
    Ok(Outcome::default()
        .with("kib_each", grown_mib * 1024.0 / clients as f64)
        .with("accepted_each", accepted as f64 / clients as f64)
        .with("ended", ended as f64))
}

/// Sends the messages in batches, each answered by PUBREC or, where the broker keeps no more, by nothing before PINGRESP.
fn send_all(client: &mut Client, count: u64, accepted: &mut u64) -> io::Result<()> {
    for first in (0..count).step_by(BATCH as usize) {
        for number in first..(first + BATCH).min(count) {
            encode_publish(TOPIC, b"x", QoS::ExactlyOnce, number, &mut client.output)?;
        }
        client.send(&Packet::PingReq)?;
        client.answer(|packet| {
            if matches!(packet, Packet::PubRec(_)) {
                *accepted += 1;
            }
            matches!(packet, Packet::PingResp).then_some(())
        })?;
    }
    Ok(())
}

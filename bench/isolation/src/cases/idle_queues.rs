//! Topic queues with a message each that nobody fetches.

use std::io;
use std::time::Duration;

use wisp_wire::QoS;

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Client, Options, encode_publish};
use crate::setup::{Peers, Setup};

const PAYLOAD: [u8; 64] = [1; 64];
const PART_BYTES: usize = 50_000;
const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(10);

pub(super) const CASE: Case = Case {
    name: "idle-topic-queues",
    section: Section::Work,
    question: "100,000 topic queues hold a message each for 10 s.",
    figures: &[Figure { name: "idle_percent", title: "CPU while idle, %", target: Target::AtMost(0.1) }],
    setup: Setup { wisp: &["--topic-queues-max", "1000000"], peers: Peers::None, ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let mut publisher = Client::connect(attack.address(), "filler", &Options::default())?;
    for number in 0..attack.size(100_000, 1000) {
        encode_publish(&format!("$queue/q{number}"), &PAYLOAD, QoS::AtMostOnce, number, &mut publisher.output)?;
        if publisher.queued_bytes() > PART_BYTES {
            publisher.ping()?;
        }
    }
    publisher.ping()?;
    attack.pause(SETTLE);
    Ok(Outcome::default().with("idle_percent", attack.cpu_percent_over(IDLE)?))
}

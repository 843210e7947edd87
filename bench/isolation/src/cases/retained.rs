//! A million retained messages: the cost of storing them, and of a subscription that matches a hundred.

use std::io;
use std::time::{Duration, Instant};

use wisp_wire::{Packet, Publish, QoS, TopicName};

use super::memory::P50;
use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Client, Options};
use crate::load::Probe;
use crate::setup::{Peers, Setup};

const PAYLOAD: [u8; 60] = [3; 60];
const PART_BYTES: usize = 100_000;
/// A subscription has all retained messages when none has come for so long.
const SILENCE: Duration = Duration::from_millis(200);
const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(5);
/// Matches one message in each of the 100 sites.
const FEW: &str = "+/dev5/+";
const HOSTILE_FILTERS: usize = 20;

pub(super) const CASE: Case = Case {
    name: "retained-million",
    section: Section::Work,
    question: "A million retained messages on site/device/value: the cost of a subscription that matches 100 of them, of one SUBSCRIBE \
               with 20 such filters, and of having them.",
    figures: &[
        Figure { name: "few_cpu_ms", title: "CPU of +/dev5/+, ms", target: Target::AtMostMosquitto(1.0) },
        Figure {
            name: "hostile_cpu_ms",
            title: "CPU of 20 such filters at once, ms",
            target: Target::AtMostMosquitto(1.0),
        },
        Figure { name: "idle_percent", title: "CPU beside a probe alone, %", target: Target::AtMostMosquitto(1.0) },
        P50,
        Figure { name: "p99_ms", title: "p99 of the probe meanwhile, ms", target: Target::AtMostMosquitto(1.0) },
        Figure { name: "matched", title: "messages for +/dev5/+", target: Target::None },
    ],
    setup: Setup {
        wisp: &["--retained-max", "4000000", "--retained-bytes-max", "4000000000"],
        peers: Peers::Mosquitto,
        ..Setup::DEFAULTS
    },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    retain(attack, attack.size(1_000_000, 20_000))?;
    attack.pause(SETTLE);
    let resting_percent = attack.cpu_percent_over(SETTLE)?;
    let probe = Probe::start(attack.address(), attack.clock)?;
    attack.pause(SETTLE);
    probe.forget();
    let idle_percent = attack.cpu_percent_over(IDLE)?;
    let latencies = probe.finish()?;
    // The cost of having the messages goes on meanwhile, and is no cost of a subscription.
    let beyond_idle = |id: &str, filters: &[String]| -> io::Result<(f64, u64)> {
        let (begun, mut matched) = (Instant::now(), 0);
        let cpu_s = attack.cpu_s(|| {
            matched = subscribe(attack, id, filters)?;
            Ok(())
        })?;
        Ok((1000.0 * cpu_s - 10.0 * resting_percent * begun.elapsed().as_secs_f64(), matched))
    };
    let (few_ms, matched) = beyond_idle("few", &[FEW.to_owned()])?;
    let hostile: Vec<_> = (0..HOSTILE_FILTERS).map(|number| format!("+/dev{number}/+")).collect();
    let (hostile_ms, _) = beyond_idle("hostile", &hostile)?;
    Ok(Outcome::default()
        .with("few_cpu_ms", few_ms)
        .with("matched", matched as f64)
        .with("hostile_cpu_ms", hostile_ms)
        .with("idle_percent", idle_percent)
        .with("resting_percent", resting_percent)
        .with_latencies(&latencies))
}

/// Publishes that many retained messages.
fn retain(attack: &Attack<'_>, count: u64) -> io::Result<()> {
    let mut publisher = Client::connect(attack.address(), "filler", &Options::default())?;
    for number in 0..count {
        let topic = format!("site{}/dev{}/v{}", number % 100, number / 100, number % 7);
        let topic = TopicName::new(&topic).map_err(io::Error::other)?;
        publisher.queue(&Packet::Publish(Publish { retain: true, ..Publish::new(topic, &PAYLOAD) }))?;
        if publisher.queued_bytes() > PART_BYTES {
            publisher.ping()?;
        }
    }
    publisher.ping()
}

/// Subscribes and returns the number of retained messages.
fn subscribe(attack: &Attack<'_>, id: &str, filters: &[String]) -> io::Result<u64> {
    let mut client = Client::connect(attack.address(), id, &Options::default())?;
    client.send_subscribe(filters, QoS::AtMostOnce)?;
    let mut count = 0;
    // The broker may look for a long time before it answers.
    client.answer(|packet| {
        count += u64::from(matches!(packet, Packet::Publish(_)));
        matches!(packet, Packet::SubAck(_)).then_some(())
    })?;
    client.set_read_timeout(SILENCE)?;
    while client.receive(|packet| count += u64::from(matches!(packet, Packet::Publish(_))))? {}
    Ok(count)
}

//! Clients that connect, say nothing for a while, and ping.

use std::io;
use std::thread;
use std::time::Duration;

use wisp_wire::{Packet, QoS};

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Client, Options};
use crate::setup::Setup;

const SETTLE: Duration = Duration::from_millis(1500);
const IDLE: Duration = Duration::from_secs(10);
/// Pings are sent in this many parts, 50 ms apart.
const PARTS: usize = 100;
const PART_TIME: Duration = Duration::from_millis(50);

pub(super) const CASE: Case = Case {
    name: "idle-connections",
    section: Section::Work,
    question: "18,500 clients connect, subscribe to a topic each, do nothing for 10 s, and send a PINGREQ each.",
    figures: &[
        Figure { name: "idle_percent", title: "CPU while idle, %", target: Target::AtMost(0.1) },
        Figure { name: "connect_us", title: "CPU of a connect, µs", target: Target::AtMostMosquitto(0.6) },
        Figure { name: "ping_us", title: "CPU of a PINGREQ, µs", target: Target::AtMostMosquitto(0.6) },
        Figure { name: "rss_kib_each", title: "memory of each, KiB", target: Target::None },
    ],
    setup: Setup { wisp: &Setup::MANY_CONNECTIONS, ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let count = attack.size(18_500, 500);
    let before = attack.usage()?;
    let mut clients = Vec::new();
    let connect_s = attack.cpu_s(|| {
        for number in 0..count {
            clients.push(Client::connect(attack.address(), &format!("idle{number}"), &Options::default())?);
        }
        Ok(())
    })?;
    for (number, client) in clients.iter_mut().enumerate() {
        client.subscribe(&[format!("device/{number}/commands")], QoS::AtLeastOnce)?;
    }
    attack.pause(SETTLE);
    let grown_bytes = attack.usage()?.rss_bytes.saturating_sub(before.rss_bytes);
    let idle_percent = attack.cpu_percent_over(IDLE)?;
    let ping_s = attack.cpu_s(|| {
        for part in clients.chunks_mut((count as usize).div_ceil(PARTS)) {
            for client in part {
                client.send(&Packet::PingReq)?;
            }
            thread::sleep(PART_TIME);
        }
        Ok(())
    })?;
    Ok(Outcome::default()
        .with("idle_percent", idle_percent)
        .with("connect_us", connect_s * 1e6 / count as f64)
        .with("ping_us", ping_s * 1e6 / count as f64)
        .with("rss_kib_each", grown_bytes as f64 / 1024.0 / count as f64))
}

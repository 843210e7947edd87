//! Clients of sessions with a backlog connect again at the same moment and do not read.

use std::io;
use std::time::Duration;

use super::memory::{GIVE_BACK_TIME, P50, leave_sessions, peak_mib, publish_all, rss_mib};
use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Client, Options};
use crate::load::Probe;
use crate::setup::Setup;

const TOPIC: &str = "to/all";
const PAYLOAD_BYTES: usize = 3000;
const TIME: Duration = Duration::from_secs(3);

pub(super) const CASE: Case = Case {
    name: "returning-sessions",
    section: Section::Memory,
    question: "100 clients whose sessions hold the same 1,000 messages of 3 KB come back at once and do not read for 3 s.",
    figures: &[
        Figure { name: "peak_mib", title: "peak, MiB", target: Target::AtMostMosquitto(2.0) },
        Figure { name: "cpu_ms_each", title: "CPU a session, ms", target: Target::AtMostMosquitto(2.0) },
        Figure { name: "left_mib", title: "more than before after 10 s, MiB", target: Target::None },
        P50,
        Figure { name: "p99_ms", title: "p99 of a probe, ms", target: Target::None },
    ],
    setup: Setup { mosquitto: &["max_queued_messages 1000000"], ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let (address, sessions) = (attack.address(), attack.size(100, 10));
    let options = Options::kept();
    leave_sessions(attack, "returning", sessions, &options, |_| TOPIC.to_owned())?;
    publish_all(attack, (0..attack.size(1000, 100)).map(|_| TOPIC.to_owned()), PAYLOAD_BYTES)?;
    let before_mib = rss_mib(attack)?;
    let probe = Probe::start(address, attack.clock)?;
    let mut clients = Vec::new();
    let cpu_s = attack.cpu_s(|| {
        for number in 0..sessions {
            clients.push(Client::connect_unanswered(address, &format!("returning{number}"), &options)?);
        }
        attack.pause(TIME);
        Ok(())
    })?;
    let latencies = probe.finish()?;
    let peak_mib = peak_mib(attack)?;
    drop(clients);
    attack.pause(GIVE_BACK_TIME);
    Ok(Outcome::default()
        .with("peak_mib", peak_mib)
        .with("before_mib", before_mib)
        .with("left_mib", rss_mib(attack)? - before_mib)
        .with("cpu_ms_each", cpu_s * 1000.0 / sessions as f64)
        .with_latencies(&latencies))
}

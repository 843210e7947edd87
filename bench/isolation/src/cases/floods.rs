//! A probe beside 100 pairs of a publisher and a subscriber.

use std::io;
use std::process::Command;
use std::thread;
use std::time::Duration;

use wisp_wire::QoS;

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Acks, Client, Options};
use crate::load::{Plan, Probe, Publishers, Receivers};
use crate::setup::Setup;

const PAYLOAD_BYTES: usize = 1024;
/// The most that mosquitto forwarded beside the probe.
const OFFERED_PER_S: f64 = 73_000.0;
const TICK: Duration = Duration::from_millis(5);
/// Before latencies count.
const WARM_UP: Duration = Duration::from_millis(1500);
const TIME: Duration = Duration::from_secs(8);
/// Of the rate at full speed.
const LOADED_SHARE: f64 = 0.9;
/// Scheduled before all others, a probe measures the broker and not the generator.
const PRIORITY: &str = "10";

pub(super) const OFFERED: Case = Case {
    name: "probe-beside-73k",
    section: Section::Work,
    question: "A probe at QoS 1, its clients at real-time priority, beside 100 pairs that are offered 73,000 messages of 1 KB a second at QoS 0.",
    figures: &[
        Figure { name: "p50_ms", title: "p50 of a probe, ms", target: Target::AtMostMosquitto(1.0) },
        Figure { name: "p99_ms", title: "p99 of a probe, ms", target: Target::AtMostMosquitto(1.0) },
        Figure { name: "flood_per_s", title: "messages of the pairs a second", target: Target::None },
        Figure { name: "cpu_us_each", title: "CPU a message, µs", target: Target::None },
    ],
    setup: Setup::DEFAULTS,
    run: |attack| {
        let pairs = Pairs::start(attack, Some(OFFERED_PER_S))?;
        let outcome = pairs.probe(attack)?;
        pairs.finish()?;
        Ok(outcome)
    },
};

pub(super) const LOADED: Case = Case {
    name: "probe-beside-90-percent",
    question: "The same with 90 % of the rate that the broker reaches without the probe.",
    figures: &[
        Figure { name: "p50_ms", title: "p50 of a probe, ms", target: Target::AtMost(5.0) },
        Figure { name: "p99_ms", title: "p99 of a probe, ms", target: Target::AtMost(10.0) },
        Figure { name: "flood_per_s", title: "messages of the pairs a second", target: Target::None },
        Figure { name: "max_per_s", title: "the same at full speed", target: Target::None },
        Figure { name: "is_real_time", title: "probes at real-time priority", target: Target::None },
    ],
    run: |attack| {
        let pairs = Pairs::start(attack, None)?;
        attack.pause(WARM_UP);
        let max_per_s = pairs.rate_per_s(attack);
        pairs.finish()?;
        let pairs = Pairs::start(attack, Some(LOADED_SHARE * max_per_s))?;
        let outcome = pairs.probe(attack)?;
        pairs.finish()?;
        Ok(outcome.with("max_per_s", max_per_s))
    },
    ..OFFERED
};

struct Pairs {
    publishers: Publishers,
    receivers: Receivers,
}

impl Pairs {
    fn start(attack: &Attack<'_>, rate_per_s: Option<f64>) -> io::Result<Self> {
        let count = attack.size(100, 10);
        let mut subscribers = Vec::new();
        for number in 0..count {
            let mut client = Client::connect(attack.address(), &format!("subscriber{number}"), &Options::default())?;
            client.subscribe(&[format!("flood/{number}")], QoS::AtMostOnce)?;
            subscribers.push(client);
        }
        let receivers = Receivers::start(subscribers, attack.clock, Acks::All)?;
        let plan = Plan {
            count: count as usize,
            name: "publisher",
            rate_per_s: rate_per_s.map(|rate| if attack.is_quick { rate / 20.0 } else { rate }),
            tick: TICK,
            qos: QoS::AtMostOnce,
            payload_bytes: PAYLOAD_BYTES,
            topic: Box::new(|publisher, _| format!("flood/{publisher}")),
        };
        Ok(Self { publishers: Publishers::start(attack.address(), plan, attack.clock)?, receivers })
    }

    /// The messages of a second, over some seconds.
    fn rate_per_s(&self, attack: &Attack<'_>) -> f64 {
        let (before, begun) = (self.receivers.received(), attack.clock.elapsed());
        attack.pause(TIME);
        let seconds = (attack.clock.elapsed() - begun).as_secs_f64();
        (self.receivers.received() - before) as f64 / seconds
    }

    /// Adds a probe and measures it.
    fn probe(&self, attack: &Attack<'_>) -> io::Result<Outcome> {
        let (probe, is_real_time) = start_real_time(attack)?;
        attack.pause(WARM_UP);
        probe.forget();
        let (mut per_s, before) = (0.0, self.receivers.received());
        let cpu_s = attack.cpu_s(|| {
            per_s = self.rate_per_s(attack);
            Ok(())
        })?;
        let messages = (self.receivers.received() - before).max(1);
        Ok(Outcome::default()
            .with("flood_per_s", per_s)
            .with("cpu_us_each", cpu_s * 1e6 / messages as f64)
            .with("is_real_time", f64::from(u8::from(is_real_time)))
            .with_latencies(&probe.finish()?))
    }

    fn finish(self) -> io::Result<()> {
        self.publishers.finish()?;
        self.receivers.finish().map(drop)
    }
}

/// Starts a probe from a thread of real-time priority, which its threads inherit if the system allows it.
fn start_real_time(attack: &Attack<'_>) -> io::Result<(Probe, bool)> {
    thread::scope(|scope| {
        let start = || {
            let is_real_time = set_real_time();
            Probe::start(attack.address(), attack.clock).map(|probe| (probe, is_real_time))
        };
        scope.spawn(start).join().map_err(|_| io::Error::other("the probe's thread panicked"))?
    })
}

/// Whether the system lets this thread run before all others.
fn set_real_time() -> bool {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut chrt = Command::new("chrt");
    chrt.args(["--fifo", "--pid", PRIORITY, &thread]);
    chrt.output().is_ok_and(|output| output.status.success())
}

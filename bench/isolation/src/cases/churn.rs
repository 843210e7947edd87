//! Steady traffic beside clients that connect, subscribe and leave.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wisp_wire::QoS;

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Acks, Client, Options};
use crate::load::{Plan, Publishers, Receivers};
use crate::setup::Setup;

const PAIRS: usize = 10;
const RATE_PER_S: f64 = 20_000.0;
const CHURN_PER_S: f64 = 1000.0;
const THREADS: u64 = 4;
const PAYLOAD_BYTES: usize = 1024;
const TICK: Duration = Duration::from_millis(5);
const WARM_UP: Duration = Duration::from_millis(1500);
const TIME: Duration = Duration::from_secs(5);

pub(super) const CASE: Case = Case {
    name: "churn",
    section: Section::Work,
    question: "10 publishers send 20,000 messages a second over 10,000 topics to 10 subscribers, first alone, then beside 1,000 \
               clients a second that connect, subscribe and leave. The cost of these alone is taken off.",
    figures: &[
        Figure { name: "ratio", title: "CPU a message, with churn by quiet", target: Target::AtMost(1.1) },
        Figure { name: "quiet_us", title: "quiet, µs", target: Target::None },
        Figure { name: "churned_us", title: "with churn, µs", target: Target::None },
        Figure { name: "round_us", title: "CPU of a client that comes and goes, µs", target: Target::None },
        Figure { name: "rounds_per_s", title: "of them a second", target: Target::None },
    ],
    setup: Setup { wisp: &Setup::MANY_CONNECTIONS, ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let topics = attack.size(1000, 10);
    let mut subscribers = Vec::new();
    for number in 0..PAIRS {
        let mut client = Client::connect(attack.address(), &format!("subscriber{number}"), &Options::default())?;
        let filters: Vec<_> = (0..topics).map(|topic| format!("load/{number}/{topic}")).collect();
        client.subscribe(&filters, QoS::AtMostOnce)?;
        subscribers.push(client);
    }
    let receivers = Receivers::start(subscribers, attack.clock, Acks::All)?;
    let plan = Plan {
        count: PAIRS,
        name: "publisher",
        rate_per_s: Some(RATE_PER_S),
        tick: TICK,
        qos: QoS::AtMostOnce,
        payload_bytes: PAYLOAD_BYTES,
        topic: Box::new(move |publisher, number| format!("load/{publisher}/{}", number % topics)),
    };
    let publishers = Publishers::start(attack.address(), plan, attack.clock)?;
    attack.pause(WARM_UP);
    let quiet = Measured::over(attack, || receivers.received())?;
    let churn = Churn::start(attack.address());
    attack.pause(WARM_UP);
    let rounds = churn.rounds();
    let mixed = Measured::over(attack, || receivers.received())?;
    let rounds = churn.rounds() - rounds;
    publishers.finish()?;
    receivers.finish()?;
    attack.pause(WARM_UP);
    let alone = Measured::over(attack, || churn.rounds())?;
    churn.finish()?;
    let (quiet_us, round_us) = (quiet.us_each(), alone.us_each());
    let churned_us = (mixed.cpu_s * 1e6 - round_us * rounds as f64) / mixed.count.max(1) as f64;
    Ok(Outcome::default()
        .with("ratio", churned_us / quiet_us)
        .with("quiet_us", quiet_us)
        .with("churned_us", churned_us)
        .with("round_us", round_us)
        .with("rounds_per_s", rounds as f64 / mixed.seconds))
}

/// Processor time for a number of things.
struct Measured {
    cpu_s: f64,
    count: u64,
    seconds: f64,
}

impl Measured {
    fn over(attack: &Attack<'_>, count: impl Fn() -> u64) -> io::Result<Self> {
        let (begun, before) = (Instant::now(), count());
        let cpu_s = attack.cpu_s(|| {
            attack.pause(TIME);
            Ok(())
        })?;
        Ok(Self { cpu_s, count: count() - before, seconds: begun.elapsed().as_secs_f64() })
    }

    fn us_each(&self) -> f64 {
        self.cpu_s * 1e6 / self.count.max(1) as f64
    }
}

/// Threads of clients that come and go.
struct Churn {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Churn {
    fn start(address: SocketAddr) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..THREADS)
            .map(|thread| {
                let (stop, rounds) = (stop.clone(), rounds.clone());
                thread::spawn(move || come_and_go(address, thread, &stop, &rounds))
            })
            .collect();
        Self { stop, rounds, threads }
    }

    fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    fn finish(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| io::Error::other("a client's thread panicked"))?;
        }
        Ok(())
    }
}

/// A round that fails is not counted, so that the rate shows it.
fn come_and_go(address: SocketAddr, thread: u64, stop: &AtomicBool, rounds: &AtomicU64) {
    let (begun, mut made) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        if made as f64 > begun.elapsed().as_secs_f64() * CHURN_PER_S / THREADS as f64 {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        let number = made * THREADS + thread;
        made += 1;
        let round = || -> io::Result<()> {
            let mut client = Client::connect(address, &format!("churn{number}"), &Options::default())?;
            client.subscribe(&[format!("own/{number}")], QoS::AtMostOnce)?;
            client.disconnect()
        };
        if round().is_ok() {
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    }
}

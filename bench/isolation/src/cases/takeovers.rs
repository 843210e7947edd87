//! Many connections with one client identifier, each of which takes over a session with a full window, and reads nothing.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wisp_wire::QoS;

use super::memory::{GIVE_BACK_TIME, P50, peak_mib, publish_all, rss_mib};
use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Client, Options};
use crate::load::Probe;
use crate::setup::Setup;

const CLIENT: &str = "wanted-by-all";
const TOPIC: &str = "to/wanted";
/// More than the window of 1,024.
const MESSAGES: usize = 1300;
const PAYLOAD_BYTES: usize = 3000;
/// Connections that stay open behind the newest one.
const OPEN_MAX: usize = 1000;
const RATE_PER_S: f64 = 1000.0;
const THREADS: usize = 4;
const TIME: Duration = Duration::from_secs(8);

pub(super) const CASE: Case = Case {
    name: "takeovers",
    section: Section::Memory,
    question: "1,000 clients take over one session with 1,024 unacknowledged messages of 3 KB from each other, up to 1,000 times \
               a second for 8 s, and read nothing; Wisp with buffered-bytes-max of 64 MiB.",
    figures: &[
        Figure { name: "peak_mib", title: "peak, MiB", target: Target::AtMost(164.0) },
        Figure { name: "left_mib", title: "more than before after 10 s, MiB", target: Target::AtMost(16.0) },
        Figure { name: "p99_ms", title: "p99 of a probe, ms", target: Target::AtMost(20.0) },
        P50,
        Figure { name: "takeovers_per_s", title: "takeovers a second", target: Target::None },
    ],
    setup: Setup { wisp: &["--buffered-bytes-max", "67108864"], ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let address = attack.address();
    let mut first = Client::connect(address, CLIENT, &Options::kept())?;
    first.subscribe(&[TOPIC], QoS::AtLeastOnce)?;
    first.disconnect()?;
    publish_all(attack, (0..MESSAGES).map(|_| TOPIC.to_owned()), PAYLOAD_BYTES)?;
    let before_mib = rss_mib(attack)?;
    let probe = Probe::start(address, attack.clock)?;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (stop, count) = (stop.clone(), count.clone());
            thread::spawn(move || take_over(address, &stop, &count))
        })
        .collect();
    attack.pause(TIME);
    stop.store(true, Ordering::Relaxed);
    let per_s = count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a client's thread panicked"))?;
    }
    let latencies = probe.finish()?;
    attack.pause(GIVE_BACK_TIME);
    Ok(Outcome::default()
        .with("peak_mib", peak_mib(attack)?)
        .with("before_mib", before_mib)
        .with("left_mib", rss_mib(attack)? - before_mib)
        .with("takeovers_per_s", per_s)
        .with_latencies(&latencies))
}

/// Connects at its share of the rate. A refused connection is no takeover.
fn take_over(address: SocketAddr, stop: &AtomicBool, count: &AtomicU64) {
    let (begun, mut made, mut open) = (Instant::now(), 0, VecDeque::new());
    while !stop.load(Ordering::Relaxed) {
        if f64::from(made) > begun.elapsed().as_secs_f64() * RATE_PER_S / THREADS as f64 {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        made += 1;
        if let Ok(client) = Client::connect_unanswered(address, CLIENT, &Options::kept()) {
            count.fetch_add(1, Ordering::Relaxed);
            open.push_back(client);
            if open.len() > OPEN_MAX / THREADS {
                open.pop_front();
            }
        }
    }
}

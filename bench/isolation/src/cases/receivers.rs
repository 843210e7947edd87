//! A healthy subscriber beside one that does not keep up, on the topics of 50 publishers.
//!
//! ```text
//!   second 0         4                                             the end
//!   50 publishers, 4,000 messages of 1 KB a second together
//!   healthy subscriber: counted from second 1 on
//!                    bad subscriber joins
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wisp_wire::QoS;

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Acks, Client, Options};
use crate::load::{Plan, Publishers, Received, Receivers};
use crate::setup::{Peers, Setup};

const PUBLISHERS: usize = 50;
const RATE_PER_S: f64 = 4000.0;
const PAYLOAD_BYTES: usize = 1024;
const TICK: Duration = Duration::from_millis(10);
const FILTER: &str = "plant/#";
const SHARED_FILTER: &str = "$share/group/plant/#";
/// The second in which the bad subscriber joins; in a quick run the one after the first.
const JOINS_AT_S: u64 = 4;
/// Its receive buffer, so that the kernel does not take messages in its place for long.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// How often it looks whether the case is over.
const STEP: Duration = Duration::from_millis(100);
const RECONNECT_EVERY: Duration = Duration::from_secs(3);
/// How long the last messages may take to the healthy subscriber.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const WINDOW_S: usize = 10;

const FIGURES: &[Figure] = &[
    Figure { name: "second_min_percent", title: "worst second, % of the rate", target: Target::AtLeast(90.0) },
    Figure { name: "window_min_percent", title: "worst 10 s, % of the rate", target: Target::AtLeast(99.0) },
    Figure { name: "p50_ms", title: "p50, ms", target: Target::None },
    Figure { name: "p99_ms", title: "p99, ms", target: Target::AtMost(50.0) },
    Figure { name: "ping_max_ms", title: "longest PINGREQ, ms", target: Target::AtMost(1000.0) },
    Figure { name: "lost", title: "lost for the healthy one", target: Target::AtMost(0.0) },
    Figure { name: "ended", title: "healthy clients disconnected", target: Target::AtMost(0.0) },
];

/// How the second subscriber is bad.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Bad {
    /// It reads nothing.
    Silent,
    /// It reads nothing, and connects anew every three seconds, long enough to be full each time.
    Reconnecting,
    /// The second receiver reads this many bytes a second.
    Slow(usize),
    /// It reads everything and acknowledges nothing.
    NoPuback,
    /// It reads nothing, and is the only member of a shared subscription.
    SilentMember,
}

pub(super) const SILENT_QOS0: Case = Case {
    name: "receiver-silent-qos0",
    section: Section::Receivers,
    question: "A second subscriber at QoS 0 reads nothing: does the healthy one still get 4,000 messages a second?",
    figures: FIGURES,
    setup: Setup::DEFAULTS,
    run: |attack| run(attack, QoS::AtMostOnce, Bad::Silent),
};

pub(super) const SILENT_QOS1: Case = Case {
    name: "receiver-silent-qos1",
    question: "The same at QoS 1.",
    run: |attack| run(attack, QoS::AtLeastOnce, Bad::Silent),
    ..SILENT_QOS0
};

pub(super) const RECONNECTING: Case = Case {
    name: "receiver-reconnecting",
    question: "The second subscriber reads nothing and connects anew every 3 s: does each connection cost the others again?",
    run: |attack| run(attack, QoS::AtMostOnce, Bad::Reconnecting),
    ..SILENT_QOS0
};

pub(super) const READS_25_KB: Case = Case {
    name: "receiver-25-kb",
    question: "The second subscriber reads 25 kB/s of 4 MB/s.",
    run: |attack| run(attack, QoS::AtMostOnce, Bad::Slow(25_000)),
    ..SILENT_QOS0
};

pub(super) const READS_200_KB: Case = Case {
    name: "receiver-200-kb",
    question: "The second subscriber reads 200 kB/s of 4 MB/s, as over a line of 1.5 Mbit/s.",
    run: |attack| run(attack, QoS::AtMostOnce, Bad::Slow(200_000)),
    ..SILENT_QOS0
};

pub(super) const NO_PUBACK: Case = Case {
    name: "receiver-no-puback",
    question: "The second subscriber at QoS 1 reads everything and never acknowledges.",
    run: |attack| run(attack, QoS::AtLeastOnce, Bad::NoPuback),
    ..SILENT_QOS0
};

pub(super) const SILENT_MEMBER: Case = Case {
    name: "receiver-silent-member",
    question: "The second subscriber is the only member of a shared subscription at QoS 1, and reads nothing.",
    setup: Setup { peers: Peers::Mosquitto, ..Setup::DEFAULTS },
    run: |attack| run(attack, QoS::AtLeastOnce, Bad::SilentMember),
    ..SILENT_QOS0
};

fn run(attack: &Attack<'_>, qos: QoS, bad: Bad) -> io::Result<Outcome> {
    let address = attack.address();
    let mut healthy = Client::connect(address, "healthy", &Options::default())?;
    healthy.subscribe(&[FILTER], qos)?;
    let healthy = Receivers::start(vec![healthy], attack.clock, Acks::All)?;
    let plan = Plan {
        count: PUBLISHERS,
        name: "publisher",
        rate_per_s: Some(RATE_PER_S),
        tick: TICK,
        qos,
        payload_bytes: PAYLOAD_BYTES,
        topic: Box::new(|publisher, _| format!("plant/{publisher}")),
    };
    let publishers = Publishers::start(address, plan, attack.clock)?;
    let first = attack.clock.elapsed().as_secs() as usize + 1;
    let joins_at = Duration::from_secs(attack.size(JOINS_AT_S, 1));
    thread::sleep(joins_at.saturating_sub(attack.clock.elapsed()));
    let bad = BadSubscriber::start(address, qos, bad)?;
    let end = Duration::from_secs(attack.seconds);
    while attack.clock.elapsed() < end && attack.subject.has_died().is_none() {
        thread::sleep(STEP);
    }
    let rss_bytes = attack.usage()?.rss_bytes;
    let published = publishers.finish()?;
    let bad_bytes = bad.finish()?;
    healthy.wait_for(published.sent, DRAIN_TIMEOUT);
    let received = healthy.finish()?;
    let seconds = whole_seconds(&received, first, attack.seconds as usize);
    Ok(Outcome {
        per_second: seconds.clone(),
        ..Outcome::default()
            .with("second_min_percent", worst_percent(&seconds, 1))
            .with("window_min_percent", worst_percent(&seconds, WINDOW_S))
            .with("ping_max_ms", published.ping_max_us as f64 / 1000.0)
            .with("lost", (published.sent + published.unsent).saturating_sub(received.count) as f64)
            .with("ended", (published.ended + received.ended) as f64)
            .with("bad_bytes_per_s", bad_bytes as f64 / attack.seconds as f64)
            .with("rss_mib", crate::case::mib(rss_bytes))
            .with_latencies(&received.latencies_us)
    })
}

/// The messages of each whole second of the run.
fn whole_seconds(received: &Received, first: usize, end: usize) -> Vec<u64> {
    (first..end).map(|second| received.per_second.get(second).copied().unwrap_or(0)).collect()
}

/// The fewest messages that the healthy receiver got in any window of this many seconds, in percent of the rate. A run shorter
/// than the window counts as one window.
fn worst_percent(per_second: &[u64], seconds: usize) -> f64 {
    let seconds = seconds.clamp(1, per_second.len().max(1));
    let fewest = per_second.windows(seconds).map(|window| window.iter().sum::<u64>()).min().unwrap_or(0);
    100.0 * fewest as f64 / (RATE_PER_S * seconds as f64)
}

/// The thread of the second subscriber.
struct BadSubscriber {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u64>>,
}

impl BadSubscriber {
    fn start(address: SocketAddr, qos: QoS, bad: Bad) -> io::Result<Self> {
        let filter = if bad == Bad::SilentMember { SHARED_FILTER } else { FILTER };
        let client = connect_bad(address, qos, filter)?;
        let stop = Arc::new(AtomicBool::new(false));
        let of_thread = stop.clone();
        let thread = thread::Builder::new().name("bad".to_owned()).spawn(move || match bad {
            Bad::NoPuback => read_without_puback(client, &of_thread),
            Bad::Slow(bytes_per_s) => read_slowly(client, bytes_per_s, &of_thread),
            Bad::Silent | Bad::SilentMember | Bad::Reconnecting => {
                let reconnects = bad == Bad::Reconnecting;
                stay_silent(client, || connect_bad(address, qos, filter), reconnects, &of_thread)
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it and returns the number of bytes that it has read.
    fn finish(self) -> io::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the bad subscriber's thread panicked"))?
    }
}

fn connect_bad(address: SocketAddr, qos: QoS, filter: &str) -> io::Result<Client> {
    let options = Options { receive_buffer_bytes: Some(RECEIVE_BUFFER_BYTES), ..Options::default() };
    let mut client = Client::connect(address, "bad", &options)?;
    client.subscribe(&[filter], qos)?;
    Ok(client)
}

fn stay_silent(
    client: Client,
    connect: impl Fn() -> io::Result<Client>,
    reconnects: bool,
    stop: &AtomicBool,
) -> io::Result<u64> {
    let (mut client, mut since) = (client, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(STEP);
        if reconnects && since.elapsed() >= RECONNECT_EVERY {
            // The new connection takes over from the old one, which stays open until then.
            client = connect()?;
            since = Instant::now();
        }
    }
    drop(client);
    Ok(0)
}

/// Reads a tenth of the rate ten times a second, until the broker ends the connection.
fn read_slowly(client: Client, bytes_per_s: usize, stop: &AtomicBool) -> io::Result<u64> {
    use std::io::Read;
    let mut stream = client.stream();
    client.set_nonblocking()?;
    let (mut buffer, mut bytes, mut is_open) = (vec![0; bytes_per_s / 10], 0, true);
    while !stop.load(Ordering::Relaxed) {
        if is_open {
            match stream.read(&mut buffer) {
                Ok(0) => is_open = false,
                Ok(count) => bytes += count as u64,
                Err(error) => is_open = crate::client::is_timeout(&error),
            }
        }
        thread::sleep(STEP);
    }
    Ok(bytes)
}

fn read_without_puback(mut client: Client, stop: &AtomicBool) -> io::Result<u64> {
    client.set_read_timeout(STEP)?;
    let (mut bytes, mut is_open) = (0, true);
    while !stop.load(Ordering::Relaxed) {
        if is_open {
            let read = client.receive_messages(Acks::None, |publish| bytes += publish.payload.len() as u64);
            is_open = read.is_ok();
        } else {
            thread::sleep(STEP);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_window_is_found_wherever_it_is() {
        let mut seconds = vec![4000; 20];
        assert_eq!((worst_percent(&seconds, 1), worst_percent(&seconds, 10)), (100.0, 100.0));
        seconds[13] = 0;
        assert_eq!((worst_percent(&seconds, 1), worst_percent(&seconds, 10)), (0.0, 90.0));
        assert_eq!(worst_percent(&seconds[10..14], 10), 75.0);
        assert_eq!(worst_percent(&[], 10), 0.0);
    }
}

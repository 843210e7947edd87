//! A probe beside clients that try wrong passwords.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wisp_wire::Packet;

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Client, Options};
use crate::load::Probe;
use crate::setup::{Peers, Setup};

const TRIES_PER_S: f64 = 1000.0;
const THREADS: u64 = 4;
const WARM_UP: Duration = Duration::from_millis(1500);
const TIME: Duration = Duration::from_secs(12);
/// A client that has no answer after this time goes.
const PATIENCE: Duration = Duration::from_secs(6);

const USER_PBKDF2: &str = "joe:$7$1000$MDEyMzQ1Njc4OWFi$nkySrmcGBYMokBTZJ5jd1uWiPHx/oSnjtDXaVhyz39ZRm+X6o5ldk1PVgdrInYLNKwjHFTtiHytUYXvRq81EHA==\n";
const USER_ARGON2ID: &str = "joe:$argon2id$v=19$m=47104,t=1,p=1$hNcZgs+r6xALB6mrhUK6fo1U+WoB0jwu2NEyFeI74Rel/LCp7x9+wvbwh76uUSgC/HHnfKXJlVHoq5leHcYxQQ$ZWNMcZqUVJlCF7xn/hPAJmHcC/KzZNfKgai+d+AMQBg0sUJH+pc9Zt4oJCoOx95iQDzRAFOdsfX/2KojJ6O4Bw\n";

pub(super) const PBKDF2: Case = Case {
    name: "wrong-passwords",
    section: Section::Work,
    question: "A probe at QoS 1, first alone, then beside 1,000 clients a second that connect with a wrong password, checked by PBKDF2 \
               with 1,000 rounds, mosquitto 2.1's default.",
    figures: &[
        Figure { name: "p99_ratio", title: "p99 of a probe, with tries by quiet", target: Target::AtMost(2.0) },
        Figure { name: "quiet_p99_ms", title: "quiet, ms", target: Target::None },
        Figure { name: "p99_ms", title: "with tries, ms", target: Target::None },
        Figure { name: "tries_per_s", title: "tries a second", target: Target::None },
        Figure { name: "answers_per_s", title: "of them refused or ended a second", target: Target::None },
        Figure { name: "let_in", title: "let in", target: Target::AtMost(0.0) },
        Figure { name: "cpu_percent", title: "CPU, % of a core", target: Target::None },
    ],
    setup: Setup {
        wisp: &Setup::MANY_CONNECTIONS,
        users: Some(USER_PBKDF2),
        peers: Peers::Mosquitto,
        ..Setup::DEFAULTS
    },
    run,
};

pub(super) const ARGON2ID: Case = Case {
    name: "wrong-passwords-argon2id",
    question: "The same with a hash of wisp passwd, which mosquitto 2.0 does not read.",
    setup: Setup { users: Some(USER_ARGON2ID), peers: Peers::None, ..PBKDF2.setup },
    ..PBKDF2
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let quiet = probe(attack)?;
    let tries = Tries::start(attack.address());
    let (before, begun) = (tries.counts(), Instant::now());
    let mut beside = Vec::new();
    let cpu_s = attack.cpu_s(|| {
        beside = probe(attack)?;
        Ok(())
    })?;
    let (after, seconds) = (tries.counts(), begun.elapsed().as_secs_f64());
    tries.finish()?;
    let [quiet_p99, p99] = [&quiet, &beside].map(|latencies| p99_ms(latencies));
    let per_s = |index: usize| (after[index] - before[index]) as f64 / seconds;
    Ok(Outcome::default()
        .with("p99_ratio", p99 / quiet_p99)
        .with("quiet_p99_ms", quiet_p99)
        .with("p99_ms", p99)
        .with("tries_per_s", per_s(0))
        .with("answers_per_s", per_s(1))
        .with("let_in", after[2] as f64)
        .with("cpu_percent", 100.0 * cpu_s / seconds))
}

/// The latencies of a probe over a while, sorted.
fn probe(attack: &Attack<'_>) -> io::Result<Vec<u32>> {
    let probe = Probe::start(attack.address(), attack.clock)?;
    attack.pause(WARM_UP);
    probe.forget();
    attack.pause(TIME);
    probe.finish()
}

fn p99_ms(latencies_us: &[u32]) -> f64 {
    let at = latencies_us.len().saturating_sub(1) * 99 / 100;
    latencies_us.get(at).map_or(f64::NAN, |latency| f64::from(*latency) / 1000.0)
}

/// Threads of clients with wrong passwords.
struct Tries {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Clients that connected; of them the ones that were refused or ended; and the ones that were let in.
    counts: [AtomicU64; 3],
}

impl Tries {
    fn start(address: SocketAddr) -> Self {
        let shared = Arc::<Shared>::default();
        let start = |thread| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.try_on(address, thread))
        };
        let threads = (0..THREADS).map(start).collect();
        Self { shared, threads }
    }

    fn counts(&self) -> [u64; 3] {
        [0, 1, 2].map(|index| self.shared.counts[index].load(Ordering::Relaxed))
    }

    fn finish(self) -> io::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| io::Error::other("a client's thread panicked"))?;
        }
        Ok(())
    }
}

impl Shared {
    /// Begins tries at the rate and does not wait for their answers, so that a broker that is slow to answer gets as many.
    fn try_on(&self, address: SocketAddr, thread: u64) {
        let (begun, mut made, mut waiting) = (Instant::now(), 0_u64, VecDeque::new());
        while !self.stop.load(Ordering::Relaxed) {
            self.settle(&mut waiting);
            if made as f64 > begun.elapsed().as_secs_f64() * TRIES_PER_S / THREADS as f64 {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            made += 1;
            // Each another one, since a broker may remember.
            let id = format!("guess{}", made * THREADS + thread);
            let options = Options { user: Some(("joe", id.clone())), ..Options::default() };
            // One that fails is not counted, so that the rate shows it.
            let client = Client::connect_unanswered(address, &id, &options);
            if let Ok(client) = client.and_then(|client| client.set_nonblocking().map(|()| client)) {
                self.counts[0].fetch_add(1, Ordering::Relaxed);
                waiting.push_back((Instant::now(), client));
            }
        }
    }

    /// Removes the oldest clients that have an answer, or have waited long enough.
    fn settle(&self, waiting: &mut VecDeque<(Instant, Client)>) {
        while let Some((since, client)) = waiting.front_mut() {
            let mut is_let_in = false;
            let answer = client.receive(|packet| {
                is_let_in |= matches!(packet, Packet::ConnAck(ack) if !ack.code.is_error());
            });
            match answer {
                Ok(false) if since.elapsed() < PATIENCE => return,
                Ok(false) => {}
                Ok(true) | Err(_) => {
                    self.counts[1].fetch_add(1, Ordering::Relaxed);
                    self.counts[2].fetch_add(u64::from(is_let_in), Ordering::Relaxed);
                }
            }
            waiting.pop_front();
        }
    }
}

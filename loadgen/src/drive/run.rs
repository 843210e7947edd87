//! One run: connect, start all threads together, watch until everything has come or nothing moves any more.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wisp_client::{ProtocolVersion, QoS};
use wisp_net::{Host, SysHost};

use crate::drive::busy::Busy;
use crate::drive::checker::Tally;
use crate::drive::latency::Latency;
use crate::drive::pattern::Pattern;
use crate::drive::payload::RUN_BITS;
use crate::drive::results::Results;
use crate::drive::schedule::Schedule;
use crate::drive::setup::{Plan, deal};
use crate::drive::shared::Shared;
use crate::drive::supervise::supervise;
use crate::drive::target::Target;
use crate::drive::timing::Histograms;
use crate::drive::worker::{Findings, Link, Worker};
use crate::failure::Interrupt;

/// What one send carries, if the socket takes it: larger ones leave the processor's cache and gain nothing.
const SEND_BYTES: usize = 256 * 1024;

/// Into what one receive goes. Messages that are longer than half of it are put together elsewhere.
const SCRATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is to be run. Start from [`Config::new`] and change fields.
#[derive(Clone, Debug)]
pub struct Config {
    /// The broker, and its protocol.
    pub target: Target,
    /// The MQTT version to speak, where that is the protocol.
    pub version: ProtocolVersion,
    /// The QoS to send and to subscribe with. NATS has 0 alone.
    pub qos: QoS,
    /// At QoS 1 and 2, messages of each sender that may be unacknowledged at once; at least one.
    pub window: u16,
    /// Connections that send; at least one.
    pub senders: u32,
    /// Connections that receive.
    pub receivers: u32,
    /// Who of them gets what.
    pub pattern: Pattern,
    /// How many topics there are; by default as many as the pattern needs.
    pub topics: Option<u32>,
    /// Bytes of each message; at least those of the header.
    pub size: usize,
    /// Messages of all senders together.
    pub messages: u64,
    /// Threads of the generator; at least one.
    pub threads: usize,
    /// What topics begin with; by default one of its own for each run.
    pub topic_prefix: Option<String>,
    /// Messages a second of all senders together, each at its time, and with latency; above zero. None for full speed, where a
    /// latency would tell only how much waits in the broker's buffers.
    pub rate_per_s: Option<f64>,
    /// How long nothing may move before the run is given up.
    pub timeout: Duration,
    /// How long the run may take, with connecting, before it is given up, whether something moves or not.
    pub duration_max: Option<Duration>,
}

impl Config {
    /// 1000 messages of 100 bytes from one sender to one receiver, with MQTT 3.1.1 at QoS 0 where that is the protocol, as fast
    /// as they go, by two threads. It is given up when nothing has moved for a minute.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            version: ProtocolVersion::Mqtt311,
            qos: QoS::AtMostOnce,
            window: 1000,
            senders: 1,
            receivers: 1,
            pattern: Pattern::OneToOne,
            topics: None,
            size: 100,
            messages: 1000,
            threads: 2,
            topic_prefix: None,
            rate_per_s: None,
            timeout: Duration::from_secs(60),
            duration_max: None,
        }
    }

    /// When messages are due, where there is a rate.
    pub(crate) fn schedule(&self) -> Option<Schedule> {
        self.rate_per_s.map(|rate_per_s| Schedule::new(rate_per_s, self.senders))
    }
}

/// How far a run has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Messages handed to sockets.
    pub sent: u64,
    /// Different messages received.
    pub received: u64,
    /// Since all was connected and the sending began.
    pub elapsed: Duration,
}

/// Follows a run, and may end it. `()` lets it be.
pub trait Watch: Sync {
    /// All is connected and subscribed, and the first message is about to be sent.
    fn begins(&self) {}

    /// All has come, or the run was given up; nothing is closed yet.
    fn ends(&self) {}

    /// Called about ten times a second while messages are sent and received, from the thread that called [`run`].
    fn progress(&self, progress: Progress);

    /// Whether the run is to end now. It then gives what was found so far, with an error that says so; if it was not all
    /// connected yet, it fails. Asked more often than that, so that it should take no time.
    fn is_interrupted(&self) -> bool;
}

impl Watch for () {
    fn progress(&self, _: Progress) {}

    fn is_interrupted(&self) -> bool {
        false
    }
}

/// A run ends on an interrupt.
impl Watch for Interrupt {
    fn progress(&self, _: Progress) {}

    fn is_interrupted(&self) -> bool {
        self.check().is_err()
    }
}

/// Runs it, and gives what was found, also when that is bad.
///
/// # Errors
/// Why the run could not start, in one line.
pub fn run(config: &Config, watch: &dyn Watch) -> Result<Results, String> {
    if config.rate_per_s.is_some_and(|rate_per_s| !(rate_per_s.is_finite() && rate_per_s > 0.0)) {
        return Err("a rate is a number of messages a second above zero".to_owned());
    }
    let begun = Instant::now();
    let plan = Plan::new(config, run_id())?;
    let (receivers, senders) = plan.connect(begun, watch)?;
    let hands = deal_out(receivers, senders, config.threads);
    let shared = Arc::new(Shared::new(hands.len()));
    let scratch_bytes = SysHost.capabilities().recv_bytes.max((2 * plan.packet_bytes_max()).min(SCRATCH_BYTES_MAX));
    let mut workers = Vec::new();
    for (index, links) in hands.into_iter().enumerate() {
        let (outgoing, shared) = (plan.outgoing(SEND_BYTES), Arc::clone(&shared));
        let worker = Worker::new(links, outgoing, scratch_bytes, config.schedule(), shared, index);
        workers.push(worker.map_err(|error| format!("cannot wait for sockets: {error}"))?);
    }
    let threads = spawn(workers, &shared)?;
    watch.begins();
    shared.start();
    let error = supervise(&shared, config, begun, plan.topics.layout().expected(), watch);
    watch.ends();
    shared.stop.store(true, Ordering::Relaxed);
    let findings = threads.into_iter().map(|thread| thread.join().expect("a worker that panics is a bug"));
    Ok(results(&plan, findings, error))
}

/// A thread for each worker, or none.
fn spawn(workers: Vec<Worker>, shared: &Shared) -> Result<Vec<JoinHandle<Findings>>, String> {
    let (mut threads, wanted) = (Vec::new(), workers.len());
    for worker in workers {
        match thread::Builder::new().spawn(|| worker.run()) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                shared.abandon();
                let started = threads.len();
                threads.into_iter().for_each(|thread| drop(thread.join()));
                return Err(format!("the system lets only {started} of {wanted} threads be started: {error}"));
            }
        }
    }
    Ok(threads)
}

/// Which thread gets what: one gets everything; of more, one half gets the receivers and the other the senders, so
/// that neither waits for the other.
fn deal_out(receivers: Vec<Link>, senders: Vec<Link>, threads: usize) -> Vec<Vec<Link>> {
    let for_receivers = (threads / 2).min(receivers.len());
    if for_receivers == 0 {
        // The receivers, if any, are first in the one hand.
        let for_senders = threads.min(senders.len());
        return deal(receivers.into_iter().chain(senders).collect(), for_senders);
    }
    let for_senders = (threads - for_receivers).min(senders.len());
    let mut hands = deal(receivers, for_receivers);
    hands.extend(deal(senders, for_senders));
    hands
}

fn results(plan: &Plan<'_>, findings: impl Iterator<Item = Findings>, error: Option<String>) -> Results {
    let mut all = Findings::default();
    let (mut times, mut histograms) = (Vec::new(), Histograms::default());
    for one in findings {
        times.push(one.times);
        one.histograms.iter().for_each(|one| histograms.add(one));
        all.checkers.extend(one.checkers);
        all.sent.extend(one.sent);
        all.first_send = all.first_send.into_iter().chain(one.first_send).min();
        all.last_send = all.last_send.max(one.last_send);
        all.window = all.window.into_iter().chain(one.window).min();
        all.last_message = all.last_message.max(one.last_message);
        all.last_answer = all.last_answer.max(one.last_answer);
    }
    let config = plan.config;
    let last = if config.receivers == 0 { all.last_answer } else { all.last_message };
    let elapsed = all.first_send.zip(last).map(|(first, last)| last.saturating_duration_since(first));
    let elapsed = elapsed.unwrap_or_default();
    let sending = all.first_send.zip(all.last_send).map(|(first, last)| last.saturating_duration_since(first));
    all.sent.sort_unstable();
    let sent: Vec<u64> = all.sent.iter().map(|(_, sent)| *sent).collect();
    let mut tally = Tally::default();
    all.checkers.iter().for_each(|checker| tally.add(checker.tally()));
    let busy = Busy::new(&times, elapsed);
    let mut results = Results {
        latency: Latency::of(&histograms.end_to_end),
        acknowledgement: Latency::of(&histograms.acknowledgement),
        send_lag: Latency::of(&histograms.send_lag),
        generator_cpu_s: busy.map(|busy| busy.cpu_s),
        generator_busy: busy.map(|busy| busy.share),
        generator_waiting: busy.map(|busy| busy.waiting_share),
        is_generator_saturated: busy.and_then(|busy| busy.is_saturated),
        ..Results::new(config, elapsed, sent.iter().sum(), &tally, error)
    };
    if let Some(seconds) = sending.map(|sending| sending.as_secs_f64()).filter(|seconds| *seconds > 0.0) {
        results.sent_per_s = results.sent as f64 / seconds;
    }
    results.window = all.window.or(results.window);
    if !results.is_good() {
        results.first_faults = plan.first_faults(&all.checkers, &sent);
    }
    results
}

/// A number that no other run has, most likely.
fn run_id() -> u32 {
    // The upper bits are as random as the whole.
    (RandomState::new().build_hasher().finish() >> (u64::BITS - RUN_BITS)) as u32
}

//! One run: connect, start all threads together, watch until everything has come or nothing moves any more.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use wisp_client::{ProtocolVersion, QoS};
use wisp_net::{Host, SysHost};

use crate::drive::checker::Tally;
use crate::drive::pattern::Pattern;
use crate::drive::payload::RUN_BITS;
use crate::drive::results::Results;
use crate::drive::setup::{Plan, deal};
use crate::drive::target::Target;
use crate::drive::worker::{Done, Findings, Link, Shared, Worker};

/// What one send carries, if the socket takes it: larger ones leave the processor's cache and gain nothing.
const SEND_BYTES: usize = 256 * 1024;
/// How often the supervisor looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long to go on receiving after the last message that was expected, so that one that comes twice is seen.
const SETTLE: Duration = Duration::from_millis(100);

/// What is to be run.
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
    /// How long nothing may move before the run is given up.
    pub timeout: Duration,
}

/// Runs it, and gives what was found, also when that is bad.
///
/// # Errors
/// Why the run could not start, in one line.
pub fn run(config: &Config) -> Result<Results, String> {
    let plan = Plan::new(config, run_id())?;
    let (receivers, senders) = plan.connect()?;
    let hands = deal_out(receivers, senders, config.threads);
    let shared = Arc::new(Shared::new(hands.len()));
    let scratch_bytes = SysHost.capabilities().recv_bytes.max(2 * plan.packet_bytes_max());
    let mut workers = Vec::new();
    for (index, links) in hands.into_iter().enumerate() {
        let worker = Worker::new(links, plan.outgoing(SEND_BYTES), scratch_bytes, Arc::clone(&shared), index);
        workers.push(worker.map_err(|error| format!("cannot wait for sockets: {error}"))?);
    }
    let threads: Vec<_> = workers.into_iter().map(|worker| thread::spawn(|| worker.run())).collect();
    shared.start.wait();
    let error = supervise(&shared, config, plan.topics.layout().expected());
    shared.stop.store(true, Ordering::Relaxed);
    let findings = threads.into_iter().map(|thread| thread.join().expect("a worker that panics is a bug"));
    Ok(results(&plan, findings, error))
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

/// Watches until all is done. Gives the reason when it will never be.
fn supervise(shared: &Shared, config: &Config, expected: u64) -> Option<String> {
    let mut last = (Done::default(), Instant::now());
    loop {
        thread::park_timeout(LOOK_EVERY);
        if let Some(failure) = shared.failure() {
            return Some(failure);
        }
        let done = shared.done();
        let is_confirmed = done.confirmed == u64::from(config.senders);
        let is_complete = match (config.receivers, config.qos) {
            (0, _) => is_confirmed,
            (_, QoS::AtMostOnce) => done.received == expected,
            // A broker that does not acknowledge what it delivers is not right either.
            _ => done.received == expected && is_confirmed,
        };
        if is_complete {
            thread::sleep(SETTLE);
            return None;
        }
        if done != last.0 {
            last = (done, Instant::now());
        } else if last.1.elapsed() >= config.timeout {
            // Tells a broker that has lost messages from one that has stopped reading.
            let (seconds, Done { confirmed, .. }) = (config.timeout.as_secs(), done);
            let confirms = if config.qos == QoS::AtMostOnce { "read" } else { "acknowledged" };
            return Some(format!(
                "nothing has moved for {seconds} s; the broker has {confirms} everything of {confirmed} of {} senders",
                config.senders
            ));
        }
    }
}

fn results(plan: &Plan<'_>, findings: impl Iterator<Item = Findings>, error: Option<String>) -> Results {
    let mut all = Findings::default();
    for one in findings {
        all.checkers.extend(one.checkers);
        all.sent.extend(one.sent);
        all.first_send = all.first_send.into_iter().chain(one.first_send).min();
        all.last_message = all.last_message.max(one.last_message);
        all.last_answer = all.last_answer.max(one.last_answer);
    }
    let config = plan.config;
    let last = if config.receivers == 0 { all.last_answer } else { all.last_message };
    let elapsed = all.first_send.zip(last).map(|(first, last)| last.saturating_duration_since(first));
    all.sent.sort_unstable();
    let sent: Vec<u64> = all.sent.iter().map(|(_, sent)| *sent).collect();
    let mut tally = Tally::default();
    all.checkers.iter().for_each(|checker| tally.add(checker.tally()));
    let mut results = Results::new(config, elapsed.unwrap_or_default(), sent.iter().sum(), &tally, error);
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

//! One run: connect, start all threads together, watch until everything has come or nothing moves any more.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use wisp_net::{Host, SysHost};

use crate::drive::busy::Busy;
use crate::drive::checker::Tally;
use crate::drive::config::Config;
use crate::drive::connection::ClientConnection;
use crate::drive::error::RunError;
use crate::drive::latency::Latency;
use crate::drive::payload::RUN_BITS;
use crate::drive::results::Results;
use crate::drive::setup::{Plan, split_evenly};
use crate::drive::shared::Shared;
use crate::drive::supervise::supervise;
use crate::drive::thread_report::ThreadReport;
use crate::drive::timing::Histograms;
use crate::drive::watch::Watch;
use crate::drive::worker::Worker;

/// The bytes of one send call, if the socket accepts them. Larger ones leave the processor's cache and gain nothing.
const SEND_BYTES: usize = 256 * 1024;

/// The buffer of one receive call. Messages longer than half of it are assembled elsewhere.
const SCRATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Runs it and returns the results, good or bad.
///
/// # Errors
/// If the run could not start.
pub fn run(config: &Config, watch: &dyn Watch) -> Result<Results, RunError> {
    if config.rate_per_s.is_some_and(|rate_per_s| !(rate_per_s.is_finite() && rate_per_s > 0.0)) {
        return Err(RunError::Rate);
    }
    let begun = Instant::now();
    let plan = Plan::new(config, run_id())?;
    let (receivers, senders) = plan.connect(begun, watch)?;
    let groups = distribute(receivers, senders, config.threads);
    let shared = Arc::new(Shared::new(groups.len()));
    let scratch_bytes = SysHost.capabilities().recv_bytes.max((2 * plan.packet_bytes_max()).min(SCRATCH_BYTES_MAX));
    let mut workers = Vec::new();
    for (index, connections) in groups.into_iter().enumerate() {
        let (outgoing, shared) = (plan.outgoing(SEND_BYTES), Arc::clone(&shared));
        let worker = Worker::new(connections, outgoing, scratch_bytes, config.schedule(), shared, index);
        workers.push(worker.map_err(RunError::Poller)?);
    }
    let threads = spawn(workers, &shared)?;
    watch.begins();
    shared.start();
    let error = supervise(&shared, config, begun, plan.topics.layout().expected(), watch);
    watch.ends();
    shared.stop.store(true, Ordering::Relaxed);
    let reports = threads.into_iter().map(|thread| thread.join().expect("a worker that panics is a bug"));
    Ok(results(&plan, reports, error))
}

/// A thread for each worker, or none.
fn spawn(workers: Vec<Worker>, shared: &Shared) -> Result<Vec<JoinHandle<ThreadReport>>, RunError> {
    let (mut threads, wanted) = (Vec::new(), workers.len());
    for worker in workers {
        match thread::Builder::new().spawn(|| worker.run()) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                shared.abandon();
                let started = threads.len();
                threads.into_iter().for_each(|thread| drop(thread.join()));
                return Err(RunError::Threads { started, wanted, cause: error });
            }
        }
    }
    Ok(threads)
}

/// Distributes connections over threads. One thread gets all. Of several threads, one half gets the receivers and the
/// other half the senders, so that neither waits for the other.
fn distribute(
    receivers: Vec<ClientConnection>,
    senders: Vec<ClientConnection>,
    threads: usize,
) -> Vec<Vec<ClientConnection>> {
    let for_receivers = (threads / 2).min(receivers.len());
    if for_receivers == 0 {
        // The receivers, if any, are first in the one hand.
        let for_senders = threads.min(senders.len());
        return split_evenly(receivers.into_iter().chain(senders).collect(), for_senders);
    }
    let for_senders = (threads - for_receivers).min(senders.len());
    let mut groups = split_evenly(receivers, for_receivers);
    groups.extend(split_evenly(senders, for_senders));
    groups
}

fn results(plan: &Plan<'_>, reports: impl Iterator<Item = ThreadReport>, error: Option<String>) -> Results {
    let mut all = ThreadReport::default();
    let (mut times, mut histograms) = (Vec::new(), Histograms::default());
    for one in reports {
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

//! Runs with a rate, and runs that are watched and ended by their caller.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::fake_broker::{self, Fault};
use super::{ALL_QOS, TIMEOUT, config, faults};
use wisp_client::QoS;
use wisp_loadgen::Config;
use wisp_loadgen::Latency;
use wisp_loadgen::run;
use wisp_loadgen::{Progress, Watch};

const MS: u64 = 1_000_000;

#[test]
fn messages_are_sent_at_their_times_and_all_are_measured() {
    let address = fake_broker::start(Fault::None);
    for (qos, senders, receivers, threads) in
        [(ALL_QOS[0], 3, 2, 1), (ALL_QOS[1], 2, 5, 2), (ALL_QOS[2], 5, 3, 4), (ALL_QOS[1], 2, 0, 2)]
    {
        let config = Config { qos, threads, rate_per_s: Some(1000.0), ..config(address, senders, receivers, 500) };
        let results = run(&Config { timeout: 30 * TIMEOUT, ..config }, &()).unwrap();
        assert!(results.is_good(), "{results}");
        let count = |latency: &Option<Latency>| latency.as_ref().map_or(0, |latency| latency.count);
        let acknowledged = if qos == QoS::AtMostOnce { 0 } else { 500 };
        assert_eq!(count(&results.latency), results.received, "{results}");
        assert_eq!(count(&results.acknowledgement), acknowledged, "{results}");
        assert_eq!(count(&results.send_lag), 500, "{results}");
        // From the first to the last 499 ms pass; the first may be late, so that a little less does.
        assert!(results.seconds > 0.4 && results.seconds < 60.0, "{results}");
    }
}

#[test]
fn a_stall_shows_in_the_latency_of_all_that_was_due_in_it() {
    for qos in ALL_QOS {
        let address = fake_broker::start(Fault::Stall { at: 500, ms: 300 });
        let config = Config { qos, window: 5, rate_per_s: Some(1000.0), ..config(address, 2, 1, 2000) };
        let results = run(&Config { timeout: 30 * TIMEOUT, ..config }, &()).unwrap();
        assert_eq!((results.error.as_deref(), faults(&results)), (None, (0, 0, 0, 0)), "{qos:?}");
        let acknowledgement = results.acknowledgement.as_ref();
        assert_eq!(acknowledgement.is_some(), qos > QoS::AtMostOnce);
        for latency in results.latency.as_ref().into_iter().chain(acknowledgement) {
            assert_eq!(latency.count, 2000);
            // At most 500 messages came through before, the last of them when the 500th was due, or later. So of the
            // messages due in the first 130 ms of the stall, 130 waited for 170 ms, and 21 of the ones due in its first
            // 21 ms for 279.
            let near_94 = latency.ns_percentiles.iter().find(|(percentile, _)| *percentile == 93.6);
            assert!(near_94.is_some_and(|(_, ns)| *ns >= 150 * MS), "{qos:?} {latency}");
            assert!(latency.p99_ns >= 250 * MS && latency.max_ns >= 300 * MS, "{qos:?} {latency}");
        }
    }
}

#[test]
fn what_was_sent_in_a_second_is_not_what_came_in_one() {
    // All is sent at once, and comes after two seconds.
    let config = config(fake_broker::start(Fault::Stall { at: 1, ms: 2000 }), 1, 1, 100);
    let results = run(&Config { timeout: 30 * TIMEOUT, ..config }, &()).unwrap();
    assert!(results.is_good() && results.seconds > 1.9, "{results}");
    assert!(results.sent_per_s > 2.0 * results.messages_per_s, "{} {results}", results.sent_per_s);
}

#[test]
fn between_two_messages_nothing_has_to_move() {
    let address = fake_broker::start(Fault::None);
    // Three seconds from the first to the second.
    let config = Config { rate_per_s: Some(1.0 / 3.0), ..config(address, 1, 1, 2) };
    let results = run(&config, &()).unwrap();
    assert!(results.is_good(), "{results}");
}

#[test]
fn a_run_is_given_up_when_it_takes_too_long() {
    let address = fake_broker::start(Fault::None);
    let config = Config { rate_per_s: Some(100.0), ..config(address, 1, 1, 1_000_000) };
    let results = run(&Config { duration_max: Some(Duration::from_millis(300)), ..config }, &()).unwrap();
    let error = results.error.as_deref().unwrap_or_default();
    assert!(error.starts_with("not done after ") && results.not_sent > 0, "{error}");
}

/// Interrupts as soon as something was received.
#[derive(Default)]
struct Once {
    is_interrupted: AtomicBool,
    told: Mutex<Vec<Progress>>,
}

impl Watch for Once {
    fn progress(&self, progress: Progress) {
        self.told.lock().unwrap().push(progress);
        self.is_interrupted.fetch_or(progress.received > 0, Ordering::Relaxed);
    }

    fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }
}

#[test]
fn an_interrupt_ends_the_run_with_what_was_found() {
    let address = fake_broker::start(Fault::None);
    // Hours of messages.
    let config = Config { rate_per_s: Some(100.0), ..config(address, 2, 2, 1_000_000) };
    let (watch, begun) = (Once::default(), Instant::now());
    let results = run(&config, &watch).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(600));
    assert!(results.error.as_deref().is_some_and(|error| error.starts_with("interrupted after")), "{results}");
    let told = watch.told.lock().unwrap();
    assert!(results.received > 0 && results.received >= told.last().unwrap().received, "{results}");
    assert!(told.iter().all(|progress| progress.received <= results.received && progress.elapsed > Duration::ZERO));
    assert!(told.is_sorted_by_key(|progress| (progress.sent, progress.elapsed)));
    assert_eq!(results.latency.map(|latency| latency.count), Some(results.received));

    let watch = Once { is_interrupted: true.into(), told: Mutex::default() };
    let error = run(&config, &watch).unwrap_err().to_string();
    assert!(error.contains("interrupted") && watch.told.lock().unwrap().is_empty(), "{error}");
}

//! Watches a run until all is done, or until it is clear that it never will be.

use std::thread;
use std::time::{Duration, Instant};

use wisp_client::QoS;

use crate::drive::config::Config;
use crate::drive::shared::{Shared, ThreadProgress};
use crate::drive::watch::{Progress, Watch};

/// How often the supervisor looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often it tells.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// The time for receiving after the last expected message, so that duplicates are noticed; and after a failure, so that
/// the messages sent by a broker that died are counted.
const SETTLE: Duration = Duration::from_millis(100);

/// Watches a run until it is over. Connecting began at `run_begun`, and all receivers together expect `expected`
/// messages. Returns the reason if the run is not complete.
pub(crate) fn supervise(
    shared: &Shared,
    config: &Config,
    run_begun: Instant,
    expected: u64,
    watch: &dyn Watch,
) -> Option<String> {
    let begun = Instant::now();
    let (mut told, mut last) = (begun, (ThreadProgress::default(), begun));
    loop {
        thread::park_timeout(LOOK_EVERY);
        let (done, now) = (shared.done(), Instant::now());
        if now - told >= TELL_EVERY {
            watch.progress(Progress { sent: done.sent, received: done.received, elapsed: now - begun });
            told = now;
        }
        let has_failed = shared.has_failed();
        if has_failed || is_complete(&done, config, expected) {
            thread::sleep(SETTLE);
            // Failures after the last message do not matter.
            let connections = u64::from(config.senders) + u64::from(config.receivers);
            return if has_failed { shared.failure(connections) } else { None };
        }
        if watch.is_interrupted() {
            return Some(format!("interrupted after {:.1} s", (now - begun).as_secs_f64()));
        }
        if config.duration_max.is_some_and(|duration_max| now - run_begun >= duration_max) {
            return Some(given_up(&format!("not done after {:.1} s", (now - run_begun).as_secs_f64()), &done, config));
        }
        if done != last.0 {
            last = (done, now);
        } else if now - last.1 >= silence_max(config) {
            let seconds = silence_max(config).as_secs();
            return Some(given_up(&format!("nothing has moved for {seconds} s"), &done, config));
        }
    }
}

fn is_complete(done: &ThreadProgress, config: &Config, expected: u64) -> bool {
    let is_confirmed = done.confirmed == u64::from(config.senders);
    match (config.receivers, config.qos) {
        (0, _) => is_confirmed,
        (_, QoS::AtMostOnce) => done.received == expected,
        // A broker that delivers and does not acknowledge is wrong, too.
        _ => done.received == expected && is_confirmed,
    }
}

/// How long nothing may move: between two messages nothing does.
fn silence_max(config: &Config) -> Duration {
    let interval = config.schedule().map_or(Duration::ZERO, |schedule| schedule.interval());
    config.timeout.saturating_add(interval)
}

/// Tells a broker that has lost messages from one that has stopped reading.
fn given_up(why: &str, done: &ThreadProgress, config: &Config) -> String {
    let confirms = if config.qos == QoS::AtMostOnce { "read" } else { "acknowledged" };
    let ThreadProgress { confirmed, .. } = done;
    format!("{why}; the broker has {confirms} everything of {confirmed} of {} senders", config.senders)
}

//! Brokers that are silent where they should speak, and one that wants a keep-alive: none holds a run up, and none is
//! blamed for the client's own silence.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use wisp_client::{ProtocolVersion, QoS};
use wisp_loadgen::Config;
use wisp_loadgen::run;
use wisp_loadgen::{Progress, Watch};

use super::fake_broker::{self, Fault};
use super::{TIMEOUT, config};

/// Longer than an answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_broker_that_falls_silent_is_told_in_one_line() {
    thread::scope(|scope| {
        for version in [ProtocolVersion::Mqtt311, ProtocolVersion::Mqtt5] {
            for (fault, words) in [
                (Fault::Mute(0), "waited 5 s for the broker to answer CONNECT"),
                (Fault::Mute(3), "sender 0: waited 5 s for the broker to answer CONNECT; 2 of 4 connected"),
                (Fault::NoSubAck, "receiver 0: waited 5 s for the broker to answer SUBSCRIBE"),
            ] {
                scope.spawn(move || {
                    let config = config(fake_broker::start(fault), 2, 2, 10);
                    let error = run(&Config { version, timeout: PATIENCE, ..config }, &()).unwrap_err().to_string();
                    assert!(error.contains(words) && !error.contains('\n'), "{fault:?}: {error}");
                });
            }
            scope.spawn(move || {
                // More than sockets hold.
                let config = config(fake_broker::start(Fault::NoRead), 1, 1, 1_000_000);
                let results = run(&Config { version, timeout: PATIENCE, ..config }, &()).unwrap();
                let error = results.error.as_deref().unwrap_or_default();
                let words = "nothing has moved for 5 s; the broker has read everything of 0 of 1 senders";
                assert_eq!((error, results.received), (words, 0));
                assert!(results.sent > 0 && results.lost > 0 && results.not_sent > 0, "{results}");
            });
        }
    });
}

#[test]
fn the_time_of_a_run_counts_from_before_it_connects() {
    // Two of four are connected beside the first, which only finds out whether somebody is there.
    let config = config(fake_broker::start(Fault::Mute(3)), 2, 2, 10);
    let error = run(&Config { timeout: LONG, duration_max: Some(PATIENCE), ..config }, &()).unwrap_err().to_string();
    assert!(error.starts_with("not all connected after ") && error.ends_with(" s; 2 of 4 connected"), "{error}");
}

/// Interrupts when it was asked a few times.
#[derive(Default)]
struct Soon(AtomicU32);

impl Watch for Soon {
    fn progress(&self, _: Progress) {}

    fn is_interrupted(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) > 5
    }
}

#[test]
fn an_interrupt_is_heard_while_a_broker_is_silent() {
    for answered in [0, 1, 2] {
        let config = config(fake_broker::start(Fault::Mute(answered)), 2, 2, 10);
        let error = run(&Config { timeout: LONG, ..config }, &Soon::default()).unwrap_err().to_string();
        assert!(error.starts_with("interrupted before all were connected"), "{error}");
    }
}

#[test]
fn who_is_silent_pings_as_often_as_the_broker_orders() {
    thread::scope(|scope| {
        for (qos, receivers) in [(QoS::AtMostOnce, 1), (QoS::AtLeastOnce, 2), (QoS::AtMostOnce, 0)] {
            scope.spawn(move || {
                // Six seconds in which each sender is silent for four, and receivers at QoS 0 for all; three are put up with.
                let config = config(fake_broker::start(Fault::Impatient(2)), 2, receivers, 4);
                let config = Config { version: ProtocolVersion::Mqtt5, qos, rate_per_s: Some(0.5), ..config };
                let results = run(&Config { timeout: 30 * TIMEOUT, ..config }, &()).unwrap();
                assert!(results.is_good(), "{qos:?} {receivers}: {:?}", results.error);
                assert!(results.sent == 4 && results.seconds > 5.0, "{results}");
            });
        }
    });
}

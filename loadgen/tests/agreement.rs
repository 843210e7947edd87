//! The generator's counts agree with the broker's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::thread;
use std::time::{Duration, Instant};

use wisp_broker::{Broker, Config};
use wisp_client::QoS;
use wisp_loadgen::Config as RunConfig;
use wisp_loadgen::Pattern;
use wisp_loadgen::run;

const MESSAGES: u64 = 60_000;
/// At full speed, seconds of them.
const FULL_SPEED_MESSAGES: u64 = 1_000_000;
const FULL_SPEED_BYTES: usize = 2048;
/// Long enough for any machine.
const TIMEOUT: Duration = Duration::from_secs(600);

fn config(broker: &Broker, qos: QoS, pattern: Pattern, receivers: u32) -> RunConfig {
    let target = format!("mqtt://{}", broker.local_addrs()[0]).parse().unwrap();
    RunConfig { qos, senders: 4, receivers, pattern, size: 64, messages: MESSAGES, ..RunConfig::new(target) }
}

fn broker() -> Broker {
    Broker::start(Config::builder().listener(([127, 0, 0, 1], 0)).build().unwrap()).unwrap()
}

#[test]
fn both_count_the_same_messages() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for (pattern, receivers, copies) in [(Pattern::OneToOne, 3, 1), (Pattern::FanOut, 3, 3)] {
            let broker = broker();
            let results = run(&config(&broker, qos, pattern, receivers), &()).unwrap();
            assert!(results.is_good(), "{results}");
            let counted = broker.stats();
            assert_eq!((counted.messages_received, counted.messages_dropped), (results.sent, 0), "{qos:?} {results}");
            assert_eq!(counted.messages_delivered, results.received, "{qos:?} {results}");
            assert_eq!(results.received, MESSAGES * copies);
            assert!((results.messages_per_s * results.seconds - results.received as f64).abs() < 1.0, "{results}");
        }
    }
}

/// The rate that the broker's counter shows to a clock of its own, from when a tenth of all messages are there.
fn rate_of_count(broker: &Broker, messages: u64) -> f64 {
    let begun = Instant::now();
    let wait_for = |count: u64| loop {
        let delivered = broker.stats().messages_delivered;
        if delivered >= count {
            return (delivered, Instant::now());
        }
        assert!(begun.elapsed() < TIMEOUT, "{:?}", broker.stats());
        thread::sleep(Duration::from_millis(1));
    };
    // How many there are then is told with the time, so that it is next to no matter how late this thread looks.
    let (some, first) = wait_for(messages / 10);
    let (all, last) = wait_for(messages);
    (all - some) as f64 / (last - first).as_secs_f64()
}

#[test]
fn a_rate_is_the_brokers_own() {
    let broker = broker();
    // Large messages, so that sockets hold almost none of them, and enough of them that reading the counter late makes
    // no difference.
    let config = RunConfig {
        size: FULL_SPEED_BYTES,
        messages: FULL_SPEED_MESSAGES,
        ..config(&broker, QoS::AtMostOnce, Pattern::OneToOne, 2)
    };
    let (results, counted_per_s) = thread::scope(|scope| {
        let counted = scope.spawn(|| rate_of_count(&broker, FULL_SPEED_MESSAGES));
        (run(&config, &()).unwrap(), counted.join().unwrap())
    });
    assert!(results.is_good(), "{results}");
    let ratio = results.messages_per_s / counted_per_s;
    assert!((0.8..1.25).contains(&ratio), "reported {:.0}, counted {counted_per_s:.0} msg/s", results.messages_per_s);
}

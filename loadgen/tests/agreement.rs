//! What the generator reports of a broker is what the broker itself has counted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::thread;
use std::time::{Duration, Instant};

use wisp_broker::{Broker, Config};
use wisp_client::QoS;
use wisp_loadgen::drive::pattern::Pattern;
use wisp_loadgen::drive::run;

const MESSAGES: u64 = 60_000;
/// Three seconds' worth of them, which every machine manages.
const RATE_PER_S: f64 = 20_000.0;
const TIMEOUT: Duration = Duration::from_secs(60);

fn config(broker: &Broker, qos: QoS, pattern: Pattern, receivers: u32) -> run::Config {
    let target = format!("mqtt://{}", broker.local_addrs()[0]).parse().unwrap();
    run::Config { qos, senders: 4, receivers, pattern, size: 64, messages: MESSAGES, ..run::Config::new(target) }
}

fn broker() -> Broker {
    Broker::start(Config { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Default::default() }).unwrap()
}

#[test]
fn both_count_the_same_messages() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for (pattern, receivers, copies) in [(Pattern::OneToOne, 3, 1), (Pattern::FanOut, 3, 3)] {
            let broker = broker();
            let results = run::run(&config(&broker, qos, pattern, receivers), &()).unwrap();
            assert!(results.is_good(), "{results}");
            let counted = broker.stats();
            assert_eq!((counted.messages_received, counted.messages_dropped), (results.sent, 0), "{qos:?} {results}");
            assert_eq!(counted.messages_delivered, results.received, "{qos:?} {results}");
            assert_eq!(results.received, MESSAGES * copies);
            assert!((results.messages_per_s * results.seconds - results.received as f64).abs() < 1.0, "{results}");
        }
    }
}

/// The rate that the broker's counter shows to a clock of its own: from the first message to the last.
fn rate_of_count(broker: &Broker) -> f64 {
    let begun = Instant::now();
    let wait_for = |count: u64| {
        while broker.stats().messages_delivered < count {
            assert!(begun.elapsed() < TIMEOUT, "{:?}", broker.stats());
            thread::sleep(Duration::from_millis(1));
        }
        Instant::now()
    };
    let first = wait_for(1);
    let last = wait_for(MESSAGES);
    MESSAGES as f64 / (last - first).as_secs_f64()
}

#[test]
fn a_rate_is_the_brokers_own() {
    let broker = broker();
    let config = run::Config { rate_per_s: Some(RATE_PER_S), ..config(&broker, QoS::AtMostOnce, Pattern::OneToOne, 2) };
    let (results, counted_per_s) = thread::scope(|scope| {
        let counted = scope.spawn(|| rate_of_count(&broker));
        (run::run(&config, &()).unwrap(), counted.join().unwrap())
    });
    assert!(results.is_good(), "{results}");
    // Both clocks see the same three seconds, and whatever stalls the machine; a look at the counter may come late.
    let ratio = results.messages_per_s / counted_per_s;
    assert!((0.7..1.4).contains(&ratio), "reported {:.0}, counted {counted_per_s:.0} msg/s", results.messages_per_s);
}

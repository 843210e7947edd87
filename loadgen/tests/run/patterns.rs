//! Every pattern against brokers that are right, Wisp itself among them, and against one that is not.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use wisp_client::{ProtocolVersion, QoS};
use wisp_loadgen::Config;
use wisp_loadgen::Pattern;
use wisp_loadgen::Results;
use wisp_loadgen::run;

use crate::fake_broker::{self, Fault};

/// Long enough for any machine; runs in which messages are lost wait for it.
const TIMEOUT: Duration = Duration::from_secs(3);

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn config(address: SocketAddr, pattern: Pattern, senders: u32, receivers: u32, topics: Option<u32>) -> Config {
    let target = format!("mqtt://{address}").parse().unwrap();
    let (version, qos) = (ProtocolVersion::Mqtt5, QoS::AtLeastOnce);
    Config {
        version,
        qos,
        window: 100,
        pattern,
        senders,
        receivers,
        topics,
        threads: 4,
        timeout: TIMEOUT,
        ..Config::new(target)
    }
}

/// Patterns with senders, receivers, topics, and how many deliveries 1000 messages make.
const PATTERNS: [(Pattern, u32, u32, Option<u32>, u64); 12] = [
    (Pattern::OneToOne, 2, 3, None, 1000),
    (Pattern::OneToOne, 2, 0, Some(7), 0),
    (Pattern::FanIn, 20, 1, None, 1000),
    (Pattern::FanOut, 2, 5, None, 5000),
    (Pattern::FanOut, 3, 2, Some(12), 2000),
    (Pattern::Shared, 3, 1, None, 1000),
    (Pattern::Shared, 2, 5, None, 1000),
    (Pattern::Shared, 3, 2, Some(40), 1000),
    (Pattern::Queue, 1, 3, None, 1000),
    (Pattern::Queue, 3, 2, Some(12), 1000),
    (Pattern::Wildcard, 2, 3, None, 1000),
    (Pattern::Wildcard, 3, 11, Some(11 * 12), 1000),
];

/// Runs every pattern, each QoS at the same time, and finds nothing wrong.
fn nothing_is_found(address: SocketAddr) {
    let all_patterns = |version, qos| {
        for (pattern, senders, receivers, topics, expected) in PATTERNS {
            let config = config(address, pattern, senders, receivers, topics);
            let config = Config { version, qos, timeout: 20 * TIMEOUT, ..config };
            let results = run(&config, &()).unwrap();
            assert!(results.is_good() && results.foreign == 0, "{config:?}\n{results}");
            assert_eq!((results.expected, results.received, results.sent), (expected, expected, 1000));
            assert!(results.messages_per_s > 0.0 && results.first_faults.is_empty(), "{results}");
            assert_eq!((results.pattern, results.topics >= 1), (pattern, true));
        }
    };
    thread::scope(|scope| {
        for (version, qos) in ProtocolVersion::ALL.into_iter().flat_map(|version| ALL_QOS.map(|qos| (version, qos))) {
            scope.spawn(move || all_patterns(version, qos));
        }
    });
}

#[test]
fn a_correct_broker_is_found_correct_in_every_pattern() {
    nothing_is_found(fake_broker::start(Fault::None));
}

#[test]
fn wisp_is_found_correct_in_every_pattern() {
    let config = wisp_broker::Config::builder().listener(([127, 0, 0, 1], 0)).build().unwrap();
    let broker = wisp_broker::Broker::start(config).unwrap();
    nothing_is_found(broker.local_addrs()[0]);
    broker.shutdown().unwrap();
}

#[test]
fn messages_pile_up_in_queues_without_receivers_and_the_next_run_knows_them_for_strangers() {
    let config_of_broker = wisp_broker::Config::builder().listener(([127, 0, 0, 1], 0)).build().unwrap();
    let broker = wisp_broker::Broker::start(config_of_broker).unwrap();
    let prefix = Some("jobs".to_owned());
    let without = Config { topic_prefix: prefix, ..config(broker.local_addrs()[0], Pattern::Queue, 3, 0, Some(10)) };
    let results = run(&without, &()).unwrap();
    assert!(results.is_good(), "{results}");
    assert_eq!((results.sent, results.expected, results.received, results.topics), (1000, 0, 0, 10));
    let results = run(&Config { receivers: 2, ..without }, &()).unwrap();
    assert!(results.is_good(), "{results}");
    assert_eq!((results.received, results.foreign), (1000, 1000));
    broker.shutdown().unwrap();
}

/// (lost, duplicated, out of order, corrupt)
type Counts = (u64, u64, u64, u64);

fn counts(results: &Results) -> Counts {
    (results.lost, results.duplicated, results.out_of_order, results.corrupt)
}

/// Runs against a broker with a fault, at every QoS at the same time, and passes the results to `check`.
fn each_finds(
    fault: Fault,
    (pattern, senders, receivers, topics): (Pattern, u32, u32, Option<u32>),
    expected: Counts,
    check: impl Fn(&[String]) -> bool + Sync,
) {
    thread::scope(|scope| {
        for qos in ALL_QOS {
            let check = &check;
            scope.spawn(move || {
                let config = config(fake_broker::start(fault), pattern, senders, receivers, topics);
                let results = run(&Config { qos, ..config }, &()).unwrap();
                assert_eq!(counts(&results), expected, "{fault:?} {pattern} {qos:?}\n{results}");
                let words = &results.first_faults;
                assert!(!results.is_good() && words.len() <= 10 && check(words), "{results}");
                assert!(words.iter().all(|words| results.to_string().contains(words)), "{results}");
            });
        }
    });
}

/// Whether some of the faults are told in these words.
fn told<'a>(words: &'a [&str]) -> impl Fn(&[String]) -> bool + Sync + 'a {
    |faults| words.iter().all(|words| faults.iter().any(|fault| fault.contains(words)))
}

#[test]
fn loss_is_found_and_named() {
    let drop = Fault::Drop(10);
    thread::scope(|scope| {
        for (pattern, senders, receivers, topics, deliveries) in PATTERNS {
            if receivers > 0 {
                let words: &[&str] = if pattern.is_shared() {
                    &["no receiver got sender "]
                } else {
                    &["receiver ", " lost ", " on topic "]
                };
                let place = (pattern, senders, receivers, topics);
                scope.spawn(move || each_finds(drop, place, (deliveries / 10, 0, 0, 0), told(words)));
            }
        }
        let fan_in = (Pattern::FanIn, 1, 1, None);
        scope.spawn(move || {
            each_finds(drop, fan_in, (100, 0, 0, 0), told(&["receiver 0 lost sender 0's message 9 on topic "]));
        });
        let queue = (Pattern::Queue, 1, 3, None);
        scope.spawn(move || {
            each_finds(drop, queue, (100, 0, 0, 0), told(&["no receiver got sender 0's message 9 on topic $queue/"]));
        });
    });
}

#[test]
fn duplicates_are_found_also_between_receivers() {
    let twice = Fault::Duplicate(10);
    each_finds(twice, (Pattern::FanOut, 1, 3, None), (0, 300, 0, 0), told(&["got sender 0's message ", " again"]));
    each_finds(twice, (Pattern::Wildcard, 2, 3, None), (0, 100, 0, 0), told(&[" again"]));
    for (pattern, topics) in [(Pattern::Shared, None), (Pattern::Shared, Some(3)), (Pattern::Queue, Some(2))] {
        let before = told(&["which it or another receiver had got before"]);
        each_finds(twice, (pattern, 2, 3, topics), (0, 100, 0, 0), &before);
        each_finds(Fault::ShareTwice(10), (pattern, 2, 3, topics), (0, 100, 0, 0), &before);
    }
}

#[test]
fn loss_is_counted_right_beside_duplicates_of_other_receivers() {
    // Each tenth message goes to two: as many messages as were expected have come when some are still to come.
    each_finds(Fault::ShareTwice(2), (Pattern::Shared, 1, 2, None), (0, 500, 0, 0), told(&["got before"]));
}

#[test]
fn disorder_is_found() {
    for (pattern, receivers, topics) in [
        (Pattern::FanOut, 1, None),
        (Pattern::Shared, 1, None),
        (Pattern::Queue, 1, None),
        (Pattern::Wildcard, 1, Some(1)),
    ] {
        let place = (pattern, 1, receivers, topics);
        each_finds(Fault::Reorder(7), place, (0, 0, 142, 0), told(&["got sender 0's message 6 on", "after message 7"]));
    }
    // A delayed message is overtaken by others of its flow at the same receiver, which gets only some of them.
    each_finds(Fault::Reorder(7), (Pattern::Shared, 1, 2, None), (0, 0, 142, 0), told(&["after message "]));
}

#[test]
fn changed_messages_are_found_and_named() {
    for (pattern, receivers, topics) in [
        (Pattern::OneToOne, 2, None),
        (Pattern::FanOut, 1, Some(4)),
        (Pattern::Shared, 2, None),
        (Pattern::Wildcard, 2, None),
    ] {
        let place = (pattern, 2, receivers, topics);
        each_finds(Fault::Flip(100), place, (10, 0, 0, 10), told(&["with its byte 50 changed"]));
        each_finds(Fault::Corrupt(100), place, (10, 0, 0, 10), told(&["a message of 99 bytes"]));
    }
}

#[test]
fn messages_of_another_topic_are_found() {
    for (pattern, receivers, topics) in [
        (Pattern::OneToOne, 2, None),
        (Pattern::FanOut, 1, Some(4)),
        (Pattern::Queue, 2, None),
        (Pattern::Wildcard, 2, None),
    ] {
        let words = told(&["from another topic, though sent to "]);
        each_finds(Fault::Misroute(100), (pattern, 2, receivers, topics), (10, 0, 0, 10), words);
    }
}

#[test]
fn combinations_that_cannot_be_are_refused() {
    let address = fake_broker::start(Fault::None);
    for (pattern, receivers, topics) in
        [(Pattern::OneToOne, 3, Some(2)), (Pattern::FanIn, 2, None), (Pattern::Wildcard, 3, Some(10))]
    {
        let error = run(&config(address, pattern, 1, receivers, topics), &()).unwrap_err().to_string();
        assert!(error.contains(&pattern.to_string()) && !error.contains('\n'), "{error}");
    }
}

//! Whole runs, over real sockets, against brokers that are right and brokers that are not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake_broker;
#[path = "run/patterns.rs"]
mod patterns;
#[path = "run/silence.rs"]
mod silence;
#[path = "run/timed.rs"]
mod timed;

use std::net::SocketAddr;
use std::time::Duration;

use fake_broker::Fault;
use wisp_client::{ProtocolVersion, QoS};
use wisp_loadgen::Config;
use wisp_loadgen::Results;
use wisp_loadgen::Sink;
use wisp_loadgen::run;

/// Long enough for any machine; runs in which messages are lost wait for it.
const TIMEOUT: Duration = Duration::from_secs(2);

fn config(address: SocketAddr, senders: u32, receivers: u32, messages: u64) -> Config {
    let target = format!("mqtt://{address}").parse().unwrap();
    Config { window: 100, senders, receivers, messages, timeout: TIMEOUT, ..Config::new(target) }
}

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn against(fault: Fault, qos: QoS, senders: u32, receivers: u32, messages: u64) -> Results {
    let config = config(fake_broker::start(fault), senders, receivers, messages);
    run(&Config { qos, ..config }, &()).unwrap()
}

/// (lost, duplicated, out of order, corrupt)
fn faults(results: &Results) -> (u64, u64, u64, u64) {
    (results.lost, results.duplicated, results.out_of_order, results.corrupt)
}

#[test]
fn a_correct_broker_is_found_correct() {
    let address = fake_broker::start(Fault::None);
    for version in ProtocolVersion::ALL {
        for (senders, receivers, size, threads) in
            [(1, 1, 16, 1), (1, 1, 1024, 2), (3, 2, 17, 2), (2, 5, 300, 4), (4, 4, 70_000, 3), (5, 3, 100, 32)]
        {
            for (qos, window) in [(ALL_QOS[0], 1), (ALL_QOS[1], 7), (ALL_QOS[2], 200)] {
                let mut config = config(address, senders, receivers, 1000);
                (config.version, config.size, config.threads, config.timeout) = (version, size, threads, 30 * TIMEOUT);
                (config.qos, config.window) = (qos, window);
                let results = run(&config, &()).unwrap();
                assert_eq!((results.error.as_deref(), faults(&results)), (None, (0, 0, 0, 0)), "{config:?}");
                assert_eq!((results.sent, results.received, results.foreign), (1000, 1000, 0));
                assert!(results.is_good() && results.messages_per_s > 0.0 && results.seconds > 0.0);
            }
        }
    }
}

#[test]
fn loss_is_found() {
    for qos in ALL_QOS {
        let results = against(Fault::Drop(10), qos, 2, 2, 1000);
        assert_eq!((faults(&results), results.sent), ((100, 0, 0, 0), 1000), "{qos:?}");
        assert!(results.error.is_some() && !results.is_good());
    }
}

#[test]
fn duplicates_are_found_also_of_the_very_last_message() {
    for qos in ALL_QOS {
        assert_eq!(faults(&against(Fault::Duplicate(10), qos, 2, 2, 1000)), (0, 100, 0, 0), "{qos:?}");
        assert_eq!(faults(&against(Fault::Duplicate(500), qos, 1, 1, 500)), (0, 1, 0, 0), "{qos:?}");
    }
}

#[test]
fn at_qos_2_one_identifier_is_one_message_until_it_is_released() {
    let [_, once, exactly] = ALL_QOS;
    assert_eq!(faults(&against(Fault::Repeat(10), once, 1, 1, 1000)), (0, 100, 0, 0));
    let results = against(Fault::Repeat(10), exactly, 1, 1, 1000);
    assert!(results.is_good(), "{results}");
}

#[test]
fn disorder_is_found() {
    for qos in ALL_QOS {
        // With one sender and one topic, a delayed message is overtaken by a message of the same flow.
        let results = against(Fault::Reorder(7), qos, 1, 1, 1000);
        assert_eq!(faults(&results), (0, 0, 142, 0), "{qos:?}");
        assert!(!results.is_good());
    }
}

#[test]
fn changed_messages_are_found() {
    for qos in ALL_QOS {
        assert_eq!(faults(&against(Fault::Corrupt(100), qos, 2, 2, 1000)), (10, 0, 0, 10), "{qos:?}");
    }
}

#[test]
fn no_sender_exceeds_its_window_or_what_the_broker_takes() {
    for (version, receive_max, allowed) in
        [(ProtocolVersion::Mqtt311, 3, 10), (ProtocolVersion::Mqtt5, 3, 3), (ProtocolVersion::Mqtt5, 20, 10)]
    {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            // The broker acknowledges just when all that is allowed is on its way.
            let reluctant = |batch| fake_broker::start(Fault::Reluctant { batch, receive_max });
            let settings = |address| Config { version, qos, window: 10, ..config(address, 2, 1, 600) };
            let all = run(&Config { timeout: 30 * TIMEOUT, ..settings(reluctant(allowed)) }, &()).unwrap();
            assert!(all.is_good(), "{version} {qos:?}: {all}");
            let effective = if version.is_v5() { receive_max.min(10) } else { 10 };
            assert_eq!(all.window, Some(effective), "{version} {qos:?}");
            // It waits for one more than it may get.
            let stuck = run(&settings(reluctant(allowed + 1)), &()).unwrap();
            assert_eq!((stuck.sent, stuck.received), (2 * allowed as u64, 2 * allowed as u64), "{version} {qos:?}");
            assert!(stuck.error.unwrap().contains("acknowledged everything of 0 of 2 senders"));
        }
    }
}

#[test]
fn wrong_acknowledgements_are_found() {
    for (fault, version, complaint) in [
        (Fault::AcknowledgeTwice(50), ProtocolVersion::Mqtt311, "does not wait for it"),
        (Fault::NotTaken(50), ProtocolVersion::Mqtt5, "did not take message"),
    ] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let config = config(fake_broker::start(fault), 1, 1, 1000);
            let results = run(&Config { version, qos, ..config }, &()).unwrap();
            let error = results.error.as_deref().unwrap_or_default();
            assert!(error.contains(complaint) && !results.is_good(), "{fault:?} {qos:?}: {error}");
        }
    }
}

#[test]
fn a_broker_that_grants_less_is_a_run_that_cannot_start() {
    for (qos, may_run) in [(QoS::AtMostOnce, true), (QoS::AtLeastOnce, false), (QoS::ExactlyOnce, false)] {
        let config = config(fake_broker::start(Fault::Downgrade), 1, 1, 10);
        match run(&Config { qos, ..config }, &()) {
            Ok(results) => assert!(may_run && results.is_good(), "{qos:?}: {results}"),
            Err(error) => assert!(!may_run && error.to_string().contains("granted less"), "{qos:?}: {error}"),
        }
    }
}

#[test]
fn a_broker_that_dies_ends_the_run_at_once_and_says_why() {
    for version in [ProtocolVersion::Mqtt311, ProtocolVersion::Mqtt5] {
        // More messages than the socket can hold.
        let mut config = config(fake_broker::start(Fault::Die(1000)), 2, 2, 1_000_000);
        (config.version, config.timeout) = (version, Duration::from_secs(3600));
        let results = run(&config, &()).unwrap();
        let error = results.error.as_deref().unwrap();
        assert!(error.contains("sender") || error.contains("receiver"), "{error}");
        let failed = error.strip_suffix(" of 4 connections failed").and_then(|error| error.rsplit(' ').next());
        assert!(failed.is_none_or(|failed| failed.parse::<u64>().is_ok_and(|failed| failed <= 4)), "{error}");
        assert!(results.lost > 0 && !results.is_good());
        // The messages that the broker read count as sent, most of them arrived, and many were never sent, which are
        // not lost.
        assert!(results.sent >= 1000 && results.received > 0 && results.not_sent > 0, "{results}");
        let lost = results.first_faults.iter().filter(|case| case.contains(" lost "));
        assert!(lost.count() > 0, "{:?}", results.first_faults);
    }
}

#[test]
fn a_refused_subscription_is_a_run_that_cannot_start() {
    let error = run(&config(fake_broker::start(Fault::Refuse), 1, 1, 10), &()).unwrap_err().to_string();
    assert!(error.contains("refused the subscription") && !error.contains('\n'), "{error}");
}

#[test]
fn many_connections_work() {
    let mut config = config(fake_broker::start(Fault::None), 200, 150, 10_000);
    config.timeout = 30 * TIMEOUT;
    let results = run(&config, &()).unwrap();
    assert!(results.is_good(), "{results}");
}

#[test]
fn the_sink_counts_and_acknowledges_what_was_sent() {
    for (version, qos) in ProtocolVersion::ALL.into_iter().flat_map(|version| ALL_QOS.map(|qos| (version, qos))) {
        let mut sink = Sink::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        // More for each sender than there are identifiers.
        let mut config = config(sink.local_addr().unwrap(), 2, 0, 200_000);
        (config.version, config.qos, config.timeout) = (version, qos, 30 * TIMEOUT);
        let serving = std::thread::spawn(move || sink.serve().unwrap());
        let results = run(&config, &()).unwrap();
        assert!(results.is_good(), "{version} {qos:?}: {results}");
        assert_eq!((results.sent, results.received), (200_000, 0));
        let burst = serving.join().unwrap();
        assert_eq!(burst.messages, 200_000);
        assert!(burst.bytes > 200_000 * 100 && burst.messages_per_s() > 0.0);
    }
}

#[test]
fn receivers_keep_their_sessions_if_they_are_told_to() {
    let address = fake_broker::start(Fault::RefuseUnkept);
    for version in ProtocolVersion::ALL {
        let config = Config { version, ..config(address, 1, 2, 100) };
        let error = run(&config, &()).unwrap_err().to_string();
        assert!(error.contains("refused the subscription"), "{error}");
        let results = run(&Config { kept_sessions: true, ..config }, &()).unwrap();
        assert!(results.is_good(), "{version:?}: {results}");
    }
}

//! Whole runs, over real sockets, against a NATS server that is right and ones that are not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake_nats;

use std::net::SocketAddr;
use std::time::Duration;

use fake_nats::Manner;
use wisp_client::QoS;
use wisp_loadgen::Config;
use wisp_loadgen::Pattern;
use wisp_loadgen::Results;
use wisp_loadgen::run;

/// Long enough for any machine; runs in which messages are lost wait for it.
const TIMEOUT: Duration = Duration::from_secs(2);

fn config(address: SocketAddr, senders: u32, receivers: u32, messages: u64) -> Config {
    let target = format!("nats://{address}").parse().unwrap();
    Config { senders, receivers, messages, timeout: TIMEOUT, ..Config::new(target) }
}

fn against(manner: Manner, senders: u32, receivers: u32, messages: u64) -> Results {
    run(&config(fake_nats::start(manner), senders, receivers, messages), &()).unwrap()
}

/// (lost, duplicated, out of order, corrupt)
fn faults(results: &Results) -> (u64, u64, u64, u64) {
    (results.lost, results.duplicated, results.out_of_order, results.corrupt)
}

#[test]
fn a_correct_server_is_found_correct() {
    for manner in [Manner::Plain, Manner::WithReplies, Manner::Talkative(100)] {
        let address = fake_nats::start(manner);
        for (senders, receivers, size, threads) in
            [(1, 1, 16, 1), (3, 2, 17, 2), (2, 12, 1024, 4), (4, 4, 70_000, 3), (50, 30, 100, 2)]
        {
            let config = Config { size, threads, timeout: 30 * TIMEOUT, ..config(address, senders, receivers, 1000) };
            let results = run(&config, &()).unwrap();
            assert!(results.is_good(), "{manner:?} {config:?}: {results}");
            assert_eq!((results.sent, results.received, results.foreign), (1000, 1000, 0), "{manner:?}");
            assert!(results.messages_per_s > 0.0 && results.seconds > 0.0);
        }
    }
}

#[test]
fn every_pattern_but_queues_has_its_like() {
    let address = fake_nats::start(Manner::Plain);
    for (pattern, senders, receivers, topics, received) in [
        (Pattern::OneToOne, 3, 5, None, 1000),
        (Pattern::FanIn, 9, 1, None, 1000),
        (Pattern::FanOut, 2, 12, None, 12_000),
        (Pattern::FanOut, 2, 3, Some(11), 3000),
        (Pattern::Shared, 3, 4, None, 1000),
        (Pattern::Shared, 3, 4, Some(12), 1000),
        (Pattern::Wildcard, 3, 4, None, 1000),
        (Pattern::Wildcard, 3, 11, Some(121), 1000),
    ] {
        let config = config(address, senders, receivers, 1000);
        let results = run(&Config { pattern, topics, timeout: 30 * TIMEOUT, ..config }, &()).unwrap();
        assert!(results.is_good(), "{pattern}: {results}");
        assert_eq!((results.sent, results.received, results.foreign), (1000, received, 0), "{pattern}");
    }
}

#[test]
fn without_receivers_the_server_confirms_that_it_has_read_everything() {
    for manner in [Manner::Plain, Manner::Talkative(50)] {
        let results =
            run(&Config { timeout: 30 * TIMEOUT, ..config(fake_nats::start(manner), 3, 0, 1000) }, &()).unwrap();
        assert!(results.is_good(), "{manner:?}: {results}");
        assert_eq!((results.sent, results.received), (1000, 0));
    }
}

#[test]
fn loss_and_damage_are_found() {
    let results = against(Manner::Drop(10), 2, 2, 1000);
    assert_eq!((faults(&results), results.sent), ((100, 0, 0, 0), 1000));
    let error = results.error.as_deref().unwrap();
    assert!(error.contains("has read everything of 2 of 2 senders"), "{error}");
    assert_eq!(faults(&against(Manner::Corrupt(100), 2, 2, 1000)), (10, 0, 0, 10));
}

#[test]
fn a_receiver_that_is_cut_ends_the_run_at_once_and_says_so() {
    for (manner, words) in [
        (Manner::Cut(50), "too slow"),
        (Manner::Complain(50), "Slow Consumer"),
        (Manner::Babble(50), "does not keep to NATS: what is \"HELLO there\"?"),
    ] {
        let config = config(fake_nats::start(manner), 1, 1, 100_000);
        let results = run(&Config { timeout: Duration::from_secs(3600), ..config }, &()).unwrap();
        let error = results.error.as_deref().unwrap();
        assert!(error.starts_with("receiver 0: ") && error.contains(words) && !error.contains('\n'), "{error}");
        assert!(results.lost > 0 && !results.is_good());
    }
}

#[test]
fn runs_that_cannot_start_say_why() {
    let because = |config: &Config, words: &str| {
        let error = run(config, &()).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{words}: {error}");
    };
    for (manner, words) in [
        (Manner::Private, "Authorization Violation"),
        (Manner::WithToken, "Authorization Violation"),
        (Manner::NoSubscriptions, "Permissions Violation"),
        (Manner::Narrow(99), "payloads of 99 bytes at most, and not of 100"),
        (Manner::Encrypted, "TLS"),
        (Manner::Stranger, "does not keep to NATS"),
        (Manner::Closed, "closed the connection"),
        (Manner::Silent, "waited 2 s for the server's INFO"),
    ] {
        because(&config(fake_nats::start(manner), 1, 1, 10), words);
    }
    let good = config(fake_nats::start(Manner::Plain), 1, 1, 10);
    because(&Config { qos: QoS::AtLeastOnce, ..good.clone() }, "QoS");
    because(&Config { pattern: Pattern::Queue, ..good.clone() }, "queues");
    for prefix in ["a b", "a.*", "a.>", "a..b", ""] {
        because(&Config { topic_prefix: Some(prefix.to_owned()), ..good.clone() }, "topic");
    }
    because(&config("127.0.0.1:1".parse().unwrap(), 1, 1, 10), "cannot connect to 127.0.0.1:1");
}

#[test]
fn users_and_tokens_are_let_in() {
    for (manner, user) in [(Manner::Private, "me:p%20w"), (Manner::WithToken, "s3cr3t")] {
        let address = fake_nats::start(manner);
        let config = config(address, 1, 1, 10);
        let target = format!("nats://{user}@{address}").parse().unwrap();
        let results = run(&Config { target, timeout: 30 * TIMEOUT, ..config }, &()).unwrap();
        assert!(results.is_good(), "{manner:?}: {results}");
        assert!(!results.to_json().contains("s3cr3t") && !results.to_json().contains("p%20w"));
    }
}

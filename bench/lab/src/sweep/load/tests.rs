use super::*;
use crate::plan::{BrokerChoice, names};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use wisp_loadgen::{Latency, Sink, Tally};
use wisp_report::kind::Kind;

fn sampler() -> LoadSampler {
    LoadSampler::new("test", None, Interrupt::default()).unwrap()
}

fn load() -> Load {
    Load::new(BrokerChoice::Start(Broker::Native))
}

fn record_of(point: &Point, measured: Value) -> Record {
    let mut record = Measured::of(&measured).record(point);
    record.insert(folder::POINT.to_owned(), Value::from(point.key()));
    record
}

#[test]
fn a_share_is_of_the_median_of_the_maximum_in_messages_sent() {
    let load = Load { load_percent: Some(50.0), seconds: Some(4.0), ..load() };
    let point = Point::new(Settings::Latency(load.clone()));
    let mut sampler = sampler();
    assert!(matches!(sampler.rate(&point, &load), Err(Failure::Broken(_))), "nothing is known yet");
    let maximum = point.maximum().unwrap();
    for (sent, seconds) in [(3000, 1.0), (1000, 0.5), (9000, 1.0)] {
        sampler.observe(&record_of(&maximum, json!({"sent": sent, "seconds": seconds, "messages_per_s": 77.0})));
    }
    sampler.observe(&record_of(&maximum, json!({"sent": 99_000, "seconds": 1.0, "lost": 1})));
    assert_eq!(sampler.rate(&point, &load), Ok(Some(1500.0)));
    assert_eq!(messages_of(&load, Some(1500.0)), Some(6000));
}

#[test]
fn a_count_is_kept_for_other_repetitions_if_it_took_about_as_long_as_wanted() {
    let load = Load { seconds: Some(2.0), ..load() };
    assert_eq!(messages_of(&load, None), None);
    assert_eq!(messages_of(&Load { messages: Some(9), ..load.clone() }, None), Some(9));
    let timed = Point::new(Settings::Throughput(load));
    let after = |samples: &[(u64, f64)]| {
        let mut sampler = sampler();
        for (messages, seconds) in samples {
            sampler.observe(&record_of(&timed, json!({"messages": messages, "sent": messages, "seconds": seconds})));
        }
        sampler.messages.get(&timed.key()).copied()
    };
    assert_eq!(after(&[(500, 1.1), (700, 2.0)]), Some(500));
    assert_eq!((after(&[(500, 0.9)]), after(&[(500, 4.1)])), (None, None));
    assert_eq!(after(&[(500, 2.0), (500, 4.1)]), None, "it is found again");
    assert_eq!(after(&[(500, 0.9), (700, 2.0)]), Some(700));
}

#[test]
fn every_repetition_is_warmed_up_as_long() {
    let mut sink = Sink::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("mqtt://{}", sink.local_addr().unwrap());
    // It serves as long as the tests run.
    std::thread::spawn(move || while sink.serve().is_ok() {});
    let sink = Load::new(url.parse().unwrap());
    let settings = Settings::Throughput(Load { receivers: 0, size_bytes: 64, seconds: Some(0.2), ..sink });
    let (timed, mut sampler) = (Point::new(settings), sampler());
    for repetition in 1..=3 {
        let record = sampler.sample(&timed, repetition, &()).unwrap().record(&timed);
        assert_eq!(folder::fault(&record), None);
        let (whole, share) = (record["messages"].as_u64().unwrap(), record["warm_up_messages"].as_u64().unwrap());
        assert!(share >= whole / 11, "repetition {repetition}: {share} of {whole}");
        // However slow the machine was in between, the next sample has to know the count.
        sampler.messages.insert(timed.key(), whole);
    }
}

/// The address of a NATS server that takes payloads so large, as long as the tests run.
fn nats_server(max_payload: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut words, mut piece) = (Vec::new(), [0; 1024]);
            let said = stream.write_all(format!("INFO {{\"max_payload\":{max_payload}}}\r\n").as_bytes());
            while let (Ok(()), Ok(length @ 1..)) = (&said, stream.read(&mut piece)) {
                words.extend_from_slice(&piece[..length]);
                if words.ends_with(b"PING\r\n") {
                    drop(stream.write_all(b"PONG\r\n"));
                }
            }
        }
    });
    url
}

#[test]
fn messages_that_the_server_does_not_take_are_refused_before_anything_is_measured() {
    let url = nats_server(1000);
    for (sizes, fits) in [("[16, 1000]", true), ("[16, 1001]", false)] {
        let text = format!(
            "name = \"a\"\ntitle = \"A\"\nabout = \"\"\nkind = \"throughput\"\nrepetitions = 1\n[settings]\nbroker = \"{url}\"\nsize_bytes = {sizes}\n"
        );
        let plan = Plan::parse("text", &text, &crate::plan::Changes::none(2)).unwrap();
        let prepared = sampler().prepare(&plan, &Interrupt::default());
        let refused =
            Failure::Setup("size_bytes: the server takes payloads of 1000 bytes at most, and not of 1001".to_owned());
        assert_eq!(prepared, if fits { Ok(()) } else { Err(refused) });
    }
}

#[test]
fn messages_are_rounded_to_three_digits() {
    for (messages, round) in [(0.0, 1), (7.4, 7), (1234.0, 1230), (999_600.0, 1_000_000), (123_456_789.0, 123_000_000)]
    {
        assert_eq!(rounded(messages), round);
    }
}

#[test]
fn all_that_is_found_in_a_run_is_a_setting_or_a_measure() {
    let load = load();
    let config = config(&load, "mqtt://127.0.0.1:1".parse().unwrap(), TlsOptions::default(), Some(1e3));
    let mut results = Results::new(&config, Duration::from_secs(1), 1, &Tally::default(), None);
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    histogram.record(7).unwrap();
    for distribution in [&mut results.latency, &mut results.acknowledgement, &mut results.send_lag] {
        *distribution = Latency::of(&histogram);
    }
    let mut known: BTreeSet<String> = Kind::Latency.measures().collect();
    known.extend(names(Kind::Latency).map(str::to_owned));
    let record = measured(&results).record(&Point::new(Settings::Latency(load)));
    assert!(record.contains_key("ack_ns_percentiles") && record.contains_key("generator_busy"));
    known.extend(["kind", "protocol", "transport"].map(str::to_owned));
    let unknown: Vec<_> = record.keys().filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

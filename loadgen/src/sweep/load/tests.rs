use super::*;
use serde_json::json;

fn taker() -> LoadTaker {
    LoadTaker::new("test", None, Interrupt::default()).unwrap()
}

fn point(kind: Kind, settings: Value) -> Point {
    Point::new(kind, serde_json::from_value(settings).unwrap())
}

fn record_of(point: &Point, measured: Value) -> Record {
    let mut record = point.record();
    record.insert(folder::POINT.to_owned(), Value::from(point.key()));
    record.extend(serde_json::from_value::<Record>(measured).unwrap());
    record
}

#[test]
fn a_share_is_of_the_median_of_the_maximum_in_messages_sent() {
    let point = point(Kind::Latency, json!({"broker": "native", "load_percent": 50.0, "seconds": 4.0}));
    let mut taker = taker();
    assert!(matches!(taker.rate(&point), Err(Failure::Broken(_))), "nothing is known yet");
    let maximum = point.maximum().unwrap();
    for (sent, seconds) in [(3000, 1.0), (1000, 0.5), (9000, 1.0)] {
        taker.learn(&record_of(&maximum, json!({"sent": sent, "seconds": seconds, "messages_per_s": 77.0})));
    }
    taker.learn(&record_of(&maximum, json!({"sent": 99_000, "seconds": 1.0, "lost": 1})));
    assert_eq!(taker.rate(&point), Ok(Some(1500.0)));
    assert_eq!(taker.messages_of(&point, Some(1500.0)), Some(6000));
}

#[test]
fn all_repetitions_of_a_point_have_as_many_messages() {
    let mut taker = taker();
    let timed = point(Kind::Throughput, json!({"broker": "native", "seconds": 1.0}));
    assert_eq!(taker.messages_of(&timed, None), None);
    taker.learn(&record_of(&timed, json!({"messages": 500, "sent": 500, "seconds": 1.0})));
    taker.learn(&record_of(&timed, json!({"messages": 700, "sent": 700, "seconds": 1.0})));
    assert_eq!(taker.messages_of(&timed, None), Some(500));
    let counted = point(Kind::Throughput, json!({"broker": "native", "messages": 9}));
    assert_eq!(taker.messages_of(&counted, None), Some(9));
}

#[test]
fn messages_are_rounded_to_three_digits() {
    for (messages, round) in [(0.0, 1), (7.4, 7), (1234.0, 1230), (999_600.0, 1_000_000), (123_456_789.0, 123_000_000)]
    {
        assert_eq!(rounded(messages), round);
    }
}

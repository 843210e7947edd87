use serde_json::json;

use super::*;
use crate::folder::Record;

/// A sample of a broker at one sender and QoS 0, with further fields.
fn record(broker: &str, repetition: u32, messages_per_s: f64, rest: Value) -> Record {
    let record = json!({
        "plan": "p", "broker": broker, "repetition": repetition, "senders": 1, "qos": 0, "lost": 0, "error": null,
        "messages_per_s": messages_per_s,
    });
    let mut record = record.as_object().unwrap().clone();
    record.extend(rest.as_object().unwrap().clone());
    record
}

fn figure(fields: Value) -> Figure {
    let figure = json!({ "name": "f", "title": "t", "x": "senders", "y": "messages_per_s", "lines": ["broker"] });
    let mut figure = figure.as_object().unwrap().clone();
    figure.extend(fields.as_object().unwrap().clone());
    serde_json::from_value(Value::Object(figure)).unwrap()
}

/// A line's label with its points' places and medians.
type Line = (String, Vec<(f64, Option<f64>)>);

fn lines(figure: &Figure, records: &[Record]) -> Vec<Line> {
    let chart = chart(figure, &records.iter().collect::<Vec<_>>());
    let series = chart.panels.iter().flat_map(|panel| &panel.series);
    let points = |series: &Series| {
        series.points.iter().map(|point| (point.x, point.summary.map(|summary| summary.median))).collect()
    };
    series.map(|series| (series.label.clone(), points(series))).collect()
}

fn notes(figure: &Figure, records: &[Record]) -> Vec<String> {
    chart(figure, &records.iter().collect::<Vec<_>>()).notes
}

#[test]
fn lines_are_by_broker_and_points_by_size() {
    let records = [
        record("mosquitto", 1, 5.0, json!({ "senders": 10 })),
        record("native", 2, 30.0, json!({ "senders": 10 })),
        record("native", 1, 20.0, json!({ "senders": 10 })),
        record("native", 1, 7.0, json!({ "senders": 2 })),
    ];
    let expected = [
        ("native".to_owned(), vec![(2.0, Some(7.0)), (10.0, Some(25.0))]),
        ("mosquitto".to_owned(), vec![(10.0, Some(5.0))]),
    ];
    assert_eq!(lines(&figure(json!({})), &records), expected);
    assert!(notes(&figure(json!({})), &records).is_empty());
}

#[test]
fn a_ratio_compares_within_repetitions() {
    // The machine is half as fast in the second repetition, which a ratio of medians would not see.
    let records = [
        record("native", 1, 1000.0, json!({})),
        record("mosquitto", 1, 100.0, json!({})),
        record("mosquitto", 2, 50.0, json!({})),
        record("native", 2, 500.0, json!({})),
        record("native", 3, 900.0, json!({})),
        record("mosquitto", 3, 90.0, json!({})),
        record("mosquitto", 4, 9000.0, json!({})),
    ];
    let to_native = figure(json!({ "ratio_to": { "broker": "native" } }));
    assert_eq!(lines(&to_native, &records), [("mosquitto".to_owned(), vec![(1.0, Some(0.1))])]);
    assert_eq!(notes(&to_native, &records), ["1 sample left out: nothing to compare with in the same repetition."]);
    // The base need not be drawn.
    let without = figure(json!({ "ratio_to": { "broker": "native" }, "where": { "broker": ["mosquitto"] } }));
    assert_eq!(lines(&without, &records), lines(&to_native, &records));
}

#[test]
fn a_ratio_to_a_place_compares_each_line_with_itself() {
    let sample = |broker, senders: u32, rate| record(broker, 1, rate, json!({ "senders": senders }));
    let records =
        [sample("native", 1, 10.0), sample("native", 2, 15.0), sample("wasmer", 1, 4.0), sample("wasmer", 2, 8.0)];
    let expected = [
        ("native".to_owned(), vec![(1.0, Some(1.0)), (2.0, Some(1.5))]),
        ("Wasmer".to_owned(), vec![(1.0, Some(1.0)), (2.0, Some(2.0))]),
    ];
    assert_eq!(lines(&figure(json!({ "ratio_to": { "senders": 1 } })), &records), expected);
}

#[test]
fn a_ratio_to_a_place_hangs_on_no_single_sample() {
    let sample = |repetition, senders: u32, rate| record("native", repetition, rate, json!({ "senders": senders }));
    // The base of the second repetition is half of the others.
    let bases = [sample(1, 1, 10.0), sample(2, 1, 5.0), sample(3, 1, 10.0)];
    let points = [sample(1, 2, 20.0), sample(2, 2, 20.0), sample(3, 2, 20.0)];
    let records: Vec<Record> = bases.into_iter().chain(points).collect();
    let to_one = figure(json!({ "ratio_to": { "senders": 1 } }));
    assert_eq!(lines(&to_one, &records), [("native".to_owned(), vec![(1.0, Some(1.0)), (2.0, Some(2.0))])]);
    let references: Vec<&Record> = records.iter().collect();
    let summary = chart(&to_one, &references).points().last().unwrap().summary.unwrap();
    assert_eq!(summary.range(), (2.0, 2.0), "each is compared with the same");
    // A sample without one of the base in its repetition has something to be compared with.
    assert!(notes(&to_one, &records[1..]).is_empty());
    let without = [sample(1, 2, 20.0)];
    assert_eq!(notes(&to_one, &without), ["1 sample left out: nothing to compare with."]);
}

#[test]
fn what_was_too_short_to_tell_is_counted_and_not_taken_for_a_no() {
    let sample = |repetition, saturated: Value, busy: Value| {
        record("native", repetition, 1.0, json!({ "is_generator_saturated": saturated, "generator_busy": busy }))
    };
    let records = [
        sample(1, json!(null), json!(0.4)),
        sample(2, json!(false), json!(0.4)),
        // Where the system does not tell, it is not the run's length.
        sample(3, json!(null), json!(null)),
    ];
    let told = "In 1 sample of 3 the run was too short to tell whether the generator was the limit.";
    assert_eq!(notes(&figure(json!({})), &records), [told]);
    assert!(notes(&figure(json!({})), &records[1..]).is_empty());
}

#[test]
fn a_base_without_a_mode_serves_all_modes() {
    let records = [
        record("native", 1, 10.0, json!({})),
        record("wasmtime", 1, 5.0, json!({ "mode": "aot" })),
        record("wasmtime", 1, 1.0, json!({ "mode": "interpreted" })),
    ];
    let figure = figure(json!({ "lines": ["broker", "mode"], "ratio_to": { "broker": "native" } }));
    let expected = [
        ("Wasmtime, ahead of time".to_owned(), vec![(1.0, Some(0.5))]),
        ("Wasmtime, interpreted".to_owned(), vec![(1.0, Some(0.1))]),
    ];
    assert_eq!(lines(&figure, &records), expected);
}

#[test]
fn samples_with_faults_are_left_out_and_told() {
    let records = [
        record("native", 1, 10.0, json!({})),
        record("native", 2, 90.0, json!({ "lost": 3 })),
        record("native", 3, 20.0, json!({ "is_generator_saturated": true })),
        record("wasmer", 1, 50.0, json!({ "error": "died" })),
    ];
    let figure = figure(json!({}));
    assert_eq!(
        lines(&figure, &records),
        [("native".to_owned(), vec![(1.0, Some(15.0))]), ("Wasmer".to_owned(), vec![(1.0, None)])]
    );
    let records: Vec<&Record> = records.iter().collect();
    let chart = chart(&figure, &records);
    let points: Vec<_> = chart.points().map(|point| (point.left_out, point.is_saturated)).collect();
    assert_eq!(points, [(1, true), (1, false)]);
    assert_eq!(
        chart.notes,
        [
            "2 samples of 4 with faults left out (†).",
            "In 1 sample of 4 the load generator was the limit, not the broker (‡)."
        ]
    );
}

#[test]
fn a_ratio_to_what_the_generator_limited_is_marked() {
    let records = [
        record("native", 1, 10.0, json!({ "is_generator_saturated": true })),
        record("wasmer", 1, 5.0, json!({})),
        record("native", 1, 10.0, json!({ "senders": 2 })),
        record("wasmer", 1, 5.0, json!({ "senders": 2 })),
    ];
    let figure = figure(json!({ "ratio_to": { "broker": "native" } }));
    let chart = chart(&figure, &records.iter().collect::<Vec<_>>());
    assert_eq!(chart.points().map(|point| point.is_saturated).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn samples_with_faults_are_nothing_to_compare_with() {
    let records = [record("native", 1, 10.0, json!({ "lost": 1 })), record("wasmer", 1, 5.0, json!({}))];
    let figure = figure(json!({ "ratio_to": { "broker": "native" } }));
    assert_eq!(lines(&figure, &records), [("Wasmer".to_owned(), vec![(1.0, None)])]);
}

#[test]
fn filters_take_a_value_or_any_of_a_list() {
    let records = [
        record("native", 1, 1.0, json!({ "qos": 0 })),
        record("native", 1, 2.0, json!({ "qos": 1.0 })),
        record("native", 1, 3.0, json!({ "qos": 2 })),
        record("native", 1, 4.0, json!({ "qos": null })),
    ];
    let medians = |only: Value| {
        let lines = lines(&figure(json!({ "where": { "qos": only } })), &records);
        lines.into_iter().flat_map(|line| line.1).map(|point| point.1).collect::<Vec<_>>()
    };
    assert_eq!(medians(json!(1)), [Some(2.0)]);
    assert_eq!(medians(json!([1, 2])), [Some(2.5)]);
    assert_eq!(medians(json!(7)), []);
}

#[test]
fn what_medians_mix_is_told() {
    let records = [record("native", 1, 1.0, json!({ "qos": 0 })), record("native", 2, 2.0, json!({ "qos": 1 }))];
    assert_eq!(notes(&figure(json!({})), &records), ["Medians are of samples that differ in QoS."]);
    assert!(notes(&figure(json!({ "lines": ["broker", "qos"] })), &records).is_empty());
}

#[test]
fn a_place_that_is_missing_is_told_and_words_make_bars() {
    let records =
        [record("native", 1, 1.0, json!({ "mode": null })), record("wasmer", 1, 2.0, json!({ "mode": "aot" }))];
    let by_mode = figure(json!({ "x": "mode" }));
    assert_eq!(notes(&by_mode, &records), ["1 sample left out: no mode."]);
    let records: Vec<&Record> = records.iter().collect();
    assert_eq!(chart(&by_mode, &records).kind, Kind::Bars);
    assert_eq!(chart(&figure(json!({})), &records).kind, Kind::Curve);
}

#[test]
fn a_place_may_be_of_several_fields() {
    let sample =
        |senders: u32, receivers: u32| record("native", 1, 1.0, json!({ "senders": senders, "receivers": receivers }));
    let records = [sample(100, 100), sample(1, 1), sample(10, 1)];
    let records: Vec<&Record> = records.iter().collect();
    let figure = figure(json!({ "kind": "bars", "x": "senders, receivers" }));
    let chart = chart(&figure, &records);
    let texts: Vec<_> = chart.points().map(|point| (point.x, point.text.as_str())).collect();
    assert_eq!(texts, [(0.0, "(1, 1)"), (1.0, "(10, 1)"), (2.0, "(100, 100)")]);
}

#[test]
fn a_broker_keeps_its_colour_and_modes_are_told_otherwise() {
    let records = [
        record("wasmedge", 1, 1.0, json!({ "mode": "aot" })),
        record("wasmedge", 1, 1.0, json!({ "mode": "interpreted" })),
        record("native", 1, 1.0, json!({})),
    ];
    let records: Vec<&Record> = records.iter().collect();
    let looks = |fields: Value| {
        let figure = figure(fields);
        chart(&figure, &records).points().map(|point| (point.style.slot, point.style.variant)).collect::<Vec<_>>()
    };
    assert_eq!(looks(json!({ "lines": ["broker", "mode"] })), [(0, 0), (3, 1), (3, 2)]);
    assert_eq!(looks(json!({ "lines": ["mode"], "x": "broker", "kind": "bars" })), [(0, 0), (3, 1), (3, 2)]);
    // Without brokers, colours distinguish the first field.
    assert_eq!(looks(json!({ "lines": ["mode"] })), [(0, 0), (1, 0), (2, 0)]);
}

#[test]
fn a_host_looks_like_the_broker_on_it_and_comes_in_its_place() {
    let on = |host: &str| {
        let mut record = record("", 1, 1.0, json!({ "host": host }));
        record.remove("broker");
        record
    };
    let records = [on("wasmtime"), on("wasmer"), on("native")];
    let records: Vec<_> = records.iter().collect();
    let figure = figure(json!({ "lines": ["host"] }));
    let chart = chart(&figure, &records);
    let series = &chart.panels[0].series;
    let labels: Vec<_> = series.iter().map(|series| series.label.as_str()).collect();
    assert_eq!(labels, ["native", "Wasmer", "Wasmtime"]);
    assert_eq!(series[2].style, Style::of_broker("wasmtime"));
}

#[test]
fn percentiles_are_medians_at_each_nine() {
    let sample = |repetition: u32, list: Value| {
        record("native", repetition, 1.0, json!({ "latency_ns_percentiles": list, "load_percent": 50 }))
    };
    let records = [
        sample(1, json!([[0, 10], [50, 20], [90, 30], [99, 40], [100, 900]])),
        sample(2, json!([[0, 20], [50, 40], [90, 60], [99, 80], [99.9, 90], [100, 900]])),
    ];
    let figure = figure(json!({ "kind": "percentiles", "x": "percentile", "y": "latency_ns_percentiles" }));
    let drawn = lines(&figure, &records);
    let expected = vec![
        (0.0, Some(15.0)),
        (nines(50.0), Some(30.0)),
        (1.0, Some(45.0)),
        (2.0, Some(60.0)),
        (3.0, Some(90.0)),
        (4.0, None),
    ];
    assert_eq!(drawn, [("native".to_owned(), expected)]);
    assert_eq!(percentile_text(3.0), "99.9 %");
}

#[test]
fn what_a_logarithmic_axis_cannot_show_is_told() {
    let records = [record("native", 1, 0.0, json!({})), record("native", 1, 5.0, json!({ "senders": 2 }))];
    assert_eq!(
        notes(&figure(json!({ "y_log": true })), &records),
        ["1 value not drawn: not above zero, with no place on a logarithmic axis."]
    );
}

//! Quick runs of some cases against the native broker. They check that a run gives every figure of its case, not how good the
//! figures are. They start the release build of wisp-broker, as `make release` makes it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use wisp_lab::paths::Scratch;

fn isolation(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wisp-isolation")).args(arguments).output().unwrap()
}

/// Runs cases and returns their records.
fn run(cases: &str, out: &Path) -> Vec<Value> {
    let out_text = out.to_str().unwrap();
    let ended = isolation(&["--quick", "--broker", "wisp", "--case", cases, "--out", out_text]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let text = fs::read_to_string(out.join("results.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn figure(record: &Value, name: &str) -> f64 {
    record["figures"][name].as_f64().unwrap_or_else(|| panic!("{name} of {record}"))
}

#[test]
fn a_run_beside_a_slow_receiver_has_seconds_latencies_and_pings() {
    let scratch = Scratch::new().unwrap();
    let records = run("receiver-25-kb", &scratch.file("out"));
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!((&record["case"], &record["broker"]), (&"receiver-25-kb".into(), &"wisp".into()));
    for name in ["second_min_percent", "window_min_percent", "lost", "ended"] {
        assert!(figure(record, name) >= 0.0);
    }
    for name in ["p50_ms", "p99_ms", "max_ms", "ping_max_ms", "rss_mib", "bad_bytes_per_s"] {
        assert!(figure(record, name) > 0.0, "{name} of {record}");
    }
    // Six seconds without those of the preparation, which is one on an idle machine.
    let seconds = record["per_second"].as_array().unwrap().len();
    assert!((1..=5).contains(&seconds), "{record}");
}

#[test]
fn memory_and_work_are_measured_and_tabled_with_those_of_earlier_runs() {
    let scratch = Scratch::new().unwrap();
    let out = scratch.file("out");
    assert_eq!(run("idle-topic-queues", &out).len(), 1);
    let records = run("takeovers,lost-puback", &out);
    let cases: Vec<_> = records.iter().map(|record| record["case"].as_str().unwrap()).collect();
    assert_eq!(cases, ["idle-topic-queues", "lost-puback", "takeovers"]);
    assert!(figure(&records[1], "received") > 0.0);
    assert!(figure(&records[2], "peak_mib") > 1.0 && figure(&records[2], "takeovers_per_s") > 0.0);
    let page = fs::read_to_string(out.join("summary.md")).unwrap();
    for case in cases {
        assert!(page.contains(&format!("| {case} ")), "{case} in {page}");
    }
}

#[test]
fn every_case_is_listed_with_its_targets() {
    let list = String::from_utf8(isolation(&["--list"]).stdout).unwrap();
    for case in ["receiver-silent-qos0", "away-cycles", "churn"] {
        assert!(list.lines().any(|line| line == case), "{case} in {list}");
    }
    assert!(list.contains("worst second, % of the rate: at least 90"));
}

#[test]
fn a_missing_program_is_named() {
    let ended = isolation(&["--quick", "--broker", "wisp", "--case", "churn", "--program", "/nowhere/wisp-broker"]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("/nowhere/wisp-broker"));
}

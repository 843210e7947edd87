//! Plans as `wisp-bench experiment` runs them, natively. It starts the release builds of the programs, as `make release` makes them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use wisp_lab::paths::Scratch;

const HEAD: &str = "name = \"small\"\ntitle = \"Small\"\nabout = \"\"\nrepetitions = 2\n";

/// Runs a plan with these settings, and returns its output and the folder with its results.
fn run(scratch: &Scratch, rest: &str) -> (Output, PathBuf) {
    let (plan, out) = (scratch.file("plan.toml"), scratch.file("out"));
    fs::write(&plan, format!("{HEAD}{rest}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wisp-bench"));
    (command.arg("experiment").arg(&plan).arg("--out").arg(&out).output().unwrap(), out)
}

/// The records of a plan that went well.
fn records(rest: &str) -> Vec<Value> {
    let scratch = Scratch::new().unwrap();
    let (ended, out) = run(&scratch, rest);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{said}");
    let text = fs::read_to_string(out.join("results.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(record: &Value, name: &str) -> f64 {
    record[name].as_f64().unwrap_or_else(|| panic!("{name} of {record}"))
}

#[test]
fn a_transfer_is_recorded_with_its_calls() {
    let rest = "kind = \"transfer\"\n[settings]\nhost = \"native\"\nmessages = 2000\nsize_bytes = [1000, 1024]\n\
                buffer = [\"message\", \"64 KiB\"]\n";
    let records = records(rest);
    assert_eq!(records.len(), 8);
    for record in &records {
        assert_eq!(
            (&record["kind"], &record["plan"], &record["host"]),
            (&"transfer".into(), &"small".into(), &"native".into())
        );
        for name in
            ["seconds", "receive_s", "send_s", "receive_per_s", "send_per_s", "messages_per_s", "time_per_call_us"]
        {
            assert!(number(record, name) > 0.0, "{name} of {record}");
        }
        let is_by_message = record["buffer"] == "message";
        let calls = number(record, "calls");
        assert!(!is_by_message || calls > 4000.0, "each message takes a call each way, and the end one: {record}");
        let both_ways = number(record, "receive_s") + number(record, "send_s");
        assert!((both_ways - number(record, "seconds")).abs() < 1e-9);
    }
}

#[test]
fn work_is_recorded_with_what_it_took() {
    let rest = "kind = \"compute\"\n[settings]\nhost = \"native\"\nmode = \"aot\"\n[[case]]\nprogram = \"random\"\ncount = 1000\n\
                [[case]]\nprogram = \"sort\"\nfile_bytes = [8, 100000]\n";
    let records = records(rest);
    assert_eq!(records.len(), 6);
    for record in &records {
        let numbers = if record["program"] == "random" { 1000.0 } else { number(record, "file_bytes") / 8.0 };
        assert_eq!(number(record, "numbers"), numbers, "{record}");
        let parts: f64 = ["read_s", "compute_s", "write_s"].map(|name| number(record, name)).iter().sum();
        assert!((parts - number(record, "seconds")).abs() < 1e-9, "{record}");
        assert!(number(record, "wall_s") >= number(record, "seconds") && number(record, "cpu_s") >= 0.0, "{record}");
        assert!(record["peak_rss_bytes"].is_null() || number(record, "peak_rss_bytes") > 100_000.0, "{record}");
        let has_files = record["program"] == "sort";
        assert_eq!(number(record, "io_s") > 0.0, has_files, "{record}");
    }
}

#[test]
fn a_plan_that_cannot_be_run_is_refused_before_anything_is_measured() {
    for (rest, named) in [
        (
            "kind = \"compute\"\n[settings]\nhost = \"native\"\nmode = \"jit\"\nprogram = \"random\"\ncount = 1\n",
            "native has no jit",
        ),
        ("kind = \"compute\"\n[settings]\nhost = \"native\"\nmode = \"aot\"\nprogram = \"dance\"\n", "dance"),
        (
            "kind = \"transfer\"\n[settings]\nhost = \"moon\"\nmessages = 1\nsize_bytes = 1\nbuffer = \"message\"\n",
            "moon",
        ),
        ("kind = \"transfer\"\n[settings]\nhost = \"native\"\nmessages = 1\nsize_bytes = 1\nbuffer = \"big\"\n", "big"),
        (
            "kind = \"transfer\"\n[settings]\nhost = \"native\"\nmessages = 1\nsize_bytes = 1\nbuffer = \"message\"\nqos = [0, 1]\n",
            "qos: no setting of transfer",
        ),
        (
            "kind = \"compute\"\n[settings]\nhost = \"native\"\nmode = \"aot\"\nprogram = \"random\"\ncount = 1\nfile_bytes = 8\n",
            "file_bytes: no setting of compute",
        ),
        ("kind = \"throughput\"\n[settings]\nbroker = \"native\"\n", "wisp-loadgen"),
    ] {
        let scratch = Scratch::new().unwrap();
        let (ended, out) = run(&scratch, rest);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.lines().count() == 1 && said.starts_with("wisp-bench: ") && said.contains(named), "{said}");
        assert!(!out.exists());
    }
}

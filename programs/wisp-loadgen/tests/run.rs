//! `wisp-loadgen run` and `wisp-loadgen sink`: status, output and error messages.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "other tests need its other faults")]
#[path = "../../../loadgen/tests/fake_broker/mod.rs"]
mod fake_broker;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use fake_broker::Fault;

fn loadgen(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wisp-loadgen"));
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_program_tells_good_runs_from_bad_ones() {
    for (fault, status) in [(Fault::None, 0), (Fault::Duplicate(5), 1), (Fault::Die(10), 1)] {
        let url = format!("mqtt://{}", fake_broker::start(fault));
        let output = loadgen(&["run", "--url", &url, "--count", "1000", "--json", "-V", "5"]);
        assert_eq!(output.status.code(), Some(status), "{fault:?}");
        let (json, complaint) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(json.lines().count(), 1);
        assert!(json.starts_with(r#"{"loadgen_version":"#) && json.contains(r#""messages":1000"#), "{json}");
        assert_eq!(complaint.lines().count(), usize::from(fault == Fault::Die(10)), "{complaint}");
    }
}

#[test]
fn runs_that_cannot_start_are_one_line_and_status_2() {
    for arguments in [
        // A port for the administrator's programs alone, so that nobody is there.
        &["run", "--url", "mqtt://127.0.0.1:1", "--count", "1"][..],
        &["run", "--url", "nonsense"],
        &["run", "--size", "15"],
        &["run", "--senders", "0"],
        &["run", "--count", "0"],
        &["run", "-V", "6"],
        &["run", "--qos", "3"],
        &["run", "--rate", "0"],
        &["run", "--window", "0"],
        &["run", "--window", "65536"],
        &["run", "--pattern", "everything"],
        &["run", "--pattern", "fan-in", "--receivers", "2"],
        &["run", "--receivers", "2", "--topics", "3"],
        &["run", "--pattern", "wildcard", "--receivers", "3", "--topics", "10"],
        &["run", "--url", "mqtt://127.0.0.1:1", "--topic-prefix", "a/#"],
        &["run", "--url", "mqtt://127.0.0.1:1", "--senders", "4000000000"],
        &["sink", "--listen", "nowhere"],
        &["sweep"],
    ] {
        let output = loadgen(arguments);
        let (printed, complaint) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(printed.is_empty() && complaint.lines().count() == 1, "{arguments:?}: {complaint}");
        assert!(complaint.starts_with("wisp-loadgen: "), "{complaint}");
    }
}

#[test]
fn the_sink_program_prints_what_came() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wisp-loadgen"));
    let mut sink = command.args(["sink", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(sink.stdout.take().unwrap()).lines();
    let listening = lines.next().unwrap().unwrap();
    let address = listening.strip_prefix("wisp-loadgen sink listening on ").unwrap();
    let taken = loadgen(&["sink", "--listen", address]);
    let output = loadgen(&["run", "--url", &format!("mqtt://{address}"), "--receivers", "0", "--count", "5000"]);
    let counted = lines.next().unwrap().unwrap();
    sink.kill().unwrap();
    sink.wait().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(counted.starts_with("5000 messages, ") && counted.ends_with(" msg/s"), "{counted}");
    assert_eq!((taken.status.code(), text(&taken.stderr).lines().count()), (Some(2), 1));
}

#[test]
fn the_program_reports_latency() {
    let url = format!("mqtt://{}", fake_broker::start(Fault::None));
    let arguments = ["run", "--url", &url, "--count", "200", "--qos", "1", "--rate", "500"];
    let json = text(&loadgen(&[&arguments[..], &["--json"]].concat()).stdout);
    let fields: serde_json::Map<_, _> = serde_json::from_str(&json).unwrap();
    assert_eq!((&fields["rate_per_s"], &fields["latency_count"]), (&500.0.into(), &200.into()), "{json}");
    for prefix in ["latency", "ack", "send_lag"] {
        for field in ["p50", "p90", "p99", "p999", "p9999", "max"] {
            assert!(fields[&format!("{prefix}_{field}_ns")].is_u64(), "{prefix} {field} in {json}");
        }
        let drawn = fields[&format!("{prefix}_ns_percentiles")].as_array().unwrap();
        assert!(drawn.len() > 10 && drawn.iter().all(|point| point.as_array().is_some_and(|point| point.len() == 2)));
    }
    let words = text(&loadgen(&arguments).stdout);
    assert!(words.contains("\nlatency: p50 ") && words.contains("\nacknowledged: p50 "), "{words}");
}

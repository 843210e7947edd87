//! The program against a server of core NATS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "other tests need its other faults")]
#[path = "../../../loadgen/tests/fake_nats/mod.rs"]
mod fake_nats;

use std::process::{Command, Output, Stdio};

use fake_nats::Manner;

fn loadgen(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wisp-loadgen"));
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_program_takes_urls_of_nats() {
    let url = format!("nats://{}", fake_nats::start(Manner::Plain));
    let output = loadgen(&["run", "--url", &url, "--count", "1000", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let results: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&results["protocol"], &results["received"]), (&"nats".into(), &1000.into()));
    assert!(results["mqtt_version"].is_null());
    for arguments in [["--qos", "1"], ["-V", "5"], ["--size", "2000000"]] {
        let output = loadgen(&[&["run", "--url", &url, "--count", "10"][..], &arguments].concat());
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), complaint.lines().count()), (Some(2), 1), "{arguments:?}: {complaint}");
    }
}

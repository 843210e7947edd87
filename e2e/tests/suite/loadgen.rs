//! The load generator against real brokers: its report is correct, also when the broker dies.

use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::{env, fs};

use serde_json::Value;
use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::host::{Host, native_program};
use wisp_e2e::mosquitto::Subscriber;
use wisp_e2e::program::{Finished, Program};
use wisp_e2e::wait::wait_until;

fn loadgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(native_program("wisp-loadgen", "WISP_LOADGEN"));
    command.args(arguments);
    command
}

fn finish(arguments: &[&str]) -> Finished {
    Program::run(loadgen(arguments), b"")
}

/// The only line of standard output, as JSON.
fn report(finished: &Finished) -> Value {
    let [line] = finished.stdout.as_slice() else { panic!("one line was expected: {:?}", finished.stdout) };
    serde_json::from_str(line).expect("it is JSON")
}

/// A folder for results, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        Folder(env::temp_dir().join(format!("wisp-e2e-{}-{name}", process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the folder for temporary files has a plain name")
    }

    fn text(&self, file: impl AsRef<Path>) -> String {
        let path = self.0.join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The generator starts the same brokers on every host of the suite, so this is tested once.
fn starts_its_own() -> bool {
    Host::current() == Host::Native
}

#[test]
fn every_pattern_is_delivered_completely_at_every_qos() {
    let broker = Broker::start();
    let url = format!("mqtt://{}", broker.addr());
    for (pattern, senders, receivers) in [
        ("one-to-one", "3", "5"),
        ("fan-in", "7", "1"),
        ("fan-out", "2", "4"),
        ("shared", "3", "4"),
        ("wildcard", "3", "4"),
    ] {
        for (qos, version) in [("0", "3.1.1"), ("1", "5"), ("2", "5")] {
            let finished = finish(&[
                "run",
                "--url",
                &url,
                "--pattern",
                pattern,
                "--senders",
                senders,
                "--receivers",
                receivers,
                "--qos",
                qos,
                "-V",
                version,
                "--messages",
                "3000",
                "--size",
                "100",
                "--window",
                "50",
                "--json",
            ]);
            assert!(finished.status.success(), "{pattern}, QoS {qos}: {:?} {:?}", finished.stdout, finished.stderr);
            let report = report(&finished);
            let copies = if pattern == "fan-out" { 4 } else { 1 };
            assert_eq!(
                (&report["sent"], &report["received"]),
                (&3000.into(), &(3000 * copies).into()),
                "{pattern} {qos}"
            );
            for field in ["lost", "duplicated", "out_of_order", "corrupt"] {
                assert_eq!(report[field], 0, "{pattern}, QoS {qos}: {report}");
            }
        }
    }
}

#[test]
fn a_killed_broker_ends_the_run_and_missing_messages_are_counted() {
    let mut broker = Broker::start();
    let watcher = Subscriber::start(broker.addr(), Version::V311, &["killed/#"]);
    let url = format!("mqtt://{}", broker.addr());
    // Ten minutes of messages at this rate, so that the broker dies first.
    let arguments = [
        "run",
        "--url",
        &url,
        "--topic-prefix",
        "killed",
        "--qos",
        "1",
        "--size",
        "16",
        "--rate",
        "1000",
        "--messages",
        "600000",
        "--json",
    ];
    let mut run = Program::start(loadgen(&arguments));
    watcher.wait_for_count(10);
    broker.kill();
    let finished = run.finish();
    assert_eq!(finished.status.code(), Some(1), "{:?}", finished.stderr);
    let report = report(&finished);
    assert!(report["error"].as_str().is_some_and(|error| error.contains("connection")), "{report}");
    let count = |field: &str| report[field].as_u64().unwrap_or_default();
    // Messages that another client received were sent; most of the ten minutes' messages were not, and are not
    // lost.
    assert!(count("sent") >= 10 && count("received") > 0 && count("not_sent") > 0, "{report}");
    assert!(count("lost") < count("not_sent"), "{report}");
}

#[test]
fn a_missing_broker_is_reported_in_one_line() {
    let url = format!("mqtt://{}", free_addr());
    let folder = Folder::new("absent");
    for arguments in
        [&["run", "--url", &url][..], &["sweep", "--url", &url, "--senders", "1,2", "--out", folder.path()]]
    {
        let finished = finish(arguments);
        assert_eq!(finished.status.code(), Some(2), "{:?}", finished.stderr);
        assert!(finished.stdout.is_empty(), "{:?}", finished.stdout);
        let [line] = finished.stderr.as_slice() else { panic!("one line was expected: {:?}", finished.stderr) };
        assert!(line.starts_with("wisp-loadgen: ") && line.contains(&url["mqtt://".len()..]), "{line}");
    }
}

#[test]
fn a_sweep_starts_brokers_and_leaves_a_page_that_reads_offline() {
    if !starts_its_own() {
        return;
    }
    let folder = Folder::new("sweep");
    let finished = finish(&[
        "sweep",
        "--broker",
        "native,mosquitto",
        "--senders",
        "1..3",
        "--receivers",
        "1",
        "--pattern",
        "fan-in",
        "--messages",
        "2000",
        "--size",
        "64",
        "--repetitions",
        "2",
        "--out",
        folder.path(),
    ]);
    assert!(finished.status.success(), "{:?} {:?}", finished.stdout, finished.stderr);
    let records: Vec<Value> = folder
        .text("results.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is a record"))
        .collect();
    assert_eq!(records.len(), 2 * 3 * 2);
    for record in &records {
        assert_eq!((&record["received"], &record["lost"]), (&2000.into(), &0.into()), "{record}");
        assert!(record["startup_ms"].as_f64() > Some(0.0), "{record}");
        assert!(record["broker_version"].as_str().is_some_and(|version| version.contains('.')), "{record}");
    }
    let page = folder.text("report.html");
    for part in ["<svg", "mosquitto", "prefers-color-scheme"] {
        assert!(page.contains(part), "there is no {part} in the page");
    }
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "the page needs a network");
    assert_eq!(folder.text("results.csv").lines().count(), 1 + records.len());
}

#[test]
fn an_interrupted_sweep_keeps_its_samples_and_is_resumed() {
    if !starts_its_own() {
        return;
    }
    let folder = Folder::new("ended");
    let arguments = [
        "sweep",
        "--broker",
        "native",
        "--senders",
        "1..6",
        "--messages",
        "1000",
        "--repetitions",
        "5",
        "--seed",
        "7",
        "--out",
        folder.path(),
    ];
    let count = || fs::read_to_string(folder.0.join("results.jsonl")).map_or(0, |text| text.lines().count());
    let mut sweep = Program::start(loadgen(&arguments));
    wait_until("a sample that is written", || count() >= 2);
    sweep.signal("INT");
    let ended = sweep.finish();
    assert_eq!(ended.status.code(), Some(130), "{:?}", ended.stderr);
    let kept = count();
    assert!((2..30).contains(&kept), "{kept}");
    assert!(folder.text("report.html").contains("<svg"));
    let resumed = finish(&[&arguments[..], &["--resume"]].concat());
    assert!(resumed.status.success(), "{:?}", resumed.stderr);
    assert_eq!(count(), 30);
}

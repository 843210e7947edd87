//! The program's subcommands, run as a person would, against its own sink and brokers that are right or wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "other tests need its other faults")]
#[path = "../../../loadgen/tests/fake_broker/mod.rs"]
mod fake_broker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fake_broker::Fault;
use serde_json::Value;
use wisp_lab::paths::Scratch;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wisp-loadgen");
/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it. Returns its status and its output.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

/// A command line that starts a broker which forwards nothing.
fn sink() -> String {
    format!("{PROGRAM} sink --listen {{address}}")
}

fn url(fault: Fault) -> String {
    format!("mqtt://{}", fake_broker::start(fault))
}

/// A folder for results, gone at the end.
struct Place(Scratch);

impl Place {
    fn new() -> Self {
        Self(Scratch::new().unwrap())
    }

    fn folder(&self) -> PathBuf {
        self.0.file("out")
    }

    fn out(&self) -> String {
        self.folder().to_str().unwrap().to_owned()
    }

    fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder().join("results.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn run_file(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.folder().join("run.json")).unwrap()).unwrap()
    }
}

fn number(record: &Value, name: &str) -> f64 {
    record[name].as_f64().unwrap_or_else(|| panic!("no {name} in {record}"))
}

#[test]
fn a_sweep_measures_every_combination_and_draws_it() {
    let (place, broker) = (Place::new(), sink());
    let out = place.out();
    let sweep = ["sweep", "--broker", &broker, "--receivers", "0", "--senders", "1,2", "--count", "3000"];
    let all = [&sweep[..], &["--repetitions", "2", "--out", &out]].concat();
    let (status, printed, said) = run(&all);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("[1/4]") && said.contains("[4/4]") && said.contains("senders 2"), "{said}");
    assert!(printed.contains("report.html") && printed.contains("| 1 "), "{printed}");
    let records = place.records();
    assert_eq!(records.len(), 4);
    for record in &records {
        assert_eq!(
            (&record["broker"], &record["plan"], &record["kind"]),
            (&broker.as_str().into(), &"sweep".into(), &"throughput".into())
        );
        assert_eq!((number(record, "sent"), number(record, "receivers")), (3000.0, 0.0));
        assert!(number(record, "messages_per_s") > 0.0 && number(record, "startup_ms") > 0.0, "{record}");
        assert!(record["error"].is_null() && number(record, "broker_cpu_s") >= 0.0);
    }
    for file in ["report.html", "results.csv", "run.json"] {
        assert!(place.folder().join(file).is_file(), "{file}");
    }
    let info = &place.run_file()["plans"][0];
    assert!(info["is_complete"].as_bool().unwrap() && info["seed"].is_u64());
    assert!(!info["command"].as_str().unwrap().contains(&out), "{info}");

    let (status, _, said) = run(&all);
    assert_eq!((status, said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("4 records") && said.contains("--resume"), "{said}");
    let (status, printed, said) = run(&["report", &out]);
    assert_eq!(status, Some(0), "{said}");
    assert!(printed.contains("4 samples"), "{printed}");
}

#[test]
fn a_plan_is_read_from_a_file_and_flags_win() {
    let (place, broker) = (Place::new(), sink());
    let file = place.0.file("own.toml");
    let text = "name = \"own\"\ntitle = \"Own\"\nabout = \"\"\nkind = \"throughput\"\nrepetitions = 9\n[settings]\nbroker = \"native\"\n\
                receivers = 0\nmessages = 9999\n[[case]]\nsenders = 1\n[[case]]\nsenders = 2\nquick = false\n[quick]\nrepetitions = 2\n";
    fs::write(&file, text).unwrap();
    let (status, _, said) = run(&[
        "sweep",
        file.to_str().unwrap(),
        "--quick",
        "--broker",
        &broker,
        "--count",
        "700",
        "--out",
        &place.out(),
    ]);
    assert_eq!(status, Some(0), "{said}");
    let records = place.records();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["plan"] == "own" && number(record, "messages") == 700.0));
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// Whether it has taken over SIGINT, by the mask that the system shows.
fn notices_interrupts(child: &Child) -> bool {
    const SIGINT_BIT: u64 = 1 << 1;
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & SIGINT_BIT != 0
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn an_interrupted_sweep_keeps_what_was_measured_and_is_resumed() {
    let (place, url) = (Place::new(), url(Fault::None));
    let out = place.out();
    let sweep = ["sweep", "--url", &url, "--senders", "1..5", "--count", "500", "--repetitions", "3", "--out", &out];
    let child = command(&sweep).spawn().unwrap();
    let file = place.folder().join("results.jsonl");
    wait_for("a second sample", || lines(&file) >= 2);
    interrupt(&child);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(130), "{said}");
    let kept = place.records();
    assert!((2..15).contains(&kept.len()) && kept.iter().all(|record| record["error"].is_null()), "{kept:?}");
    assert!(said.contains(&format!("interrupted after {} of 15 samples", kept.len())), "{said}");
    assert!(String::from_utf8_lossy(&stdout).contains("report.html") && place.folder().join("report.html").is_file());
    assert_eq!(place.run_file()["plans"][0]["is_complete"], false);

    let (status, _, said) = run(&[&sweep[..], &["--resume"]].concat());
    assert_eq!(status, Some(0), "{said}");
    let all = place.records();
    assert_eq!((all.len(), &all[..kept.len()]), (15, &kept[..]), "what was there is not taken again");
    let mut points: Vec<_> = all.iter().map(|record| format!("{} {}", record["point"], record["repetition"])).collect();
    points.sort();
    points.dedup();
    assert_eq!(points.len(), 15);
    assert_eq!(place.run_file()["plans"][0]["is_complete"], true);
}

#[test]
fn an_interrupted_run_ends_soon_and_says_so() {
    let url = url(Fault::Drop(2));
    // It waits for messages that never come.
    let child = command(&["run", "--url", &url, "--count", "100", "--timeout-s", "3600"]).spawn().unwrap();
    wait_for("that it notices signals", || notices_interrupts(&child));
    interrupt(&child);
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert_eq!(status.code(), Some(130), "{}", String::from_utf8_lossy(&stderr));
}

#[test]
fn faults_are_recorded_with_their_first_cases_and_the_sweep_goes_on() {
    let place = Place::new();
    let url = url(Fault::Duplicate(5));
    let (status, _, said) = run(&[
        "sweep",
        "--url",
        &url,
        "--count",
        "1000",
        "--senders",
        "1,2",
        "--repetitions",
        "2",
        "--out",
        &place.out(),
    ]);
    assert_eq!(status, Some(1), "{said}");
    let records = place.records();
    assert_eq!(records.len(), 4);
    for record in &records {
        assert!(number(record, "duplicated") > 0.0, "{record}");
        let cases = record["first_faults"].as_array().unwrap();
        assert!(!cases.is_empty() && said.contains(cases[0].as_str().unwrap()), "{record}: {said}");
    }
    assert!(said.contains("in 4 of 4 samples something was wrong"), "{said}");
}

#[test]
fn a_broker_that_dies_is_a_failed_sample_and_the_sweep_goes_on() {
    let place = Place::new();
    let url = url(Fault::Die(10));
    let (status, _, said) =
        run(&["sweep", "--url", &url, "--count", "1000", "--repetitions", "3", "--out", &place.out()]);
    assert_eq!(status, Some(1), "{said}");
    let records = place.records();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record["error"].is_string()), "{records:?}");
}

#[test]
fn what_cannot_begin_says_why_in_a_line_and_writes_nothing() {
    let place = Place::new();
    let out = place.out();
    let nobody = "mqtt://127.0.0.1:1";
    for (arguments, named) in [
        (&["sweep", "--out", &out][..], "--broker or --url"),
        (&["sweep", "nothing", "--out", &out], "nothing is neither a plan"),
        (&["sweep", "no/thing.toml", "--out", &out], "no/thing.toml"),
        (&["sweep", "--broker", "nothing", "--out", &out], "no broker \"nothing\""),
        (&["sweep", "--broker", "/no/such/program {port}", "--out", &out], "/no/such/program"),
        (&["sweep", "--url", nobody, "--out", &out], "127.0.0.1:1"),
        (&["latency", "--url", nobody, "--out", &out], "127.0.0.1:1"),
        (&["connections", "--url", nobody, "--out", &out], "127.0.0.1:1"),
        (&["sweep", "--url", "mqtt://192.0.2.1:1883", "--out", &out], "another machine"),
        (&["run", "--url", "mqtt://192.0.2.1:1883"], "another machine"),
        (&["run", "--broker", "nothing"], "no broker \"nothing\""),
        (&["run", "--broker", "/no/such/program {port}"], "/no/such/program"),
        (&["run", "--url", nobody, "--pattern", "fan-in", "--receivers", "2"], "fan-in"),
        (&["sweep", "--url", nobody, "--pattern", "fan-in", "--receivers", "2", "--out", &out], "pattern: fan-in"),
        (&["sweep", "--url", nobody, "--senders", "1..x", "--out", &out], "--senders"),
        (&["sweep", "--url", nobody, "--resume"], "--out"),
        (&["latency", "--url", nobody, "--load", "101", "--out", &out], "--load"),
        (&["connections", "--url", nobody, "--count", "100000", "--out", &out], "--count"),
        (&["plans", "nothing"], "nothing is neither a plan"),
        (&["report", &out], &out),
    ] {
        let (status, printed, said) = run(arguments);
        assert_eq!((status, said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
        assert!(
            said.starts_with("wisp-loadgen: ") && said.contains(named) && printed.is_empty(),
            "{arguments:?}: {said}"
        );
        assert!(!place.folder().exists(), "{arguments:?}");
    }
}

#[test]
fn single_runs_start_brokers_and_are_gathered_in_a_folder() {
    let (place, broker) = (Place::new(), sink());
    let out = place.out();
    let (status, printed, said) = run(&["run", "--sink", "--count", "2000", "--json"]);
    assert_eq!(status, Some(0), "{said}");
    let record: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((record["broker"].as_str(), number(&record, "sent")), (Some("sink"), 2000.0));
    for _ in 0..2 {
        let (status, printed, said) =
            run(&["run", "--broker", &broker, "--receivers", "0", "--count", "2000", "--out", &out]);
        assert_eq!(status, Some(0), "{said}");
        assert!(printed.contains("msg/s") && printed.contains("ms to start"), "{printed}");
    }
    let repetitions: Vec<_> = place.records().iter().map(|record| number(record, "repetition")).collect();
    assert_eq!(repetitions, [1.0, 2.0]);
    assert!(place.folder().join("report.html").is_file());
}

#[test]
fn latency_is_measured_at_a_share_of_the_maximum_which_is_measured_first() {
    let (place, url) = (Place::new(), url(Fault::None));
    let latency = ["latency", "--url", &url, "--load", "20", "--seconds", "0.3", "--size", "64"];
    let (status, _, said) = run(&[&latency[..], &["--repetitions", "2", "--out", &place.out()]].concat());
    assert_eq!(status, Some(0), "{said}");
    let records = place.records();
    let kinds: Vec<_> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["throughput", "throughput", "throughput", "latency", "latency"]);
    let mut maxima: Vec<_> =
        records[..3].iter().map(|record| number(record, "sent") / number(record, "seconds")).collect();
    maxima.sort_by(f64::total_cmp);
    for record in &records[3..] {
        assert_eq!(number(record, "load_percent"), 20.0);
        let share = number(record, "rate_per_s") / maxima[1];
        assert!((share - 0.2).abs() < 1e-6, "{share}");
        assert!(
            number(record, "latency_p50_ns") > 0.0
                && number(record, "latency_p50_ns") <= number(record, "latency_max_ns")
        );
    }
}

#[test]
fn connections_are_opened_counted_and_timed() {
    let (place, url) = (Place::new(), url(Fault::None));
    let (status, _, said) =
        run(&["connections", "--url", &url, "--count", "10,30", "--repetitions", "1", "--out", &place.out()]);
    assert_eq!(status, Some(0), "{said}");
    let mut records = place.records();
    records.sort_by_key(|record| record["connections"].as_u64());
    assert_eq!(records.iter().map(|record| number(record, "connections")).collect::<Vec<_>>(), [10.0, 30.0]);
    for record in &records {
        assert!(number(record, "connections_per_s") > 0.0 && record["error"].is_null());
        // No connection over TCP takes less.
        assert!(number(record, "latency_p50_ns") > 1000.0, "{record}");
    }
    let place = Place::new();
    let paced = ["connections", "--url", &url, "--count", "11", "--rate", "50", "--repetitions", "1"];
    let (status, _, said) = run(&[&paced[..], &["--out", &place.out()]].concat());
    assert_eq!(status, Some(0), "{said}");
    assert!(number(&place.records()[0], "seconds") >= 0.2, "the eleventh is due after ten fiftieths of a second");
}

#[test]
fn plans_are_listed_and_explained() {
    let (status, listed, said) = run(&["plans"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(listed.contains("| forwarding "), "{listed}");
    let (status, explained, said) = run(&["plans", "forwarding", "--quick"]);
    assert_eq!(status, Some(0), "{said}");
    for part in ["throughput", "senders 10, receivers 10", "Figures:", "samples in all"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
}

//! The output of `wisp_report::write`: the plots as they were last looked at, and a page that needs nothing beside
//! itself.
//!
//! `WISP_GOLDEN=write` writes the golden plots anew; look at them in a browser before they are committed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use wisp_report::folder::{RECORDS_FILE, RUN_FILE};
use wisp_report::{ReportError, Written};

/// A folder of records, removed when it is dropped.
struct Folder(TempDir);

impl Folder {
    fn new(run: &Value, records: &[Value]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let lines: Vec<String> = records.iter().map(|record| format!("{record}\n")).collect();
        fs::write(folder.path().join(RECORDS_FILE), lines.concat()).unwrap();
        fs::write(folder.path().join(RUN_FILE), run.to_string()).unwrap();
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn write(&self) -> Result<Written, ReportError> {
        wisp_report::write(self.path())
    }
}

const BROKERS: [(&str, f64); 5] =
    [("native", 1.0), ("wasmer", 0.62), ("wasmtime", 0.6), ("mosquitto", 0.15), ("nats-server", 0.8)];

/// The differences between repetitions.
const NOISE: [f64; 3] = [1.0, 0.94, 1.07];

fn record(plan: &str, broker: &str, repetition: usize, rest: Value) -> Value {
    let mut record = json!({ "plan": plan, "broker": broker, "repetition": repetition + 1, "lost": 0, "error": null });
    record.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    record
}

/// Samples of three plans; one of them lost messages, one failed, one was as fast as the generator.
fn records() -> Vec<Value> {
    let mut records = Vec::new();
    for (index, (broker, speed)) in BROKERS.into_iter().enumerate() {
        for (repetition, noise) in NOISE.into_iter().enumerate() {
            for size in [16, 256, 4096, 65_536] {
                let rate = 1.5e6 * speed * noise / (1.0 + f64::from(size) / 2000.0);
                let is_lossy = broker == "mosquitto" && size == 256 && repetition == 0;
                let rest = json!({ "size_bytes": size, "messages_per_s": rate, "lost": if is_lossy { 7 } else { 0 } });
                records.push(record("sizes", broker, repetition, rest));
            }
            for count in [1, 10, 100] {
                let rate = 9e5 * speed * noise * [1.0, 1.2, 0.7][(count as f64).log10() as usize];
                let error = (broker == "mosquitto" && count == 100).then_some("it <died> & \"left\"");
                let rest = json!({
                    "senders": count, "receivers": count, "messages_per_s": rate, "error": error,
                    "is_generator_saturated": broker == "native" && count == 10,
                });
                records.push(record("forwarding", broker, repetition, rest));
            }
            for load in [10, 80] {
                let base = (40_000.0 + 9_000.0 * index as f64) * noise * (1.0 + f64::from(load) / 50.0);
                let list =
                    [[0.0, 0.4], [50.0, 1.0], [90.0, 1.6], [99.0, 3.0], [99.9, 9.0], [99.99, 30.0], [100.0, 70.0]];
                let list = list.map(|[percentile, times]| [percentile, base * times]);
                let rest = json!({ "load_percent": load, "latency_ns_percentiles": list });
                records.push(record("latency", broker, repetition, rest));
            }
        }
    }
    records
}

fn plan(name: &str, figures: Value) -> Value {
    json!({
        "name": name, "title": format!("Plan <b>{name}</b>"), "about": "Why & how.\n\nA <script>alert(1)</script> second paragraph.",
        "command": format!("wisp-loadgen sweep \"{name}\" --x '<y>'"), "started": "2026-01-31T12:00:00Z",
        "ended": "2026-01-31T12:10:30Z", "is_complete": name != "latency", "busy_processors": 0.25, "figures": figures,
    })
}

fn run() -> Value {
    json!({
        "machine": { "processor": "A <processor>", "processors": "2" },
        "versions": { "wisp": "0.1.0 & more" },
        "plans": [
            plan("sizes", json!([
                { "name": "rate", "title": "Messages forwarded by size", "x": "size_bytes", "y": "messages_per_s",
                  "lines": ["broker"], "x_log": true, "y_log": true },
                { "name": "ratio", "title": "Messages forwarded against native", "x": "size_bytes", "y": "messages_per_s",
                  "lines": ["broker"], "x_log": true, "ratio_to": { "broker": "native" }, "note": "A note <i>." },
            ])),
            plan("forwarding", json!([
                { "name": "rate", "title": "Messages forwarded by <senders> & receivers", "kind": "bars",
                  "x": "senders,receivers", "y": "messages_per_s", "lines": ["broker"] },
                { "name": "dots", "title": "The same on a logarithmic axis", "kind": "bars", "x": "senders,receivers",
                  "y": "messages_per_s", "lines": ["broker"], "y_log": true },
            ])),
            plan("latency", json!([
                { "name": "distribution", "title": "End-to-end latency", "kind": "percentiles", "x": "percentile",
                  "y": "latency_ns_percentiles", "lines": ["broker"], "panels": "load_percent", "y_log": true, "better": "less" },
                { "name": "nothing", "title": "Of nothing", "x": "senders", "y": "messages_per_s" },
            ])),
        ],
    })
}

/// Compares with the plot as it was last looked at.
fn assert_golden(folder: &Folder, name: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let drawn = folder.read(name);
    if env::var_os("WISP_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&golden, &drawn).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap();
    let differing = drawn.lines().zip(expected.lines()).position(|(drawn, expected)| drawn != expected);
    let line = differing.map_or_else(|| drawn.lines().count().min(expected.lines().count()) + 1, |index| index + 1);
    assert!(drawn == expected, "{name} differs from the golden one from line {line} on");
}

#[test]
fn plots_are_as_they_were_last_looked_at() {
    let folder = Folder::new(&run(), &records());
    folder.write().unwrap();
    for name in
        ["sizes-rate.svg", "sizes-ratio.svg", "forwarding-rate.svg", "forwarding-dots.svg", "latency-distribution.svg"]
    {
        assert_golden(&folder, name);
        assert_balanced(&folder.read(name), &[]);
    }
}

#[test]
fn plots_do_not_depend_on_the_order_of_samples() {
    let records = records();
    let folder = Folder::new(&run(), &records);
    let reversed = Folder::new(&run(), &records.into_iter().rev().collect::<Vec<_>>());
    for folder in [&folder, &reversed] {
        folder.write().unwrap();
    }
    for name in ["sizes-ratio.svg", "forwarding-rate.svg", "latency-distribution.svg", "report.html"] {
        assert_eq!(folder.read(name), reversed.read(name), "{name}");
    }
}

#[test]
fn all_files_are_written_and_counted() {
    let folder = Folder::new(&run(), &records());
    let written = folder.write().unwrap();
    let names: Vec<_> = written.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    // There is no plot of nothing.
    let expected = [
        "results.csv",
        "sizes-rate.svg",
        "sizes-ratio.svg",
        "forwarding-rate.svg",
        "forwarding-dots.svg",
        "latency-distribution.svg",
        "report.html",
    ];
    assert_eq!(names, expected);
    assert!(written.files.iter().all(|file| file.is_file()));
    assert_eq!((written.samples, written.faulty), (5 * 3 * 9, 1 + 3));
    let table = folder.read("results.csv");
    assert_eq!(table.lines().count(), 1 + written.samples);
    let columns = "plan,repetition,broker,senders,receivers,size_bytes,load_percent,lost,error,messages_per_s,is_generator_saturated";
    assert_eq!(table.lines().next(), Some(columns));
}

#[test]
fn the_page_has_every_figure_and_needs_nothing_beside_itself() {
    let folder = Folder::new(&run(), &records());
    folder.write().unwrap();
    let page = folder.read("report.html");
    for figure in ["sizes-rate", "sizes-ratio", "forwarding-rate", "forwarding-dots", "latency-distribution"] {
        assert!(page.contains(&format!("id=\"figure-{figure}\"")), "{figure}");
        assert!(page.contains(&format!("id=\"figure-{figure}-plot-title\"")), "{figure}");
        assert!(page.contains(&format!("href=\"{figure}.svg\"")), "{figure}");
    }
    assert_eq!(page.matches("<svg ").count(), 5);
    assert!(page.contains("Nothing to draw."));
    for told in [
        "7 messages lost",
        "it &lt;died&gt; &amp; &quot;left&quot;",
        "Where the load generator was the limit",
        "Not all samples of this plan were taken.",
        "2026-01-31 12:00 to 12:10 UTC",
        "--x '&lt;y&gt;'",
        "A &lt;processor&gt;",
        "0.25",
    ] {
        assert!(page.contains(told), "{told}");
    }

    for outside in
        ["http:", "https:", "//", "<script", "<link", "<iframe", "<img", "@import", "url(", "<b>", "<i>", "<died"]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    for link in attributes(&page, "href") {
        match link.strip_prefix('#') {
            Some(id) => assert!(page.contains(&format!("id=\"{id}\"")), "{link}"),
            None => assert!(folder.path().join(&link).is_file(), "{link}"),
        }
    }
    let ids = attributes(&page, "id");
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "each id is there once");
    for labelled in attributes(&page, "aria-labelledby").iter().flat_map(|list| list.split(' ')) {
        assert!(ids.iter().any(|id| id == labelled), "{labelled}");
    }
    assert_balanced(&page, &["meta", "!DOCTYPE"]);
}

#[test]
fn the_best_of_each_row_is_marked() {
    let folder = Folder::new(&run(), &records());
    folder.write().unwrap();
    let page = folder.read("report.html");
    // Four sizes each in two tables, three places in two, five percentiles in each of two panels.
    assert_eq!(page.matches("class=\"best\"").count(), 4 + 4 + 3 + 3 + 10);
    assert_eq!(page.matches("★ ").count() - page.matches("★ largest").count() - page.matches("★ smallest").count(), 24);
    assert!(page.contains("<td>none†</td>"));
}

#[test]
fn what_lost_messages_is_never_the_best() {
    let mut records = records();
    for record in records.iter_mut().filter(|record| record["broker"] == "native" && record["repetition"] == 1) {
        record["lost"] = json!(1);
    }
    let folder = Folder::new(&run(), &records);
    folder.write().unwrap();
    let page = folder.read("report.html");
    let best: Vec<_> =
        page.split("<td class=\"best\"").skip(1).map(|rest| rest.split("</td>").next().unwrap()).collect();
    assert!(!best.is_empty() && best.iter().all(|cell| !cell.contains('†')), "{best:?}");
    assert!(page.contains("largest median of those compared that are without †"));
}

#[test]
fn bars_have_no_length_on_a_logarithmic_axis() {
    let folder = Folder::new(&run(), &records());
    folder.write().unwrap();
    let (bars, dots) = (folder.read("forwarding-rate.svg"), folder.read("forwarding-dots.svg"));
    // Five brokers at three places, one of which failed at one.
    assert_eq!((bars.matches("<rect class=\"bar\"").count(), dots.matches("<rect class=\"bar\"").count()), (14 + 5, 0));
    let marks = ["<circle class=\"bar\"", "<polygon class=\"bar\""].map(|mark| dots.matches(mark).count());
    assert_eq!(marks, [3 + 1, 11 + 4]);
    assert!(dots.contains("Messages, msg/s (logarithmic)") && !bars.contains("(logarithmic)"));
    let curve = folder.read("sizes-rate.svg");
    assert!(curve.contains("Messages, msg/s (logarithmic)") && curve.contains("Message size (logarithmic)"));
}

#[test]
fn where_the_generator_was_the_limit_plots_have_the_sign_that_they_explain() {
    let mut records = records();
    for record in &mut records {
        let is_marked = record["broker"] == "wasmer" && (record["size_bytes"] == 256 || record["load_percent"] == 80);
        if is_marked {
            record["is_generator_saturated"] = json!(true);
        }
    }
    let folder = Folder::new(&run(), &records);
    folder.write().unwrap();
    let legend = "‡ In some samples of this the load generator was the limit";
    for (name, sign) in [
        ("sizes-rate.svg", ">‡</text>"),
        ("forwarding-rate.svg", "‡</text>"),
        ("forwarding-dots.svg", "‡</text>"),
        ("latency-distribution.svg", ">Wasmer‡</text>"),
    ] {
        let plot = folder.read(name);
        assert_eq!((plot.matches('‡').count(), plot.matches(legend).count()), (2, 1), "{name}");
        assert!(plot.contains(sign), "{name}");
    }
    let unmarked = Folder::new(&run(), &self::records());
    unmarked.write().unwrap();
    assert!(!unmarked.read("sizes-rate.svg").contains('‡'));
}

#[test]
fn figures_say_how_many_samples_they_are_of_and_what_their_lines_mean() {
    let folder = Folder::new(&run(), &records());
    folder.write().unwrap();
    let told = "lines from the least to the greatest.";
    for name in ["forwarding-rate.svg", "report.html"] {
        assert!(folder.read(name).contains(&format!("Medians of 3; {told}")), "{name}");
    }
    assert!(folder.read("sizes-rate.svg").contains(&format!("Medians of 2 to 3; {told}")), "one lost messages");
    assert!(folder.read("latency-distribution.svg").contains("Medians of 3; bands from the least to the greatest."));

    let many: Vec<_> = (0..15)
        .map(|at| record("forwarding", "native", at, json!({ "senders": 1, "receivers": 1, "messages_per_s": at })))
        .collect();
    let folder = Folder::new(&run(), &many);
    folder.write().unwrap();
    assert!(folder.read("forwarding-rate.svg").contains("Medians of 15; lines from the first to the third quartile."));
    let folder = Folder::new(&run(), &many[..1]);
    folder.write().unwrap();
    assert!(folder.read("forwarding-rate.svg").contains("One sample each."));
}

#[test]
fn a_terminal_has_the_medians_too() {
    let run: wisp_report::folder::Run = serde_json::from_value(run()).unwrap();
    let records = records();
    let of_plan = |plan: &str| -> Vec<_> {
        records
            .iter()
            .filter(|record| record["plan"] == plan)
            .map(|record| record.as_object().unwrap().clone())
            .collect()
    };
    let table = wisp_report::terminal_table(&of_plan("forwarding"), &run.plans[1].figures);
    let expected = "\
Messages forwarded by <senders> & receivers: messages, msg/s
| senders, receivers |                (1, 1) |                 (10, 10) |            (100, 100) |
|--------------------|----------------------:|-------------------------:|----------------------:|
| native             | ★ 900k (846k to 963k) | ★ 1.08M‡ (1.02M to 1.16M) | ★ 630k (592k to 674k) |
";
    // Compared without the padding, which depends on the longest cell.
    let squeezed = |text: &str| text.replace('-', "").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(squeezed(&table).starts_with(&squeezed(expected)), "{table}");
    assert!(table.contains("none†"), "{table}");
    assert!(
        table.contains("Medians of 3; in brackets from the least to the greatest.\n★ largest median of those compared that are without †\n3 samples of 45 with faults left out (†).\n"),
        "{table}"
    );
    let widths: BTreeSet<_> =
        table.lines().filter(|line| line.starts_with('|')).map(|line| line.chars().count()).collect();
    assert_eq!(widths.len(), 1, "{table}");

    let nothing = wisp_report::terminal_table(&[], &run.plans[1].figures);
    assert!(nothing.ends_with("msg/s\nno samples\n"), "{nothing}");
}

#[test]
fn a_terminal_explains_brackets_where_there_are_some() {
    let told = |name: &str| {
        let records: Vec<_> = (0..8)
            .map(|at| json!({ "broker": format!("{name}-{}", at / 2), "senders": 1, "repetition": at % 2, "sent": at }))
            .map(|record| record.as_object().unwrap().clone())
            .collect();
        let figure = json!({ "name": "f", "title": "t", "x": "senders", "y": "sent", "lines": ["broker"] });
        wisp_report::terminal_table(&records, &[serde_json::from_value(figure).unwrap()])
    };
    let (narrow, wide) = (told("a"), told("a-broker-with-quite-a-long-name-that-leaves-no-room"));
    assert!(
        narrow.contains("Medians of 2; in brackets from the least to the greatest.") && narrow.contains(" (0 to 1) ")
    );
    assert!(wide.contains("Medians of 2.\n") && !wide.contains('('), "{wide}");
}

#[test]
fn what_cannot_be_drawn_is_said_in_a_line() {
    let with_plans = |plans: Value| Folder::new(&json!({ "machine": {}, "versions": {}, "plans": plans }), &[]);
    let figure = |name: &str, rest: Value| {
        let mut figure = json!({ "name": name, "title": "t", "x": "senders", "y": "sent" });
        figure.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        figure
    };
    let bad_name = with_plans(json!([plan("p", json!([figure("../up", json!({}))]))]));
    let bad_plan = with_plans(json!([plan("a/b", json!([]))]));
    let twice = with_plans(json!([plan("p", json!([figure("f", json!({})), figure("f", json!({}))]))]));
    let percentiles = json!({ "kind": "percentiles", "ratio_to": { "broker": "native" } });
    let no_ratio = with_plans(json!([plan("p", json!([figure("f", percentiles)]))]));
    let no_run = with_plans(json!([]));
    fs::remove_file(no_run.path().join(RUN_FILE)).unwrap();
    let broken = with_plans(json!([]));
    fs::write(broken.path().join(RECORDS_FILE), "{}\nnonsense\n").unwrap();
    for (folder, told) in [
        (&bad_name, "figure \"../up\" of plan \"p\", name: \"../up\" is not made of letters, digits and -"),
        (&bad_plan, "plan \"a/b\": a name has letters, digits and -"),
        (&twice, "figure \"f\" of plan \"p\": there are two with this name"),
        (&no_ratio, "figure \"f\" of plan \"p\", ratio_to: percentiles have none"),
        (&no_run, "No such file or directory"),
        (&broken, "line 2 of results.jsonl: "),
    ] {
        let error = folder.write().unwrap_err().to_string();
        assert!(error.contains(told) && error.contains(folder.path().to_str().unwrap()), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_folder_without_samples_has_a_page_that_says_so() {
    let folder = Folder::new(&run(), &[]);
    let written = folder.write().unwrap();
    assert_eq!((written.samples, written.files.len()), (0, 2));
    assert!(folder.read("report.html").contains("0 samples of 3 plans"));
}

/// The values of an attribute, in the order in which they appear.
fn attributes(page: &str, name: &str) -> Vec<String> {
    let start = format!(" {name}=\"");
    page.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// Whether each element ends, in the order in which they began. `void` elements have no end.
fn assert_balanced(text: &str, void: &[&str]) {
    let mut open: Vec<&str> = Vec::new();
    for tag in text.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') && !void.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_folders_of_the_repository_are_drawn() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results");
    let mut drawn = 0;
    for entry in fs::read_dir(results).unwrap() {
        let recorded = entry.unwrap().path();
        if !recorded.join(RUN_FILE).is_file() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        for file in [RECORDS_FILE, RUN_FILE] {
            fs::copy(recorded.join(file), folder.path().join(file)).unwrap();
        }
        let written = wisp_report::write(folder.path()).unwrap();
        let records = wisp_report::folder::read_records(&recorded).unwrap();
        assert_eq!((written.samples, written.faulty), (records.len(), 0), "{}", recorded.display());
        for file in written.files {
            let name = file.file_name().unwrap();
            assert!(recorded.join(name).is_file(), "{} has no {}", recorded.display(), name.display());
        }
        drawn += 1;
    }
    assert!(drawn > 0);
}

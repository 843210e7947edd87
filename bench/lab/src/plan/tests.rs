use super::*;
use crate::broker::{Broker, Mode};
use crate::host::{Host, HostMode};
use serde_json::json;
use wisp_loadgen::Pattern;

const HEAD: &str =
    "name = \"a\"\ntitle = \"A\"\nabout = \"\"\"\nIt asks.\n\"\"\"\nkind = \"throughput\"\nrepetitions = 5\n";

fn changed(body: &str, change: impl FnOnce(&mut Changes)) -> Result<Plan, PlanError> {
    let mut changes = Changes::none(2);
    change(&mut changes);
    Plan::parse("file.toml", &format!("{HEAD}{body}"), &changes)
}

fn plan(body: &str) -> Plan {
    changed(body, |_| ()).unwrap()
}

/// The values of settings in all points.
fn values(plan: &Plan, names: &[&str]) -> serde_json::Value {
    let value = |point: &Point, name: &str| {
        let named = point.values().find(|(setting, _)| setting.name() == name);
        named.map_or(serde_json::Value::Null, |(_, value)| value.into())
    };
    let of = |point: &Point| names.iter().map(|name| value(point, name)).collect();
    plan.points.iter().map(of).collect::<Vec<serde_json::Value>>().into()
}

fn load(point: &Point) -> &Load {
    point.settings().load().unwrap()
}

#[test]
fn settings_are_multiplied_out_and_the_rest_is_as_usual() {
    let plan = plan("[settings]\nbroker = [\"native\", \"mosquitto\"]\nsenders = \"1..2*cores step 3\"\nseconds = 1\n");
    assert_eq!((plan.name.as_str(), plan.about.as_str(), plan.repetitions, plan.samples()), ("a", "It asks.", 5, 20));
    let all = json!([["native", 1], ["native", 4], ["mosquitto", 1], ["mosquitto", 4]]);
    assert_eq!(values(&plan, &["broker", "senders"]), all);
    let load = load(&plan.points[0]);
    assert_eq!((load.pattern, load.size_bytes, load.seconds), (Pattern::OneToOne, 1024, Some(1.0)));
    assert_eq!(plan.points[3].title(), "mosquitto, senders 4");
}

#[test]
fn a_plan_is_the_union_of_its_cases() {
    let plan = plan(
        "[settings]\nbroker = \"native\"\nsenders = 1\nmessages = 7\n[[case]]\nreceivers = [1, 2]\n[[case]]\nsenders = 3\nseconds = 1.5\n\
         [[case]]\nreceivers = 2\n",
    );
    let all = json!([[1, 1, 7, null], [1, 2, 7, null], [3, 1, null, 1.5]]);
    assert_eq!(values(&plan, &["senders", "receivers", "messages", "seconds"]), all, "none twice");
}

#[test]
fn quick_runs_leave_out_and_change() {
    let body = "[settings]\nbroker = \"native\"\nseconds = 2\n[[case]]\nsenders = 1\n[[case]]\nsenders = 2\nquick = false\n\
                [[case]]\nsenders = 3\nquick = \"only\"\n[[case]]\nsenders = 4\nquick = { senders = 5 }\n\
                [quick]\nrepetitions = 2\nsettings = { seconds = 0.5 }\n";
    let full = plan(body);
    assert_eq!(values(&full, &["senders", "seconds"]), json!([[1, 2], [2, 2], [4, 2]]));
    let quick = changed(body, |changes| changes.is_quick = true).unwrap();
    assert_eq!(
        (quick.repetitions, values(&quick, &["senders", "seconds"])),
        (2, json!([[1, 0.5], [3, 0.5], [5, 0.5]]))
    );
    let none = changed("[settings]\nbroker = \"native\"\n[[case]]\nquick = false\n", |changes| changes.is_quick = true);
    assert_eq!(none.unwrap_err().to_string(), "file.toml: quick: it leaves no case");
}

#[test]
fn options_win_over_everything() {
    let body =
        "[settings]\nbroker = [\"native\", \"wasmer\"]\nmessages = 7\n[[case]]\nsenders = 3\n[[case]]\nsenders = 4\n";
    let plan = changed(body, |changes| {
        changes.repetitions = Some(9);
        changes.settings = WrittenSettings::from([
            (Setting::Broker, Written::Text("mosquitto".to_owned())),
            (Setting::Senders, Written::Text("1..2".to_owned())),
            (Setting::Seconds, Written::Number(1.0)),
        ]);
    });
    let plan = plan.unwrap();
    assert_eq!(plan.repetitions, 9);
    let all = json!([["mosquitto", 1, null], ["mosquitto", 2, null]]);
    assert_eq!(values(&plan, &["broker", "senders", "messages"]), all);
}

#[test]
fn what_comes_to_the_same_is_measured_once() {
    let plan = plan(
        "[settings]\nbroker = [\"native\", \"wasmedge\", \"mosquitto\"]\nworkers = [1, 2]\nwindow = [10, 20]\nmqtt_version = \"5\"\n\
         [[case]]\n[[case]]\nbroker = \"nats-server\"\nmqtt_version = [\"3.1\", \"5\"]\n",
    );
    // WasmEdge's module has one worker, mosquitto has none to be set, nothing is acknowledged at QoS 0, and NATS has no
    // versions of MQTT.
    let all = json!([
        ["native", 1, null, "5"],
        ["native", 2, null, "5"],
        ["wasmedge", 1, null, "5"],
        ["mosquitto", null, null, "5"],
        ["nats-server", null, null, null],
    ]);
    assert_eq!(values(&plan, &["broker", "workers", "window", "mqtt_version"]), all);
}

#[test]
fn arguments_of_a_broker_are_one_value() {
    let plan = plan("[settings]\nbroker = \"native\"\nbroker_arguments = [\"--a\", \"1..2\"]\n");
    assert_eq!((plan.points.len(), load(&plan.points[0]).broker.arguments.join(" ").as_str()), (1, "--a 1..2"));
}

#[test]
fn shares_of_a_maximum_are_measured_after_the_maximum() {
    let latency = |body: &str| {
        let text = format!("{}[settings]\nbroker = \"native\"\n{body}\n", HEAD.replace("throughput", "latency"));
        Plan::parse("file.toml", &text, &Changes::none(2))
    };
    let plan = latency("load_percent = [10, 50]\nsenders = [1, 2]\nseconds = 5").unwrap();
    let [first, second] = &plan.phases()[..] else { panic!("{plan:?}") };
    assert_eq!((first.points.len(), first.repetitions, second.points.len(), second.repetitions), (2, 3, 4, 5));
    assert_eq!(plan.samples(), 26);
    for point in &first.points {
        let Load { load_percent, seconds, .. } = load(point);
        assert_eq!((point.kind(), load_percent, seconds), (Kind::Throughput, &None, &Some(2.0)));
    }
    assert_eq!(second.points[0].maximum().map(|maximum| maximum.key()), Some(first.points[0].key()));
    assert_eq!(first.points[1].title(), "native, senders 2, at full speed");
    assert_eq!(latency("rate_per_s = 1000").unwrap().phases().len(), 1);
    assert!(latency("").unwrap_err().to_string().contains("load_percent"));
    assert!(latency("rate_per_s = 1000\nload_percent = 10").unwrap_err().to_string().contains("only one of them"));
}

/// Plans of the kinds that `wisp-bench` runs.
fn other(kind: &str, settings: &str) -> Result<Plan, PlanError> {
    let text = format!("{}[settings]\n{settings}\n", HEAD.replace("throughput", kind));
    Plan::parse("file.toml", &text, &Changes::none(2))
}

#[test]
fn settings_of_other_programs_are_typed_too() {
    let plan = other(
        "compute",
        "program = \"sort\"\nhost = [\"native\", \"wasmer\"]\nmode = \"aot\"\nfile_bytes = \"1..100 times 10\"",
    );
    let plan = plan.unwrap();
    assert_eq!(plan.points.len(), 6);
    let key = "compute file_bytes=1 host=\"native\" mode=\"aot\" program=\"sort\"";
    assert_eq!(plan.points[0].key(), key);
    let first = Compute { host: Host::Native, mode: HostMode::Aot, work: Work::Sort { file_bytes: 1 } };
    assert_eq!(plan.points[0].settings(), &Settings::Compute(first));

    let plan = other("transfer", "host = \"wasmtime\"\nmessages = 9\nsize_bytes = 7\nbuffer = \"256 KiB\"").unwrap();
    assert_eq!(plan.points[0].key(), "transfer buffer=\"256 KiB\" host=\"wasmtime\" messages=9 size_bytes=7");

    // A native program is ahead of time, too; no figure is lost since its key says so.
    let plan = other("start", "broker = [\"native\", \"wasmedge\"]\nmode = \"aot\"\nworkers = 3").unwrap();
    assert_eq!(plan.points[0].key(), "start broker=\"native\" mode=\"aot\" workers=3");
    let second = Start {
        broker: Broker::WasmEdge,
        mode: Some(Mode::Aot),
        workers: Some(3),
        messages: None,
        senders: None,
        receivers: None,
    };
    assert_eq!(plan.points[1].settings(), &Settings::Start(second));
}

#[test]
fn mistakes_in_settings_of_other_programs_are_found_in_the_plan() {
    for (kind, settings, named) in [
        ("start", "", "broker: it has to be set"),
        ("start", "broker = \"other\"", "broker: there is no broker"),
        ("start", "broker = \"wasmer\"\nmode = 1", "mode: 1 is no text"),
        ("start", "broker = \"wasmer\"\nmode = \"slow\"", "mode: slow is no mode"),
        ("start", "broker = \"native\"\nmessages = 0", "messages: 0 is no"),
        ("start", "broker = \"native\"\nsenders = 4294967296", "senders: 4294967296 is no"),
        ("start", "broker = \"native\"\nqos = 1", "qos: no setting of start"),
        ("compute", "program = \"dance\"\nhost = \"native\"\nmode = \"aot\"", "program: dance is neither"),
        ("compute", "program = \"random\"\nhost = \"native\"\nmode = \"aot\"", "count: it has to be set"),
        (
            "compute",
            "program = \"random\"\ncount = 1\nfile_bytes = 1\nhost = \"native\"\nmode = \"aot\"",
            "file_bytes: no setting of compute beside program random",
        ),
        ("compute", "program = \"random\"\ncount = 1\nhost = \"moon\"\nmode = \"aot\"", "host: moon is none of native"),
        ("compute", "program = \"random\"\ncount = 1\nhost = \"wasmer\"\nmode = \"fast\"", "mode: fast is none of aot"),
        ("transfer", "host = \"native\"\nmessages = 1\nsize_bytes = 1\nbuffer = \"big\"", "buffer: big is neither"),
    ] {
        let error = other(kind, settings).expect_err(settings).to_string();
        assert!(error.starts_with(&format!("file.toml: settings.{named}")), "{error}");
    }
}

#[test]
fn without_figures_what_differs_is_drawn() {
    for (settings, drawn) in [
        ("broker = \"native\"", json!(["bars", "broker", []])),
        ("broker = [\"native\", \"mosquitto\"]\nqos = [0, 1]", json!(["curve", "qos", ["broker"]])),
        (
            "broker = [\"native\", \"mosquitto\"]\nqos = [0, 1]\nsenders = \"1..3\"",
            json!(["curve", "senders", ["broker", "qos"]]),
        ),
        ("broker = \"native\"\nsenders = \"1..3\"", json!(["curve", "senders", ["broker"]])),
    ] {
        let plan = plan(&format!("[settings]\n{settings}\n"));
        let figure = serde_json::to_value(&plan.figures[0]).unwrap();
        assert_eq!(json!([figure["kind"], figure["x"], figure["lines"]]), drawn, "{settings}");
    }
}

#[test]
fn figures_are_read() {
    let plan = plan(
        "[settings]\nbroker = \"native\"\n[[figure]]\nname = \"f\"\ntitle = \"F\"\nkind = \"bars\"\nx = \"senders\"\ny = \"lost\"\nwhere = { qos = 0 }\n",
    );
    assert_eq!((plan.figures.len(), plan.figures[0].only["qos"].clone()), (1, json!(0)));
}

#[test]
fn mistakes_are_one_line_that_names_file_and_key() {
    let native = "[settings]\nbroker = \"native\"\n";
    for (body, named) in [
        ("[settings\n", "line 8"),
        ("colour = 1\n", "colour"),
        ("", "settings.broker"),
        ("[settings]\nsenders = 1\n", "settings.broker"),
        ("[settings]\nbroker = 1\n", "settings.broker: 1 is no text"),
        (&format!("{native}sender = 1\n"), "settings.sender: no setting of throughput (which are broker, "),
        (&format!("{native}connections = 1\n"), "settings.connections"),
        (&format!("{native}senders = \"1..x\"\n"), "settings.senders: \"1..x\""),
        (&format!("{native}senders = 0\n"), "settings.senders: 0"),
        (&format!("{native}senders = 1.5\n"), "settings.senders: 1.5"),
        (&format!("{native}qos = 3\n"), "settings.qos"),
        (&format!("{native}size_bytes = 1\n"), "settings.size_bytes"),
        (&format!("{native}seconds = 0\n"), "settings.seconds"),
        (&format!("{native}seconds = 1\nmessages = 1\n"), "settings.messages"),
        (&format!("{native}mqtt_version = \"6\"\n"), "settings.mqtt_version"),
        ("[settings]\nbroker = \"nonsense\"\n", "settings.broker: there is no broker"),
        ("[settings]\nbroker = \"mqtt://me:word@h\"\n", "--url takes them"),
        ("[settings]\nbroker = \"wasmer\"\nmode = \"interpreted\"\n", "settings.mode: wasmer has no mode"),
        ("[settings]\nbroker = \"nats-server\"\nqos = 1\n", "settings.qos: nats-server speaks NATS"),
        (&format!("{native}senders = 20000\nreceivers = 10000\n"), "settings.senders: 20000 and 10000 receivers"),
        ("[settings]\nbroker = \"sink\"\nreceivers = [0, 1]\n", "settings.receivers: the sink forwards nothing"),
        (&format!("{native}pattern = \"none\"\n"), "settings.pattern: no pattern is named"),
        (&format!("{native}pattern = \"fan-in\"\nreceivers = 2\n"), "settings.pattern: fan-in has one topic"),
        (&format!("{native}senders = \"1..1000\"\nreceivers = \"1..1000\"\n"), "more than 10000"),
        (&format!("{native}[[case]]\nsenders = 1\n[[case]]\nsenders = 0\n"), "case 2, senders: 0"),
        (&format!("{native}[[case]]\nquick = 7\n"), "case 1, quick: 7"),
        (&format!("{native}[case]\nsenders = 1\n"), "case: cases are written as [[case]]"),
        (&format!("{native}[quick]\nsenders = 1\n"), "quick.senders"),
        (&format!("{native}[quick]\nrepetitions = 0\n"), "quick.repetitions: 0"),
        (&format!("{native}[[figure]]\nname = \"f\"\n"), "figure 1: missing field"),
        (
            &format!("{native}[[figure]]\nname = \"a/b\"\ntitle = \"\"\nx = \"\"\ny = \"\"\n"),
            "figure \"a/b\", name: \"a/b\" is not",
        ),
    ] {
        let error = changed(body, |_| ()).expect_err(body).to_string();
        assert!(error.starts_with("file.toml: ") && error.contains(named) && !error.contains('\n'), "{body}: {error}");
    }
    for (from, to) in [
        ("name = \"a\"", "name = \"a b\""),
        ("\"throughput\"", "\"fast\""),
        ("repetitions = 5", "repetitions = 1001"),
        ("title = \"A\"", ""),
    ] {
        let text = format!("{}{native}", HEAD.replace(from, to));
        assert!(Plan::parse("f", &text, &Changes::none(2)).unwrap_err().to_string().starts_with("f: "), "{to}");
    }
}

/// A plan of a kind with these settings and a figure with these keys.
fn with_figure(kind: &str, settings: &str, figure: &str) -> Result<Plan, PlanError> {
    let text = format!(
        "{}[settings]\n{settings}\n[[figure]]\nname = \"f\"\ntitle = \"F\"\n{figure}\n",
        HEAD.replace("throughput", kind)
    );
    Plan::parse("file.toml", &text, &Changes::none(2))
}

#[test]
fn figures_are_of_what_samples_will_have() {
    let (load, free) = ("broker = \"native\"", "host = \"native\"\nbuffer = \"message\"\nmessages = 1\nsize_bytes = 1");
    let latency = "broker = \"native\"\nrate_per_s = 1000";
    let rate = "y = \"messages_per_s\"";
    for (kind, settings, figure, told) in [
        (
            "throughput",
            load,
            "x = \"senders\"\ny = \"mesages_per_s\"",
            "y: \"mesages_per_s\" is neither set nor measured in samples of throughput (is it messages_per_s?)",
        ),
        ("throughput", load, &format!("x = \"sender,receivers\"\n{rate}"), "x: \"sender\""),
        ("throughput", load, &format!("x = \"senders\"\n{rate}\nlines = [\"broker\", \"brokr\"]"), "lines: \"brokr\""),
        ("throughput", load, &format!("x = \"senders\"\n{rate}\npanels = \"colour\""), "panels: \"colour\""),
        ("throughput", load, &format!("x = \"senders\"\n{rate}\nwhere = {{ qs = 1 }}"), "where: \"qs\""),
        (
            "throughput",
            load,
            &format!("x = \"senders\"\n{rate}\nratio_to = {{ brokr = \"native\" }}"),
            "ratio_to: \"brokr\"",
        ),
        ("throughput", load, &format!("x = \"load_percent\"\n{rate}"), "x: \"load_percent\" is neither"),
        ("throughput", load, "x = \"senders\"\ny = \"startup_cpu_s\"", "y: \"startup_cpu_s\" is neither"),
        (
            "latency",
            latency,
            "kind = \"percentiles\"\nx = \"percentile\"\ny = \"latency_ns_percentiles\"\nratio_to = { broker = \"native\" }",
            "ratio_to: percentiles have none",
        ),
        (
            "latency",
            latency,
            "kind = \"percentiles\"\nx = \"percentile\"\ny = \"latency_p99_ns\"",
            "y: \"latency_p99_ns\" has no percentiles",
        ),
        (
            "latency",
            latency,
            "x = \"senders\"\ny = \"latency_ns_percentiles\"",
            "y: \"latency_ns_percentiles\" is drawn as percentiles only",
        ),
        ("transfer", free, &format!("x = \"qos\"\n{rate}"), "x: \"qos\" is neither"),
        ("transfer", free, "x = \"buffer\"\ny = \"compute_s\"", "y: \"compute_s\" is neither"),
    ] {
        let error = with_figure(kind, settings, figure).expect_err(figure).to_string();
        assert!(
            error.starts_with("file.toml: figure \"f\", ") && error.contains(told) && !error.contains('\n'),
            "{error}"
        );
    }
    for (kind, settings, figure) in [
        (
            "throughput",
            load,
            format!("x = \"senders, receivers\"\n{rate}\nlines = [\"broker\"]\nwhere = {{ kind = \"throughput\" }}"),
        ),
        ("latency", latency, "x = \"qos\"\ny = \"send_lag_p999_ns\"".to_owned()),
        ("transfer", free, format!("x = \"buffer\"\n{rate}\nratio_to = {{ host = \"native\" }}")),
    ] {
        with_figure(kind, settings, &figure).expect(&figure);
    }
    let twice = "x = \"senders\"\ny = \"sent\"\n[[figure]]\nname = \"f\"\ntitle = \"F\"\nx = \"qos\"\ny = \"lost\"";
    assert_eq!(
        with_figure("throughput", load, twice).unwrap_err().to_string(),
        "file.toml: figure \"f\", name: it is another's too"
    );
}

#[test]
fn usual_figures_are_of_what_samples_have() {
    for (kind, settings) in [
        ("throughput", "broker = [\"native\", \"mosquitto\"]\nsenders = [1, 2]\nqos = [0, 1]"),
        ("latency", "broker = \"native\"\nload_percent = [10, 50]"),
        ("latency", "broker = \"native\"\nrate_per_s = [10, 5000]"),
        ("connections", "broker = \"native\"\nworkers = [1, 2]"),
    ] {
        let text = format!("{}[settings]\n{settings}\n", HEAD.replace("throughput", kind));
        let plan = Plan::parse("file.toml", &text, &Changes::none(2)).unwrap();
        assert!(!plan.figures.is_empty(), "{kind}");
        figures::check(&plan.figures, plan.kind).unwrap();
        plan.figures.iter().for_each(|figure| figure.check().unwrap());
    }
}

#[test]
fn every_plan_in_the_folder_is_built_in_and_can_be_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../plans");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let plan = Plan::find(path.to_str().unwrap(), &Changes::none(2)).unwrap();
            assert!(!plan.figures.is_empty(), "{}", plan.name);
            names.push(plan.name);
        }
    }
    let mut built_in = builtin::PLANS.map(|(name, _)| name.to_owned()).to_vec();
    names.sort();
    built_in.sort();
    assert_eq!(names, built_in);
}

#[test]
fn nobody_receives_from_the_sink_unless_told_to() {
    let plan = plan("[settings]\nbroker = [\"native\", \"sink\"]\n");
    assert_eq!(values(&plan, &["broker", "receivers"]), json!([["native", 1], ["sink", 0]]));
}

#[test]
fn plans_are_found_by_name_and_by_path() {
    for (name, _) in builtin::PLANS {
        for is_quick in [false, true] {
            let changes = Changes { is_quick, ..Changes::none(2) };
            let plan = Plan::find(name, &changes).unwrap();
            assert_eq!(plan.name, name, "plans have the names under which they are found");
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../plans/forwarding.toml");
    let found = |name| Plan::find(name, &Changes::none(2)).unwrap();
    assert_eq!(found(path), found("forwarding"));
    for wrong in ["nothing", "no/thing.toml"] {
        let error = Plan::find(wrong, &Changes::none(2)).unwrap_err().to_string();
        assert!(error.contains(wrong) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_case_may_have_fewer_repetitions() {
    let body = "[settings]\nbroker = \"native\"\n[[case]]\nsenders = 1\n[[case]]\nsenders = 2\nrepetitions = 2\n";
    let full = plan(body);
    assert_eq!((full.repetitions, full.samples()), (5, 5 + 2));
    assert_eq!(changed(body, |changes| changes.repetitions = Some(1)).unwrap().samples(), 2);
    let refusal = changed("[[case]]\nsenders = 2\nrepetitions = 0\n", |_| ()).unwrap_err().to_string();
    assert!(refusal.contains("case 1, repetitions: 0"), "{refusal}");
}

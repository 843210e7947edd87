use super::*;
use crate::paths::Scratch;
use crate::plan::{Changes, Setting};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

const TEXT: &str = "name = \"a\"\ntitle = \"A\"\nabout = \"\"\nkind = \"start\"\nrepetitions = 3\n\
                    [settings]\nbroker = \"native\"\nsenders = \"1..5\"\n";

fn plan() -> Plan {
    Plan::parse("text", TEXT, &Changes::none(2)).unwrap()
}

/// Takes samples out of the air.
#[derive(Default)]
struct Fake {
    taken: Vec<(String, u32)>,
    observed: usize,
    /// Ends the sweep, from inside of this sample.
    interrupts_at: Option<(usize, Interrupt)>,
    fails_at: Option<(usize, Failure)>,
    /// Loses a message in this sample.
    loses_at: Option<usize>,
    is_missing: bool,
    version: Option<&'static str>,
}

impl Sampler for Fake {
    fn prepare(&mut self, _: &Plan, interrupt: &Interrupt) -> Result<(), Failure> {
        interrupt.check()?;
        if self.is_missing { Err(Failure::Setup("there is none".to_owned())) } else { Ok(()) }
    }

    fn sample(&mut self, point: &Point, repetition: u32, watch: &dyn Watch) -> Result<Measured, Failure> {
        self.taken.push((point.key(), repetition));
        let number = self.taken.len();
        if let Some((_, interrupt)) = self.interrupts_at.as_ref().filter(|(at, _)| *at == number) {
            interrupt.set();
            assert!(watch.is_interrupted());
        }
        if let Some((_, failure)) = self.fails_at.as_ref().filter(|(at, _)| *at == number) {
            return Err(failure.clone());
        }
        if self.loses_at == Some(number) {
            let measured = json!({"seconds": 0.5, "lost": 1, "error": "nothing has moved for 60 s"});
            return Ok(Measured::of(&measured));
        }
        Ok(Measured::of(&json!({"seconds": 0.5})))
    }

    fn observe(&mut self, _: &Record) {
        self.observed += 1;
    }

    fn versions(&self) -> BTreeMap<String, String> {
        let version = self.version.unwrap_or("1");
        BTreeMap::from([("fake".to_owned(), version.to_owned()), ("wisp".to_owned(), format!("sources {version}"))])
    }
}

struct Place(Scratch);

impl Place {
    fn new() -> Self {
        Self(Scratch::new().unwrap())
    }

    fn folder(&self) -> PathBuf {
        self.0.file("out")
    }

    fn options(&self) -> Options {
        let command = "wisp-loadgen sweep a".to_owned();
        Options { program: "test", folder: self.folder(), is_resumed: false, seed: Some(7), command }
    }

    fn run(&self, options: &Options, sampler: &mut Fake) -> Result<Outcome, Failure> {
        let interrupt = sampler.interrupts_at.as_ref().map(|(_, interrupt)| interrupt.clone()).unwrap_or_default();
        run(&plan(), options, sampler, &interrupt)
    }
}

#[test]
fn each_point_is_taken_once_in_each_repetition_in_an_order_that_the_seed_decides() {
    let order = |seed| {
        let place = Place::new();
        let mut fake = Fake::default();
        let options = Options { seed: Some(seed), ..place.options() };
        let outcome = place.run(&options, &mut fake).unwrap();
        assert_eq!((outcome.records.len(), outcome.skipped, outcome.status(), fake.observed), (15, 0, 0, 15));
        assert_eq!(folder::read_records(&place.folder()).unwrap(), outcome.records);
        fake.taken
    };
    let first = order(1);
    assert!(first.is_sorted_by_key(|(_, repetition)| *repetition));
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 15);
    assert!(
        (1..=3).map(|n| first.iter().filter(|s| s.1 == n).map(|s| &s.0).collect::<Vec<_>>()).any(|xs| !xs.is_sorted())
    );
    assert_eq!(first, order(1));
    assert!((2..10).any(|seed| first != order(seed)));
}

#[test]
fn records_have_what_tells_them_apart_and_the_run_what_they_depend_on() {
    let place = Place::new();
    let outcome = place.run(&place.options(), &mut Fake::default()).unwrap();
    let record = &outcome.records[0];
    assert_eq!((&record["plan"], &record["repetition"], &record["kind"]), (&json!("a"), &json!(1), &json!("start")));
    assert!(
        record["point"].as_str().unwrap().contains("senders=") && record["taken_at"].as_str().unwrap().ends_with('Z')
    );
    let run = folder::read_run(&place.folder()).unwrap();
    let info = &run.plans[0];
    assert_eq!((info.name.as_str(), info.seed, info.is_complete), ("a", Some(7), true));
    assert_eq!((run.versions["fake"].as_str(), info.command.as_str()), ("1", "wisp-loadgen sweep a"));
    assert!(run.machine.contains_key("processors") && info.started <= info.ended && !info.started.is_empty());
}

#[test]
fn an_interrupted_sweep_keeps_what_was_measured_and_is_resumed() {
    let place = Place::new();
    let mut fake = Fake { interrupts_at: Some((6, Interrupt::default())), ..Fake::default() };
    let outcome = place.run(&place.options(), &mut fake).unwrap();
    assert_eq!((outcome.status(), outcome.records.len(), fake.observed), (130, 5, 5), "the one under way is dropped");
    assert!(!folder::read_run(&place.folder()).unwrap().plans[0].is_complete);
    let first: Vec<_> = fake.taken[..5].to_vec();

    // As if the machine had gone down while a record was written.
    let file = place.folder().join(folder::RECORDS_FILE);
    fs::write(&file, format!("{}{{\"plan\": \"a\", \"rep", fs::read_to_string(&file).unwrap())).unwrap();
    let mut fake = Fake::default();
    let resumed = Options { is_resumed: true, seed: None, ..place.options() };
    let outcome = place.run(&resumed, &mut fake).unwrap();
    assert_eq!((outcome.status(), outcome.records.len(), outcome.skipped, fake.observed), (0, 15, 5, 15));
    let mut whole = Fake::default();
    let elsewhere = Place::new();
    elsewhere.run(&elsewhere.options(), &mut whole).unwrap();
    assert_eq!([first, fake.taken].concat(), whole.taken, "the recorded seed goes on with the same order");
    assert!(folder::read_run(&place.folder()).unwrap().plans[0].is_complete);
}

#[test]
fn a_folder_with_records_of_the_plan_is_not_added_to_unasked() {
    let place = Place::new();
    place.run(&place.options(), &mut Fake::default()).unwrap();
    let Err(Failure::Setup(what)) = place.run(&place.options(), &mut Fake::default()) else { panic!("it is refused") };
    assert!(what.contains("15 records") && what.contains("--resume") && !what.contains('\n'), "{what}");
    let other = Plan { name: "b".to_owned(), ..plan() };
    let outcome = run(&other, &place.options(), &mut Fake::default(), &Interrupt::default()).unwrap();
    assert_eq!((outcome.records.len(), folder::read_records(&place.folder()).unwrap().len()), (15, 30));
    assert_eq!(folder::read_run(&place.folder()).unwrap().plans.len(), 2);
}

#[test]
fn a_failed_sample_is_recorded_and_the_sweep_goes_on() {
    let place = Place::new();
    let mut fake = Fake { fails_at: Some((4, Failure::Broken("it died".to_owned()))), ..Fake::default() };
    let outcome = place.run(&place.options(), &mut fake).unwrap();
    assert_eq!((outcome.records.len(), outcome.faulty(), outcome.status()), (15, 1, 1));
    assert_eq!((&outcome.records[3]["error"], &outcome.records[3]["kind"]), (&json!("it died"), &json!("start")));
    let resumed = Options { is_resumed: true, ..place.options() };
    let mut again = Fake::default();
    assert_eq!(place.run(&resumed, &mut again).unwrap().status(), 0);
    assert_eq!(again.taken, fake.taken[3..4], "what failed is tried again");
    let records = folder::read_records(&place.folder()).unwrap();
    assert_eq!(records.len(), 15, "and its newest record counts");
    assert!(records.iter().all(|record| folder::fault(record).is_none()));
    let lines = fs::read_to_string(place.folder().join(folder::RECORDS_FILE)).unwrap();
    assert_eq!((lines.lines().count(), lines.matches("it died").count()), (16, 1), "what is written stays");
}

#[test]
fn a_sample_that_lost_messages_is_a_result() {
    let place = Place::new();
    let mut fake = Fake { loses_at: Some(4), ..Fake::default() };
    assert_eq!(place.run(&place.options(), &mut fake).unwrap().status(), 1);
    let resumed = Options { is_resumed: true, ..place.options() };
    let mut again = Fake::default();
    let outcome = place.run(&resumed, &mut again).unwrap();
    assert_eq!((again.taken.len(), outcome.skipped, outcome.faulty(), outcome.status()), (0, 15, 1, 1));
}

/// Runs the plan, changed as the text says, over a whole folder, and gives the line that refuses it.
fn refusal(place: &Place, change: (&str, &str), fake: &mut Fake) -> Option<String> {
    let text = TEXT.replace(change.0, change.1);
    let plan = Plan::parse("text", &text, &Changes::none(2)).unwrap();
    let resumed = Options { is_resumed: true, ..place.options() };
    match run(&plan, &resumed, fake, &Interrupt::default()) {
        Err(Failure::Setup(what)) => {
            assert!(!what.contains('\n') && what.ends_with("--out names another folder"), "{what}");
            assert!(fake.taken.is_empty());
            Some(what)
        }
        other => {
            other.unwrap();
            None
        }
    }
}

#[test]
fn points_that_a_plan_has_no_longer_are_not_counted() {
    let place = Place::new();
    let mut fake = Fake { fails_at: Some((1, Failure::Broken("it died".to_owned()))), ..Fake::default() };
    place.run(&place.options(), &mut fake).unwrap();
    let (gone, _) = &fake.taken[0];
    let others: Vec<_> = (1..=5).filter(|senders| !gone.ends_with(&format!("senders={senders}"))).collect();
    assert_eq!(others.len(), 4);
    let text = TEXT.replace("\"1..5\"", &format!("{others:?}"));
    let plan = Plan::parse("text", &text, &Changes::none(2)).unwrap();
    let resumed = Options { is_resumed: true, ..place.options() };
    let outcome = run(&plan, &resumed, &mut Fake::default(), &Interrupt::default()).unwrap();
    assert_eq!((outcome.records.len(), outcome.skipped, outcome.status()), (12, 12, 0));
}

#[test]
fn samples_of_other_versions_and_machines_are_not_mixed() {
    let place = Place::new();
    place.run(&place.options(), &mut Fake::default()).unwrap();
    let newer = || Fake { version: Some("2"), ..Fake::default() };
    assert_eq!(refusal(&place, ("", ""), &mut newer()), None, "there is nothing left to measure");
    let more = ("1..5", "1..6");
    let refused = refusal(&place, more, &mut newer()).unwrap();
    assert!(refused.contains("15 records of the plan a by other versions (fake: 1, and now 2)"), "{refused}");
    // The versions of another plan do not matter here.
    let other = Plan { name: "b".to_owned(), ..plan() };
    run(&other, &place.options(), &mut newer(), &Interrupt::default()).unwrap();
    assert_eq!(refusal(&place, more, &mut Fake::default()), None);

    let mut writer = Writer::open(&place.folder()).unwrap();
    writer.run().machine.insert("processors".to_owned(), "0".to_owned());
    writer.save().unwrap();
    drop(writer);
    let refused = refusal(&place, ("1..5", "1..7"), &mut Fake::default()).unwrap();
    assert!(refused.contains("another machine (processors: 0, and here "), "{refused}");
}

#[test]
fn longer_and_shorter_samples_are_not_mixed() {
    let place = Place::new();
    const HEAD: &str = "name = \"a\"\ntitle = \"A\"\nabout = \"\"\nrepetitions = 3\n";
    let load = "kind = \"throughput\"\n[settings]\nbroker = \"native\"\nsenders = [1, 2]\n";
    let compute =
        "kind = \"compute\"\n[settings]\nprogram = \"random\"\nmode = \"aot\"\nhost = [\"native\", \"wasmer\"]\n";
    for (body, setting, other, more) in [
        (load, "seconds = 2.0", "seconds = 0.5", ("[1, 2]", "[2, 3]")),
        (load, "messages = 7", "messages = 8", ("[1, 2]", "[2, 3]")),
        (compute, "count = 100", "count = 2", ("[\"native\", ", "[\"wasmtime\", ")),
    ] {
        let text = format!("{HEAD}{body}{setting}\n");
        let options = Options { folder: place.0.file(&setting[..7]), ..place.options() };
        let of = |text: &str| Plan::parse("text", text, &Changes::none(2)).unwrap();
        run(&of(&text), &options, &mut Fake::default(), &Interrupt::default()).unwrap();
        let resumed = Options { is_resumed: true, ..options };
        let mut fake = Fake::default();
        let quick = of(&text.replace(setting, other).replace(more.0, more.1));
        let Err(Failure::Setup(what)) = run(&quick, &resumed, &mut fake, &Interrupt::default()) else {
            panic!("it is refused")
        };
        assert!(what.contains("longer or shorter") && !what.contains('\n') && fake.taken.is_empty(), "{what}");
        let more = of(&text.replace(more.0, more.1));
        assert_eq!(run(&more, &resumed, &mut fake, &Interrupt::default()).unwrap().skipped, 3);
    }
}

#[test]
fn who_comes_second_to_a_folder_is_refused_before_anything_is_started() {
    let place = Place::new();
    place.run(&place.options(), &mut Fake::default()).unwrap();
    let first = Writer::open(&place.folder()).unwrap();
    let resumed = Options { is_resumed: true, ..place.options() };
    let mut fake = Fake { is_missing: true, ..Fake::default() };
    let Err(Failure::Setup(what)) = place.run(&resumed, &mut fake) else { panic!("it is refused") };
    assert!(what.ends_with("another run writes into it") && !what.contains('\n'), "{what}");
    drop(first);
    assert_eq!(place.run(&resumed, &mut Fake::default()).unwrap().skipped, 15);
}

#[test]
fn nothing_is_written_when_something_is_missing() {
    let place = Place::new();
    let mut fake = Fake { is_missing: true, ..Fake::default() };
    assert_eq!(place.run(&place.options(), &mut fake), Err(Failure::Setup("there is none".to_owned())));
    assert!(fake.taken.is_empty() && !place.folder().exists());
}

#[test]
fn who_is_compared_is_measured_one_after_the_other() {
    let text = "name = \"a\"\ntitle = \"A\"\nabout = \"\"\nkind = \"transfer\"\nrepetitions = 2\n[settings]\n\
                messages = \"1..5\"\nsize_bytes = 1\nbuffer = \"message\"\nhost = [\"native\", \"wasmer\", \"wasmtime\"]\n";
    let plan = Plan::parse("a.toml", text, &Changes::none(2)).unwrap();
    for seed in 0..5 {
        let samples = order::samples(&plan, seed);
        assert_eq!(samples.len(), 2 * 5 * 3);
        for group in samples.chunks(3) {
            let same = |setting| group.iter().map(|sample| sample.point.value(setting).cloned()).collect::<Vec<_>>();
            assert!(same(Setting::Messages).windows(2).all(|pair| pair[0] == pair[1]), "{group:?}");
            assert!(same(Setting::Host).windows(2).all(|pair| pair[0] != pair[1]), "{group:?}");
        }
    }
}

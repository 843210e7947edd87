//! Takes samples of a load: for each it starts a broker, warms it up and drives it.

mod connections;
pub(crate) mod subject;

use crate::versions::{self, Facts};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::{Broker, CpuMeter};
use crate::failure::{Failure, Interrupt};
use crate::machine;
use crate::paths::Scratch;
use crate::plan::{Kind, Plan, Point};
use crate::sweep::Sampler;
use subject::{Choice, Subject};
use wisp_loadgen::drive::config::Config;
use wisp_loadgen::drive::error::RunError;
use wisp_loadgen::drive::pattern::Pattern;
use wisp_loadgen::drive::results::Results;
use wisp_loadgen::drive::run;
use wisp_loadgen::drive::target::Target;
use wisp_loadgen::drive::watch::Watch;
use wisp_report::folder::{self, Record};

/// A warm-up forwards this share of a sample's messages.
const WARM_UP_SHARE: u64 = 20;
/// Messages of the first attempt at a warm-up whose broker's rate is not known, for each sender; with several copies of each
/// fewer, but no fewer than the second.
const FIRST_MESSAGES: (u64, u64) = (1000, 10);
/// A warm-up from which a rate is taken lasts so long at least: this share of a sample, and no less and no more than this.
const RATE_SHARE: f64 = 0.2;
const RATE_S: (f64, f64) = (0.1, 1.0);
/// A count of messages is kept for other repetitions if it took this share of the wanted time: least and most.
const KEPT_SHARE: (f64, f64) = (0.5, 2.0);
/// By how much a longer attempt may be longer than the one before.
const GROWTH_MAX: f64 = 20.0;
/// A warm-up at a fixed rate.
const PACED_WARM_UP_S: f64 = 1.0;

/// Takes samples of the kinds throughput, latency and connections.
#[derive(Debug)]
pub struct LoadSampler {
    program: &'static str,
    /// The address from the command line, with its password.
    url: Option<Target>,
    interrupt: Interrupt,
    scratch: Scratch,
    /// Of brokers, by the names that plans have for them.
    versions: BTreeMap<String, String>,
    /// Messages that took about as long as is wanted, by the point's key: all repetitions after have the same.
    messages: HashMap<String, u64>,
    /// Messages sent a second at full speed, by the point's key.
    maxima: HashMap<String, Vec<f64>>,
}

impl LoadSampler {
    /// One for brokers that it starts, and for the one at `url`.
    ///
    /// # Errors
    /// When there is no folder for temporary files.
    pub fn new(program: &'static str, url: Option<Target>, interrupt: Interrupt) -> Result<Self, Failure> {
        let scratch = Scratch::new()
            .map_err(|error: io::Error| Failure::Setup(format!("cannot make a folder for temporary files: {error}")))?;
        Ok(Self {
            program,
            url,
            interrupt,
            scratch,
            versions: BTreeMap::new(),
            messages: HashMap::new(),
            maxima: HashMap::new(),
        })
    }

    fn start(&self, point: &Point) -> Result<Subject, Failure> {
        Choice::of(point, self.url.as_ref())?.start(&self.scratch, &self.interrupt)
    }

    fn load(&mut self, point: &Point, watch: &dyn Watch) -> Result<Record, Failure> {
        let rate_per_s = self.rate(point)?;
        let subject = self.start(point)?;
        let config = config(point, subject.target.clone(), rate_per_s)?;
        let meter = CpuMeter::new(watch, subject.running());
        let mut record = match self.warmed_up(point, &config, &subject, watch) {
            Err(WarmUpError::Failed(failure)) => return Err(failure),
            Err(WarmUpError::Faulty(results)) => {
                let mut record = record(point, &results);
                let fault = results.fault().unwrap_or_default();
                record.insert(folder::ERROR.to_owned(), Value::from(format!("in the warm-up: {fault}")));
                record
            }
            Ok(WarmUp { messages, warm_up_messages }) => {
                let results =
                    run::run(&Config { messages, ..config }, &meter).map_err(|error| failed(&subject, &error))?;
                let mut record = record(point, &results);
                record.insert("warm_up_messages".to_owned(), json!(warm_up_messages));
                record
            }
        };
        let cpu_s = meter.cpu_s();
        record.extend(subject.fields(&self.version(point), cpu_s));
        record.insert("processors_busy".to_owned(), json!(busy_share(&record)));
        if let Some(death) = subject.has_died() {
            record.insert(folder::ERROR.to_owned(), Value::from(death));
        }
        Ok(record)
    }

    /// Drives the broker before it is measured.
    fn warmed_up(
        &self,
        point: &Point,
        config: &Config,
        subject: &Subject,
        watch: &dyn Watch,
    ) -> Result<WarmUp, WarmUpError> {
        let Some(messages) = messages_of(point, config.rate_per_s) else {
            return found(point, config, self.messages.get(&point.key()).copied(), subject, watch);
        };
        let paced = |rate: f64| (rate * PACED_WARM_UP_S).min(messages as f64 / 5.0) as u64;
        let share = config.rate_per_s.map_or(messages / WARM_UP_SHARE, paced);
        let warm_up_messages = point.whole("warm_up_messages").unwrap_or(share.max(1));
        if warm_up_messages > 0 {
            attempt(&Config { messages: warm_up_messages, ..config.clone() }, subject, watch)?;
        }
        Ok(WarmUp { messages, warm_up_messages })
    }

    /// The rate at which to send; None for full speed.
    fn rate(&self, point: &Point) -> Result<Option<f64>, Failure> {
        let Some(percent) = point.number("load_percent") else { return Ok(point.number("rate_per_s")) };
        let key = point.maximum().map(|maximum| maximum.key()).unwrap_or_default();
        let mut rates = self.maxima.get(&key).cloned().unwrap_or_default();
        rates.sort_by(f64::total_cmp);
        match rates.get(rates.len() / 2) {
            Some(maximum) => Ok(Some(maximum * percent / 100.0)),
            None => Err(Failure::Broken("its maximum is not known, since no sample of it is whole".to_owned())),
        }
    }

    fn version(&self, point: &Point) -> String {
        let name = point.text("broker").unwrap_or_default();
        self.versions.get(name).cloned().unwrap_or_else(|| "unknown".to_owned())
    }
}

impl Sampler for LoadSampler {
    /// Starts each broker once, so that everything that is missing is known before anything is measured.
    fn prepare(&mut self, plan: &Plan, interrupt: &Interrupt) -> Result<(), Failure> {
        allow_descriptors(plan)?;
        let mut seen = Vec::new();
        let mut missing = Vec::new();
        for point in &plan.points {
            let probe_key = probe_key(point);
            if seen.contains(&probe_key) {
                continue;
            }
            let alike = plan.points.iter().filter(|other| self::probe_key(other) == probe_key);
            let size_bytes = alike.filter_map(|point| point.whole("size_bytes")).max().unwrap_or(0);
            seen.push(probe_key);
            let choice = Choice::of(point, self.url.as_ref())?;
            let subject = choice.start(&self.scratch, interrupt);
            match subject.and_then(|subject| check_size(&subject, size_bytes, interrupt)) {
                Ok(()) => {}
                Err(Failure::Setup(what) | Failure::Broken(what)) => missing.push(what),
                Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            }
            if let Choice::Start(broker, _) = &choice {
                self.versions.entry(broker.to_string()).or_insert_with(|| versions::version_of(broker));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::Setup(missing.join(&format!("\n{}: ", self.program))))
    }

    fn sample(&mut self, point: &Point, _: u32, watch: &dyn Watch) -> Result<Record, Failure> {
        match point.kind() {
            Kind::Throughput | Kind::Latency => self.load(point, watch),
            Kind::Connections => {
                let subject = self.start(point)?;
                connections::sample(point, &subject, &self.version(point), watch)
            }
            other => Err(Failure::Setup(format!("samples of {} are taken by wisp-bench", other.name()))),
        }
    }

    fn observe(&mut self, record: &Record) {
        let number = |name: &str| record.get(name).and_then(Value::as_f64).filter(|number| *number > 0.0);
        let key = record.get(folder::POINT).and_then(Value::as_str);
        let Some(key) = key.filter(|_| folder::fault(record).is_none()) else { return };
        if let Some(((messages, seconds), wanted_s)) =
            record.get("messages").and_then(Value::as_u64).zip(number("seconds")).zip(number(folder::WANTED_S))
        {
            if (KEPT_SHARE.0..=KEPT_SHARE.1).contains(&(seconds / wanted_s)) {
                self.messages.entry(key.to_owned()).or_insert(messages);
            } else {
                // The machine was slower or faster than in the warm-up, or then than now.
                self.messages.remove(key);
            }
        }
        if let Some((sent, seconds)) = number("sent").zip(number("seconds")) {
            self.maxima.entry(key.to_owned()).or_default().push(sent / seconds);
        }
    }

    fn versions(&self) -> BTreeMap<String, String> {
        let brokers: Vec<Broker> = self.versions.keys().filter_map(|name| name.parse().ok()).collect();
        let named = Facts::gather(&brokers).versions.into_iter().map(|(name, version)| (name.to_owned(), version));
        named.collect()
    }
}

/// The settings of which each combination is started once.
fn probe_key(point: &Point) -> [Option<Value>; 4] {
    ["broker", "mode", "broker_arguments", "broker_settings"].map(|name| point.get(name).cloned())
}

/// Checks the size of messages against the limit that the broker announces, if it does.
fn check_size(subject: &Subject, size_bytes: u64, interrupt: &Interrupt) -> Result<(), Failure> {
    match subject.payload_bytes_max(interrupt)? {
        Some(max) if size_bytes > max => Err(Failure::Setup(format!(
            "size_bytes: the server takes payloads of {max} bytes at most, and not of {size_bytes}"
        ))),
        _ => Ok(()),
    }
}

/// The result of a warm-up.
struct WarmUp {
    /// How many messages the sample is to have.
    messages: u64,
    /// How many it had itself.
    warm_up_messages: u64,
}

/// Why there is no sample after a warm-up.
enum WarmUpError {
    /// It could not be.
    Failed(Failure),
    /// Something was wrong with its messages, so that it stands for the sample.
    Faulty(Box<Results>),
}

/// How many messages a sample has, where its point says it or they are due by a clock.
fn messages_of(point: &Point, rate_per_s: Option<f64>) -> Option<u64> {
    let of_time = || Some((rate_per_s? * point.number("seconds")?).ceil().max(1.0) as u64);
    point.whole("messages").or_else(of_time)
}

/// Warms up, in each repetition as long, until it is known how many messages take as long as is wanted: if not before, then
/// now.
fn found(
    point: &Point,
    config: &Config,
    known: Option<u64>,
    subject: &Subject,
    watch: &dyn Watch,
) -> Result<WarmUp, WarmUpError> {
    let wanted_s = point.number("seconds").unwrap_or(1.0);
    let enough_s = (wanted_s * RATE_SHARE).clamp(RATE_S.0, RATE_S.1);
    let copies = config.pattern.expected(config.receivers, 1).max(1);
    let first = FIRST_MESSAGES.0 * u64::from(config.senders).clamp(1, 100) / copies;
    // A known count, a little longer than necessary, so that one attempt is enough.
    let first = known.map_or(first, |known| (known as f64 / wanted_s * 1.2 * enough_s) as u64);
    let (mut messages, mut warm_up_messages) = (first.max(FIRST_MESSAGES.1), 0);
    loop {
        let results = attempt(&Config { messages, ..config.clone() }, subject, watch)?;
        warm_up_messages += messages;
        let seconds = results.seconds.max(1e-6);
        if seconds >= enough_s {
            let messages = known.unwrap_or_else(|| rounded(messages as f64 / seconds * wanted_s));
            return Ok(WarmUp { messages, warm_up_messages });
        }
        messages = (messages as f64 * (1.2 * enough_s / seconds).clamp(1.5, GROWTH_MAX)) as u64;
    }
}

/// One run of a warm-up.
fn attempt(config: &Config, subject: &Subject, watch: &dyn Watch) -> Result<Results, WarmUpError> {
    let results = run::run(config, watch).map_err(|error| WarmUpError::Failed(failed(subject, &error)))?;
    if watch.is_interrupted() {
        return Err(WarmUpError::Failed(Failure::Interrupted));
    }
    if results.is_good() { Ok(results) } else { Err(WarmUpError::Faulty(Box::new(results))) }
}

/// Why there is no sample: most likely because the broker has died.
fn failed(subject: &Subject, error: &RunError) -> Failure {
    Failure::Broken(subject.has_died().unwrap_or_else(|| error.to_string()))
}

/// The share of all processors' time that the broker and the generator had together.
fn busy_share(record: &Record) -> Option<f64> {
    let number = |name: &str| record.get(name).and_then(Value::as_f64);
    let used_s = number("broker_cpu_s")? + number("generator_cpu_s")?;
    let seconds = number("seconds").filter(|seconds| *seconds > 0.0)?;
    // Usage after the last message counts, too, so that the share can exceed one by a little.
    Some((used_s / (seconds * machine::processors() as f64)).min(1.0))
}

/// Three digits are enough, and read better.
fn rounded(messages: f64) -> u64 {
    let digits = 10f64.powf((messages.max(1.0).log10().floor() - 2.0).max(0.0));
    ((messages / digits).round() * digits).max(1.0) as u64
}

/// The run that a point describes.
pub(crate) fn config(point: &Point, target: Target, rate_per_s: Option<f64>) -> Result<Config, Failure> {
    let whole = |name: &str, usual: u64| point.whole(name).unwrap_or(usual);
    let narrow = |name: &str, usual: u64| u32::try_from(whole(name, usual)).unwrap_or(u32::MAX);
    let wrong = Failure::Setup;
    let version = point.text("mqtt_version").unwrap_or("3.1.1");
    Ok(Config {
        version: wisp_arguments::parse_version(version).map_err(wrong)?,
        qos: wisp_arguments::parse_qos(&whole("qos", 0).to_string()).map_err(wrong)?,
        window: u16::try_from(whole("window", 1000)).unwrap_or(u16::MAX),
        pattern: point
            .text("pattern")
            .map_or(Ok(Pattern::OneToOne), str::parse)
            .map_err(|error| Failure::Setup(error.to_string()))?,
        senders: narrow("senders", 1),
        receivers: narrow("receivers", 1),
        topics: point.whole("topics").map(|topics| u32::try_from(topics).unwrap_or(u32::MAX)),
        size: whole("size_bytes", 1024) as usize,
        messages: whole("messages", 1),
        threads: whole("threads", 2) as usize,
        topic_prefix: point.text("topic_prefix").map(str::to_owned),
        rate_per_s,
        timeout: Duration::from_secs(whole("timeout_s", 60)),
        ..Config::new(target)
    })
}

/// The record of a run, without the broker's usage.
pub(crate) fn record(point: &Point, results: &Results) -> Record {
    let mut record = point.record();
    if let Ok(Value::Object(measured)) = serde_json::to_value(results) {
        record.extend(measured);
    }
    // A port that was free at the time means nothing to a reader of the record.
    record.remove("url");
    record
}

/// Makes sure that this program, and the brokers that it starts, can have as many connections as the largest point has.
fn allow_descriptors(plan: &Plan) -> Result<(), Failure> {
    let of = |point: &Point| {
        let count = |name: &str| point.whole(name).unwrap_or(0);
        count("senders") + count("receivers") + count("connections")
    };
    let needed = plan.points.iter().map(of).max().unwrap_or(0);
    wisp_loadgen::drive::setup::allow_descriptors(needed + wisp_loadgen::drive::setup::DESCRIPTORS_EXTRA)
        .map_err(|error| Failure::Setup(error.to_string()))
}

#[cfg(test)]
mod tests;

//! Takes samples of a load: for each it starts a broker, warms it up and drives it.

mod connections;
pub(crate) mod subject;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wisp_client::{ProtocolVersion, TlsOptions};
use wisp_loadgen::{Config, DESCRIPTORS_EXTRA, Results, RunError, Target, Watch, run};
use wisp_report::folder::{self, Record};

use crate::broker::{Broker, CpuMeter};
use crate::failure::{Failure, Interrupt};
use crate::machine;
use crate::measured::Measured;
use crate::paths::Scratch;
use crate::plan::{BrokerSetup, Load, Plan, Point, Settings};
use crate::sweep::Sampler;
use crate::versions::{self, Facts};
pub use subject::KnownBroker;
use subject::{BrokerFigures, Choice, Subject};

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
/// The window of samples at QoS 1 and 2 that name none.
const WINDOW: u16 = 1000;
/// A warm-up at a fixed rate.
const PACED_WARM_UP_S: f64 = 1.0;

/// Takes samples of the kinds throughput, latency and connections.
#[derive(Debug)]
pub struct LoadSampler {
    program: &'static str,
    /// The broker from the command line.
    known: Option<KnownBroker>,
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
    /// One for brokers that it starts, and for the known one.
    ///
    /// # Errors
    /// When there is no folder for temporary files.
    pub fn new(program: &'static str, known: Option<KnownBroker>, interrupt: Interrupt) -> Result<Self, Failure> {
        let scratch = Scratch::new()
            .map_err(|error: io::Error| Failure::Setup(format!("cannot make a folder for temporary files: {error}")))?;
        Ok(Self {
            program,
            known,
            interrupt,
            scratch,
            versions: BTreeMap::new(),
            messages: HashMap::new(),
            maxima: HashMap::new(),
        })
    }

    fn start(&self, setup: &BrokerSetup) -> Result<Subject, Failure> {
        Choice::of(setup, self.known.as_ref()).start(&self.scratch, &self.interrupt)
    }

    fn load(&mut self, point: &Point, load: &Load, watch: &dyn Watch) -> Result<Measured, Failure> {
        let rate_per_s = self.rate(point, load)?;
        let subject = self.start(&load.broker)?;
        let config = config(load, subject.target.clone(), subject.tls.clone(), rate_per_s);
        let meter = CpuMeter::new(watch, subject.running());
        let (mut results, warm_up_messages) = match self.warmed_up(point, load, &config, &subject, watch) {
            Err(WarmUpError::Failed(failure)) => return Err(failure),
            Err(WarmUpError::Faulty(mut results)) => {
                let fault = results.fault().unwrap_or_default();
                results.error = Some(format!("in the warm-up: {fault}"));
                (*results, None)
            }
            Ok(WarmUp { messages, warm_up_messages }) => {
                let results = run(&Config { messages, ..config }, &meter).map_err(|error| failed(&subject, &error))?;
                (results, Some(warm_up_messages))
            }
        };
        let broker = subject.figures(&self.version(&load.broker), meter.cpu_s());
        if let Some(death) = subject.has_died() {
            results.error = Some(death);
        }
        let processors_busy = busy_share(&results, &broker);
        Ok(measured(&LoadFigures { results: &results, broker: &broker, warm_up_messages, processors_busy }))
    }

    /// Drives the broker before it is measured.
    fn warmed_up(
        &self,
        point: &Point,
        load: &Load,
        config: &Config,
        subject: &Subject,
        watch: &dyn Watch,
    ) -> Result<WarmUp, WarmUpError> {
        let Some(messages) = messages_of(load, config.rate_per_s) else {
            return found(load, config, self.messages.get(&point.key()).copied(), subject, watch);
        };
        let paced = |rate: f64| (rate * PACED_WARM_UP_S).min(messages as f64 / 5.0) as u64;
        let share = config.rate_per_s.map_or(messages / WARM_UP_SHARE, paced);
        let warm_up_messages = load.warm_up_messages.unwrap_or(share.max(1));
        if warm_up_messages > 0 {
            attempt(&Config { messages: warm_up_messages, ..config.clone() }, subject, watch)?;
        }
        Ok(WarmUp { messages, warm_up_messages })
    }

    /// The rate at which to send; None for full speed.
    fn rate(&self, point: &Point, load: &Load) -> Result<Option<f64>, Failure> {
        let Some(percent) = load.load_percent else { return Ok(load.rate_per_s) };
        let key = point.maximum().map(|maximum| maximum.key()).unwrap_or_default();
        let mut rates = self.maxima.get(&key).cloned().unwrap_or_default();
        rates.sort_by(f64::total_cmp);
        match rates.get(rates.len() / 2) {
            Some(maximum) => Ok(Some(maximum * percent / 100.0)),
            None => Err(Failure::Broken("its maximum is not known, since no sample of it is whole".to_owned())),
        }
    }

    fn version(&self, setup: &BrokerSetup) -> String {
        let version = self.versions.get(&setup.choice.to_string()).cloned();
        version.unwrap_or_else(|| versions::UNKNOWN.to_owned())
    }
}

impl Sampler for LoadSampler {
    /// Starts each broker once, so that everything that is missing is known before anything is measured.
    fn prepare(&mut self, plan: &Plan, interrupt: &Interrupt) -> Result<(), Failure> {
        allow_descriptors(plan)?;
        let mut seen = Vec::new();
        let mut missing = Vec::new();
        for (setup, size_bytes) in plan.points.iter().filter_map(probed) {
            // Each combination is started once.
            if seen.contains(&probe_key(setup)) {
                continue;
            }
            let alike = plan.points.iter().filter_map(probed).filter(|(other, _)| probe_key(other) == probe_key(setup));
            let size_bytes = alike.map(|(_, size_bytes)| size_bytes).max().unwrap_or(size_bytes);
            seen.push(probe_key(setup));
            let choice = Choice::of(setup, self.known.as_ref());
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

    fn sample(&mut self, point: &Point, _: u32, watch: &dyn Watch) -> Result<Measured, Failure> {
        match point.settings() {
            Settings::Throughput(load) | Settings::Latency(load) => self.load(point, load, watch),
            Settings::Connections(connections) => {
                let subject = self.start(&connections.broker)?;
                connections::sample(connections, &subject, &self.version(&connections.broker), watch)
            }
            Settings::Transfer(_) | Settings::Start(_) | Settings::Compute(_) => {
                Err(Failure::Setup(format!("samples of {} are taken by wisp-bench", point.kind().name())))
            }
        }
    }

    fn observe(&mut self, record: &Record) {
        let Ok(observed) = Observed::deserialize(record) else { return };
        let Some(key) = observed.point.filter(|_| folder::fault(record).is_none()) else { return };
        let Some(seconds) = observed.seconds.filter(|seconds| *seconds > 0.0) else { return };
        if let Some(sent) = observed.sent.filter(|sent| *sent > 0) {
            self.maxima.entry(key.clone()).or_default().push(sent as f64 / seconds);
        }
        let wanted_s = observed.wanted_s.filter(|wanted_s| *wanted_s > 0.0);
        let Some((messages, wanted_s)) = observed.messages.zip(wanted_s) else { return };
        if (KEPT_SHARE.0..=KEPT_SHARE.1).contains(&(seconds / wanted_s)) {
            self.messages.entry(key).or_insert(messages);
        } else {
            // The machine was slower or faster than in the warm-up, or then than now.
            self.messages.remove(&key);
        }
    }

    fn versions(&self) -> BTreeMap<String, String> {
        let brokers: Vec<Broker> = self.versions.keys().filter_map(|name| name.parse().ok()).collect();
        let named = Facts::gather(&brokers).versions.into_iter().map(|(name, version)| (name.to_owned(), version));
        named.collect()
    }
}

/// The fields of a record that later samples depend on.
#[derive(Deserialize)]
struct Observed {
    point: Option<String>,
    messages: Option<u64>,
    sent: Option<u64>,
    seconds: Option<f64>,
    wanted_s: Option<f64>,
}

/// The measurements of a load, under the names that records have.
#[derive(Serialize)]
struct LoadFigures<'a> {
    #[serde(flatten)]
    results: &'a Results,
    #[serde(flatten)]
    broker: &'a BrokerFigures,
    #[serde(skip_serializing_if = "Option::is_none")]
    warm_up_messages: Option<u64>,
    processors_busy: Option<f64>,
}

/// The measured fields of a sample.
pub(crate) fn measured(figures: &impl Serialize) -> Measured {
    // A port that was free at the time means nothing to a reader of the record.
    Measured::of(figures).without("url")
}

/// The broker of a point and the size of its messages.
fn probed(point: &Point) -> Option<(&BrokerSetup, u64)> {
    Some((point.settings().broker()?, point.settings().load().map_or(0, |load| load.size_bytes)))
}

/// The settings of which each combination is started once.
fn probe_key(setup: &BrokerSetup) -> BrokerSetup {
    BrokerSetup { workers: None, mqtt_version: None, ..setup.clone() }
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
fn messages_of(load: &Load, rate_per_s: Option<f64>) -> Option<u64> {
    let of_time = || Some((rate_per_s? * load.seconds?).ceil().max(1.0) as u64);
    load.messages.or_else(of_time)
}

/// Warms up, in each repetition as long, until it is known how many messages take as long as is wanted: if not before, then
/// now.
fn found(
    load: &Load,
    config: &Config,
    known: Option<u64>,
    subject: &Subject,
    watch: &dyn Watch,
) -> Result<WarmUp, WarmUpError> {
    let wanted_s = load.seconds.unwrap_or(1.0);
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
    let results = run(config, watch).map_err(|error| WarmUpError::Failed(failed(subject, &error)))?;
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
fn busy_share(results: &Results, broker: &BrokerFigures) -> Option<f64> {
    let usage = broker.started.as_ref()?.usage?;
    let used_s = usage.broker_cpu_s? + results.generator_cpu_s?;
    let seconds = Some(results.seconds).filter(|seconds| *seconds > 0.0)?;
    // Usage after the last message counts, too, so that the share can exceed one by a little.
    Some((used_s / (seconds * machine::processors() as f64)).min(1.0))
}

/// Three digits are enough, and read better.
fn rounded(messages: f64) -> u64 {
    let digits = 10f64.powf((messages.max(1.0).log10().floor() - 2.0).max(0.0));
    ((messages / digits).round() * digits).max(1.0) as u64
}

/// The run of a load.
pub(crate) fn config(load: &Load, target: Target, tls: TlsOptions, rate_per_s: Option<f64>) -> Config {
    Config {
        tls,
        version: load.broker.mqtt_version.unwrap_or(ProtocolVersion::Mqtt311),
        qos: load.qos,
        window: load.window.unwrap_or(WINDOW),
        pattern: load.pattern,
        senders: load.senders,
        receivers: load.receivers,
        topics: load.topics,
        size: load.size_bytes as usize,
        messages: load.messages.unwrap_or(1),
        threads: load.threads as usize,
        topic_prefix: load.topic_prefix.clone(),
        rate_per_s,
        timeout: Duration::from_secs(load.timeout_s),
        ..Config::new(target)
    }
}

/// Makes sure that this program, and the brokers that it starts, can have as many connections as the largest point has.
fn allow_descriptors(plan: &Plan) -> Result<(), Failure> {
    let of = |point: &Point| match point.settings() {
        Settings::Throughput(load) | Settings::Latency(load) => u64::from(load.senders) + u64::from(load.receivers),
        Settings::Connections(connections) => connections.connections,
        Settings::Transfer(_) | Settings::Start(_) | Settings::Compute(_) => 0,
    };
    let needed = plan.points.iter().map(of).max().unwrap_or(0);
    wisp_loadgen::allow_descriptors(needed + DESCRIPTORS_EXTRA).map_err(Failure::setup)
}

#[cfg(test)]
mod tests;

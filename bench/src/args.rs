//! The command line.

use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

use crate::durable::case::DurableCase;
use crate::plan::{self, Plan, Point};
use crate::secure::case::SecureCase;
use wisp_lab::broker::{Broker, Build};
use wisp_lab::failure::Failure;
use wisp_lab::paths;
use wisp_lab::place::Place;

/// The clients of a usual measurement of memory.
pub(crate) const CLIENTS: u32 = 10_000;
/// The messages, connections and repetitions of a usual measurement of TLS.
const SECURE_MESSAGES: u64 = 500_000;
const SECURE_CONNECTIONS: u64 = 1000;
const SECURE_REPETITIONS: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");
/// The brokers and repetitions of a usual measurement of storage.
const DURABLE_BROKERS: [Broker; 4] = [Broker::Native, Broker::Wasmer, Broker::Mosquitto, Broker::NatsServer];
const DURABLE_REPETITIONS: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");

/// Measure the Wisp broker against its peers.
#[derive(Parser, Debug)]
#[command(name = "wisp-bench", version)]
pub struct Arguments {
    /// The measurement.
    #[command(subcommand)]
    pub command: Command,
}

/// The measurements.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Forwarding at QoS 0, 1 and 2, natively and under each WebAssembly runtime, beside mosquitto and rumqttd
    ///
    /// Needs release builds of wisp-broker and wisp-loadgen, the modules compiled ahead of time, mosquitto and rumqttd;
    /// each can be left out with --brokers. Takes some minutes; the machine should have nothing else to do.
    ///
    /// With --against or --against-root it compares two builds of Wisp instead: it measures this build and the other one in
    /// alternating pairs and prints the median and the quartiles of the ratios of the broker's processor time for each message.
    /// Status 0 if every comparison is resolved and no median is above --ratio-max, 1 if one is above or a broker lost messages,
    /// 2 if something is missing, 3 if a comparison is not resolved.
    Smoke(Smoke),
    /// Memory of the native broker for each idle connected client, and for each session whose client is away
    ///
    /// Needs a release build of wisp-broker, and as many descriptors as clients (see `ulimit -Hn`). Takes a minute.
    ///
    /// With --against or --against-root it compares two builds of Wisp instead, in alternating pairs; the status is that of smoke.
    Memory(Memory),
    /// The cost of TLS, WebSocket and access rules in the broker, beside plain TCP and mosquitto: messages, handshakes, idle
    /// connections; and of TLS under Wasmer
    ///
    /// Needs a release build of wisp-broker, its module for Wasmer compiled ahead of time, and mosquitto: the newest that
    /// bench/isolation/peers unpacked, else the installed one. Takes some minutes; the machine should have nothing else to do.
    Secure(Secure),
    /// Messages that survive the end of the process: Wisp with a data folder beside memory only, mosquitto with persistence and JetStream
    ///
    /// Needs a release build of wisp-broker, its module for Wasmer compiled ahead of time, mosquitto and nats-server: the newest that
    /// bench/isolation/peers unpacked, else the installed ones. Takes some minutes and some gigabytes of the disk; the machine should
    /// have nothing else to do. Figures are judged where a sync of the disk takes half a millisecond at most.
    Durable(Durable),
    /// A plan of transfers over plain TCP, of work without a network, or of starting brokers
    ///
    /// Every sample is written at once to results.jsonl in the folder of --out; at the end there are also results.csv,
    /// plots and report.html. Ctrl-C ends it and keeps its samples; --resume takes the missing ones. Needs release
    /// builds and modules of the programs that it starts: make release experiment-modules.
    ///
    /// Status 0 if everything was right, 1 if messages were lost or a program's result was wrong, in one sample at least, 2 if
    /// something is missing, or wrong with the plan, 130 when interrupted. The second Ctrl-C ends everything at once.
    Experiment(Experiment),
}

/// The arguments of `smoke`.
#[derive(Args, Debug)]
pub struct Smoke {
    /// Which brokers, separated by commas [default: native,wasmer,wasmtime,wasmedge,mosquitto,rumqttd; in a comparison the
    /// hosts of which there is another build]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_broker)]
    pub brokers: Vec<Broker>,
    /// Which levels of quality of service, separated by commas [default: 0,1,2; in a comparison 0,1]
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: Vec<u8>,
    /// How many senders and receivers, as in 1x1,10x10
    #[arg(long, value_name = "SxR", value_delimiter = ',', default_value = "1x1,10x10,100x100")]
    pub points: Vec<Point>,
    /// Messages of a sample [default: enough for some seconds at each QoS]
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// At QoS 1 and 2, messages of each sender that may be unacknowledged at once
    #[arg(long, value_name = "MESSAGES", default_value_t = plan::WINDOW)]
    pub window: NonZeroU16,
    /// How often each broker is measured at each point
    #[arg(long, value_name = "TIMES", default_value_t = plan::REPETITIONS, conflicts_with = "other")]
    pub repetitions: NonZeroU32,
    /// Workers of each broker that has threads [default: the processors]
    #[arg(long)]
    pub workers: Option<NonZeroUsize>,
    /// Where the results go [default: docs/results/DATE-smoke, if nothing was left out or changed; nowhere in a comparison]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The other build, if two are compared.
    #[command(flatten)]
    pub against: Against,
}

/// The builds that a comparison is about.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("other").multiple(true)))]
pub struct Against {
    /// Compare this build with another native wisp-broker
    #[arg(long = "against", value_name = "PROGRAM", group = "other")]
    pub program: Option<PathBuf>,
    /// Compare this build with the modules of another checkout, and with its native release build unless --against names one
    #[arg(long = "against-root", value_name = "DIR", group = "other")]
    pub root: Option<PathBuf>,
    /// The native program to take for this build [default: its release build]
    #[arg(long = "this", value_name = "PROGRAM", requires = "other")]
    pub this: Option<PathBuf>,
    /// The least number of pairs
    #[arg(long, value_name = "COUNT", default_value_t = 5, requires = "other", value_parser = clap::value_parser!(u8).range(1..=25))]
    pub pairs: u8,
    /// The largest median of the ratios that passes
    #[arg(long, value_name = "RATIO", default_value_t = 1.03, requires = "other")]
    pub ratio_max: f64,
}

impl Against {
    /// Whether two builds are compared.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.program.is_some() || self.root.is_some()
    }

    /// This build and the other one of a broker; None if there is no other one.
    #[must_use]
    pub fn builds(&self, broker: &Broker) -> Option<[Build; 2]> {
        let root = self.root.clone().map(Build::Checkout);
        if *broker == Broker::Native {
            let this = self.this.clone().map_or(Build::Own, Build::Program);
            Some([this, self.program.clone().map(Build::Program).or(root)?])
        } else {
            Some([Build::Own, root.filter(|_| broker.is_wisp())?])
        }
    }
}

/// The arguments of `secure`.
#[derive(Args, Debug)]
pub struct Secure {
    /// Only these cases, separated by commas [default: all]
    #[arg(long = "case", value_name = "NAMES", value_delimiter = ',', value_enum, hide_default_value = true)]
    pub cases: Vec<SecureCase>,
    /// Which brokers, separated by commas: native, wasmer, mosquitto; without one its rows are missing
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "native,wasmer,mosquitto", value_parser = parse_secure_broker)]
    pub brokers: Vec<Broker>,
    /// The mosquitto to measure [default: the newest that bench/isolation/peers unpacked, else the installed one]
    #[arg(long, value_name = "PROGRAM")]
    pub mosquitto: Option<PathBuf>,
    /// Messages of a sample
    #[arg(long, value_name = "MESSAGES", default_value_t = SECURE_MESSAGES, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// Connections of a sample
    #[arg(long, value_name = "COUNT", default_value_t = SECURE_CONNECTIONS, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    pub connections: u64,
    /// How often everything is measured
    #[arg(long, value_name = "TIMES", default_value_t = SECURE_REPETITIONS)]
    pub repetitions: NonZeroU32,
    /// Where the results go [default: docs/results/DATE-secure, if nothing was changed]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl Secure {
    /// The mosquitto to measure.
    ///
    /// # Errors
    /// If there is none.
    pub fn mosquitto(&self) -> Result<PathBuf, Failure> {
        self.mosquitto.clone().map_or_else(paths::newest_mosquitto, Ok)
    }

    /// Whether nothing that matters for the figures was changed.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        self.cases.is_empty()
            && self.mosquitto.is_none()
            && self.brokers == [Broker::Native, Broker::Wasmer, Broker::Mosquitto]
            && (self.count, self.connections) == (SECURE_MESSAGES, SECURE_CONNECTIONS)
            && self.repetitions == SECURE_REPETITIONS
    }
}

/// The arguments of `durable`.
#[derive(Args, Debug)]
pub struct Durable {
    /// Only these cases, separated by commas [default: all]
    #[arg(long = "case", value_name = "NAMES", value_delimiter = ',', value_enum, hide_default_value = true)]
    pub cases: Vec<DurableCase>,
    /// Which brokers, separated by commas: native, wasmer, mosquitto, nats-server; without one its rows are missing
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values_t = DURABLE_BROKERS, value_parser = parse_durable_broker)]
    pub brokers: Vec<Broker>,
    /// The mosquitto to measure [default: the newest that bench/isolation/peers unpacked, else the installed one]
    #[arg(long, value_name = "PROGRAM")]
    pub mosquitto: Option<PathBuf>,
    /// The nats-server to measure [default: as for mosquitto]
    #[arg(long, value_name = "PROGRAM")]
    pub nats_server: Option<PathBuf>,
    /// Messages of each sample [default: enough for some seconds, for each broker and work]
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub count: Option<u64>,
    /// How often everything is measured
    #[arg(long, value_name = "TIMES", default_value_t = DURABLE_REPETITIONS)]
    pub repetitions: NonZeroU32,
    /// Where the data folders are made; on a disk, not in memory [default: the repository's target folder]
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// Where the results go [default: docs/results/DATE-durable, if nothing was changed]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl Durable {
    /// The mosquitto to measure.
    ///
    /// # Errors
    /// If there is none.
    pub fn mosquitto(&self) -> Result<PathBuf, Failure> {
        self.mosquitto.clone().map_or_else(paths::newest_mosquitto, Ok)
    }

    /// The nats-server to measure.
    ///
    /// # Errors
    /// If there is none.
    pub fn nats_server(&self) -> Result<PathBuf, Failure> {
        self.nats_server.clone().map_or_else(paths::newest_nats_server, Ok)
    }

    /// Whether nothing that matters for the figures was changed.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        self.cases.is_empty()
            && self.brokers == DURABLE_BROKERS
            && self.mosquitto.is_none()
            && self.nats_server.is_none()
            && self.count.is_none()
            && self.repetitions == DURABLE_REPETITIONS
            && self.data_root.is_none()
    }
}

fn parse_durable_broker(name: &str) -> Result<Broker, String> {
    let broker: Broker = name.parse().map_err(|error| format!("{error}"))?;
    if DURABLE_BROKERS.contains(&broker) {
        Ok(broker)
    } else {
        Err(format!("{name} is not measured with storage here"))
    }
}

fn parse_secure_broker(name: &str) -> Result<Broker, String> {
    let broker: Broker = name.parse().map_err(|error| format!("{error}"))?;
    if matches!(broker, Broker::Native | Broker::Wasmer | Broker::Mosquitto) {
        Ok(broker)
    } else {
        Err(format!("{name} is not started over TLS here"))
    }
}

/// The arguments of `memory`.
#[derive(Args, Debug)]
pub struct Memory {
    /// How many clients
    #[arg(long, value_name = "COUNT", default_value_t = NonZeroU32::new(CLIENTS).expect("not zero"))]
    pub clients: NonZeroU32,
    /// Workers of the broker [default: the processors]
    #[arg(long)]
    pub workers: Option<NonZeroUsize>,
    /// Where the results go [default: docs/results/DATE-memory, if nothing was changed; nowhere in a comparison]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The other build, if two are compared.
    #[command(flatten)]
    pub against: Against,
}

/// The arguments of `experiment`.
#[derive(Args, Debug)]
pub struct Experiment {
    /// A plan by its name (see `wisp-loadgen plans`), or the path of one
    pub plan: String,
    /// The bounded version of the plan
    #[arg(long)]
    pub quick: bool,
    /// Where to, and how often.
    #[command(flatten)]
    pub place: Place,
}

impl Smoke {
    /// The plan for a machine with this number of processors.
    #[must_use]
    pub fn plan(&self, processors: usize) -> Plan {
        let everything = Plan::everything(processors);
        Plan {
            brokers: given(&self.brokers).unwrap_or(everything.brokers),
            qos: given(&self.qos).unwrap_or(everything.qos),
            points: without_repeats(&self.points),
            count: self.count,
            window: self.window.get(),
            repetitions: self.repetitions.get(),
            workers: self.workers.map_or(processors, NonZeroUsize::get),
        }
    }
}

/// A name of no broker that speaks MQTT and forwards.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("use one of {}", plan::BROKERS.iter().map(Broker::name).collect::<Vec<_>>().join(", "))]
struct UnknownBroker;

/// One that speaks MQTT and forwards; a command line has no place in a list with commas.
fn parse_broker(name: &str) -> Result<Broker, UnknownBroker> {
    plan::BROKERS.into_iter().find(|broker| broker.name() == name).ok_or(UnknownBroker)
}

/// The items of a list without repeats; None of an empty one.
fn given<T: Clone + PartialEq>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| without_repeats(items))
}

fn without_repeats<T: Clone + PartialEq>(items: &[T]) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &[&str]) -> Result<Plan, clap::Error> {
        let all = ["wisp-bench", "smoke"].iter().chain(arguments);
        match Arguments::try_parse_from(all)?.command {
            Command::Smoke(options) => Ok(options.plan(2)),
            Command::Memory(_) | Command::Secure(_) | Command::Durable(_) | Command::Experiment(_) => {
                unreachable!("it begins with smoke")
            }
        }
    }

    #[test]
    fn without_options_everything_is_measured() {
        let plan = plan(&[]).unwrap();
        assert_eq!(plan, Plan::everything(2));
    }

    #[test]
    fn each_option_changes_its_part() {
        let options = "--brokers native,mosquitto,native --qos 2,0,2 --points 1x1,3x5 --count 7 --window 5 \
                       --repetitions 2 --workers 9";
        let plan = plan(&options.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(plan.brokers, [Broker::Native, Broker::Mosquitto]);
        assert_eq!(plan.points, [Point { senders: 1, receivers: 1 }, Point { senders: 3, receivers: 5 }]);
        assert_eq!((plan.qos.as_slice(), plan.count, plan.window), (&[2, 0][..], Some(7), 5));
        assert_eq!((plan.repetitions, plan.workers), (2, 9));
    }

    #[test]
    fn a_comparison_needs_another_build() {
        let options = |arguments: &str| {
            let all = ["wisp-bench", "smoke"].into_iter().chain(arguments.split(' '));
            Arguments::try_parse_from(all)
        };
        for arguments in ["--against /a", "--against-root /a", "--against /a --against-root /b --this /c --pairs 7"] {
            assert!(options(arguments).is_ok(), "{arguments}");
        }
        for arguments in
            ["--this /a", "--pairs 7", "--ratio-max 1.1", "--against /a --repetitions 2", "--against /a --pairs 26"]
        {
            assert!(options(arguments).is_err(), "{arguments}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for arguments in [
            "--brokers other",
            "--qos 3",
            "--points 1",
            "--points 0x1",
            "--count 0",
            "--window 0",
            "--repetitions 0",
            "--workers 0",
        ] {
            assert!(plan(&arguments.split(' ').collect::<Vec<_>>()).is_err(), "{arguments}");
        }
    }
}

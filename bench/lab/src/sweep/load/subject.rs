//! The subject of a sample: a broker that is started for it, or a running one on this machine.

use std::time::Duration;

use serde::Serialize;
use wisp_client::TlsOptions;
use wisp_loadgen::{Target, Unreachable, local_address, payload_bytes_max};

use crate::broker::{Broker, Protocol, Running, StartOptions, Usage};
use crate::failure::{Failure, Interrupt};
use crate::machine;
use crate::paths::Scratch;
use crate::plan::{BrokerChoice, BrokerSetup};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker that runs, as the command line names it.
#[derive(Clone, PartialEq, Debug)]
pub struct KnownBroker {
    /// Its address, with the password.
    pub target: Target,
    /// The certificates, where the transport is TLS.
    pub tls: TlsOptions,
}

/// The choice of a broker, before it is started.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Choice {
    /// A broker to be started.
    Start(Broker, StartOptions),
    /// One that runs.
    Running(KnownBroker),
}

impl Choice {
    /// The broker of a sample. `known` is the one from the command line.
    pub(crate) fn of(setup: &BrokerSetup, known: Option<&KnownBroker>) -> Self {
        match &setup.choice {
            BrokerChoice::Running(target) => {
                let same = known.filter(|known| known.target.to_string() == target.to_string());
                let unknown = || KnownBroker { target: target.clone(), tls: TlsOptions::default() };
                Self::Running(same.cloned().unwrap_or_else(unknown))
            }
            BrokerChoice::Start(broker) => {
                let options = StartOptions {
                    workers: setup.workers.map_or_else(machine::processors, |workers| workers as usize),
                    mode: setup.mode,
                    arguments: setup.arguments.clone(),
                    settings: setup.settings.clone(),
                    ..StartOptions::default()
                };
                Self::Start(broker.clone(), options)
            }
        }
    }

    /// Whether it speaks NATS.
    pub(crate) fn is_nats(&self) -> bool {
        match self {
            Self::Start(broker, _) => broker.protocol() == Protocol::Nats,
            Self::Running(known) => matches!(known.target, Target::Nats(_)),
        }
    }

    /// Starts it, or looks whether it is there.
    ///
    /// # Errors
    /// When it does not answer, or is on another machine.
    pub(crate) fn start(&self, scratch: &Scratch, interrupt: &Interrupt) -> Result<Subject, Failure> {
        match self {
            Self::Start(broker, options) => {
                let running = broker.start(options, scratch, interrupt)?;
                let target = running.url().parse().map_err(Failure::setup)?;
                Ok(Subject { target, tls: running.tls(), running: Some(running) })
            }
            Self::Running(KnownBroker { target, tls }) => {
                local_address(target).map_err(Failure::setup)?;
                Ok(Subject { target: target.clone(), tls: tls.clone(), running: None })
            }
        }
    }
}

/// A broker that answers.
pub(crate) struct Subject {
    /// Where.
    pub(crate) target: Target,
    /// The certificates, where the transport is TLS.
    pub(crate) tls: TlsOptions,
    /// None if it was not started here.
    running: Option<Running>,
}

impl Subject {
    /// The broker, if it was started here.
    pub(crate) fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// Its usage so far, if that is known.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.running.as_ref()?.usage()
    }

    /// The largest payload that the broker announces, in bytes.
    ///
    /// # Errors
    /// If it does not answer, or somebody interrupts before it does.
    pub(crate) fn payload_bytes_max(&self, interrupt: &Interrupt) -> Result<Option<u64>, Failure> {
        payload_bytes_max(&self.target, CONNECT_TIMEOUT, interrupt).map_err(|error| match error {
            Unreachable::Stopped(stopped) => stopped.into(),
            other => Failure::setup(other),
        })
    }

    /// How it has died, if it has.
    pub(crate) fn has_died(&self) -> Option<String> {
        self.running.as_ref()?.has_died()
    }

    /// The figures of the broker. `cpu_s` is its processor time while it was measured.
    pub(crate) fn figures(&self, version: &str, cpu_s: Option<f64>) -> BrokerFigures {
        let started = self.running.as_ref().map(|running| StartedFigures {
            broker: running.broker().clone(),
            broker_version: version.to_owned(),
            startup_ms: running.startup().as_secs_f64() * 1e3,
            usage: running.usage().map(|usage| UsageFigures {
                broker_cpu_s: cpu_s,
                broker_rss_bytes: usage.rss_bytes,
                broker_peak_rss_bytes: usage.peak_rss_bytes,
                broker_threads: usage.threads,
            }),
        });
        BrokerFigures { protocol: self.target.protocol(), started }
    }
}

/// The figures of a broker, under the names that records have.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct BrokerFigures {
    /// The protocol.
    pub protocol: &'static str,
    /// None if the broker was not started here.
    #[serde(flatten)]
    pub started: Option<StartedFigures>,
}

/// The figures of a broker that was started.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct StartedFigures {
    /// The broker.
    pub broker: Broker,
    /// Its version.
    pub broker_version: String,
    /// From the start of its process until it had accepted a client.
    pub startup_ms: f64,
    /// None where the system does not tell.
    #[serde(flatten)]
    pub usage: Option<UsageFigures>,
}

/// The resources of a broker.
#[derive(Clone, Copy, PartialEq, Serialize, Debug)]
pub struct UsageFigures {
    /// Processor time while it was measured; None if it was not.
    pub broker_cpu_s: Option<f64>,
    /// Resident memory at the end.
    pub broker_rss_bytes: u64,
    /// The most that it ever had.
    pub broker_peak_rss_bytes: u64,
    /// Its threads at the end.
    pub broker_threads: u32,
}

//! The subject of a sample: a broker that is started for it, or a running one on this machine.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::broker::{Broker, Mode, Protocol, Running, StartOptions, Usage};
use crate::failure::{Failure, Interrupt};
use crate::machine;
use crate::paths::Scratch;
use crate::plan::Point;
use wisp_loadgen::drive::preflight::{self, Unreachable};
use wisp_loadgen::drive::target::Target;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The choice of a broker, before it is started.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Choice {
    /// A broker to be started.
    Start(Broker, StartOptions),
    /// One that runs.
    Running(Target),
}

impl Choice {
    /// The broker named by a point's settings. `url` is the address from the command line, with its password.
    ///
    /// # Errors
    /// If they name no broker, in one line.
    pub(crate) fn of(point: &Point, url: Option<&Target>) -> Result<Self, Failure> {
        let name = point.text("broker").unwrap_or_default();
        if preflight::is_url(name) {
            let target = match url.filter(|url| url.to_string() == name) {
                Some(url) => url.clone(),
                None => name.parse().map_err(Failure::Setup)?,
            };
            return Ok(Self::Running(target));
        }
        let broker: Broker = name.parse().map_err(Failure::Setup)?;
        let mode: Option<Mode> = point.text("mode").map(str::parse).transpose().map_err(Failure::Setup)?;
        let workers = point.whole("workers").map_or_else(machine::processors, |workers| workers as usize);
        let (arguments, settings) = (point.texts("broker_arguments"), point.texts("broker_settings"));
        let options = StartOptions { workers, mode, arguments, settings, ..StartOptions::default() };
        Ok(Self::Start(broker, options))
    }

    /// Whether it speaks NATS.
    pub(crate) fn is_nats(&self) -> bool {
        match self {
            Self::Start(broker, _) => broker.protocol() == Protocol::Nats,
            Self::Running(target) => matches!(target, Target::Nats(_)),
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
                let target = running.url().parse().map_err(Failure::Setup)?;
                Ok(Subject { target, running: Some(running) })
            }
            Self::Running(target) => {
                preflight::local_address(target).map_err(|error| Failure::Setup(error.to_string()))?;
                Ok(Subject { target: target.clone(), running: None })
            }
        }
    }
}

/// A broker that answers.
pub(crate) struct Subject {
    /// Where.
    pub(crate) target: Target,
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
        preflight::payload_bytes_max(&self.target, CONNECT_TIMEOUT, interrupt).map_err(|error| match error {
            Unreachable::Stopped(stopped) => stopped.into(),
            other => Failure::Setup(other.to_string()),
        })
    }

    /// How it has died, if it has.
    pub(crate) fn has_died(&self) -> Option<String> {
        self.running.as_ref()?.has_died()
    }

    /// The fields of a record about the broker: its name and version, and its usage while it was measured.
    pub(crate) fn fields(&self, version: &str, cpu_s: Option<f64>) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        set("protocol", json!(self.target.protocol()));
        let Some(running) = &self.running else { return fields };
        set("broker", json!(running.broker().to_string()));
        set("broker_version", json!(version));
        set("startup_ms", json!(running.startup().as_secs_f64() * 1e3));
        if let Some(after) = running.usage() {
            set("broker_cpu_s", json!(cpu_s));
            set("broker_rss_bytes", json!(after.rss_bytes));
            set("broker_peak_rss_bytes", json!(after.peak_rss_bytes));
            set("broker_threads", json!(after.threads));
        }
        fields
    }
}

//! A case: the question it asks of a broker, the figures that answer it, and their targets.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wisp_lab::broker::Usage;

use crate::load::Clock;
use crate::setup::Setup;
use crate::subject::Subject;

/// An attack on a broker.
pub(crate) struct Case {
    /// The name on the command line and in records.
    pub(crate) name: &'static str,
    /// The part of the page it belongs to.
    pub(crate) section: Section,
    /// The attack, and the harm it may do.
    pub(crate) question: &'static str,
    /// The figures on the page, in its order.
    pub(crate) figures: &'static [Figure],
    /// The brokers that can be compared, and how they are set.
    pub(crate) setup: Setup,
    /// Attacks a broker that was started for it.
    pub(crate) run: fn(&Attack<'_>) -> io::Result<Outcome>,
}

/// The parts of the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    Receivers,
    Memory,
    Work,
}

impl Section {
    pub(crate) const ALL: [Self; 3] = [Self::Receivers, Self::Memory, Self::Work];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Receivers => "Receivers that do not keep up",
            Self::Memory => "Memory",
            Self::Work => "Work for each message and each client",
        }
    }
}

/// A figure of a case.
pub(crate) struct Figure {
    /// The name in records.
    pub(crate) name: &'static str,
    /// The name on the page, with the unit.
    pub(crate) title: &'static str,
    pub(crate) target: Target,
}

/// The bound of a figure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// At most mosquitto's figure times this factor.
    AtMostMosquitto(f64),
    /// The figure explains another one.
    None,
}

/// A started broker and the circumstances of an attack on it.
pub(crate) struct Attack<'a> {
    pub(crate) subject: &'a Subject,
    /// Whether the case is to take seconds, and show only that it works.
    pub(crate) is_quick: bool,
    /// How long the main part of a long case takes.
    pub(crate) seconds: u64,
    pub(crate) clock: Clock,
}

impl Attack<'_> {
    pub(crate) fn address(&self) -> SocketAddr {
        self.subject.address()
    }

    /// A count, or a smaller one for a quick run.
    pub(crate) fn size(&self, full: u64, quick: u64) -> u64 {
        if self.is_quick { quick } else { full }
    }

    /// A time of a full run, a tenth of it in a quick one.
    pub(crate) fn pause(&self, full: Duration) {
        std::thread::sleep(if self.is_quick { full / 10 } else { full });
    }

    /// The resources that the broker has used. An error if it has died.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        self.subject.usage()
    }

    /// Processor time of the broker while `work` runs, in seconds.
    pub(crate) fn cpu_s(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
        let before = self.usage()?.cpu_s;
        work()?;
        Ok(self.usage()?.cpu_s - before)
    }

    /// Processor time of the broker over a while, in percent of a processor.
    pub(crate) fn cpu_percent_over(&self, time: Duration) -> io::Result<f64> {
        let begun = Instant::now();
        let cpu_s = self.cpu_s(|| {
            self.pause(time);
            Ok(())
        })?;
        Ok(100.0 * cpu_s / begun.elapsed().as_secs_f64())
    }
}

/// The figures of one run.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct Outcome {
    /// By name.
    pub(crate) figures: BTreeMap<String, f64>,
    /// Messages in each second, where the course of a run matters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) per_second: Vec<u64>,
}

impl Outcome {
    /// Adds a figure.
    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.figures.insert(name.to_owned(), value);
        self
    }

    /// Adds the latencies of a probe or a receiver, which have to be sorted: `p50_ms`, `p99_ms`, `max_ms`.
    pub(crate) fn with_latencies(self, latencies_us: &[u32]) -> Self {
        let Some(most) = latencies_us.len().checked_sub(1) else { return self };
        let at = |share: f64| f64::from(latencies_us[(most as f64 * share) as usize]) / 1000.0;
        self.with("p50_ms", at(0.5)).with("p99_ms", at(0.99)).with("max_ms", at(1.0))
    }
}

/// Mebibytes.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

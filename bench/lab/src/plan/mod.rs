//! A plan of measurements, written as TOML or given by options of a command, and expanded into points.
//!
//! ```text
//!   text or options --source--> settings of each case --settings, values--> points, in the order of the sweep's phases
//! ```
//!
//! ```toml
//! name = "forwarding"            # letters, digits and -; identifies the plan's records
//! title = "Forwarding"
//! about = """The question and the method, for `plans` and for the report."""
//! kind = "throughput"            # throughput, latency or connections; transfer, start and compute are run by wisp-bench
//! repetitions = 5
//! sample_s = 3.0                 # optional: about how long a sample takes, if `seconds` is not set
//!
//! [settings]                     # a value, a list, or a range in text: each with each
//! broker = ["native", "mosquitto"]
//! senders = "1..40"              # or "1..40 step 3", "1..1000 times 10", "cores", "1..20*cores", "1,2,4..8"
//! seconds = 2.0                  # messages of a sample so that it takes about so long; or messages = 100000
//!
//! [[case]]                       # optional: each adds to the settings or changes them; the plan is the union of its cases
//! receivers = 1
//! repetitions = 3                # optional: an upper bound for this case
//! quick = false                  # optional: left out of quick runs; "only" there; or settings, as in quick = { size_bytes = 64 }
//!
//! [quick]                        # optional: changes in quick runs
//! repetitions = 3
//! settings = { seconds = 0.3 }
//!
//! [[figure]]                     # optional: a figure to draw, see `figure`; of fields that samples of the kind have
//! ```
//!
//! Later ones of these win: the settings, a case, quick settings, a case's quick settings, options of the command.

pub mod builtin;
mod default_figures;
mod figures;
mod point;
pub mod settings;
mod source;
mod values;

pub use default_figures::figures as default_figures;
pub use point::Point;
pub use settings::Settings;

use wisp_report::figure::Figure;
pub use wisp_report::kind::Kind;

/// The time of a sample besides its load: starting a broker, connecting, a warm-up, waiting for duplicates.
const OVERHEAD_S: f64 = 1.0;
/// An assumed rate, to estimate the time of a sample with a fixed number of messages.
const GUESSED_MESSAGES_PER_S: f64 = 300_000.0;

/// How often a broker's maximum is measured before latencies at a share of it.
pub const MAXIMUM_REPETITIONS: u32 = 3;

/// How long that takes at most, each time.
const MAXIMUM_S: f64 = 2.0;

/// The measurements to take, and the figures to draw of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The name that identifies its records, in letters, digits and `-`.
    pub name: String,
    /// The heading.
    pub title: String,
    /// The question and the method.
    pub about: String,
    /// The kind of measurement.
    pub kind: Kind,
    /// How often each point is measured; at least once.
    pub repetitions: u32,
    /// About how long a sample takes, where the points do not say it.
    pub sample_s: Option<f64>,
    /// All combinations of settings, none twice and at least one.
    pub points: Vec<Point>,
    /// The figures to draw; if the plan names none, a default.
    pub figures: Vec<Figure>,
}

/// Changes to a plan's text.
#[derive(Clone, PartialEq, Debug)]
pub struct Changes {
    /// Whether the plan's quick settings hold.
    pub is_quick: bool,
    /// Repetitions, if others than the plan's.
    pub repetitions: Option<u32>,
    /// Settings in place of the plan's.
    pub settings: Settings,
    /// The machine's processors, on which ranges may depend.
    pub processors: usize,
}

impl Changes {
    /// No changes, on a machine with this number of processors.
    #[must_use]
    pub fn none(processors: usize) -> Self {
        Self { is_quick: false, repetitions: None, settings: Settings::new(), processors }
    }
}

/// Points that are measured before others.
#[derive(Clone, PartialEq, Debug)]
pub struct Phase {
    /// The points to measure.
    pub points: Vec<Point>,
    /// How often each.
    pub repetitions: u32,
}

impl Phase {
    /// How many samples it has.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.points.iter().map(|point| point.repetitions(self.repetitions) as usize).sum()
    }
}

impl Plan {
    /// A built-in plan by its name, or one in a file by its path.
    ///
    /// # Errors
    /// When it is not there or wrong, in a line.
    pub fn find(name_or_path: &str, changes: &Changes) -> Result<Self, String> {
        if let Some((_, text)) = builtin::PLANS.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(name_or_path, text, changes);
        }
        match std::fs::read_to_string(name_or_path) {
            Ok(text) => Self::parse(name_or_path, &text, changes),
            Err(error) if name_or_path.contains(['/', '.']) => Err(format!("cannot read {name_or_path}: {error}")),
            Err(_) => Err(format!(
                "{name_or_path} is neither a plan (which are {}) nor a file",
                builtin::PLANS.map(|(name, _)| name).join(", ")
            )),
        }
    }

    /// Reads a plan. `origin` is the name of the text in errors: its file.
    ///
    /// # Errors
    /// The first mistake, in one line with the origin and the key.
    pub fn parse(origin: &str, text: &str, changes: &Changes) -> Result<Self, String> {
        source::read(text)
            .and_then(|source| source.plan(changes))
            .map_err(|error| format!("{origin}: {}", error.replace('\n', " ")))
    }

    /// A plan that is written nowhere but on the command line: one case, without figures.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), beginning with the setting's name.
    pub fn of_settings(
        (name, title): (&str, &str),
        kind: Kind,
        repetitions: u32,
        settings: &Settings,
        processors: usize,
    ) -> Result<Self, String> {
        source::Source::new((name, title), kind, repetitions, settings.clone())
            .plan(&Changes::none(processors))
            .map_err(|error| error.trim_start_matches("settings.").to_owned())
    }

    /// The phases in their order: the maxima of brokers come before latencies at shares of them.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase> {
        let mut maxima: Vec<Point> = Vec::new();
        for maximum in self.points.iter().filter_map(Point::maximum) {
            if !maxima.contains(&maximum) {
                maxima.push(maximum);
            }
        }
        let maxima: Vec<_> = point::titled(&maxima)
            .into_iter()
            .map(|point| {
                let title = format!("{}, at full speed", point.title());
                point.titled(title)
            })
            .collect();
        let first = (!maxima.is_empty()).then_some(Phase { points: maxima, repetitions: MAXIMUM_REPETITIONS });
        first.into_iter().chain([Phase { points: self.points.clone(), repetitions: self.repetitions }]).collect()
    }

    /// How many samples it has, all in all.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.phases().iter().map(Phase::samples).sum()
    }

    /// About how many seconds all of them take.
    #[must_use]
    pub fn estimated_s(&self) -> f64 {
        let of_point = |point: &Point| {
            let of_messages = || Some(point.number("messages")? / GUESSED_MESSAGES_PER_S);
            let load = self.sample_s.or(point.number("seconds")).or_else(of_messages).unwrap_or(0.0);
            load + if self.kind.is_of_load() { OVERHEAD_S } else { 0.0 }
        };
        let in_phase = |phase: &Phase, point: &Point| of_point(point) * f64::from(point.repetitions(phase.repetitions));
        let of_phase = |phase: &Phase| phase.points.iter().map(|point| in_phase(phase, point)).sum::<f64>();
        self.phases().iter().map(of_phase).sum()
    }
}

impl Point {
    /// The measurement that precedes a latency at a share of the maximum: the same at full speed.
    #[must_use]
    pub fn maximum(&self) -> Option<Self> {
        self.get("load_percent")?;
        let mut settings: std::collections::BTreeMap<_, _> =
            self.settings().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        settings.remove("load_percent");
        settings.remove("messages");
        let seconds = self.number("seconds").map_or(MAXIMUM_S, |seconds| seconds.min(MAXIMUM_S));
        settings.insert("seconds".to_owned(), values::plain(seconds));
        Some(Self::new(Kind::Throughput, settings))
    }
}

#[cfg(test)]
mod tests;

//! A plan: the points to measure, in phases, and the figures to draw of them.

use wisp_report::figure::Figure;
use wisp_report::kind::Kind;

use crate::plan::point::{Point, titled};
use crate::plan::setting::{Setting, Value};

/// The time of a sample besides its load: starting a broker, connecting, a warm-up, waiting for duplicates.
const OVERHEAD_S: f64 = 1.0;
/// An assumed rate, to estimate the time of a sample with a fixed number of messages.
const GUESSED_MESSAGES_PER_S: f64 = 300_000.0;

/// How often a broker's maximum is measured before latencies at a share of it.
pub const MAXIMUM_REPETITIONS: u32 = 3;

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
    /// The phases in their order: the maxima of brokers come before latencies at shares of them.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase> {
        let mut maxima: Vec<Point> = Vec::new();
        for maximum in self.points.iter().filter_map(Point::maximum) {
            if !maxima.contains(&maximum) {
                maxima.push(maximum);
            }
        }
        let maxima: Vec<_> = titled(&maxima)
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
            let number = |setting| point.value(setting).and_then(Value::number);
            let of_messages = || Some(number(Setting::Messages)? / GUESSED_MESSAGES_PER_S);
            let load = self.sample_s.or(number(Setting::Seconds)).or_else(of_messages).unwrap_or(0.0);
            load + if self.kind.is_of_load() { OVERHEAD_S } else { 0.0 }
        };
        let in_phase = |phase: &Phase, point: &Point| of_point(point) * f64::from(point.repetitions(phase.repetitions));
        let of_phase = |phase: &Phase| phase.points.iter().map(|point| in_phase(phase, point)).sum::<f64>();
        self.phases().iter().map(of_phase).sum()
    }
}

//! In which order samples are taken.

use crate::plan::{Plan, Point, Setting, Value};

/// One sample to take.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Sample {
    pub(super) point: Point,
    /// Counted from 1.
    pub(super) repetition: u32,
}

/// All samples of a plan: phase by phase, repetition by repetition, so that slow changes of the machine affect all
/// points alike. Each repetition shuffles the points anew, so that no point always follows the same one. Points that
/// differ only in the broker or host follow each other, so that a ratio is of samples taken shortly after each other.
pub(super) fn samples(plan: &Plan, seed: u64) -> Vec<Sample> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut samples = Vec::new();
    for phase in plan.phases() {
        for repetition in 1..=phase.repetitions {
            let is_left = |point: &&Point| repetition <= point.repetitions(phase.repetitions);
            let mut points: Vec<_> = phase.points.iter().filter(is_left).cloned().collect();
            random.shuffle(&mut points);
            let mut groups: Vec<(Vec<_>, Vec<Point>)> = Vec::new();
            for point in points {
                let load = load_of(&point);
                match groups.iter_mut().find(|(known, _)| *known == load) {
                    Some((_, group)) => group.push(point),
                    None => groups.push((load, vec![point])),
                }
            }
            let points = groups.into_iter().flat_map(|(_, group)| group);
            samples.extend(points.map(|point| Sample { point, repetition }));
        }
    }
    samples
}

/// All settings of a point but those that name the subject of the measurement.
fn load_of(point: &Point) -> Vec<(Setting, Value)> {
    let of_load = point.values().filter(|(setting, _)| !setting.is_subject());
    of_load.map(|(setting, value)| (setting, value.clone())).collect()
}

//! In which order samples are taken.

use crate::plan::{Plan, Point};

/// What is taken at once.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Sample {
    pub(super) point: Point,
    /// Counted from 1.
    pub(super) repetition: u32,
}

/// All samples of a plan: phase after phase, repetition after repetition, so that whatever changes on the machine meanwhile
/// is in all points alike; in each the points in an order of its own, so that no point always follows the same one.
pub(super) fn samples(plan: &Plan, seed: u64) -> Vec<Sample> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut samples = Vec::new();
    for phase in plan.phases() {
        for repetition in 1..=phase.repetitions {
            let is_left = |point: &&Point| repetition <= point.repetitions(phase.repetitions);
            let mut points: Vec<_> = phase.points.iter().filter(is_left).cloned().collect();
            random.shuffle(&mut points);
            samples.extend(points.into_iter().map(|point| Sample { point, repetition }));
        }
    }
    samples
}

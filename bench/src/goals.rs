//! The figures to reach: how many times as fast as another a broker should be, on two processors.

use crate::broker::Broker;
use crate::plan::{POINTS, Point};

/// How many times as fast as `base` a broker should be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Goal {
    /// Who should be fast.
    pub broker: Broker,
    /// As compared to whom.
    pub base: Broker,
    /// At each of [`POINTS`], at least so many times.
    at_least: [f64; POINTS.len()],
}

/// All goals, in the order of the table.
pub const GOALS: [Goal; 5] = [
    Goal { broker: Broker::Native, base: Broker::Mosquitto, at_least: [9.0, 9.0, 12.0] },
    Goal { broker: Broker::Wasmer, base: Broker::Mosquitto, at_least: [6.0, 7.0, 8.0] },
    Goal { broker: Broker::Wasmer, base: Broker::Native, at_least: [0.65, 0.70, 0.65] },
    Goal { broker: Broker::Wasmtime, base: Broker::Mosquitto, at_least: [4.5, 5.0, 3.0] },
    Goal { broker: Broker::WasmEdge, base: Broker::Mosquitto, at_least: [4.5, 5.0, 3.0] },
];

impl Goal {
    /// What is to be reached at a point, if anything.
    #[must_use]
    pub fn at(&self, point: Point) -> Option<f64> {
        POINTS.iter().position(|&other| other == point).map(|index| self.at_least[index])
    }

    /// What the goal is about.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} / {}", self.broker.title(), self.base.title())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_set_for_their_points_only() {
        let wasmer = GOALS.iter().find(|goal| goal.title() == "Wasmer / native").expect("it is there");
        let at = |senders, receivers| wasmer.at(Point::new(senders, receivers));
        assert_eq!((at(1, 1), at(10, 10), at(100, 100)), (Some(0.65), Some(0.70), Some(0.65)));
        assert_eq!((at(1, 10), at(2, 2)), (None, None));
    }
}

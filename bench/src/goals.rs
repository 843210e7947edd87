//! The figures to reach: how many times as fast as another a broker should be, on two processors.

use crate::plan::{POINTS, Point};
use wisp_lab::broker::Broker;

/// How many times as fast as `base` a broker should be.
#[derive(Clone, PartialEq, Debug)]
pub struct Goal {
    /// At which QoS.
    pub qos: u8,
    /// The broker that should be fast.
    pub broker: Broker,
    /// The broker to compare with.
    pub base: Broker,
    /// The least ratio at each of [`POINTS`]; None where the ratio is shown without a goal.
    at_least: Option<[f64; POINTS.len()]>,
}

const fn goal(qos: u8, broker: Broker, base: Broker, at_least: Option<[f64; POINTS.len()]>) -> Goal {
    Goal { qos, broker, base, at_least }
}

/// All goals, in the order of the tables.
pub static GOALS: [Goal; 17] = {
    use Broker::{Mosquitto, Native, Rumqttd, WasmEdge, Wasmer, Wasmtime};
    [
        goal(0, Native, Mosquitto, Some([9.0, 9.0, 12.0])),
        goal(0, Wasmer, Mosquitto, Some([6.0, 7.0, 8.0])),
        goal(0, Wasmer, Native, Some([0.65, 0.70, 0.65])),
        goal(0, Wasmtime, Mosquitto, Some([4.5, 5.0, 3.0])),
        goal(0, WasmEdge, Mosquitto, Some([4.5, 5.0, 3.0])),
        goal(1, Native, Mosquitto, Some([10.0; 3])),
        goal(1, Native, Rumqttd, Some([1.5; 3])),
        goal(1, Wasmer, Mosquitto, Some([7.0; 3])),
        goal(1, Wasmer, Native, None),
        goal(1, Wasmtime, Mosquitto, None),
        goal(1, WasmEdge, Mosquitto, None),
        goal(2, Native, Mosquitto, None),
        goal(2, Native, Rumqttd, None),
        goal(2, Wasmer, Mosquitto, None),
        goal(2, Wasmer, Native, None),
        goal(2, Wasmtime, Mosquitto, None),
        goal(2, WasmEdge, Mosquitto, None),
    ]
};

/// The least share of the recorded ratio to mosquitto that must be left at QoS 0.
pub const OF_RECORDED: f64 = 0.9;

impl Goal {
    /// The goal at a point, if there is one.
    #[must_use]
    pub fn at(&self, point: Point) -> Option<f64> {
        let index = POINTS.iter().position(|&other| other == point)?;
        Some(self.at_least?[index])
    }

    /// The subject of the goal.
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
        let at_qos_2 = GOALS.iter().filter(|goal| goal.qos == 2);
        assert!(at_qos_2.into_iter().all(|goal| goal.at(Point::new(1, 1)).is_none()));
    }
}

//! Samples and their statistics.

use serde::Serialize;

use crate::plan::{Case, Point, Turn};
use wisp_lab::broker::Broker;
use wisp_loadgen::Results;
use wisp_report::statistics::median;

/// One measurement, with its settings. As JSON, one line.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Sample {
    /// The broker.
    pub broker: Broker,
    /// Counted from 1.
    pub repetition: u32,
    /// The broker's workers, where it has such a setting.
    pub workers: Option<usize>,
    /// Messages that it forwarded before, unmeasured.
    pub warm_up_messages: u64,
    /// The load generator's results.
    #[serde(flatten)]
    pub report: Results,
}

impl Sample {
    /// The compared value.
    #[must_use]
    pub fn rate(&self) -> Rate {
        let point = Point::new(self.report.senders, self.report.receivers);
        let case = Case { qos: self.report.qos, point };
        let turn = Turn { repetition: self.repetition, case, broker: self.broker.clone() };
        Rate { turn, messages_per_s: self.report.messages_per_s }
    }
}

/// How fast a broker was once.
#[derive(Clone, PartialEq, Debug)]
pub struct Rate {
    /// The broker, the case and the repetition.
    pub turn: Turn,
    /// How fast.
    pub messages_per_s: f64,
}

/// The rates of a broker in a case, in the order they were measured.
#[must_use]
pub fn rates_of(rates: &[Rate], broker: &Broker, case: Case) -> Vec<f64> {
    let is_of = |rate: &&Rate| rate.turn.case == case && rate.turn.broker == *broker;
    rates.iter().filter(is_of).map(|rate| rate.messages_per_s).collect()
}

/// How many times as fast as `base` a broker is in a case: the median over the repetitions, in each of which both were
/// measured shortly after each other. None unless there is such a repetition.
#[must_use]
pub fn ratio(rates: &[Rate], broker: &Broker, base: &Broker, case: Case) -> Option<f64> {
    let rate = |turn: &Turn| rates.iter().find(|rate| rate.turn == *turn).map(|rate| rate.messages_per_s);
    let ratios: Vec<_> = rates
        .iter()
        .map(|rate| &rate.turn)
        .filter(|turn| turn.broker == *broker && turn.case == case)
        .filter_map(|turn| Some(rate(turn)? / rate(&Turn { broker: base.clone(), ..*turn })?))
        .collect();
    median(&ratios)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::loadgen::tests::good_report;

    /// A sample at three senders and five receivers.
    pub(crate) fn sample(broker: Broker, repetition: u32, messages_per_s: f64) -> Sample {
        Sample {
            workers: broker.workers(2),
            broker,
            repetition,
            warm_up_messages: 50,
            report: good_report(messages_per_s),
        }
    }

    /// The case of the samples above.
    pub(crate) const CASE: Case = Case { qos: 1, point: Point::new(3, 5) };

    #[test]
    fn a_ratio_compares_within_repetitions() {
        // The machine is half as fast in the second repetition, which the ratio of medians would not see.
        let rates = [
            sample(Broker::Native, 1, 1000.0),
            sample(Broker::Mosquitto, 1, 100.0),
            sample(Broker::Mosquitto, 2, 50.0),
            sample(Broker::Native, 2, 500.0),
            sample(Broker::Native, 3, 900.0),
            sample(Broker::Mosquitto, 3, 90.0),
        ]
        .map(|sample| sample.rate());
        assert_eq!(ratio(&rates, &Broker::Native, &Broker::Mosquitto, CASE), Some(10.0));
        assert_eq!(ratio(&rates, &Broker::Mosquitto, &Broker::Native, CASE), Some(0.1));
        assert_eq!(rates_of(&rates, &Broker::Native, CASE), [1000.0, 500.0, 900.0]);
    }

    #[test]
    fn there_is_no_ratio_without_both_in_one_repetition() {
        let rates = [sample(Broker::Native, 1, 1000.0), sample(Broker::Mosquitto, 2, 100.0)];
        let rates = rates.map(|sample| sample.rate());
        assert_eq!(ratio(&rates, &Broker::Native, &Broker::Mosquitto, CASE), None);
        for other in [Case { qos: 0, ..CASE }, Case { point: Point::new(1, 1), ..CASE }] {
            assert_eq!(ratio(&rates, &Broker::Native, &Broker::Native, other), None);
            assert!(rates_of(&rates, &Broker::Native, other).is_empty());
        }
    }

    #[test]
    fn a_sample_is_one_flat_line() {
        let json = serde_json::to_string(&sample(Broker::WasmEdge, 2, 5.5)).unwrap();
        assert!(!json.contains('\n'));
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["broker"], "wasmedge");
        for (field, value) in [("repetition", 2), ("workers", 1), ("senders", 3), ("size_bytes", 1024), ("lost", 0)] {
            assert_eq!(read[field], value, "{field}");
        }
        assert_eq!(read["messages_per_s"], 5.5);
    }
}

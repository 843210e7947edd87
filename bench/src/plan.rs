//! The cases to measure, and their order.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::str::FromStr;

use wisp_lab::broker::Broker;

/// The points that the goals are set for.
pub const POINTS: [Point; 3] = [Point::new(1, 1), Point::new(10, 10), Point::new(100, 100)];
/// The brokers that are measured, in the order of tables.
pub const BROKERS: [Broker; 6] =
    [Broker::Native, Broker::Wasmer, Broker::Wasmtime, Broker::WasmEdge, Broker::Mosquitto, Broker::Rumqttd];
/// The levels of quality of service, each with the messages of a sample: enough to keep mosquitto busy for some
/// seconds.
pub const LEVELS: [(u8, u64); 3] = [(0, 1_000_000), (1, 400_000), (2, 150_000)];
/// At QoS 1 and 2, messages of each sender that may be unacknowledged at once.
pub const WINDOW: NonZeroU16 = NonZeroU16::new(1000).expect("a thousand is not zero");
/// Bytes of each message.
pub const SIZE_BYTES: usize = 1024;
/// How often each broker is measured at each point.
pub const REPETITIONS: NonZeroU32 = NonZeroU32::new(3).expect("three is not zero");
/// A warm-up before each sample has this fraction of its messages.
const WARM_UP_SHARE: u64 = 20;

/// How many senders and receivers; written `1x1` on the command line and `(1,1)` in tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// Connections that send.
    pub senders: u32,
    /// Connections that receive.
    pub receivers: u32,
}

impl Point {
    /// A point with these numbers.
    #[must_use]
    pub const fn new(senders: u32, receivers: u32) -> Self {
        Self { senders, receivers }
    }

    /// How tables write it.
    #[must_use]
    pub fn title(self) -> String {
        format!("({},{})", self.senders, self.receivers)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.senders, self.receivers)
    }
}

/// A text that is no point.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("use SENDERSxRECEIVERS, as in 10x10")]
pub struct InvalidPoint;

impl FromStr for Point {
    type Err = InvalidPoint;

    fn from_str(text: &str) -> Result<Self, InvalidPoint> {
        let number = |text: &str| text.parse::<NonZeroU32>().ok().map(NonZeroU32::get);
        text.split_once('x')
            .and_then(|(senders, receivers)| Some(Self::new(number(senders)?, number(receivers)?)))
            .ok_or(InvalidPoint)
    }
}

/// The load of a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// The QoS of sending and receiving.
    pub qos: u8,
    /// How many senders and receivers.
    pub point: Point,
}

/// The plan of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The brokers, each once.
    pub brokers: Vec<Broker>,
    /// The levels of quality of service, each once.
    pub qos: Vec<u8>,
    /// The points, each once.
    pub points: Vec<Point>,
    /// Messages of a sample, if not the number of [`LEVELS`].
    pub count: Option<u64>,
    /// At QoS 1 and 2, messages of each sender that may be unacknowledged at once.
    pub window: u16,
    /// How often each broker is measured at each point.
    pub repetitions: u32,
    /// Workers of each broker that has threads.
    pub workers: usize,
}

/// One sample to take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Counted from 1.
    pub repetition: u32,
    /// The case.
    pub case: Case,
    /// The broker.
    pub broker: Broker,
}

impl Plan {
    /// The usual plan.
    #[must_use]
    pub fn everything(workers: usize) -> Self {
        Self {
            brokers: BROKERS.to_vec(),
            qos: LEVELS.map(|(qos, _)| qos).to_vec(),
            points: POINTS.to_vec(),
            count: None,
            window: WINDOW.get(),
            repetitions: REPETITIONS.get(),
            workers,
        }
    }

    /// Messages of a sample at this QoS.
    #[must_use]
    pub fn messages(&self, qos: u8) -> u64 {
        let usual = LEVELS.iter().find(|(level, _)| *level == qos).map_or(1, |(_, messages)| *messages);
        self.count.unwrap_or(usual)
    }

    /// Messages that a broker forwards before each sample, unmeasured.
    #[must_use]
    pub fn warm_up_messages(&self, qos: u8) -> u64 {
        (self.messages(qos) / WARM_UP_SHARE).max(1)
    }

    /// The brokers measured at this QoS.
    #[must_use]
    pub fn brokers_at(&self, qos: u8) -> Vec<Broker> {
        self.brokers.iter().filter(|broker| broker.is_measured_at(qos)).cloned().collect()
    }

    /// All samples in the order they are taken. Within a repetition all brokers take their turn at a point before
    /// the next point comes, so that a machine that grows slower meanwhile does so for all of them; and nobody
    /// always comes first, or always after the same one.
    #[must_use]
    pub fn turns(&self) -> Vec<Turn> {
        let mut turns = Vec::new();
        for &qos in &self.qos {
            for repetition in 1..=self.repetitions {
                for (index, &point) in self.points.iter().enumerate() {
                    let mut brokers = self.brokers_at(qos);
                    if brokers.is_empty() {
                        continue;
                    }
                    let shift = (repetition as usize + index) % brokers.len();
                    brokers.rotate_left(shift);
                    if repetition % 2 == 0 {
                        brokers[1..].reverse();
                    }
                    let case = Case { qos, point };
                    turns.extend(brokers.into_iter().map(|broker| Turn { repetition, case, broker }));
                }
            }
        }
        turns
    }

    /// The command that runs this again.
    #[must_use]
    pub fn command(&self) -> String {
        let names = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(",");
        let count = self.count.map(|count| format!(" --count {count}")).unwrap_or_default();
        format!(
            "wisp-bench smoke --brokers {} --qos {} --points {}{count} --window {} --repetitions {} --workers {}",
            names(&mut self.brokers.iter().map(ToString::to_string)),
            names(&mut self.qos.iter().map(ToString::to_string)),
            names(&mut self.points.iter().map(ToString::to_string)),
            self.window,
            self.repetitions,
            self.workers
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_read_as_they_are_written() {
        for point in POINTS {
            assert_eq!(point.to_string().parse(), Ok(point));
        }
        for wrong in ["", "1", "x", "1x", "x1", "0x1", "1x0", "1x1x1", "-1x1"] {
            assert!(wrong.parse::<Point>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_broker_is_measured_once_in_each_case_of_each_repetition() {
        let turns = Plan::everything(2).turns();
        assert_eq!(turns.len(), (5 + 6 + 6) * 3 * 3, "rumqttd not at QoS 0");
        for (repetition, (qos, _), point) in
            (1..=3).flat_map(|n| LEVELS.into_iter().flat_map(move |level| POINTS.map(|point| (n, level, point))))
        {
            for broker in BROKERS {
                let times = usize::from(qos > 0 || broker != Broker::Rumqttd);
                let turn = Turn { repetition, case: Case { qos, point }, broker };
                assert_eq!(turns.iter().filter(|other| **other == turn).count(), times, "{turn:?}");
            }
        }
    }

    #[test]
    fn brokers_alternate_so_that_none_is_first_in_a_case_twice() {
        let turns = Plan::everything(2).turns();
        for ((qos, _), point) in LEVELS.into_iter().flat_map(|level| POINTS.map(|point| (level, point))) {
            let case = Case { qos, point };
            let mut first: Vec<_> = (1..=3)
                .map(|repetition| turns.iter().find(|turn| turn.case == case && turn.repetition == repetition))
                .map(|turn| turn.expect("all are there").broker.to_string())
                .collect();
            first.sort();
            first.dedup();
            assert_eq!(first.len(), 3, "{first:?}");
        }
    }

    #[test]
    fn a_level_finishes_before_the_next_begins_and_so_does_a_repetition() {
        let turns = Plan::everything(2).turns();
        assert!(turns.is_sorted_by_key(|turn| (turn.case.qos, turn.repetition)));
    }

    #[test]
    fn a_count_stands_for_all_levels() {
        let plan = Plan::everything(2);
        assert_eq!((plan.messages(0), plan.messages(2), plan.warm_up_messages(1)), (1_000_000, 150_000, 20_000));
        let plan = Plan { count: Some(10), ..plan };
        assert_eq!((plan.messages(0), plan.messages(2), plan.warm_up_messages(1)), (10, 10, 1));
    }
}

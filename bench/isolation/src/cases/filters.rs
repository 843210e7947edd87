//! Topics never seen before, published against many filters that match none of them.

use std::io;
use std::time::Duration;

use wisp_wire::QoS;

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Client, Options};
use crate::load::{Plan, Publishers};
use crate::setup::Setup;

const FILTERS_EACH: u64 = 1000;
const PAYLOAD_BYTES: usize = 100;
const TICK: Duration = Duration::from_millis(5);
const WARM_UP: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(4);
const LEVELS: u64 = 16;

pub(super) const NEW_TOPICS: Case = Case {
    name: "new-topics",
    section: Section::Work,
    question: "10,000 messages a second, each on a topic never seen before, against 50,000 filters with a + of which none matches.",
    figures: &[Figure { name: "publish_us", title: "CPU a publish, µs", target: Target::AtMostMosquitto(0.5) }],
    setup: Setup { wisp: &["--connections-max", "19500", "--subscription-bytes-max", "4000000000"], ..Setup::DEFAULTS },
    run: |attack| {
        let count = attack.size(50_000, 500);
        let filter = |number: u64| format!("area{}/+/kind{}/#", number % 10, number / 10);
        let topic = |_, number: u64| format!("area{}/device{number}/none/value", number % 10);
        run(attack, count, filter, 10_000.0, Box::new(topic))
    },
};

pub(super) const DEEP: Case = Case {
    name: "deep-filters",
    question: "100 messages a second of 17 levels against 16,384 filters of 16 levels, each level either the topic's or +.",
    figures: &[Figure { name: "publish_us", title: "CPU a publish, µs", target: Target::AtMostMosquitto(0.33) }],
    run: |attack| {
        let level = |number: u64, level: u64| if number >> level & 1 == 1 { "+" } else { "a" };
        let levels = move |number: u64| (0..LEVELS).map(|at| level(number, at)).collect::<Vec<_>>().join("/");
        let topic = |_, number: u64| format!("{}/new{number}", ["a"; LEVELS as usize].join("/"));
        run(attack, attack.size(16_384, 128), |number| levels(number) + "/z", 100.0, Box::new(topic))
    },
    ..NEW_TOPICS
};

fn run(
    attack: &Attack<'_>,
    count: u64,
    filter: impl Fn(u64) -> String,
    rate_per_s: f64,
    topic: Box<dyn Fn(usize, u64) -> String + Send>,
) -> io::Result<Outcome> {
    let mut subscribers = Vec::new();
    for first in (0..count).step_by(FILTERS_EACH as usize) {
        let mut client = Client::connect(attack.address(), &format!("subscriber{first}"), &Options::default())?;
        let filters: Vec<_> = (first..(first + FILTERS_EACH).min(count)).map(&filter).collect();
        client.subscribe(&filters, QoS::AtMostOnce)?;
        subscribers.push(client);
    }
    let plan = Plan {
        count: 1,
        name: "publisher",
        rate_per_s: Some(rate_per_s),
        tick: TICK,
        qos: QoS::AtMostOnce,
        payload_bytes: PAYLOAD_BYTES,
        topic,
    };
    let publishers = Publishers::start(attack.address(), plan, attack.clock)?;
    attack.pause(WARM_UP);
    let sent = publishers.sent();
    let cpu_s = attack.cpu_s(|| {
        attack.pause(TIME);
        Ok(())
    })?;
    let sent = (publishers.sent() - sent).max(1);
    publishers.finish()?;
    Ok(Outcome::default().with("publish_us", cpu_s * 1e6 / sent as f64))
}

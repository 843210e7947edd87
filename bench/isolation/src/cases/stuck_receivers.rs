//! Many subscribers that read nothing, and publishers at full speed.

use std::io;
use std::time::Duration;

use wisp_wire::QoS;

use super::memory::{GIVE_BACK_TIME, P50, peak_mib, rss_mib};
use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Client, Options};
use crate::load::{Plan, Probe, Publishers};
use crate::setup::Setup;

const TOPIC: &str = "flood";
const PUBLISHERS: usize = 4;
const PAYLOAD_BYTES: usize = 1024;
const TIME: Duration = Duration::from_secs(6);

pub(super) const CASE: Case = Case {
    name: "stuck-receivers",
    section: Section::Memory,
    question: "200 subscribers read nothing while 4 publishers send 1 KB messages at QoS 0 as fast as they can for 6 s; Wisp with \
               buffered-bytes-max of 64 MiB.",
    figures: &[
        Figure { name: "peak_mib", title: "peak, MiB", target: Target::AtMost(96.0) },
        Figure { name: "p99_ms", title: "p99 of a probe, ms", target: Target::AtMost(50.0) },
        P50,
        Figure { name: "left_mib", title: "10 s after they have left, MiB", target: Target::None },
    ],
    setup: Setup { wisp: &["--buffered-bytes-max", "67108864"], ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let address = attack.address();
    let mut stuck = Vec::new();
    for number in 0..attack.size(200, 20) {
        let mut client = Client::connect(address, &format!("stuck{number}"), &Options::default())?;
        client.subscribe(&[TOPIC], QoS::AtMostOnce)?;
        stuck.push(client);
    }
    // The first second is the worst one.
    let probe = Probe::start(address, attack.clock)?;
    let plan = Plan {
        count: PUBLISHERS,
        name: "publisher",
        rate_per_s: None,
        tick: Duration::ZERO,
        qos: QoS::AtMostOnce,
        payload_bytes: PAYLOAD_BYTES,
        topic: Box::new(|_, _| TOPIC.to_owned()),
    };
    let publishers = Publishers::start(address, plan, attack.clock)?;
    attack.pause(TIME);
    let published = publishers.finish()?;
    let latencies = probe.finish()?;
    let peak_mib = peak_mib(attack)?;
    drop(stuck);
    attack.pause(GIVE_BACK_TIME);
    Ok(Outcome::default()
        .with("peak_mib", peak_mib)
        .with("left_mib", rss_mib(attack)?)
        .with("published", published.sent as f64)
        .with_latencies(&latencies))
}

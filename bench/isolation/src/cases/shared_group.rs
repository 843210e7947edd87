//! A shared subscription most members of which are away.

use std::io;
use std::time::Duration;

use wisp_wire::QoS;

use super::memory::leave_sessions;
use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Acks, Client, Options};
use crate::load::{Plan, Publishers, Receivers};
use crate::setup::{Peers, Setup};

const FILTER: &str = "$share/workers/job/#";
const TOPIC: &str = "job/1";
const ON_LINE: u64 = 2;
const RATE_PER_S: f64 = 5000.0;
const PAYLOAD_BYTES: usize = 200;
const TICK: Duration = Duration::from_millis(5);
const WARM_UP: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(4);

pub(super) const CASE: Case = Case {
    name: "shared-group",
    section: Section::Work,
    question: "5,000 messages a second at QoS 1 to a shared subscription of two members that are on line, and to the same with 4,998 \
               more that are away.",
    figures: &[
        Figure { name: "ratio", title: "CPU a message, 5,000 members by 2", target: Target::AtMost(1.2) },
        Figure { name: "small_us", title: "with 2 members, µs", target: Target::None },
        Figure { name: "large_us", title: "with 5,000 members, µs", target: Target::None },
        Figure { name: "received_percent", title: "received with 5,000, %", target: Target::None },
    ],
    setup: Setup { wisp: &Setup::MANY_CONNECTIONS, peers: Peers::Mosquitto, ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let options = Options::kept_v5();
    let mut on_line = Vec::new();
    for number in 0..ON_LINE {
        let mut client = Client::connect(attack.address(), &format!("on-line{number}"), &options)?;
        client.subscribe(&[FILTER], QoS::AtLeastOnce)?;
        on_line.push(client);
    }
    let receivers = Receivers::start(on_line, attack.clock, Acks::All)?;
    let (small_us, _) = cost_us(attack, &receivers)?;
    leave_sessions(attack, "away", attack.size(4998, 100), &options, |_| FILTER.to_owned())?;
    let (large_us, received_percent) = cost_us(attack, &receivers)?;
    receivers.finish()?;
    Ok(Outcome::default()
        .with("ratio", large_us / small_us)
        .with("small_us", small_us)
        .with("large_us", large_us)
        .with("received_percent", received_percent))
}

/// Processor time of a message, and the share of messages that arrived, in percent.
fn cost_us(attack: &Attack<'_>, receivers: &Receivers) -> io::Result<(f64, f64)> {
    let plan = Plan {
        count: 1,
        name: "publisher",
        rate_per_s: Some(RATE_PER_S),
        tick: TICK,
        qos: QoS::AtLeastOnce,
        payload_bytes: PAYLOAD_BYTES,
        topic: Box::new(|_, _| TOPIC.to_owned()),
    };
    let publishers = Publishers::start(attack.address(), plan, attack.clock)?;
    attack.pause(WARM_UP);
    let (sent, received) = (publishers.sent(), receivers.received());
    let cpu_s = attack.cpu_s(|| {
        attack.pause(TIME);
        Ok(())
    })?;
    let (sent, received) = ((publishers.sent() - sent).max(1) as f64, (receivers.received() - received) as f64);
    publishers.finish()?;
    Ok((cpu_s * 1e6 / sent, 100.0 * received / sent))
}

//! Sessions of clients that are away, filled to the limit of stored bytes and drained, again and again.

use std::io;
use std::time::Duration;

use super::memory::{GIVE_BACK_TIME, leave_sessions, publish_all, rss_mib};
use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Acks, Client, Options};
use crate::setup::{Peers, Setup};

const CYCLES: usize = 3;
const PAYLOAD_BYTES: usize = 100;
/// A session is drained when its client has received nothing for so long, and then only the answer to a ping.
const SILENCE: Duration = Duration::from_millis(20);

pub(super) const CASE: Case = Case {
    name: "away-cycles",
    section: Section::Memory,
    question: "200 sessions are filled with 20,000 messages of 100 bytes each while their clients are away, and drained, three \
               times; Wisp with stored-bytes-max of 512 MiB.",
    figures: &[
        Figure { name: "full_max_mib", title: "the most when full, MiB", target: Target::AtMost(614.0) },
        Figure { name: "last_to_first", title: "the last cycle by the first", target: Target::AtMost(1.1) },
        Figure { name: "left_mib", title: "10 s after the last drain, MiB", target: Target::AtMost(50.0) },
        Figure { name: "drained", title: "messages drained", target: Target::None },
    ],
    setup: Setup { wisp: &["--stored-bytes-max", "536870912"], peers: Peers::None, ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let (sessions, each) = (attack.size(200, 10), attack.size(20_000, 500));
    let (options, topic) = (Options::kept_v5(), |number: u64| format!("to/{number}"));
    leave_sessions(attack, "away", sessions, &options, topic)?;
    let (mut full_mib, mut drained) = (Vec::new(), 0_u64);
    for _ in 0..CYCLES {
        publish_all(attack, (0..each * sessions).map(|number| topic(number % sessions)), PAYLOAD_BYTES)?;
        full_mib.push(rss_mib(attack)?);
        for number in 0..sessions {
            let mut client = Client::connect(attack.address(), &format!("away{number}"), &options)?;
            loop {
                let before = drained;
                client.set_read_timeout(SILENCE)?;
                while client.receive_messages(Acks::All, |_| drained += 1)? {
                    client.flush()?;
                }
                if drained == before {
                    break;
                }
                client.ping()?;
            }
            client.disconnect()?;
        }
    }
    attack.pause(GIVE_BACK_TIME);
    Ok(Outcome::default()
        .with("full_max_mib", full_mib.iter().copied().fold(0.0, f64::max))
        .with("last_to_first", full_mib[CYCLES - 1] / full_mib[0])
        .with("left_mib", rss_mib(attack)?)
        .with("drained", drained as f64))
}

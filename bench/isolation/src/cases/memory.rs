//! Parts that the cases about memory share.

use std::io;
use std::time::Duration;

use wisp_wire::QoS;

use crate::case::{Attack, Figure, Target, mib};
use crate::client::{Client, Options, encode_publish};

/// Messages that a publisher has on the way at once.
const BATCH: u64 = 500;
/// The broker has given memory back by then.
pub(super) const GIVE_BACK_TIME: Duration = Duration::from_secs(10);

/// The latencies of a probe as a row that explains others.
pub(super) const P50: Figure = Figure { name: "p50_ms", title: "p50 of a probe, ms", target: Target::None };

/// Connects clients with kept sessions that subscribe to a topic, and disconnects them. `name` is the prefix of their
/// client identifiers.
pub(super) fn leave_sessions(
    attack: &Attack<'_>,
    name: &str,
    count: u64,
    options: &Options,
    topic: impl Fn(u64) -> String,
) -> io::Result<()> {
    for number in 0..count {
        let mut client = Client::connect(attack.address(), &format!("{name}{number}"), options)?;
        client.subscribe(&[topic(number)], QoS::AtLeastOnce)?;
        client.disconnect()?;
    }
    Ok(())
}

/// Publishes messages at QoS 1 and waits until the broker has handled them.
pub(super) fn publish_all(
    attack: &Attack<'_>,
    topics: impl Iterator<Item = String>,
    payload_bytes: usize,
) -> io::Result<()> {
    let mut publisher = Client::connect(attack.address(), "filler", &Options::default())?;
    let payload = vec![1; payload_bytes];
    for (number, topic) in (0..).zip(topics) {
        encode_publish(&topic, &payload, QoS::AtLeastOnce, number, &mut publisher.output)?;
        if number % BATCH == BATCH - 1 {
            publisher.ping()?;
        }
    }
    publisher.ping()
}

/// Resident memory in MiB.
pub(super) fn rss_mib(attack: &Attack<'_>) -> io::Result<f64> {
    Ok(mib(attack.usage()?.rss_bytes))
}

/// The most resident memory that ever was, in MiB.
pub(super) fn peak_mib(attack: &Attack<'_>) -> io::Result<f64> {
    Ok(mib(attack.usage()?.peak_rss_bytes))
}

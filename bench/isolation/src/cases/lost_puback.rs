//! A subscriber with a small window never acknowledges one of its messages: the PUBACK is lost.

use std::io;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use wisp_wire::{Packet, ProtocolVersion, PubAck, QoS};

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Acks, Client, Options, encode_publish};
use crate::setup::{Peers, Setup};

const MESSAGES: u64 = 300;
const PAYLOAD_BYTES: usize = 100;
const TOPIC: &str = "readings";
const RECEIVE_MAX: Option<NonZeroU16> = NonZeroU16::new(10);
/// Messages that are published before the subscriber has read again.
const BATCH: u64 = 10;
const TIME_MAX: Duration = Duration::from_secs(10);

pub(super) const CASE: Case = Case {
    name: "lost-puback",
    section: Section::Receivers,
    question: "A subscriber with Receive Maximum 10 never acknowledges its first message and all others at once: does it get all 300?",
    figures: &[Figure {
        name: "received",
        title: "messages received, of 300",
        target: Target::AtLeast(MESSAGES as f64),
    }],
    setup: Setup { peers: Peers::Mosquitto, ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let address = attack.address();
    let options = Options { version: ProtocolVersion::Mqtt5, receive_max: RECEIVE_MAX, ..Options::default() };
    let mut subscriber = Client::connect(address, "subscriber", &options)?;
    subscriber.subscribe(&[TOPIC], QoS::AtLeastOnce)?;
    subscriber.set_read_timeout(Duration::from_millis(20))?;
    let mut publisher = Client::connect(address, "publisher", &Options::default())?;
    let (begun, time_max) = (Instant::now(), if attack.is_quick { TIME_MAX / 5 } else { TIME_MAX });
    let (mut received, mut published) = (0, 0);
    while received < MESSAGES && begun.elapsed() < time_max {
        if published < MESSAGES {
            for number in published..published + BATCH {
                encode_publish(TOPIC, &[1; PAYLOAD_BYTES], QoS::AtLeastOnce, number, &mut publisher.output)?;
            }
            publisher.ping()?;
            published += BATCH;
        }
        let mut acknowledged = Vec::new();
        subscriber.receive_messages(Acks::None, |publish| {
            acknowledged.extend(publish.packet_id.filter(|_| received > 0));
            received += 1;
        })?;
        for packet_id in acknowledged {
            subscriber.queue(&Packet::PubAck(PubAck::new(packet_id)))?;
        }
        subscriber.flush()?;
    }
    Ok(Outcome::default().with("received", received as f64).with("seconds", begun.elapsed().as_secs_f64()))
}

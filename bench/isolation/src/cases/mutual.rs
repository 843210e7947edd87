//! Two clients that publish to each other with full windows, and acknowledge behind the messages that they have not sent yet.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use wisp_wire::{Packet, PubAck, QoS};

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Client, Options, encode_publish};
use crate::setup::Setup;

const PAYLOAD_BYTES: usize = 1024;
/// Messages of each that may be unacknowledged.
const WINDOW: u64 = 1000;
const TIME_MAX: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_micros(200);
const TOPICS: [&str; 2] = ["to/first", "to/second"];

pub(super) const CASE: Case = Case {
    name: "mutual-publishers",
    section: Section::Receivers,
    question: "Two clients send 20,000 messages of 1 KB at QoS 1 to each other at once, 1,000 of each unacknowledged, and their own \
               acknowledgements behind them in the same stream: do they wait for each other?",
    figures: &[
        Figure { name: "delivered_percent", title: "delivered within 20 s, %", target: Target::AtLeast(100.0) },
        Figure { name: "seconds", title: "until all were delivered, s", target: Target::AtMost(10.0) },
    ],
    setup: Setup::DEFAULTS,
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let each = attack.size(20_000, 1000);
    let mut ends = [End::connect(attack, 0)?, End::connect(attack, 1)?];
    let (begun, mut delivered) = (Instant::now(), 0);
    while delivered < 2 * each && begun.elapsed() < TIME_MAX {
        let mut has_moved = false;
        for end in &mut ends {
            has_moved |= end.exchange(each, &mut delivered)?;
        }
        if !has_moved {
            thread::sleep(PAUSE);
        }
    }
    Ok(Outcome::default()
        .with("delivered_percent", 100.0 * delivered as f64 / (2 * each) as f64)
        .with("seconds", begun.elapsed().as_secs_f64()))
}

/// One of the two clients.
struct End {
    client: Client,
    /// The other one's topic.
    to: &'static str,
    sent: u64,
    acknowledged: u64,
}

impl End {
    fn connect(attack: &Attack<'_>, number: usize) -> io::Result<Self> {
        let mut client = Client::connect(attack.address(), &format!("end{number}"), &Options::default())?;
        client.subscribe(&[TOPICS[number]], QoS::AtLeastOnce)?;
        client.set_nonblocking()?;
        Ok(Self { client, to: TOPICS[1 - number], sent: 0, acknowledged: 0 })
    }

    /// Sends as many messages as the window allows, receives, and acknowledges. Says whether anything has moved.
    fn exchange(&mut self, each: u64, delivered: &mut u64) -> io::Result<bool> {
        while self.sent < each.min(self.acknowledged + WINDOW) {
            encode_publish(self.to, &[1; PAYLOAD_BYTES], QoS::AtLeastOnce, self.sent, &mut self.client.output)?;
            self.sent += 1;
        }
        let sent_bytes = self.client.flush()?;
        let (mut received, mut acknowledged) = (Vec::new(), 0);
        let has_received = self.client.receive(|packet| match packet {
            Packet::Publish(publish) => received.extend(publish.packet_id),
            Packet::PubAck(_) => acknowledged += 1,
            _ => {}
        })?;
        self.acknowledged += acknowledged;
        *delivered += received.len() as u64;
        for packet_id in received {
            self.client.queue(&Packet::PubAck(PubAck::new(packet_id)))?;
        }
        Ok(sent_bytes > 0 || has_received)
    }
}

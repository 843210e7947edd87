//! Two clients that publish to each other as fast as they can, and acknowledge behind the messages that they have not sent yet.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use wisp_wire::QoS;

use crate::case::{Attack, Case, Figure, Outcome, Section, Setup, Target};
use crate::client::{Acks, Client, Options, encode_publish};

const PAYLOAD_BYTES: usize = 1024;
const TIME_MAX: Duration = Duration::from_secs(20);
const TOPICS: [&str; 2] = ["to/first", "to/second"];

pub(super) const CASE: Case = Case {
    name: "mutual-publishers",
    section: Section::Receivers,
    question: "Two clients send 20,000 messages of 1 KB at QoS 1 to each other at once, their acknowledgements behind them in the \
               same stream: do they wait for each other?",
    figures: &[
        Figure { name: "delivered_percent", title: "delivered within 20 s, %", target: Target::AtLeast(100.0) },
        Figure { name: "seconds", title: "until all were delivered, s", target: Target::AtMost(10.0) },
    ],
    setup: Setup::DEFAULTS,
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let each = attack.size(20_000, 1000);
    let connect = |id: &str, topic: &str| -> io::Result<Client> {
        let mut client = Client::connect(attack.address(), id, &Options::default())?;
        client.subscribe(&[topic], QoS::AtLeastOnce)?;
        client.set_nonblocking()?;
        Ok(client)
    };
    let mut clients = [connect("first", TOPICS[0])?, connect("second", TOPICS[1])?];
    for (client, to) in clients.iter_mut().zip([TOPICS[1], TOPICS[0]]) {
        for number in 0..each {
            encode_publish(to, &[1; PAYLOAD_BYTES], QoS::AtLeastOnce, number, &mut client.output)?;
        }
    }
    let (begun, mut delivered) = (Instant::now(), 0_u64);
    while delivered < 2 * each && begun.elapsed() < TIME_MAX {
        let mut has_moved = false;
        for client in &mut clients {
            has_moved |= client.flush()? > 0;
            has_moved |= client.receive_messages(Acks::All, |_| delivered += 1)?;
        }
        if !has_moved {
            thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(Outcome::default()
        .with("delivered_percent", 100.0 * delivered as f64 / (2 * each) as f64)
        .with("seconds", begun.elapsed().as_secs_f64()))
}

//! The rate limit under virtual time: no client sends faster, none is held back longer, and the worker wakes in time for it.

use wisp_engine::Limits;

use crate::seeds::{Rng, for_seeds};
use crate::support::{Peer, V3, World, publish, subscribe};

/// The shortest pause of a client in debt (engine/src/connection/rate_limit.rs).
const PAUSE_MS_MIN: u64 = 5;

fn numbered(number: u16, padding: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(2 + padding, 0);
    publish(V3, "t", &payload)
}

fn pair(limits: Limits) -> (World, Peer, Peer) {
    let mut world = World::new(limits);
    let mut receiver = world.connected(V3, "receiver");
    world.feed(&mut receiver, &subscribe(V3, &["t"]));
    receiver.take();
    let sender = world.connected(V3, "sender");
    (world, sender, receiver)
}

/// The number of received messages, which are in order.
fn count(receiver: &mut Peer) -> u64 {
    let messages = receiver.messages();
    for (number, (_, payload)) in messages.iter().enumerate() {
        assert_eq!(payload[..2], (number as u16).to_be_bytes());
    }
    messages.len() as u64
}

/// Advances the time to the worker's next timeout, or by steps of any length.
fn step(world: &mut World, rng: &mut Rng) {
    let asked_ms = world.worker.poll_timeout(world.now_ms).unwrap_or(250).max(1);
    let ms = if rng.one_in(2) { asked_ms } else { rng.between(1, 300) };
    world.pass_ms(ms);
}

#[test]
fn messages_pass_at_the_rate_limit_and_no_slower() {
    for_seeds(200, |rng| {
        let per_s = rng.between(1, 200);
        let limits = Limits::DEFAULT.with(|limits| limits.messages_per_s_max = per_s as u32);
        let (mut world, mut sender, mut receiver) = pair(limits);
        let sent = per_s * rng.between(2, 4);
        let start_ms = world.now_ms;
        let messages: Vec<u8> = (0..sent as u16).flat_map(|number| numbered(number, 0)).collect();
        world.feed(&mut sender, &messages);
        loop {
            let (come, passed_ms) = (count(&mut receiver), world.now_ms - start_ms);
            assert!(come <= per_s + (passed_ms * per_s).div_ceil(1_000), "{come} in {passed_ms} ms at {per_s}/s");
            if come == sent {
                break;
            }
            // A pause may be longer than a message takes, and a step longer than the pause.
            let late_ms = PAUSE_MS_MIN + 300 + 1_000_u64.div_ceil(per_s);
            let least = per_s + passed_ms.saturating_sub(late_ms) * per_s / 1_000;
            assert!(come + 1 >= least.min(sent), "{come} in {passed_ms} ms at {per_s}/s");
            step(&mut world, rng);
        }
        assert!(world.now_ms - start_ms <= (sent - per_s) * 1_000 / per_s + 300 + 2 * PAUSE_MS_MIN + 1_000 / per_s);
    });
}

#[test]
fn bytes_pass_at_the_rate_limit() {
    for_seeds(200, |rng| {
        let per_s = rng.between(100, 5_000);
        let limits = Limits::DEFAULT.with(|limits| limits.bytes_per_s_max = per_s);
        let (mut world, mut sender, mut receiver) = pair(limits);
        let (mut bytes, mut lens) = (Vec::new(), Vec::new());
        while (bytes.len() as u64) < 3 * per_s {
            let message = numbered(lens.len() as u16, rng.below(300) as usize);
            lens.push(message.len() as u64);
            bytes.extend(message);
        }
        let (start_ms, all) = (world.now_ms, lens.len() as u64);
        world.feed(&mut sender, &bytes);
        loop {
            let (come, passed_ms) = (count(&mut receiver), world.now_ms - start_ms);
            // The last one may have left the client in debt.
            let paid: u64 = lens[..come.saturating_sub(1) as usize].iter().sum();
            assert!(paid <= per_s + (passed_ms * per_s).div_ceil(1_000), "{paid} B in {passed_ms} ms at {per_s}/s");
            if come == all {
                break;
            }
            assert!(passed_ms < 10_000, "{come} of {all} messages have come");
            step(&mut world, rng);
        }
    });
}

#[test]
fn a_rate_limited_client_has_no_keep_alive_timeout() {
    let limits = Limits::DEFAULT.with(|limits| limits.messages_per_s_max = 1);
    let mut world = World::new(limits);
    let mut sender = world.accept();
    let connect = wisp_wire::Connect { keep_alive_s: 1, ..crate::support::plain(V3, "sender") };
    world.feed(&mut sender, &crate::support::encoded(|out| connect.encode(V3, out)));
    let messages: Vec<u8> = (0..20).flat_map(|number| numbered(number, 0)).collect();
    world.feed(&mut sender, &messages);
    for _ in 0..18 {
        world.pass_ms(1_000);
        assert_eq!(sender.end(), None);
    }
}

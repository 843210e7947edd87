//! The order in which a worker reads: clients that send little are not behind the ones that send much.

use wisp_engine::Limits;

use crate::support::{Peer, RECV_BYTES, V3, World, publish};

/// A turn reads so much of busy senders, and finishes its last read.
const TURN_BYTES: usize = 1024 * 1024;

const PINGREQ: [u8; 2] = [0xc0, 0];

#[test]
fn a_client_beside_busy_senders_waits_for_a_part_of_them_and_they_take_turns() {
    let mut world = World::new(Limits::DEFAULT);
    let mut pinger = world.connected(V3, "pinger");
    let packet = publish(V3, "nobody", &[0; 1_000]);
    let bytes = packet.repeat(4 * RECV_BYTES / packet.len());
    let mut senders: Vec<Peer> = (0..40).map(|number| world.connected(V3, &format!("sender {number}"))).collect();
    senders.iter_mut().for_each(|sender| world.offer(sender, &bytes));
    let left = |senders: &[Peer]| -> Vec<usize> { senders.iter().map(Peer::unreceived_bytes).collect() };
    world.turn();
    assert!(left(&senders).iter().all(|left| *left < bytes.len()), "none of them is known to send much");
    loop {
        let before: usize = left(&senders).iter().sum();
        world.offer(&mut pinger, &PINGREQ);
        world.turn();
        assert_eq!(pinger.take(), [0xd0, 0], "at once");
        let left = left(&senders);
        let (least, most) = (left.iter().min().unwrap(), left.iter().max().unwrap());
        assert!(most - least <= RECV_BYTES, "they take turns: {left:?}");
        assert!(before - left.iter().sum::<usize>() < TURN_BYTES + RECV_BYTES);
        if *most == 0 {
            break;
        }
    }
}

//! The order in which a worker reads: clients that send little are not behind the ones that send much.

use wisp_engine::Limits;
use wisp_wire::{PacketId, Publish, QoS, SubscriptionOptions, TopicName};

use crate::support::{Peer, RECV_BYTES, V3, World, encoded, publish, subscribe_with};

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

#[test]
fn a_turn_reads_more_of_busy_senders_that_spread_their_messages_over_many_receivers() {
    read_spread_messages(QoS::AtMostOnce);
}

#[test]
fn it_does_so_too_if_the_messages_are_acknowledged() {
    read_spread_messages(QoS::AtLeastOnce);
}

fn read_spread_messages(qos: QoS) {
    const PEERS: usize = 40;
    /// The mean share of a receiver with which a turn stops reading. Stored messages count a little more than their
    /// packets.
    const SEND_BYTES: std::ops::RangeInclusive<usize> = 56 * 1024..=64 * 1024;

    let mut world = World::new(Limits::DEFAULT);
    let mut receivers: Vec<Peer> = (0..PEERS)
        .map(|number| {
            let mut receiver = world.connected(V3, &format!("receiver {number}"));
            let filter = format!("topic/{number}");
            world.feed(&mut receiver, &subscribe_with(V3, &[&filter], SubscriptionOptions::new(qos), &[]));
            receiver
        })
        .collect();
    let packet_id = (qos != QoS::AtMostOnce).then(|| PacketId::new(1).unwrap());
    let packet = |number| {
        let (topic, payload) = (format!("topic/{number}"), [0; 1_000]);
        let publish = Publish { qos, packet_id, ..Publish::new(TopicName::new(&topic).unwrap(), &payload) };
        encoded(|out| publish.encode(V3, out))
    };
    let packets: Vec<u8> = (0..PEERS).flat_map(packet).collect();
    let bytes = packets.repeat(4 * RECV_BYTES / packets.len());
    let mut senders: Vec<Peer> = (0..PEERS).map(|number| world.connected(V3, &format!("sender {number}"))).collect();
    senders.iter_mut().for_each(|sender| world.offer(sender, &bytes));
    let unread = |senders: &[Peer]| -> usize { senders.iter().map(Peer::unreceived_bytes).sum() };
    world.turn();
    loop {
        receivers.iter_mut().for_each(|receiver| drop(receiver.take()));
        let before = unread(&senders);
        world.turn();
        let read = before - unread(&senders);
        if before < PEERS * SEND_BYTES.end() + RECV_BYTES {
            break;
        }
        let expected = PEERS * SEND_BYTES.start()..PEERS * SEND_BYTES.end() + 2 * RECV_BYTES;
        assert!(expected.contains(&read), "{read} bytes");
    }
}

//! Takeovers under virtual time: a new connection waits until the previous one is released, for any number of them and
//! in any order in which the workers get the messages.

use wisp_engine::{EndReason, Limits};

use crate::seeds::{Rng, for_seeds};
use crate::support::{Peer, V3, World, connect, publish, subscribe};

/// The messages of a connection: its number, and their own.
fn messages(connection: u8, count: u8) -> Vec<u8> {
    (0..count).flat_map(|number| publish(V3, "t", &[connection, number])).collect()
}

fn observer(world: &mut World) -> Peer {
    let mut observer = world.connected(V3, "observer");
    world.feed(&mut observer, &subscribe(V3, &["t"]));
    observer.take();
    observer
}

#[test]
fn in_a_chain_of_takeovers_each_connection_waits_for_the_one_before() {
    for_seeds(300, |rng| {
        let mut world = World::new(Limits::DEFAULT);
        let mut observer = observer(&mut world);
        world.holds_mail = true;
        let (mut chain, mut expected): (Vec<Peer>, Vec<(u8, u8)>) = (Vec::new(), Vec::new());
        for connection in 0..rng.between(2, 7) as u8 {
            let mut peer = world.accept();
            let count = rng.below(5) as u8;
            world.feed(&mut peer, &[connect(V3, "c"), messages(connection, count)].concat());
            chain.push(peer);
            // It takes the session over at once, and none of its later packets is handled yet.
            assert!(chain.last().is_some_and(|peer| peer.client_id().is_some()));
            if rng.one_in(3) {
                deliver(&mut world, rng, 1);
            }
            expected.extend((0..count).map(|number| (connection, number)));
        }
        deliver(&mut world, rng, usize::MAX);
        let last = chain.len() - 1;
        for (number, peer) in chain.iter().enumerate() {
            assert_eq!(peer.end(), (number < last).then_some(EndReason::TakenOver), "{number} of {last}");
        }
        assert_eq!(world.worker.paused(), 0);
        let arrived: Vec<(u8, u8)> = observer.messages().iter().map(|(_, payload)| (payload[0], payload[1])).collect();
        assert!(arrived.is_sorted(), "a connection was read before the one before it was done: {arrived:?}");
        let of = |messages: &[(u8, u8)], which: u8| messages.iter().filter(|(of, _)| *of == which).count();
        assert_eq!(of(&arrived, last as u8), of(&expected, last as u8), "all of the last one");
    });
}

/// Delivers up to `most` end messages, in any order.
fn deliver(world: &mut World, rng: &mut Rng, most: usize) {
    for _ in 0..most {
        let waiting = world.mail_count();
        if waiting == 0 {
            break;
        }
        world.deliver_mail(rng.below(waiting as u64) as usize);
    }
}

#[test]
fn an_end_during_a_takeover_takes_effect_when_the_previous_connection_is_released() {
    let mut world = World::new(Limits::DEFAULT);
    let mut observer = observer(&mut world);
    world.holds_mail = true;
    let (mut first, mut second, mut third) = (world.connected(V3, "c"), world.accept(), world.accept());
    world.feed(&mut second, &[connect(V3, "c"), messages(2, 3)].concat());
    world.feed(&mut third, &[connect(V3, "c"), messages(3, 3)].concat());
    // The end of the second comes first.
    world.deliver_mail(1);
    world.pass_ms(60_000);
    assert_eq!((second.end(), world.worker.paused()), (None, 2), "it has to wait for the first");
    world.feed(&mut first, &messages(1, 2));
    world.deliver_mail(0);
    assert_eq!(
        [first.end(), second.end(), third.end()],
        [Some(EndReason::TakenOver), Some(EndReason::TakenOver), None]
    );
    let arrived: Vec<u8> = observer.messages().iter().map(|(_, payload)| payload[0]).collect();
    assert!(arrived.ends_with(&[3, 3, 3]) && !arrived.contains(&2), "{arrived:?}");
}

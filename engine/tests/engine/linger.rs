//! Lingering after the last packet, under virtual time: the client can read the reason for the end, and its bytes are
//! discarded.

use wisp_engine::{EndReason, Limits};

use crate::seeds::for_seeds;
use crate::support::{V3, V5, World, connect, publish, subscribe};

/// How long a client may take to close its side, and how often a worker looks.
const LINGER_MS: u64 = 1_000;
const SWEEP_MS: u64 = 250;

#[test]
fn a_client_that_got_a_reason_may_take_a_second_to_close() {
    for_seeds(200, |rng| {
        let mut world = World::new(Limits::DEFAULT);
        world.hangs_up = false;
        world.now_ms = rng.below(1_000);
        let mut observer = world.connected(V3, "observer");
        world.feed(&mut observer, &subscribe(V3, &["t"]));
        observer.take();
        let mut peer = world.connected(V5, "c");
        // A second CONNECT.
        world.feed(&mut peer, &connect(V5, "c"));
        assert_eq!(peer.end(), Some(EndReason::SecondConnect));
        let told_ms = world.now_ms;
        let closes = rng.one_in(2);
        let closes_ms = told_ms + rng.below(LINGER_MS);
        loop {
            assert!(world.is_open(&peer), "closed after {} ms", world.now_ms - told_ms);
            if rng.one_in(2) {
                world.feed(&mut peer, &publish(V5, "t", &vec![0; rng.below(200_000) as usize]));
                assert_eq!(peer.unreceived_bytes(), 0, "what it sends is received, and discarded");
            }
            if world.now_ms - told_ms + 100 >= LINGER_MS || closes && world.now_ms >= closes_ms {
                break;
            }
            world.pass_ms(rng.between(1, 99));
        }
        if closes {
            world.hang_up(&peer);
            assert!(!world.is_open(&peer), "it has closed its side");
        } else {
            world.pass_ms(told_ms + LINGER_MS + SWEEP_MS - world.now_ms);
            assert!(!world.is_open(&peer), "it has had its time");
        }
        assert_eq!(observer.messages(), [], "nothing that it sent was handled");
        assert_eq!(peer.take()[0], 0xe0, "DISCONNECT is all it was sent");
        assert_eq!(world.stats().buffered_bytes, 0);
    });
}

#[test]
fn a_client_without_reason_codes_is_closed_at_once() {
    let mut world = World::new(Limits::DEFAULT);
    world.hangs_up = false;
    let mut peer = world.connected(V3, "c");
    world.feed(&mut peer, &[connect(V3, "c"), publish(V3, "t", b"x")].concat());
    assert!(!world.is_open(&peer));
    world.assert_empty();
}

#[test]
fn a_client_that_sends_disconnect_is_closed_at_once() {
    for version in [V3, V5] {
        let mut world = World::new(Limits::DEFAULT);
        world.hangs_up = false;
        let mut peer = world.connected(version, "c");
        world.feed(&mut peer, &[0xe0, 0]);
        assert!(!world.is_open(&peer), "{version:?}");
        world.assert_empty();
    }
}

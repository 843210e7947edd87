//! Messages of any size arrive whole and in order, in any division into reads.

use wisp_wire::Property;

use crate::support::{Net, PATIENT, V3, V5, connect, numbered, publish, subscribe};

#[test]
fn messages_pass_between_versions_and_workers_in_order() {
    const COUNT: u32 = 5_000;
    let net = Net::start(3, PATIENT);
    let mut receivers: Vec<_> = [V3, V5, V3, V5]
        .into_iter()
        .enumerate()
        .map(|(n, version)| {
            let mut receiver = net.client(version, &format!("receiver {n}"));
            receiver.subscribe("from/+");
            receiver
        })
        .collect();
    std::thread::scope(|scope| {
        for (name, version) in [("a", V3), ("b", V5), ("c", V3)] {
            let mut sender = net.client(version, name);
            scope.spawn(move || {
                for number in 0..COUNT {
                    sender.send(&numbered(version, &format!("from/{name}"), number, 40));
                }
                sender.ping();
            });
        }
        for receiver in &mut receivers {
            scope.spawn(|| {
                let mut next = std::collections::BTreeMap::<String, u32>::new();
                for _ in 0..3 * COUNT {
                    let (topic, payload) = receiver.message();
                    let next = next.entry(topic).or_default();
                    assert_eq!(payload[..4], next.to_be_bytes());
                    *next += 1;
                }
            });
        }
    });
    let stats = net.broker.stats();
    let expected = u64::from(3 * COUNT);
    assert_eq!(
        (stats.messages_received, stats.messages_delivered, stats.messages_dropped),
        (expected, 4 * expected, 0)
    );
}

#[test]
fn long_packets_arrive_unchanged_in_both_versions() {
    let net = Net::start(2, PATIENT);
    let mut receivers = [net.client(V3, "old"), net.client(V5, "new")];
    receivers.iter_mut().for_each(|receiver| receiver.subscribe("long"));
    let mut sender = net.client(V3, "sender");
    // Around the length that gets a buffer of its own, and up to the limit.
    for len in [65_500, 65_536, 65_600, 1 << 20, (16 << 20) - 20] {
        let payload: Vec<u8> = (0..len).map(|at: usize| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
        let mut packets = publish(V3, "long", &payload);
        packets.extend(publish(V3, "long", b"next"));
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(&packets));
            for receiver in &mut receivers {
                scope.spawn(|| {
                    assert!(receiver.message().1 == payload, "{len} bytes");
                    assert_eq!(receiver.message().1, b"next");
                });
            }
        });
    }
}

#[test]
fn packets_may_be_cut_anywhere() {
    let net = Net::start(1, PATIENT);
    let mut witness = net.client(V3, "witness");
    witness.subscribe("t");
    let stream = [connect(V5, "cut", 0, &[]), subscribe(V5, "own"), publish(V5, "own", b"1"), publish(V5, "t", b"2")];
    let stream = stream.concat();
    for cut in 1..stream.len() {
        let mut client = net.open(V5);
        client.send(&stream[..cut]);
        // The ping shows that the worker has read the first part.
        witness.ping();
        client.send(&stream[cut..]);
        assert!(client.packet().starts_with(&[0x20]), "cut at {cut}");
        assert!(client.packet().starts_with(&[0x90]), "cut at {cut}");
        assert_eq!(client.message(), ("own".to_owned(), b"1".to_vec()));
        assert_eq!(witness.message(), ("t".to_owned(), b"2".to_vec()));
    }
}

#[test]
fn packets_may_come_byte_by_byte() {
    let net = Net::start(2, PATIENT);
    let mut client = net.open(V3);
    for byte in [connect(V3, "slow", 0, &[]), subscribe(V3, "t"), publish(V3, "t", b"hello")].concat() {
        client.send(&[byte]);
    }
    assert!(client.packet().starts_with(&[0x20]));
    assert!(client.packet().starts_with(&[0x90]));
    assert_eq!(client.message().1, b"hello");
}

#[test]
fn a_receiver_gets_no_packet_longer_than_it_accepts() {
    let net = Net::start(1, PATIENT);
    let mut receiver = net.open(V5);
    receiver.send(&connect(V5, "small", 0, &[Property::MaximumPacketSize(100.try_into().unwrap())]));
    assert!(receiver.packet().starts_with(&[0x20]));
    receiver.subscribe("t");
    let mut sender = net.client(V3, "sender");
    sender.publish("t", &[1; 200]);
    // 1 + 1 + 2 + 1 + 1 + 94: the length of the packet that the receiver would get, with properties.
    sender.publish("t", &[2; 95]);
    sender.publish("t", &[3; 94]);
    assert_eq!(receiver.message().1, [3; 94]);
    assert_eq!(net.broker.stats().messages_dropped, 2);
}

#[test]
fn connack_comes_first_even_if_the_topic_is_busy() {
    let net = Net::start(2, PATIENT);
    let mut filters = vec![subscribe(V3, "busy")];
    filters.extend((0..500).map(|n| subscribe(V3, &format!("other/{n}"))));
    let firsts: Vec<u8> = net.while_flooded("busy", || {
        let firsts = (0..100).map(|n| {
            let mut client = net.open(V3);
            client.send(&[connect(V3, &n.to_string(), 0, &[]), filters.concat()].concat());
            client.packet()[0]
        });
        firsts.collect()
    });
    assert!(firsts.iter().all(|first| *first == 0x20), "{firsts:02x?}");
}

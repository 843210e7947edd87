//! Connections begin, end and replace each other according to the protocol and the limits.

use wisp_wire::Property;

use crate::support::{Client, Net, PATIENT, V3, V5, connect, publish, subscribe, wait_until};

#[test]
fn a_client_identifier_moves_to_the_newest_connection_across_workers() {
    let net = Net::start(3, PATIENT);
    let mut clients = vec![net.client(V5, "same")];
    clients[0].subscribe("t");
    for _ in 0..7 {
        let mut next = net.client(V5, "same");
        assert_eq!(clients.last_mut().unwrap().end(), Some(0x8e));
        next.subscribe("t");
        clients.push(next);
    }
    let mut sender = net.client(V3, "sender");
    sender.publish("t", b"for the newest");
    assert_eq!(clients.last_mut().unwrap().message().1, b"for the newest");
    sender.ping();
    wait_until("the counts", || net.broker.stats().messages_delivered == 1);
}

#[test]
fn clients_of_3_1_1_are_taken_over_without_a_packet() {
    let net = Net::start(2, PATIENT);
    let mut old = net.client(V3, "same");
    let mut new = net.client(V3, "same");
    assert_eq!(old.end(), None);
    new.ping();
}

#[test]
fn takeovers_from_all_sides_leave_one_connection() {
    let net = Net::start(3, PATIENT);
    let winners: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..6).map(|_| scope.spawn(|| (0..20).map(|_| net.client(V5, "same")).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut alive = winners;
    wait_until("all but one to end", || {
        alive.retain_mut(Client::is_open);
        alive.len() == 1
    });
    alive[0].ping();
}

#[test]
fn connections_beyond_the_limit_are_closed_until_others_go() {
    let net = Net::start(2, PATIENT.with(|limits| limits.connections_count_max = 3));
    let mut clients: Vec<_> = (0..3).map(|n| net.client(V3, &n.to_string())).collect();
    assert_eq!(net.open(V3).end(), None);
    clients.iter_mut().for_each(Client::ping);
    clients.pop();
    wait_until("a free place", || {
        let mut client = net.open(V3);
        client.send_if_open(&connect(V3, "next", 0, &[])) && client.packet_if_open().is_some()
    });
}

#[test]
fn a_connection_without_connect_is_closed_in_time_even_if_bytes_drip() {
    let net = Net::start(1, PATIENT.with(|limits| limits.connect_timeout_ms = 300));
    let mut silent = net.open(V3);
    let mut dripping = net.open(V3);
    let long = connect(V3, &"x".repeat(10_000), 0, &[]);
    let mut bytes = long.iter();
    wait_until("the end of both", || {
        dripping.send_if_open(&[*bytes.next().unwrap()]);
        !silent.is_open() && !dripping.is_open()
    });
    net.client(V3, "quick").ping();
}

#[test]
fn silence_beyond_the_keep_alive_ends_a_connection_but_a_long_packet_is_no_silence() {
    let net = Net::start(1, PATIENT);
    let mut silent = net.open(V5);
    silent.send(&connect(V5, "silent", 1, &[]));
    assert!(silent.packet().starts_with(&[0x20]));
    let mut busy = net.open(V5);
    busy.send(&connect(V5, "busy", 1, &[]));
    assert!(busy.packet().starts_with(&[0x20]));
    let packet = publish(V5, "t", &vec![0; 1 << 20]);
    let mut bytes = packet.chunks(4096);
    let begun = std::time::Instant::now();
    assert_eq!(
        std::thread::scope(|scope| {
            let silent = scope.spawn(move || silent.end());
            // Twice the tolerated silence.
            while begun.elapsed() < std::time::Duration::from_millis(3_000) {
                busy.send(bytes.next().unwrap());
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            silent.join().unwrap()
        }),
        Some(0x8d)
    );
    bytes.for_each(|rest| busy.send(rest));
    busy.ping();
}

#[test]
fn nothing_follows_a_disconnect_though_messages_keep_coming() {
    let net = Net::start(2, PATIENT);
    let ends: Vec<_> = net.while_flooded("busy", || {
        let ends = (0..20).map(|n| {
            let mut client = net.open(V5);
            client.send(&[connect(V5, &n.to_string(), 0, &[]), subscribe(V5, "busy")].concat());
            while client.packet()[0] != 0x30 {}
            // A topic alias above the maximum.
            client.send(&[0x30, 7, 0, 1, b'x', 3, 0x23, 0xff, 0xff]);
            client.rest()
        });
        ends.collect()
    });
    // A client that does not read enough may miss the DISCONNECT, but if it gets one, it is the last packet.
    for packets in &ends {
        assert!(packets.iter().rev().skip(1).all(|first| [0x30, 0x90].contains(first)), "{packets:02x?}");
    }
    assert!(ends.iter().any(|packets| packets.last() == Some(&0xe0)));
}

#[test]
fn requests_before_disconnect_are_answered() {
    let net = Net::start(1, PATIENT);
    let mut client = net.open(V3);
    client.send(&[connect(V3, "brief", 0, &[]), vec![0xc0, 0], vec![0xe0, 0]].concat());
    assert!(client.packet().starts_with(&[0x20]));
    assert_eq!(client.packet(), [0xd0, 0]);
    assert_eq!(client.end(), None);
}

#[test]
fn a_refused_connect_gets_a_reason_code() {
    let net = Net::start(1, PATIENT);
    let mut client = net.open(V5);
    client.send(&connect(V5, "c", 0, &[Property::AuthenticationMethod("none")]));
    assert_eq!(client.packet()[3], 0x8c);
    assert_eq!(client.end(), None);
}

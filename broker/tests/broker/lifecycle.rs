//! Brokers start and end in order, many times.

use std::io;
use std::net::TcpStream;

use wisp_broker::{Broker, StartError};
use wisp_net::memory::MemoryHost;

use crate::support::{Net, PATIENT, V3, V5, config, numbered, publish};

#[test]
fn shutdown_sends_clients_of_mqtt_5_a_reason() {
    let net = Net::start(3, PATIENT);
    let mut clients: Vec<_> = (0..6).map(|n| net.client(V5, &n.to_string())).collect();
    let mut old = net.client(V3, "old");
    let mut silent = net.open(V5);
    net.broker.shutdown();
    for client in &mut clients {
        assert_eq!(client.end(), Some(0x8b));
    }
    assert_eq!((old.end(), silent.end()), (None, None));
}

#[test]
fn shutdown_does_not_wait_for_clients_that_do_not_read() {
    let net = Net::start(2, PATIENT);
    let mut stuck = net.client(V3, "stuck");
    stuck.subscribe("t");
    let mut sender = net.client(V3, "sender");
    let flood: Vec<u8> = (0..10_000).flat_map(|number| numbered(V3, "t", number, 1000)).collect();
    sender.try_send(&flood);
    let mut half = net.client(V3, "half");
    half.try_send(&publish(V3, "t", &vec![0; 1 << 20]));
    net.broker.shutdown();
}

#[test]
fn an_address_in_use_is_an_error_and_is_free_after_the_end() {
    let net = Net::start(1, PATIENT);
    let mut again = config(1, PATIENT);
    again.listen = vec![net.addr()];
    match Broker::start_on(net.host.clone(), again.clone()) {
        Err(StartError::Listen(addr, error)) => {
            assert_eq!((addr, error.kind()), (net.addr(), io::ErrorKind::AddrInUse));
        }
        other => panic!("{:?}", other.map(|broker| broker.local_addrs().to_vec())),
    }
    let Net { host, broker } = net;
    broker.shutdown();
    Broker::start_on(host, again).unwrap().shutdown();
}

#[test]
fn a_broker_needs_an_address() {
    let mut nowhere = config(1, PATIENT);
    nowhere.listen.clear();
    assert!(matches!(Broker::start_on(MemoryHost::new(), nowhere), Err(StartError::NoListener)));
}

/// The only test here that opens descriptors.
#[test]
fn brokers_on_the_system_leave_no_descriptors_behind() {
    let open = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let mut config = config(2, PATIENT);
    let before = open();
    for _ in 0..30 {
        let broker = Broker::start(config.clone()).unwrap();
        // The same port every time: it must be free again.
        config.listen = broker.local_addrs().to_vec();
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(config.listen[0]).unwrap()).collect();
        broker.shutdown();
        drop(clients);
    }
    assert_eq!(open(), before);
}

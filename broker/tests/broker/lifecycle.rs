//! Brokers start and end in order, many times.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wisp_broker::{Broker, Config, ConfigError, Event, StartError, StopError};
use wisp_net::memory::MemoryHost;

use crate::support::{Net, PATIENT, V3, V5, config, config_at, connect, numbered, publish, wait_until};

#[test]
fn shutdown_sends_clients_of_mqtt_5_a_reason() {
    let net = Net::start(3, PATIENT);
    let mut clients: Vec<_> = (0..6).map(|n| net.client(V5, &n.to_string())).collect();
    let mut old = net.client(V3, "old");
    let mut silent = net.open(V5);
    net.broker.shutdown().unwrap();
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
    net.broker.shutdown().unwrap();
}

#[test]
fn an_address_in_use_is_an_error_and_is_free_after_the_end() {
    let net = Net::start(1, PATIENT);
    let again = config_at(net.addr(), 1, PATIENT).build().unwrap();
    match Broker::start_on(net.host.clone(), again.clone()) {
        Err(StartError::Listen(addr, error)) => {
            assert_eq!((addr, error.kind()), (net.addr(), io::ErrorKind::AddrInUse));
        }
        other => panic!("{:?}", other.map(|broker| broker.local_addrs().to_vec())),
    }
    let Net { host, broker } = net;
    broker.shutdown().unwrap();
    Broker::start_on(host, again).unwrap().shutdown().unwrap();
}

#[test]
fn a_broker_needs_an_address() {
    assert_eq!(Config::builder().build().err(), Some(ConfigError::NoListener));
}

#[test]
fn a_worker_that_panics_stops_the_broker_and_is_the_error_of_its_end() {
    let panics = Arc::new(AtomicBool::new(false));
    let observer = {
        let panics = Arc::clone(&panics);
        move |event: &Event| {
            if matches!(event, Event::Connected { client_id, .. } if **client_id == *"bad") {
                panics.store(true, Ordering::Relaxed);
                // As a panic, but without a message among the results of the tests.
                std::panic::resume_unwind(Box::new("the observer panics"));
            }
        }
    };
    let host = MemoryHost::new();
    let broker = Broker::start_on(host.clone(), config(2, PATIENT).observer(observer).build().unwrap()).unwrap();
    let net = Net { host, broker };
    // Connections go to the workers in turn.
    let mut other = net.client(V5, "other");
    let mut bad = net.open(V5);
    bad.send(&connect(V5, "bad", 0, &[]));
    wait_until("the worker to panic", || panics.load(Ordering::Relaxed));
    assert_eq!(other.end(), Some(0x8b), "the other worker shuts down in order");
    assert!(matches!(net.broker.shutdown(), Err(StopError::WorkerPanicked(1))));
}

/// The only test here that opens descriptors.
#[test]
fn brokers_on_the_system_leave_no_descriptors_behind() {
    let open = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let mut config = config(2, PATIENT).build().unwrap();
    let before = open();
    for _ in 0..30 {
        let broker = Broker::start(config).unwrap();
        // The same port every time: it must be free again.
        let address = broker.local_addrs()[0];
        config = config_at(address, 2, PATIENT).build().unwrap();
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        broker.shutdown().unwrap();
        drop(clients);
    }
    assert_eq!(open(), before);
}

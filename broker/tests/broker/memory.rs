//! Memory that a broker has when it has stopped.

use std::thread;

use wisp_broker::{Limits, run};
use wisp_net::memory::MemoryHost;
use wisp_wire::Property;

use crate::support::{Client, V3, V5, config, publish_qos1};

const MESSAGES: u16 = 200;
const MESSAGE_BYTES: usize = 10_000;

/// The whole broker runs on the thread whose allocations are counted.
#[test]
fn a_stopped_broker_frees_the_messages_of_queues_and_sessions() {
    let usage = allocation_counter::measure(|| {
        let host = MemoryHost::new();
        let clients = host.clone();
        let mut thread = None;
        run(host, config(1, Limits::DEFAULT).build().unwrap(), |addrs, control| {
            let address = addrs[0];
            thread = Some(thread::spawn(move || {
                let mut receiver = Client::open(&clients, address, V5);
                receiver.connect("receiver", &[Property::SessionExpiryInterval(3600)]);
                receiver.subscribe("$queue/q");
                receiver.send(&[0xe0, 0]);
                assert_eq!(receiver.rest(), [0_u8; 0]);
                let mut sender = Client::open(&clients, address, V3);
                sender.connect("sender", &[]);
                for id in 1..=MESSAGES {
                    sender.send(&publish_qos1("$queue/q", id, &[0; MESSAGE_BYTES]));
                    assert_eq!(sender.packet()[..2], [0x40, 2]);
                }
                control.stop();
                // It has a share of the broker, which is not to be freed on this thread.
                control
            }));
        })
        .unwrap();
        drop(thread.expect("it was ready").join().unwrap());
    });
    let held = i64::from(MESSAGES) * MESSAGE_BYTES as i64;
    assert!(usage.bytes_max as i64 >= held, "the messages were in the queue: {usage:?}");
    // What the clients' thread has allocated or freed of the network is the difference to 0.
    assert!(usage.bytes_current.abs() < held / 4, "nothing is left: {usage:?}");
}

//! One suite for every host: it drives a server through everything that the contract promises.
//!
//! The server runs in this process, over the in-memory host and over the native one. For a module under
//! its runtime, `WISP_NET_ECHO_CMD` is a command such as `runtime module --listen 127.0.0.1:{port}
//! --workers {workers} --mode {mode}`; then the tests named `sockets` drive that server, from native
//! sockets.

mod client;
#[path = "../../examples/echo_server/server.rs"]
mod echo_server;
mod server;

use std::sync::atomic::Ordering;
use std::time::Duration;

use client::Client;
use echo_server::Mode;
use server::Pair;

const ECHO_BYTES: usize = 100_000_000;
/// More bytes than the buffers between two peers hold on any host, so that a deaf peer blocks the
/// server.
const FLOOD_BYTES: usize = 64 << 20;

/// The suite for one host and a number of workers.
macro_rules! conformance {
    ($name:ident, $host:ty, $workers:expr) => {
        mod $name {
            #[test]
            fn echoes_through_one_connection() {
                super::echoes::<$host>($workers, 1);
            }

            #[test]
            fn echoes_through_ten_connections() {
                super::echoes::<$host>($workers, 10);
            }

            #[test]
            fn echoes_through_a_hundred_connections() {
                super::echoes::<$host>($workers, 100);
            }

            #[test]
            fn half_close_leaves_the_other_half_open() {
                super::half_close_leaves_the_other_half_open::<$host>($workers);
            }

            #[test]
            fn end_right_behind_the_bytes_is_noticed() {
                super::end_right_behind_the_bytes_is_noticed::<$host>($workers);
            }

            #[test]
            fn sends_by_another_worker_arrive_whole() {
                super::sends_by_another_worker_arrive_whole::<$host>($workers);
            }

            #[test]
            fn reset_ends_one_connection_only() {
                super::reset_ends_one_connection_only::<$host>($workers);
            }

            #[test]
            fn blocked_send_resumes_and_loses_nothing() {
                super::blocked_send_resumes_and_loses_nothing::<$host>($workers);
            }

            #[test]
            fn blocked_recv_does_not_spin() {
                super::blocked_recv_does_not_spin::<$host>($workers);
            }

            #[test]
            fn reused_descriptor_starts_fresh() {
                super::reused_descriptor_starts_fresh::<$host>($workers);
            }
        }
    };
}

conformance!(memory_with_one_worker, wisp_net::memory::MemoryHost, 1);
conformance!(memory_with_two_workers, wisp_net::memory::MemoryHost, 2);
conformance!(sockets_with_one_worker, wisp_net::SysHost, 1);
conformance!(sockets_with_two_workers, wisp_net::SysHost, 2);

fn echoes<H: Pair>(workers: usize, connections: usize) {
    let (host, server) = H::start(Mode::Echo, workers);
    let mut client = Client::new(&host);
    for _ in 0..connections {
        client.connect(server.addr, ECHO_BYTES / connections);
    }
    client.run_until(|exchanges| exchanges.iter().all(client::Exchange::finished));
    drop(client);
    server.wait_for(connections, 0);
}

fn half_close_leaves_the_other_half_open<H: Pair>(workers: usize) {
    let (host, server) = H::start(Mode::Echo, workers);
    let mut client = Client::new(&host);
    // The first connection reads from the start. The second reads only after it has sent everything and
    // shut down, while most of its echo is still in transit.
    for (total, deaf) in [(10_000_000, false), (100_000, true)] {
        let index = client.connect(server.addr, total);
        client.exchanges[index].half_close = true;
        client.exchanges[index].deaf = deaf;
    }
    client.run_until(|exchanges| exchanges[0].finished() && exchanges[1].sent == exchanges[1].total);
    client.exchanges[1].deaf = false;
    client.resume(1);
    client.run_until(|exchanges| exchanges.iter().all(client::Exchange::finished));
    server.wait_for(2, 0);
}

fn end_right_behind_the_bytes_is_noticed<H: Pair>(workers: usize) {
    let (host, server) = H::start(Mode::Echo, workers);
    let mut client = Client::new(&host);
    for round in 0..300 {
        let index = client.connect(server.addr, 1 + round);
        client.exchanges[index].half_close = true;
        if round % 10 == 9 {
            client.run_until(|exchanges| exchanges.iter().all(client::Exchange::finished));
        }
    }
    server.wait_for(300, 0);
}

/// The receiving worker sends to a connection of another worker, and leaves the rest to its owner.
fn sends_by_another_worker_arrive_whole<H: Pair>(workers: usize) {
    let (host, server) = H::start(Mode::Relay, workers);
    let mut client = Client::new(&host);
    for _ in 0..20 {
        client.connect(server.addr, 0);
    }
    client.pair_up();
    server.wait_for(20, 20);
    for round in 1..=3 {
        for index in 0..20 {
            client.exchanges[index].deaf = true;
            client.exchanges[index].total = round * 2_000_000;
            client.resume(index);
        }
        client.run_until(|exchanges| exchanges.iter().all(|exchange| exchange.sent == exchange.total));
        for index in 0..20 {
            client.exchanges[index].deaf = false;
            client.resume(index);
        }
        client.run_until(|exchanges| exchanges.iter().all(client::Exchange::finished));
    }
}

fn reset_ends_one_connection_only<H: Pair>(workers: usize) {
    let (host, server) = H::start(Mode::Echo, workers);
    let mut client = Client::new(&host);
    let bystander = client.connect(server.addr, 1000);
    client.run_until(|exchanges| exchanges[bystander].finished());
    for round in 1..=20 {
        // Alternately with and without an echo in transit.
        let index = client.connect(server.addr, FLOOD_BYTES);
        client.run_until(|exchanges| exchanges[index].received > round % 2 * 100_000);
        H::reset(client.take());
        server.wait_for(1 + round, 1);
        client.exchanges[bystander].total += 1000;
        client.resume(bystander);
        client.run_until(|exchanges| exchanges[bystander].finished());
    }
}

fn blocked_send_resumes_and_loses_nothing<H: Pair>(workers: usize) {
    let (host, server) = H::start(Mode::Echo, workers);
    let mut client = Client::new(&host);
    let deaf = client.connect(server.addr, FLOOD_BYTES);
    client.exchanges[deaf].deaf = true;
    client.run_until_quiet(Duration::from_millis(500));
    assert!(client.exchanges[deaf].sent < FLOOD_BYTES, "the server read on although nobody took its echo");
    let other = client.connect(server.addr, 1_000_000);
    client.run_until(|exchanges| exchanges[other].finished());
    let (waits, before) = (server.status.waits.load(Ordering::Relaxed), server.cpu_time());
    client.run_until_quiet(Duration::from_millis(500));
    drop(client.take());
    server.wait_for(2, 1);
    assert_idle(&server, waits, before);
    client.exchanges[deaf].deaf = false;
    client.resume(deaf);
    client.run_until(|exchanges| exchanges[deaf].finished());
}

fn blocked_recv_does_not_spin<H: Pair>(workers: usize) {
    let (host, server) = H::start(Mode::Echo, workers);
    let mut client = Client::new(&host);
    for _ in 0..10 {
        client.connect(server.addr, 100);
    }
    client.run_until(|exchanges| exchanges.iter().all(client::Exchange::finished));
    server.wait_for(10, 10);
    let (waits, before) = (server.status.waits.load(Ordering::Relaxed), server.cpu_time());
    client.run_until_quiet(Duration::from_secs(1));
    drop(client.take());
    server.wait_for(10, 9);
    assert_idle(&server, waits, before);
    for index in 0..9 {
        client.exchanges[index].total += 100;
        client.resume(index);
    }
    client.run_until(|exchanges| exchanges.iter().all(client::Exchange::finished));
}

/// An idle server returns from its wait to check whether to stop, and for little else.
fn assert_idle(server: &server::Server, waits_before: usize, cpu_before: Option<Duration>) {
    let waits = server.status.waits.load(Ordering::Relaxed) - waits_before;
    assert!(waits < 1000, "{waits} waits ended while nothing happened");
    if let (Some(before), Some(after)) = (cpu_before, server.cpu_time()) {
        assert!(after - before < Duration::from_millis(600), "the server took {:?} for nothing", after - before);
    }
}

fn reused_descriptor_starts_fresh<H: Pair>(workers: usize) {
    let (host, server) = H::start(Mode::Echo, workers);
    let mut client = Client::new(&host);
    for _ in 0..3 {
        client.connect(server.addr, 1000);
    }
    for round in 0..500 {
        let index = client.connect(server.addr, 1 + round * 10);
        client.run_until(|exchanges| exchanges[index].finished());
        let stream = client.take();
        if round % 3 == 0 {
            H::reset(stream);
        }
    }
    server.wait_for(503, 3);
    for index in 0..3 {
        client.exchanges[index].total += 1000;
        client.resume(index);
    }
    client.run_until(|exchanges| exchanges.iter().all(client::Exchange::finished));
}

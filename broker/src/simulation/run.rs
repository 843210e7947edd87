//! The run: clients, drivers, and the doors between them, turned by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wisp_engine::{Event, Limits};
use wisp_net::Host;
use wisp_net::memory::MemoryHost;
use wisp_wire::{Connect, Packet, Properties, ProtocolVersion, ReasonCode, decode};

use super::client::{Client, PACKET_BYTES_MAX, Wire};
use super::ledger::Ledger;
use super::policy::{LIMBO, STRANGER, SlowPolicy};
use super::store::LateStore;
use super::transport::Network;
use super::{Rng, lock};
use crate::config::{Config, ListenerConfig};
use crate::driver::Driver;
use crate::server::{Prepared, prepare};
use crate::state::Server;

const CONNECT_TIMEOUT_MS: u64 = 400;
/// How much later than its limit a timeout may be noticed: the CONNECT has to come through first.
const SLACK_MS: u64 = 400;
const ACTIVE_TURNS: u64 = 400;
const TURNS_MAX: u64 = 40_000;
const SEEDS: u64 = 300;
/// The run is complete after this many turns without a byte to any client.
const QUIET_TURNS: u64 = 60;

/// How often each reason has ended a connection.
type Reasons = Arc<Mutex<BTreeMap<String, u32>>>;

struct Run {
    rng: Rng,
    host: MemoryHost,
    addr: SocketAddr,
    server: Arc<Server<MemoryHost>>,
    drivers: Vec<Driver<MemoryHost>>,
    network: Arc<Network>,
    policy: Arc<SlowPolicy>,
    store: Arc<LateStore>,
    ledger: Ledger,
    clients: Vec<Client>,
    visitors: Vec<Visitor>,
    piece_bytes_max: u64,
    long_bytes: usize,
    turn: u64,
    now_ms: u64,
}

/// A client that the policy refuses.
struct Visitor {
    id: String,
    version: ProtocolVersion,
    wire: Wire,
    since_ms: u64,
}

impl Visitor {
    /// False when it has ended.
    fn exchange(&mut self, most: usize, now_ms: u64) -> bool {
        let is_open = self.wire.exchange(most);
        let waited_ms = now_ms - self.since_ms;
        if self.id.contains(LIMBO) {
            assert!(self.wire.incoming.is_empty(), "nothing was decided, and it got an answer");
            assert!(is_open || waited_ms > CONNECT_TIMEOUT_MS, "it was given {waited_ms} ms");
            assert!(waited_ms <= CONNECT_TIMEOUT_MS + SLACK_MS, "it still waits after {waited_ms} ms");
            return is_open;
        }
        if !is_open {
            let refused = decode(&self.wire.incoming, self.version, PACKET_BYTES_MAX).expect("MQTT");
            match refused {
                Some((Packet::ConnAck(ack), _)) => assert_eq!(ack.code, ReasonCode::NotAuthorized),
                other => panic!("{other:?} instead of a CONNACK that refuses"),
            }
        }
        is_open
    }
}

impl Run {
    fn new(seed: u64, reasons: &Reasons) -> Self {
        let mut rng = Rng(seed);
        let piece_bytes_max = rng.pick(&[2, 7, 30, 200, 5_000]);
        let network = Arc::new(Network::new(rng.fork(), piece_bytes_max));
        let policy = Arc::new(SlowPolicy::new(rng.fork()));
        let store = Arc::new(LateStore::new(rng.fork()));
        let pipe_bytes = rng.pick(&[16, 300, 64 * 1024]);
        let host = MemoryHost::with_pipe_bytes(pipe_bytes);
        // Longer than a read, where that does not take all day.
        let long_bytes = if pipe_bytes.min(piece_bytes_max as usize) > 1_000 { 70_000 } else { 200 };
        let reasons = Arc::clone(reasons);
        let observe = move |event: &Event| {
            if let Event::Disconnected { reason, .. } | Event::Refused { reason, .. } = event {
                *lock(&reasons).entry(format!("{reason:?}")).or_default() += 1;
            }
        };
        let mut listener = ListenerConfig::from(([127, 0, 0, 1], 0));
        listener.transport.splitting = Some(Arc::clone(&network));
        let config = Config::builder()
            .listener(listener)
            .workers(NonZeroUsize::new(1 + rng.below(2) as usize))
            .limits(Limits::DEFAULT.with(|limits| limits.connect_timeout_ms = CONNECT_TIMEOUT_MS))
            .policy(Arc::clone(&policy) as _)
            .store(Arc::clone(&store) as _)
            .observer(observe);
        let config = config.build().expect("a legal configuration");
        let prepared = prepare(host.clone(), config).expect("the host can run it");
        let Prepared { server, local_addrs, workers, .. } = prepared;
        let count = 3 + rng.below(4) as usize;
        let clients = (0..count).map(|index| Client::new(index, rng.fork())).collect();
        let ledger = Ledger::new(Arc::clone(&store));
        Self {
            rng,
            host,
            addr: local_addrs[0],
            server,
            drivers: workers,
            network,
            policy,
            store,
            ledger,
            clients,
            visitors: Vec::new(),
            piece_bytes_max,
            long_bytes,
            turn: 0,
            now_ms: 0,
        }
    }

    /// One turn of every driver.
    fn turn(&mut self) {
        self.turn += 1;
        assert!(self.turn < TURNS_MAX, "it does not come to an end: {}", self.describe());
        self.now_ms += self.rng.below(3);
        self.policy.answer_due(self.turn);
        self.store.commit_due(self.turn);
        let events = self.network.due(self.turn);
        if self.rng.one_in(2) {
            self.drivers.reverse();
        }
        for driver in &mut self.drivers {
            driver.wait(Some(Duration::ZERO)).expect("a host in memory");
            events.iter().for_each(|event| driver.add_event(*event));
            driver.turn(self.now_ms);
        }
    }

    fn describe(&self) -> String {
        let clients: Vec<String> = self.clients.iter().map(Client::describe).collect();
        let (connections, stats) = (self.server.connections.count(), self.server.engine.stats());
        format!("{connections} connections, {} visitors, {stats:?}, {clients:#?}", self.visitors.len())
    }

    /// Every client exchanges bytes and then does `act`. True if a client got bytes.
    fn exchange(&mut self, act: impl Fn(&mut Client, &mut Ledger) -> bool) -> bool {
        let mut has_come = false;
        for client in &mut self.clients {
            let most = 1 + self.rng.below(2 * self.piece_bytes_max) as usize;
            has_come |= client.exchange(most, &mut self.ledger);
            if act(client, &mut self.ledger) {
                client.connect(self.host.connect(self.addr).expect("a listener"));
            }
        }
        let (most, now_ms) = (2 * self.piece_bytes_max as usize, self.now_ms);
        self.visitors.retain_mut(|visitor| visitor.exchange(most, now_ms));
        has_come
    }

    fn invite(&mut self) {
        let id = format!("{}-{}", self.rng.pick(&[STRANGER, LIMBO]), self.turn);
        let version = self.rng.pick(&[ProtocolVersion::Mqtt311, ProtocolVersion::Mqtt5]);
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive_s: 0,
            client_id: &id,
            properties: Properties::EMPTY,
            will: None,
            username: None,
            password: None,
        };
        let mut wire = Wire::new(self.host.connect(self.addr).expect("a listener"));
        wire.push(|out| connect.encode(version, out));
        self.visitors.push(Visitor { id, version, wire, since_ms: self.now_ms });
    }

    fn be_active(&mut self) {
        let long_bytes = self.long_bytes;
        for _ in 0..ACTIVE_TURNS {
            self.exchange(|client, ledger| client.act(ledger, long_bytes));
            if self.rng.one_in(100) {
                self.invite();
            }
            self.turn();
        }
    }

    /// Continues until everything has arrived.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < QUIET_TURNS {
            let has_come = self.exchange(Client::settle);
            let is_settled = self.clients.iter().all(Client::is_settled) && self.visitors.is_empty();
            let is_flushed = self.server.engine.stats().buffered_bytes == 0;
            quiet = if !has_come && is_settled && is_flushed { quiet + 1 } else { 0 };
            self.turn();
        }
        self.ledger.assert_complete();
    }

    /// All clients leave for good.
    fn end(&mut self) {
        while !self.clients.iter().all(Client::has_left) || self.server.connections.count() > 0 {
            self.exchange(|client, _| client.leave());
            self.turn();
        }
        let stats = self.server.engine.stats();
        assert_eq!((stats.buffered_bytes, stats.stored_bytes, stats.sessions, stats.retained), (0, 0, 0, 0));
    }
}

/// Prints the seed if the run fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// The number of messages that arrived.
fn run(seed: u64, reasons: &Reasons) -> usize {
    let _seed = Seed(seed);
    let mut run = Run::new(seed, reasons);
    run.be_active();
    run.settle();
    run.end();
    run.ledger.arrivals()
}

#[test]
fn all_doors_together_keep_every_promise() {
    let reasons = Reasons::default();
    let arrivals: usize = (0..SEEDS).map(|seed| run(seed, &reasons)).sum();
    let reasons = lock(&reasons);
    println!("{arrivals} messages arrived; connections ended: {reasons:?}");
    assert!(arrivals > 0);
    for reason in ["PolicyTimeout", "TakenOver", "ConnectRefused(NotAuthorized)", "Closed"] {
        assert!(reasons.contains_key(reason), "no connection has ended for {reason}");
    }
}

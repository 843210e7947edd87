//! Random lives of clients over a broker that crashes, with the store that it leaves: some prefix of its changes, which has everything
//! that was committed. Another broker takes them up.
//!
//! ```text
//!  client.rs <--> broker --> store.rs --crash--> a prefix --> another broker
//!      |
//!      '--------> ledger.rs   promises, and messages that arrived
//! ```

mod client;
mod ledger;
mod lives;
mod queues;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use wisp_engine::{Limits, Options};
use wisp_wire::{QoS, SubscriptionOptions};

use self::client::{COMMON, Client, EXPIRY_S, PLAIN};
use self::ledger::Ledger;
use self::store::{MirrorStore, Objects};
use crate::seeds::{Rng, for_seeds};
use crate::support::{V5, World, publish_retained, subscribe_with};

const SEEDS: u64 = 1_000;
const STEPS: u64 = 120;
const CLIENTS: usize = 4;

/// The wall clock when the first broker starts.
const START_MS: u64 = 1_700_000_000_000;

struct Run<'r> {
    rng: &'r mut Rng,
    store: Arc<MirrorStore>,
    world: World,
    /// The wall clock when this broker started.
    start_ms: u64,
    clients: Vec<Client>,
    ledger: Ledger,
    crashes: usize,
}

fn world(store: &Arc<MirrorStore>, start_ms: u64, objects: &Objects) -> World {
    let limits = Limits::DEFAULT.with(|limits| limits.session_expiry_s_max = EXPIRY_S);
    let options = Options { store: Arc::clone(store) as _, unix_ms_at_start: start_ms, ..Options::default() };
    World::restored(limits, options, objects.restored()).0
}

impl<'r> Run<'r> {
    fn new(rng: &'r mut Rng) -> Self {
        let store = MirrorStore::new(Objects::default());
        let world = world(&store, START_MS, &Objects::default());
        let topics = rng.pick(&[PLAIN, COMMON]);
        // The last one has no kept session in half of the lives.
        let kept = if rng.one_in(2) { CLIENTS } else { CLIENTS - 1 };
        let clients = (0..CLIENTS).map(|number| Client::new(number, topics, number < kept)).collect();
        Self { rng, store, world, start_ms: START_MS, clients, ledger: Ledger::default(), crashes: 0 }
    }

    fn unix_ms(&self) -> u64 {
        self.start_ms + self.world.now_ms
    }

    fn step(&mut self) {
        let unix_ms = self.unix_ms();
        let Self { rng, store, world, clients, ledger, .. } = self;
        let client = &mut clients[rng.below(CLIENTS as u64) as usize];
        match rng.below(24) {
            0..12 if client.is_connected() => client.act(world, rng, ledger),
            0..12 if client.peer.is_none() => client.connect(world, unix_ms, rng, ledger),
            0..12 => client.read(ledger),
            12 | 13 => client.read(ledger),
            14..18 => {
                let calls = rng.below(store.pending() as u64 + 1) as usize;
                store.commit_some(calls);
                world.pass_ms(1);
            }
            18 => {
                if rng.one_in(2) {
                    store.commit_all();
                    world.pass_ms(1);
                }
                client.leave(world, unix_ms, store, rng);
                ledger.returned();
            }
            19 if rng.one_in(3) => client.connect(world, unix_ms, rng, ledger),
            20 if rng.one_in(8) => {
                store.set_full(rng.one_in(2));
                world.pass_ms(1);
            }
            21 if rng.one_in(3) => {
                // Nobody waits for the store meanwhile.
                store.set_full(false);
                store.commit_all();
                world.pass_ms(1);
                world.pass_ms(rng.pick(&[10, 5_000, 30_000, 70_000]));
            }
            22 if rng.one_in(4) => self.crash(),
            _ => world.pass_ms(1),
        }
    }

    /// Ends the broker, and starts another one with a prefix of the changes.
    fn crash(&mut self) {
        self.crashes += 1;
        for client in &mut self.clients {
            // Packets that the broker has sent may arrive or not.
            if self.rng.one_in(2) {
                client.read(&mut self.ledger);
            }
        }
        let calls = self.rng.below(self.store.pending() as u64 + 1) as usize;
        let (objects, appended) = self.store.crash(calls);
        self.start_ms = self.unix_ms() + self.rng.pick(&[0, 10, 10_000, 70_000]);
        self.store = MirrorStore::new(objects.clone());
        self.world = world(&self.store, self.start_ms, &objects);
        let (start_ms, first_appended) = (self.start_ms, self.store.appended());
        self.clients.iter_mut().for_each(|client| client.survive(appended, start_ms, first_appended));
        self.ledger.returned();
        if self.rng.one_in(2) {
            self.world.pass_ms(1);
        }
    }

    /// Continues until everything has arrived.
    fn settle(&mut self) {
        const TURNS_MAX: usize = 3_000;
        self.store.set_full(false);
        for _ in 0..TURNS_MAX {
            self.store.commit_all();
            self.world.pass_ms(1);
            let unix_ms = self.unix_ms();
            let Self { rng, world, clients, ledger, .. } = self;
            for client in clients.iter_mut() {
                if client.peer.as_ref().is_none_or(|peer| !world.is_open(peer)) {
                    client.connect(world, unix_ms, rng, ledger);
                    ledger.returned();
                }
                client.read(ledger);
                if client.is_connected() {
                    client.repeat(world, ledger);
                    client.answer(world, usize::MAX);
                }
                client.read(ledger);
            }
            if clients[0].is_connected() {
                clients[0].take_queue(world, ledger);
            }
            if clients.iter().all(Client::is_settled) && self.store.pending() == 0 && world.stats().stored_bytes == 0 {
                return;
            }
        }
        let clients: Vec<_> = self.clients.iter().map(Client::describe).collect();
        panic!("it does not come to an end: {:?} {clients:#?}", self.world.stats());
    }

    fn retained(&mut self) -> BTreeMap<String, usize> {
        let mut reader = self.world.connected(V5, "reader");
        let packet = subscribe_with(V5, &["r/#"], SubscriptionOptions::new(QoS::AtMostOnce), &[]);
        self.world.feed(&mut reader, &packet);
        self.store.commit_all();
        self.world.pass_ms(1);
        let messages = reader.publishes().into_iter().filter(|message| message.retain);
        messages.map(|message| (message.topic, usize::from_be_bytes(message.payload.try_into().unwrap()))).collect()
    }

    /// The sessions end and retained messages are removed. Nothing is left, in memory and in the store.
    fn end(&mut self) {
        let topics: Vec<String> = self.retained().into_keys().collect();
        self.clients.iter_mut().for_each(|client| client.end(&mut self.world));
        let mut cleaner = self.world.connected(V5, "reader");
        for topic in topics {
            self.world.feed(&mut cleaner, &publish_retained(&topic, b""));
        }
        self.store.commit_all();
        self.world.feed(&mut cleaner, &[0xe0, 0]);
        self.world.pass_ms(1);
        self.store.commit_all();
        self.world.pass_ms(1);
        self.world.assert_empty();
        assert_eq!(self.store.crash(0).0.kinds(), BTreeMap::new(), "objects by kind are left in the store");
    }
}

/// The numbers of messages that arrived, of those that queues and groups gave away, and of crashes.
fn run(rng: &mut Rng) -> [usize; 3] {
    let mut run = Run::new(rng);
    for _ in 0..STEPS {
        run.step();
    }
    run.settle();
    if run.rng.one_in(2) {
        run.crash();
        run.settle();
    }
    run.ledger.assert_complete(CLIENTS);
    let retained = run.retained();
    run.ledger.assert_retained(&retained);
    run.end();
    [run.ledger.arrivals(), run.ledger.taken(), run.crashes]
}

#[test]
fn a_broker_that_crashes_keeps_every_promise() {
    let counts = std::cell::Cell::new([0; 3]);
    for_seeds(SEEDS, |rng| {
        let more = run(rng);
        counts.set(std::array::from_fn(|place| counts.get()[place] + more[place]));
    });
    let [arrivals, taken, crashes] = counts.get();
    println!("{arrivals} messages arrived; {taken} by queues and groups; {crashes} crashes");
    assert!([arrivals, taken, crashes].iter().all(|count| *count as u64 > SEEDS / 2));
}

//! The operations of a few clients, taken from the input, on two workers. The limits are so small that all of them are
//! reached.
//!
//! Nothing may panic, all bytes sent are MQTT, and when all clients are gone no byte is left.

mod doors;
mod packets;
mod socket;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wisp_engine::{
    CommitState, ConnectionId, EndReason, Event, FullPolicy, Limits, Mail, Options, Origin, QueueSettings, Received,
    Shared, StallPolicy, Worker,
};
use wisp_wire::ProtocolVersion;

use self::doors::{Hesitant, Late};
use self::packets::{Dice, IDS, TOPICS};
use self::socket::Socket;

const CLIENTS: usize = IDS.len();
const WORKERS: usize = 2;
/// What one receive brings at most.
const RECV_BYTES: usize = 256;

/// The steps in which time passes at the end.
const STEP_MS_MIN: u64 = 50;
const STEP_MS_MAX: u64 = 1_000;

/// A client: its newest connection, and the version it spoke there.
#[derive(Clone, Copy)]
struct Client {
    connection: ConnectionId,
    version: ProtocolVersion,
}

struct World {
    shared: Arc<Shared>,
    workers: [Worker; WORKERS],
    mailboxes: [VecDeque<Mail>; WORKERS],
    sockets: HashMap<ConnectionId, Socket>,
    clients: [Option<Client>; CLIENTS],
    policy: Option<Arc<Hesitant>>,
    store: Option<Arc<Late>>,
    connections: u32,
    now_ms: u64,
}

fn limits(policy: StallPolicy) -> Limits {
    Limits::DEFAULT.with(|limits| {
        limits.packet_bytes_max = 2_000;
        limits.queue_bytes_max = 1_500;
        limits.queue_messages_max = 4;
        limits.buffered_bytes_max = 30_000;
        limits.connect_timeout_ms = 5_000;
        limits.stall_ms_max = Some(2_000);
        limits.queue_stall_ms_max = 2_000;
        limits.reply_stall_ms_max = 4_000;
        limits.stall_policy = policy;
        limits.subscriptions_count_max = 5;
        limits.subscription_bytes_max = 6_000;
        limits.sessions_count_max = 3;
        limits.session_expiry_s_max = 30;
        limits.inflight_count_max = 3;
        limits.receive_maximum = 4;
        limits.topic_alias_max = 2;
        limits.stored_bytes_max = 20_000;
        limits.retained_count_max = 3;
        limits.retained_bytes_max = 600;
        limits.topic_queues_count_max = 4;
    })
}

fn queue(limits: &Limits, dice: &mut Dice<'_>) -> QueueSettings {
    let mut queue = QueueSettings::new("q", limits);
    queue.policy = dice.pick(&[FullPolicy::Refuse, FullPolicy::DropOldest, FullPolicy::DropNewest]);
    queue.messages_max = 3;
    queue.deliveries_max = Some(1 + dice.below(3) as u16);
    queue.dead_letter = dice.bit().then(|| "dead".into());
    queue.filter = dice.bit().then(|| "a/#".into());
    queue
}

/// Runs the operations of the input, and checks the state that is left.
pub fn live(input: &[u8]) {
    let mut dice = Dice(input);
    let mut world = World::new(&mut dice);
    while !dice.0.is_empty() {
        world.step(&mut dice);
        world.check();
    }
    world.finish();
}

impl World {
    fn new(dice: &mut Dice<'_>) -> Self {
        let mut limits = limits(dice.pick(&[StallPolicy::Drop, StallPolicy::Hold, StallPolicy::Disconnect]));
        if dice.below(4) == 3 {
            (limits.messages_per_s_max, limits.bytes_per_s_max) = (20, 2_000);
        }
        let mut options = Options { queues: vec![queue(&limits, dice)], ..Options::default() };
        let policy = (dice.below(3) == 2).then(Arc::<Hesitant>::default);
        let store = (dice.below(3) == 2).then(Arc::<Late>::default);
        if let Some(policy) = &policy {
            options.policy = Arc::clone(policy) as _;
        }
        if let Some(store) = &store {
            options.store = Arc::clone(store) as _;
        }
        let shared = Arc::new(Shared::with_options(limits, options, 1).expect("the options are legal"));
        Self {
            workers: std::array::from_fn(|index| Worker::new(Arc::clone(&shared), index, RECV_BYTES)),
            shared,
            mailboxes: Default::default(),
            sockets: HashMap::new(),
            clients: Default::default(),
            policy,
            store,
            connections: 0,
            now_ms: 0,
        }
    }

    fn step(&mut self, dice: &mut Dice<'_>) {
        let client = dice.below(CLIENTS);
        match dice.below(20) {
            0 => self.accept(client, dice.below(WORKERS), ProtocolVersion::Mqtt311),
            1 | 2 => {
                let version = dice.pick(&ProtocolVersion::ALL);
                self.accept(client, dice.below(WORKERS), version);
                self.feed(client, &packets::connect(client, version, dice));
            }
            3 | 4 => self.packet(client, packets::subscribe, dice),
            5 => self.packet(client, packets::unsubscribe, dice),
            6..=8 => self.packet(client, packets::publish, dice),
            9 | 10 => {
                let first = dice.pick(&[0x40, 0x40, 0x50, 0x50, 0x62, 0x70]);
                let id = dice.packet_id().get() as u8;
                let refusal = dice.below(8) == 7;
                let packet = if refusal { vec![first, 3, 0, id, 0x80] } else { vec![first, 2, 0, id] };
                self.feed(client, &packet);
            }
            11 => self.feed(client, dice.bytes()),
            12 => self.read(client),
            13 => self.hang_up(client, dice.pick(&[Received::Closed, Received::Failed])),
            14 => {
                let packet =
                    dice.pick(&[&[0xe0, 0][..], &[0xe0, 1, 4], &[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 3], &[0xc0, 0]]);
                self.feed(client, packet);
            }
            15 => self.pass_ms(dice.pick(&[1, 500, 1_000, 3_000, 61_000])),
            16 => self.wait(dice.below(WORKERS)),
            17 => self.end(client, dice.pick(&[EndReason::Stuck, EndReason::TakenOver])),
            18 => {
                if let Some(policy) = &self.policy {
                    policy.answer(dice.bit());
                }
            }
            _ => {
                if let Some(store) = &self.store {
                    let state = dice.pick(&[CommitState::Committed, CommitState::Committed, CommitState::Failed]);
                    store.decide(dice.below(3), state);
                }
            }
        }
        if dice.bit() {
            let worker = dice.below(WORKERS);
            // Mail may come late, but in order.
            if dice.bit() {
                self.drain_mailbox(worker);
            }
            self.turn(worker);
        }
    }

    fn accept(&mut self, client: usize, worker: usize, version: ProtocolVersion) {
        // The connection it had is still there for the server, until it reads the end of it.
        self.hang_up(client, Received::Closed);
        self.connections += 1;
        let connection = ConnectionId { slot: self.connections, generation: 1 };
        let outbox = self.shared.new_outbox(connection, worker);
        self.sockets.insert(connection, Socket::new(Arc::clone(&outbox), worker));
        self.mailboxes[worker].push_back(Mail::Accept(outbox, Origin { peer: None, listener: 0 }));
        self.clients[client] = Some(Client { connection, version });
    }

    fn packet(
        &mut self,
        client: usize,
        write: impl FnOnce(ProtocolVersion, &mut Dice<'_>) -> Option<Vec<u8>>,
        dice: &mut Dice<'_>,
    ) {
        let Some(Client { version, .. }) = self.clients[client] else { return };
        if let Some(packet) = write(version, dice) {
            self.feed(client, &packet);
        }
    }

    fn socket(&mut self, client: usize) -> Option<&mut Socket> {
        self.sockets.get_mut(&self.clients[client]?.connection)
    }

    /// The client sends, unless it has hung up.
    fn feed(&mut self, client: usize, bytes: &[u8]) {
        let Some(socket) = self.socket(client).filter(|socket| socket.hung_up.is_none()) else { return };
        socket.incoming.extend(bytes);
        self.readable(client);
    }

    fn hang_up(&mut self, client: usize, how: Received) {
        let Some(socket) = self.socket(client).filter(|socket| socket.hung_up.is_none()) else { return };
        socket.hung_up = Some(how);
        self.readable(client);
    }

    /// The worker has an event of the client's socket.
    fn readable(&mut self, client: usize) {
        let Some(Client { connection, .. }) = self.clients[client] else { return };
        let Some(worker) = self.socket(client).map(|socket| socket.worker) else { return };
        if !self.workers[worker].handle_readable(connection) {
            self.drain_mailbox(worker);
            assert!(self.workers[worker].handle_readable(connection), "the acceptor's mail is there");
        }
    }

    fn read(&mut self, client: usize) {
        if let Some(socket) = self.socket(client) {
            socket.read();
        }
    }

    /// Another worker, or the operator, ends the client's connection.
    fn end(&mut self, client: usize, reason: EndReason) {
        let Some(worker) = self.socket(client).map(|socket| socket.worker) else { return };
        let Some(Client { connection, .. }) = self.clients[client] else { return };
        self.mailboxes[worker].push_back(Mail::End(connection, reason));
    }

    fn drain_mailbox(&mut self, worker: usize) {
        while let Some(mail) = self.mailboxes[worker].pop_front() {
            self.workers[worker].handle_mail(self.now_ms, mail);
        }
    }

    /// One turn of a worker.
    fn turn(&mut self, worker: usize) {
        loop {
            while let Some(read) = self.workers[worker].poll_read(self.now_ms) {
                let socket = self.sockets.get_mut(&read.connection).expect("it is read until it is closed");
                assert_eq!(socket.worker, worker, "a worker reads its own connections");
                let received = socket.receive(read.buffer);
                self.workers[worker].handle_bytes(self.now_ms, received);
            }
            if !self.transmit(worker) {
                break;
            }
        }
        if self.workers[worker].handle_timeout(self.now_ms) {
            self.transmit(worker);
        }
    }

    fn transmit(&mut self, worker: usize) -> bool {
        let sockets = &mut self.sockets;
        let more = self.workers[worker].poll_transmit(self.now_ms, |staged| {
            staged.push();
            if let Some(socket) = sockets.get_mut(&staged.outbox.connection()) {
                socket.flush();
            }
        });
        while let Some(event) = self.workers[worker].poll_event() {
            match event {
                Event::Mail(other, mail) => self.mailboxes[other].push_back(mail),
                Event::Closed(id) => self.sockets.remove(&id).expect("it is closed once").close(),
                Event::Connected { connection, version, .. } => {
                    let socket = self.sockets.get_mut(&connection).expect("it is not closed before it connects");
                    assert_eq!(socket.version.replace(version), None, "it connects once");
                }
                _ => {}
            }
        }
        more
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now_ms += ms;
        (0..WORKERS).for_each(|worker| self.turn(worker));
    }

    /// A worker sleeps for as long as it wants to.
    fn wait(&mut self, worker: usize) {
        self.now_ms += self.workers[worker].poll_timeout(self.now_ms).unwrap_or(0);
        self.turn(worker);
    }

    /// What holds after each step.
    fn check(&self) {
        let (stats, limits) = (self.shared.stats(), self.shared.live_limits());
        assert!(stats.sessions_kept <= u64::from(limits.sessions_count_max), "{stats:?}");
        assert!(stats.retained <= u64::from(limits.retained_count_max), "{stats:?}");
    }

    /// Everyone goes, time passes, and one client takes what is left.
    fn finish(mut self) {
        if let Some(policy) = &self.policy {
            policy.open();
        }
        if let Some(store) = &self.store {
            store.open();
        }
        (0..CLIENTS).for_each(|client| self.hang_up(client, Received::Closed));
        (0..4).for_each(|_| self.settle(31_000));
        assert_eq!((self.shared.stats().sessions, self.sockets.len()), (0, 0), "everyone has gone");
        self.clean_up();
        let stats = self.shared.stats();
        assert_eq!((stats.sessions, stats.retained, stats.buffered_bytes, stats.stored_bytes), (0, 0, 0, 0));
        self.stop();
    }

    /// Lets `ms` pass, and all happen that is due in that time. A worker whose rate limits hold a client back has to be called
    /// often.
    fn settle(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.now_ms < end_ms {
            let timeouts = self.workers.iter().filter_map(|worker| worker.poll_timeout(self.now_ms));
            let step_ms = timeouts.min().unwrap_or(ms).clamp(STEP_MS_MIN, STEP_MS_MAX);
            self.now_ms = end_ms.min(self.now_ms + step_ms);
            (0..WORKERS).for_each(|worker| self.drain_mailbox(worker));
            (0..WORKERS).for_each(|worker| self.turn(worker));
            (0..CLIENTS).for_each(|client| self.read(client));
        }
    }

    /// A client takes the messages of all queues, and deletes the retained ones.
    fn clean_up(&mut self) {
        let version = ProtocolVersion::Mqtt311;
        self.accept(0, 0, version);
        self.feed(0, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c");
        self.feed(0, b"\x82\x26\0\x01\0\x08$queue/q\0\0\x08$queue/r\0\0\x0b$queue/dead\0");
        (0..4).for_each(|_| self.settle(1_000));
        for topic in TOPICS {
            self.feed(0, &packets::deletion(version, topic));
            (0..2).for_each(|_| self.settle(1_000));
        }
        assert_eq!(self.shared.stats().sessions, 1, "the client is still served");
        self.hang_up(0, Received::Closed);
        (0..4).for_each(|_| self.settle(1_000));
    }

    /// Workers end, and keep nothing of what they share.
    fn stop(mut self) {
        self.accept(0, 1, ProtocolVersion::Mqtt5);
        for worker in 0..WORKERS {
            self.drain_mailbox(worker);
            self.workers[worker].handle_mail(self.now_ms, Mail::Stop);
            self.transmit(worker);
        }
        let Self { shared, workers, sockets, .. } = self;
        drop((workers, sockets));
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}

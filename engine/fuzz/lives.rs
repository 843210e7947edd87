//! Lives of a few clients that do whatever the input says, on two workers, under limits so small that all are reached.
//!
//! Nothing may panic, everything that is sent is MQTT, and when everyone is gone, so is every byte.

use std::sync::Arc;

use wisp_engine::{
    Chunk, ConnectionId, Shared, EndReason, FullPolicy, Limits, Connection, Next, Options, Dispatcher, QueueSettings, Raw,
    Replaying, StallPolicy,
};
use wisp_wire::{
    Connect, EncodeError, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, RetainHandling, Subscribe,
    SubscriptionId, SubscriptionOptions, Subscriptions, TopicFilter, TopicFilters, TopicName, Unsubscribe, Will,
    decode,
};

const CLIENTS: usize = 4;
const TOPICS: [&str; 8] = ["a", "a/b", "b", "$queue/q", "$queue/r", "$queue/dead", "a/b/c", "$s/a"];
const FILTERS: [&str; 12] = [
    "a",
    "#",
    "a/+",
    "a/#",
    "$share/g/#",
    "$share/g/a",
    "$share/h/a/+",
    "$queue/q",
    "$queue/r",
    "$queue/dead",
    "+/b",
    "$s/#",
];

/// The input, read a number at a time. Zeros follow its end.
struct Dice<'a>(&'a [u8]);

impl<'a> Dice<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn below(&mut self, most: usize) -> usize {
        usize::from(self.byte()) % most
    }

    fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = self.below(64).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    fn qos(&mut self) -> QoS {
        self.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(1 + self.below(6) as u16).expect("it is not 0")
    }
}

struct Peer {
    connection: Connection,
    worker: usize,
    version: ProtocolVersion,
    /// Sent by the client, and not handled yet.
    held: Vec<u8>,
    /// The last packet it gets is in its outbox.
    ended: Option<EndReason>,
}

struct World {
    shared: Arc<Shared>,
    workers: [Dispatcher; 2],
    peers: [Option<Peer>; CLIENTS],
    connections: u32,
    now_ms: u64,
}

fn limits(policy: StallPolicy) -> Limits {
    Limits {
        packet_bytes_max: 2_000,
        queue_bytes_max: 1_500,
        queue_messages_max: 4,
        buffered_bytes_max: 30_000,
        connect_timeout_ms: 5_000,
        stall_ms_max: Some(2_000),
        queue_stall_ms_max: 2_000,
        stall_policy: policy,
        subscriptions_count_max: 5,
        subscription_bytes_max: 6_000,
        sessions_count_max: 3,
        session_expiry_s_max: 30,
        inflight_count_max: 3,
        receive_maximum: 4,
        topic_alias_max: 2,
        stored_bytes_max: 20_000,
        retained_count_max: 3,
        retained_bytes_max: 600,
        topic_queues_count_max: 4,
        ..Limits::DEFAULT
    }
}

fn options(limits: &Limits, dice: &mut Dice<'_>) -> Options {
    let mut queue = QueueSettings::new("q", limits);
    queue.policy = dice.pick(&[FullPolicy::Refuse, FullPolicy::DropOldest, FullPolicy::DropNewest]);
    queue.messages_max = 3;
    queue.deliveries_max = Some(1 + dice.below(3) as u16);
    queue.dead_letter = dice.bit().then(|| "dead".into());
    queue.filter = dice.bit().then(|| "a/#".into());
    Options { queues: vec![queue], ..Options::default() }
}

/// Does what the input says, and looks at what is left.
pub fn live(input: &[u8]) {
    let mut dice = Dice(input);
    let limits = limits(dice.pick(&[StallPolicy::Drop, StallPolicy::Disconnect]));
    let options = options(&limits, &mut dice);
    let shared = Arc::new(Shared::with_options(limits, options, 1).expect("legal queues"));
    let mut world = World { shared, workers: Default::default(), peers: Default::default(), connections: 0, now_ms: 0 };
    while !dice.0.is_empty() {
        world.step(&mut dice);
    }
    world.finish();
}

impl World {
    fn step(&mut self, dice: &mut Dice<'_>) {
        let client = dice.below(CLIENTS);
        match dice.below(16) {
            0 => self.accept(client, dice.below(2)),
            1 | 2 => {
                self.accept(client, dice.below(2));
                let packet = connect(client, dice);
                self.feed(client, &packet);
            }
            3 | 4 => self.packet(client, |version, dice| subscribe(version, dice), dice),
            5 => self.packet(client, |version, dice| unsubscribe(version, dice), dice),
            6..=8 => self.packet(client, |version, dice| publish(version, dice), dice),
            9 | 10 => {
                let first = dice.pick(&[0x40, 0x40, 0x50, 0x50, 0x62, 0x70]);
                let id = dice.packet_id().get() as u8;
                let refusal = dice.below(8) == 7;
                let packet = if refusal { vec![first, 3, 0, id, 0x80] } else { vec![first, 2, 0, id] };
                self.feed(client, &packet);
            }
            11 => {
                let bytes = dice.bytes();
                self.feed(client, bytes);
            }
            12 => self.read(client),
            13 => self.close(client, dice.pick(&[EndReason::Closed, EndReason::TransportFailed, EndReason::Stuck])),
            14 => {
                let packet =
                    dice.pick(&[&[0xe0, 0][..], &[0xe0, 1, 4], &[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 3], &[0xc0, 0]]);
                self.feed(client, packet);
            }
            _ => self.pass_ms(dice.pick(&[1, 500, 1_000, 3_000, 61_000])),
        }
        if dice.bit() {
            let worker = dice.below(2);
            self.deliver(worker);
        }
    }

    fn accept(&mut self, client: usize, worker: usize) {
        // Whoever had the place before is still there for the server if his client identifier is another one's now.
        self.close(client, EndReason::Closed);
        self.connections += 1;
        let outbox = self.shared.new_outbox(ConnectionId { slot: self.connections, generation: 0 });
        let connection = Connection::new(Arc::clone(&self.shared), outbox, self.now_ms);
        let version = ProtocolVersion::Mqtt311;
        self.peers[client] = Some(Peer { connection, worker, version, held: Vec::new(), ended: None });
    }

    fn packet(
        &mut self,
        client: usize,
        write: impl FnOnce(ProtocolVersion, &mut Dice<'_>) -> Option<Vec<u8>>,
        dice: &mut Dice<'_>,
    ) {
        let Some(version) = self.peers[client].as_ref().map(|peer| peer.connection.version()) else { return };
        if let Some(packet) = write(version, dice) {
            self.feed(client, &packet);
        }
    }

    /// Handles what a client sent, after what it sent before.
    fn feed(&mut self, client: usize, bytes: &[u8]) {
        let now_ms = self.now_ms;
        let Some(peer) = self.peers[client].as_mut().filter(|peer| peer.ended.is_none()) else { return };
        peer.held.extend(bytes);
        let dispatcher = &mut self.workers[peer.worker];
        let (mut used, mut replies, mut taken_over) = (0, Vec::new(), None);
        while peer.ended.is_none() && taken_over.is_none() {
            let rest = &peer.held[used..];
            let (packet, len) = match decode(rest, peer.connection.version(), self.shared.limits.packet_bytes_max) {
                Ok(Some(decoded)) => decoded,
                Ok(None) => break,
                Err(error) => {
                    peer.ended = Some(peer.connection.refuse_bytes(error, rest, &mut replies).reason);
                    break;
                }
            };
            let raw = Raw { bytes: &rest[..len], in_scratch: None };
            match peer.connection.handle(packet, raw, dispatcher, now_ms, &mut replies) {
                Ok(Next::Continue) => used += len,
                Ok(Next::Connected { taken_over: old }) => {
                    (used, taken_over) = (used + len, old);
                    peer.version = peer.connection.version();
                }
                Ok(Next::Blocked(_)) => break,
                Err(end) => peer.ended = Some(end.reason),
            }
        }
        peer.held.drain(..used);
        match peer.ended {
            Some(_) => peer.connection.outbox().push_final(&replies),
            None => peer.connection.outbox().push([&replies[..]].into_iter(), replies.len(), 0),
        }
        peer.connection.resume_sending(dispatcher, now_ms);
        if peer.connection.replay(dispatcher, now_ms) == Replaying::Waiting {
            assert!(peer.connection.is_replaying());
        }
        if let Some(old) = taken_over {
            self.end_elsewhere(old);
            if let Some(peer) = &mut self.peers[client] {
                peer.connection.finish_takeover(&mut self.workers[peer.worker]);
            }
        }
        if self.peers[client].as_ref().is_some_and(|peer| peer.ended.is_some()) {
            self.close(client, EndReason::Closed);
        }
    }

    fn end_elsewhere(&mut self, id: ConnectionId) {
        let lost = |peer: &Option<Peer>| peer.as_ref().is_some_and(|peer| peer.connection.outbox().connection() == id);
        if let Some(client) = self.peers.iter().position(lost) {
            self.close(client, EndReason::TakenOver);
        }
    }

    fn close(&mut self, client: usize, reason: EndReason) {
        let Some(worker) = self.peers[client].as_ref().map(|peer| peer.worker) else { return };
        // What it sent goes out before anything that its client does next.
        self.deliver(worker);
        self.read(client);
        let Some(mut peer) = self.peers[client].take() else { return };
        peer.connection.close(peer.ended.unwrap_or(reason), &mut self.workers[worker], self.now_ms);
        peer.connection.outbox().close();
    }

    /// Reads what waits for a client, which has to be MQTT.
    fn read(&mut self, client: usize) {
        let Some(peer) = &self.peers[client] else { return };
        let mut chunk = Chunk::default();
        if peer.connection.outbox().take(&mut chunk) {
            peer.connection.outbox().sent(chunk.bytes.len(), chunk.messages);
            let mut rest = &chunk.bytes[..];
            while !rest.is_empty() {
                let decoded = decode(rest, peer.version, u32::MAX >> 4)
                    .or_else(|_| decode(rest, ProtocolVersion::Mqtt5, 1 << 20));
                let Ok(Some((_, len))) = decoded else { panic!("not MQTT: {rest:02x?}") };
                rest = &rest[len..];
            }
        }
    }

    /// What a worker does at the end of a turn.
    fn deliver(&mut self, worker: usize) {
        let dispatcher = &mut self.workers[worker];
        dispatcher.retry_waiting(&self.shared, self.now_ms);
        dispatcher.flush_staged(&self.shared, self.now_ms);
        dispatcher.batch().drain(&[], |staged| staged.push());
        dispatcher.flush_counters(&self.shared);
        let stuck = dispatcher.take_stuck();
        stuck.into_iter().for_each(|id| self.end_elsewhere(id));
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now_ms += ms;
        self.shared.expire(&mut self.workers[0], self.now_ms);
        for client in 0..CLIENTS {
            let Some(peer) = &mut self.peers[client] else { continue };
            peer.connection.replay(&mut self.workers[peer.worker], self.now_ms);
            if let Some(reason) = peer.connection.overdue(self.now_ms) {
                self.close(client, reason);
            }
        }
    }

    /// Everyone goes, and time passes.
    fn finish(mut self) {
        (0..CLIENTS).for_each(|client| self.close(client, EndReason::Closed));
        for _ in 0..4 {
            self.pass_ms(31_000);
            (0..2).for_each(|worker| self.deliver(worker));
        }
        assert_eq!(self.shared.sessions_count(), 0);
        assert_eq!(self.shared.budget.used_bytes(), 0);
        let Self { shared, workers, .. } = self;
        let stored = Arc::clone(&shared.stored);
        drop(workers);
        drop(shared);
        assert_eq!(stored.used_bytes(), 0, "what is retained or queued goes with the shared");
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) -> Option<Vec<u8>> {
    let mut packet = Vec::new();
    write(&mut packet).ok()?;
    Some(packet)
}

fn connect(client: usize, dice: &mut Dice<'_>) -> Vec<u8> {
    let version = dice.pick(&ProtocolVersion::ALL);
    // Some take the place of another.
    let id = ["0", "1", "2", "3"][if dice.below(8) == 7 { dice.below(CLIENTS) } else { client }];
    let mut properties = Vec::new();
    let mut of_will = Vec::new();
    if version.is_v5() {
        properties.push(Property::SessionExpiryInterval(dice.pick(&[0, 2, 9, u32::MAX])));
        properties.extend(
            dice.pick(&[None, Some(1), Some(2)])
                .and_then(|most: u16| most.try_into().ok())
                .map(Property::ReceiveMaximum),
        );
        properties.push(Property::TopicAliasMaximum(dice.pick(&[0, 1, 3])));
        properties.extend(
            dice.pick(&[None, Some(45)])
                .and_then(|most: u32| most.try_into().ok())
                .map(Property::MaximumPacketSize),
        );
        of_will.push(Property::WillDelayInterval(dice.pick(&[0, 1, 5])));
    }
    let will = dice.bit().then(|| Will {
        topic: TopicName::new(dice.pick(&TOPICS)).expect("legal"),
        payload: dice.bytes(),
        qos: dice.qos(),
        retain: dice.bit(),
        properties: Properties::from_slice(&of_will),
    });
    let connect = Connect {
        version,
        clean_start: dice.bit(),
        keep_alive_s: dice.pick(&[0, 2]),
        client_id: id,
        properties: Properties::from_slice(&properties),
        will,
        username: None,
        password: None,
    };
    written(|out| connect.encode(version, out)).unwrap_or_default()
}

fn subscribe(version: ProtocolVersion, dice: &mut Dice<'_>) -> Option<Vec<u8>> {
    let count = 1 + dice.below(3);
    let filters: Vec<_> = (0..count)
        .map(|_| {
            let filter = dice.pick(&FILTERS);
            let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
            let options = SubscriptionOptions {
                qos: dice.qos(),
                no_local: version.is_v5() && !filter.starts_with("$share") && dice.bit(),
                retain_as_published: version.is_v5() && dice.bit(),
                retain_handling: if version.is_v5() { dice.pick(&handling) } else { RetainHandling::Send },
            };
            (TopicFilter::new(filter).expect("legal"), options)
        })
        .collect();
    let id = SubscriptionId::new(dice.below(3) as u32).filter(|_| version.is_v5());
    let properties: Vec<_> = id.map(Property::SubscriptionIdentifier).into_iter().collect();
    let subscribe = Subscribe {
        packet_id: dice.packet_id(),
        properties: Properties::from_slice(&properties),
        filters: Subscriptions::from_slice(&filters),
    };
    written(|out| subscribe.encode(version, out))
}

fn unsubscribe(version: ProtocolVersion, dice: &mut Dice<'_>) -> Option<Vec<u8>> {
    let filters = [TopicFilter::new(dice.pick(&FILTERS)).expect("legal")];
    let unsubscribe = Unsubscribe {
        packet_id: dice.packet_id(),
        properties: Properties::EMPTY,
        filters: TopicFilters::from_slice(&filters),
    };
    written(|out| unsubscribe.encode(version, out))
}

fn publish(version: ProtocolVersion, dice: &mut Dice<'_>) -> Option<Vec<u8>> {
    let mut packets = Vec::new();
    for _ in 0..=dice.below(4) {
        let qos = dice.qos();
        let mut properties = Vec::new();
        if version.is_v5() {
            properties.extend(dice.pick(&[None, None, Some(1), Some(2)]).map(Property::MessageExpiryInterval));
            properties.extend(
                dice.pick(&[None, Some(1), Some(2)])
                    .and_then(|alias: u16| alias.try_into().ok())
                    .map(Property::TopicAlias),
            );
        }
        let nameless = dice.below(4) == 3 && !properties.is_empty();
        let long = vec![b'x'; if dice.below(8) == 7 { 700 } else { 0 }];
        let publish = Publish {
            dup: qos != QoS::AtMostOnce && dice.bit(),
            qos,
            retain: dice.bit(),
            topic: (!nameless).then(|| TopicName::new(dice.pick(&TOPICS)).expect("legal")),
            packet_id: (qos != QoS::AtMostOnce).then(|| dice.packet_id()),
            properties: Properties::from_slice(&properties),
            payload: if long.is_empty() { dice.bytes() } else { &long },
        };
        packets.extend(written(|out| publish.encode(version, out)).unwrap_or_default());
    }
    Some(packets)
}

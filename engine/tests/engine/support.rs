//! A broker without a server: what a worker does with the bytes of a connection, one connection at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use wisp_engine::{
    Chunk, Connection, ConnectionId, Dispatcher, End, EndReason, Limits, Next, Options, Raw, Replaying, Shared,
};
use wisp_wire::{
    Connect, Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, Subscribe, SubscriptionOptions,
    Subscriptions, TopicFilter, TopicFilters, TopicName, Unsubscribe, decode,
};

pub(crate) const V31: ProtocolVersion = ProtocolVersion::Mqtt31;
pub(crate) const V3: ProtocolVersion = ProtocolVersion::Mqtt311;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::Mqtt5;
pub(crate) const ALL: [ProtocolVersion; 3] = [V31, V3, V5];

pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) now_ms: u64,
    connections: u32,
}

pub(crate) struct Peer {
    pub(crate) connection: Connection,
    /// Everything the client was sent.
    pub(crate) received: Vec<u8>,
    /// Topic aliases that the server has given.
    pub(crate) aliases: BTreeMap<u16, String>,
    version: ProtocolVersion,
}

/// What came of some bytes.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) replies: Vec<u8>,
    pub(crate) end: Option<End>,
    pub(crate) taken_over: Option<ConnectionId>,
    pub(crate) blocked: bool,
    /// How many of the bytes were handled.
    pub(crate) used: usize,
}

impl Outcome {
    pub(crate) fn reason(&self) -> Option<EndReason> {
        self.end.as_ref().map(|end| end.reason)
    }
}

impl World {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::with_options(limits, Options::default())
    }

    pub(crate) fn with_options(limits: Limits, options: Options) -> Self {
        let shared = Shared::with_options(limits, options, 7).unwrap();
        Self { shared: Arc::new(shared), dispatcher: Dispatcher::default(), now_ms: 0, connections: 0 }
    }

    /// A connection that was just accepted.
    pub(crate) fn accept(&mut self) -> Peer {
        self.connections += 1;
        let outbox = self.shared.new_outbox(ConnectionId { slot: self.connections, generation: 1 });
        let connection = Connection::new(Arc::clone(&self.shared), outbox, self.now_ms);
        Peer { connection, received: Vec::new(), aliases: BTreeMap::new(), version: V3 }
    }

    pub(crate) fn connected(&mut self, version: ProtocolVersion, id: &str) -> Peer {
        let mut peer = self.accept();
        let outcome = self.feed(&mut peer, &connect(version, id));
        assert!(outcome.end.is_none(), "{outcome:?}");
        peer.skip_connack();
        peer
    }

    /// Handles the bytes of one read, and delivers what came of them. Replies go to the client as well.
    pub(crate) fn feed(&mut self, peer: &mut Peer, bytes: &[u8]) -> Outcome {
        let mut outcome = Outcome::default();
        while self.step(peer, bytes, &mut outcome) {}
        let replies = &outcome.replies;
        match &outcome.end {
            Some(_) => peer.connection.outbox().push_final(replies),
            None => peer.connection.outbox().push([&replies[..]].into_iter(), replies.len(), 0),
        }
        peer.connection.resume_sending(&mut self.dispatcher, self.now_ms);
        while peer.connection.replay(&mut self.dispatcher, self.now_ms) == Replaying::More {}
        self.deliver(bytes);
        outcome
    }

    /// What a worker does at the end of a turn.
    pub(crate) fn deliver(&mut self, scratch: &[u8]) {
        self.dispatcher.retry_waiting(&self.shared, self.now_ms);
        self.dispatcher.flush_staged(&self.shared, self.now_ms);
        self.dispatcher.batch().drain(scratch, |staged| staged.push());
        self.dispatcher.flush_counters(&self.shared);
    }

    /// Lets time pass, and happen what is due then.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now_ms += ms;
        self.shared.expire(&mut self.dispatcher, self.now_ms);
        self.deliver(&[]);
    }

    /// The connection has ended.
    pub(crate) fn close(&mut self, peer: &mut Peer, reason: EndReason) {
        peer.connection.close(reason, &mut self.dispatcher, self.now_ms);
        self.deliver(&[]);
        peer.connection.outbox().close();
    }

    /// Nobody is there, and nothing is left of anybody.
    pub(crate) fn assert_empty(&self) {
        let shared = &self.shared;
        assert_eq!((shared.sessions_count(), shared.retained_count()), (0, 0));
        assert_eq!((shared.budget.used_bytes(), shared.stored.used_bytes()), (0, 0));
    }

    /// Handles one packet. False if there is no more to handle.
    fn step(&mut self, peer: &mut Peer, bytes: &[u8], outcome: &mut Outcome) -> bool {
        let rest = &bytes[outcome.used..];
        let connection = &mut peer.connection;
        let (packet, len) = match decode(rest, connection.version(), self.shared.limits.packet_bytes_max) {
            Ok(Some(decoded)) => decoded,
            Ok(None) => return false,
            Err(error) => {
                outcome.end = Some(connection.refuse_bytes(error, rest, &mut outcome.replies));
                return false;
            }
        };
        let raw = Raw { bytes: &rest[..len], in_scratch: Some(outcome.used) };
        match connection.handle(packet, raw, &mut self.dispatcher, self.now_ms, &mut outcome.replies) {
            Ok(Next::Continue) => {}
            Ok(Next::Connected { taken_over }) => {
                outcome.taken_over = taken_over;
                peer.version = connection.version();
            }
            Ok(Next::Blocked(_)) => {
                outcome.blocked = true;
                return false;
            }
            Err(end) => {
                outcome.end = Some(end);
                return false;
            }
        }
        outcome.used += len;
        true
    }
}

impl Peer {
    /// The version it speaks, also when the link has ended.
    pub(crate) fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Reads all that waits.
    pub(crate) fn read(&mut self) {
        let mut chunk = Chunk::default();
        if self.connection.outbox().take(&mut chunk) {
            self.connection.outbox().sent(chunk.bytes.len(), chunk.messages);
            self.received.extend(chunk.bytes);
        }
    }

    /// Everything received since the last call.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.read();
        std::mem::take(&mut self.received)
    }

    fn skip_connack(&mut self) {
        let received = self.take();
        assert_eq!(received.first(), Some(&0x20), "CONNACK is the first packet");
        let (_, len) = decode(&received, self.version, u32::MAX >> 4).unwrap().unwrap();
        self.received = received[len..].to_vec();
    }

    /// Topics and payloads of all messages that were received, other packets left out.
    pub(crate) fn messages(&mut self) -> Vec<(String, Vec<u8>)> {
        self.read();
        let (mut rest, mut messages) = (&self.received[..], vec![]);
        while let Some((packet, len)) = decode(rest, self.version, u32::MAX >> 4).unwrap() {
            if let Packet::Publish(publish) = packet {
                assert!(!publish.retain && !publish.dup);
                messages.push((publish.topic.unwrap().as_str().to_owned(), publish.payload.to_vec()));
            }
            rest = &rest[len..];
        }
        assert!(rest.is_empty(), "half a packet was delivered");
        messages
    }
}

pub(crate) fn encoded<E: std::fmt::Debug>(encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out).unwrap();
    out
}

/// A CONNECT that asks for nothing.
pub(crate) fn plain(version: ProtocolVersion, id: &str) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id: id,
        properties: Properties::EMPTY,
        will: None,
        username: None,
        password: None,
    }
}

pub(crate) fn connect(version: ProtocolVersion, id: &str) -> Vec<u8> {
    encoded(|out| plain(version, id).encode(version, out))
}

pub(crate) fn publish(version: ProtocolVersion, topic: &str, payload: &[u8]) -> Vec<u8> {
    encoded(|out| Publish::new(TopicName::new(topic).unwrap(), payload).encode(version, out))
}

pub(crate) fn publish_with(topic: &str, properties: &[Property<'_>]) -> Vec<u8> {
    let publish = Publish::new(TopicName::new(topic).unwrap(), b"x");
    let publish = Publish { properties: Properties::from_slice(properties), ..publish };
    encoded(|out| publish.encode(V5, out))
}

pub(crate) fn subscribe(version: ProtocolVersion, filters: &[&str]) -> Vec<u8> {
    subscribe_with(version, filters, SubscriptionOptions::new(QoS::AtMostOnce), &[])
}

pub(crate) fn subscribe_with(
    version: ProtocolVersion,
    filters: &[&str],
    options: SubscriptionOptions,
    properties: &[Property<'_>],
) -> Vec<u8> {
    let filters: Vec<_> = filters.iter().map(|filter| (TopicFilter::new(filter).unwrap(), options)).collect();
    let subscribe = Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        properties: Properties::from_slice(properties),
        filters: Subscriptions::from_slice(&filters),
    };
    encoded(|out| subscribe.encode(version, out))
}

pub(crate) fn unsubscribe(version: ProtocolVersion, filters: &[&str]) -> Vec<u8> {
    let filters: Vec<_> = filters.iter().map(|filter| TopicFilter::new(filter).unwrap()).collect();
    let unsubscribe = Unsubscribe {
        packet_id: PacketId::new(1).unwrap(),
        properties: Properties::EMPTY,
        filters: TopicFilters::from_slice(&filters),
    };
    encoded(|out| unsubscribe.encode(version, out))
}

/// One packet of each type, as `version` writes it.
pub(crate) fn one_of_each(version: ProtocolVersion) -> Vec<Vec<u8>> {
    let five = version.is_v5();
    let pick = |three: &[u8], other: &[u8]| if five { other.to_vec() } else { three.to_vec() };
    let mut packets = vec![
        connect(version, "again"),
        pick(&[0x20, 2, 0, 0], &[0x20, 3, 0, 0, 0]),
        publish(version, "t", b"x"),
        vec![0x40, 2, 0, 1],
        vec![0x50, 2, 0, 1],
        vec![0x62, 2, 0, 1],
        vec![0x70, 2, 0, 1],
        subscribe(version, &["t"]),
        pick(&[0x90, 3, 0, 1, 0], &[0x90, 4, 0, 1, 0, 0]),
        unsubscribe(version, &["t"]),
        pick(&[0xb0, 2, 0, 1], &[0xb0, 4, 0, 1, 0, 0]),
        vec![0xc0, 0],
        vec![0xd0, 0],
        vec![0xe0, 0],
    ];
    if five {
        packets.push(vec![0xf0, 0]);
    }
    packets
}

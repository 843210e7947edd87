//! A broker without sockets: the production worker, fed by simulated clients under virtual time.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use wisp_engine::{
    Chunk, ConnectionId, EndReason, Event, Limits, Mail, Options, Origin, Outbox, Received, Restoration, Restored,
    Shared, StatsSnapshot, Worker,
};
use wisp_wire::{
    Connect, Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, Subscribe, SubscriptionOptions,
    Subscriptions, TopicFilter, TopicFilters, TopicName, Unsubscribe, decode,
};

pub(crate) const V31: ProtocolVersion = ProtocolVersion::Mqtt31;
pub(crate) const V3: ProtocolVersion = ProtocolVersion::Mqtt311;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::Mqtt5;
pub(crate) const ALL: [ProtocolVersion; 3] = [V31, V3, V5];

/// Most bytes of one receive.
pub(crate) const RECV_BYTES: usize = 64 * 1024;

pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: Worker,
    pub(crate) now_ms: u64,
    sockets: HashMap<ConnectionId, Rc<RefCell<Socket>>>,
    mail: VecDeque<Mail>,
    /// Mail waits until the test delivers it.
    pub(crate) holds_mail: bool,
    /// Clients close their side when they were told why the connection ends.
    pub(crate) hangs_up: bool,
    connections: u32,
}

/// The two ends of a connection.
struct Socket {
    outbox: Arc<Outbox>,
    /// Sent by the client and not yet received by the worker.
    incoming: VecDeque<u8>,
    /// How the client has ended the connection.
    hung_up: Option<Received>,
    /// Flushed by the worker and not yet read by the client.
    flushed: Vec<u8>,
    /// The part of `flushed` that the outbox still counts: bytes and messages.
    unread: (usize, usize),
    connected: Option<(Arc<str>, ProtocolVersion)>,
    taken_over: Option<ConnectionId>,
    end: Option<End>,
}

/// A client.
pub(crate) struct Peer {
    socket: Rc<RefCell<Socket>>,
    /// Everything the client has read.
    pub(crate) received: Vec<u8>,
    /// Topic aliases that the server has assigned.
    pub(crate) aliases: BTreeMap<u16, String>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) reason: EndReason,
    pub(crate) has_disconnect_packet: bool,
}

/// The effects of some bytes.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Packets to the client itself, except messages.
    pub(crate) replies: Vec<u8>,
    pub(crate) end: Option<End>,
    pub(crate) taken_over: Option<ConnectionId>,
    /// The client is held back.
    pub(crate) blocked: bool,
}

impl Outcome {
    pub(crate) fn reason(&self) -> Option<EndReason> {
        self.end.map(|end| end.reason)
    }
}

impl Socket {
    fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let count = buffer.len().min(self.incoming.len());
        if count == 0 {
            return self.hung_up.unwrap_or(Received::WouldBlock);
        }
        buffer.iter_mut().zip(self.incoming.drain(..count)).for_each(|(to, byte)| *to = byte);
        Received::Bytes { count, more: true }
    }

    /// Flushes like the sending half of a connection.
    fn flush(&mut self) {
        let mut chunk = Chunk::default();
        if self.outbox.take(&mut chunk) {
            self.unread = (self.unread.0 + chunk.bytes.len(), self.unread.1 + chunk.messages);
            self.flushed.extend(chunk.bytes);
        }
    }

    fn read(&mut self) -> Vec<u8> {
        let (bytes, messages) = std::mem::take(&mut self.unread);
        self.outbox.sent(bytes, messages);
        std::mem::take(&mut self.flushed)
    }

    fn close(&mut self) {
        let (bytes, messages) = std::mem::take(&mut self.unread);
        self.outbox.sent(bytes, messages);
        self.outbox.close();
    }
}

impl World {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::with_options(limits, Options::default())
    }

    pub(crate) fn with_options(limits: Limits, options: Options) -> Self {
        Self::restored(limits, options, std::iter::empty()).0
    }

    /// A broker with the objects of a store.
    pub(crate) fn restored(
        limits: Limits,
        options: Options,
        objects: impl IntoIterator<Item = Restored>,
    ) -> (Self, Restoration) {
        let mut shared = Shared::with_options(limits, options, 7).unwrap();
        let restoration = shared.restore(objects).unwrap();
        (Self::of(Arc::new(shared)), restoration)
    }

    fn of(shared: Arc<Shared>) -> Self {
        Self {
            worker: Worker::new(Arc::clone(&shared), 0, RECV_BYTES),
            shared,
            now_ms: 0,
            sockets: HashMap::new(),
            mail: VecDeque::new(),
            holds_mail: false,
            hangs_up: true,
            connections: 0,
        }
    }

    pub(crate) fn stats(&self) -> StatsSnapshot {
        self.shared.stats()
    }

    /// A new connection.
    pub(crate) fn accept(&mut self) -> Peer {
        self.connections += 1;
        let outbox = self.shared.new_outbox(ConnectionId { slot: self.connections, generation: 1 }, 0);
        let socket = Rc::new(RefCell::new(Socket {
            outbox: Arc::clone(&outbox),
            incoming: VecDeque::new(),
            hung_up: None,
            flushed: Vec::new(),
            unread: (0, 0),
            connected: None,
            taken_over: None,
            end: None,
        }));
        self.sockets.insert(outbox.connection(), Rc::clone(&socket));
        self.worker.handle_mail(self.now_ms, Mail::Accept(outbox, Origin { peer: None, listener: 0 }));
        self.run();
        Peer { socket, received: Vec::new(), aliases: BTreeMap::new() }
    }

    pub(crate) fn connected(&mut self, version: ProtocolVersion, id: &str) -> Peer {
        let mut peer = self.accept();
        let outcome = self.feed(&mut peer, &connect(version, id));
        assert!(outcome.end.is_none(), "{outcome:?}");
        peer.skip_connack();
        peer
    }

    /// Has the worker handle bytes from the client, and everything that follows from them.
    pub(crate) fn feed(&mut self, peer: &mut Peer, bytes: &[u8]) -> Outcome {
        let paused = self.worker.paused();
        let flushed = peer.socket.borrow().flushed.len();
        self.offer(peer, bytes);
        self.run();
        let mut socket = peer.socket.borrow_mut();
        Outcome {
            replies: without_messages(&socket.flushed[flushed..], peer.version_of(&socket)),
            end: socket.end,
            taken_over: socket.taken_over.take(),
            blocked: self.worker.paused() > paused,
        }
    }

    /// Runs turns until nothing more happens at this time.
    pub(crate) fn run(&mut self) {
        let mut quiet = 0;
        while quiet < 2 {
            let mail = if self.holds_mail { VecDeque::new() } else { std::mem::take(&mut self.mail) };
            let had_mail = !mail.is_empty();
            mail.into_iter().for_each(|mail| self.worker.handle_mail(self.now_ms, mail));
            let happened = self.turn();
            let goes_on = had_mail || happened || self.worker.poll_timeout(self.now_ms) == Some(0);
            quiet = if goes_on { 0 } else { quiet + 1 };
        }
    }

    /// The client sends bytes, which the worker has not handled yet.
    pub(crate) fn offer(&mut self, peer: &mut Peer, bytes: &[u8]) {
        peer.socket.borrow_mut().incoming.extend(bytes);
        self.worker.handle_readable(peer.id());
    }

    /// One turn of the worker. False if it had no event.
    pub(crate) fn turn(&mut self) -> bool {
        let mut happened = false;
        loop {
            while let Some(read) = self.worker.poll_read(self.now_ms) {
                let received = self.sockets[&read.connection].borrow_mut().receive(read.buffer);
                self.worker.handle_bytes(self.now_ms, received);
            }
            let more = self.transmit(&mut happened);
            if !more {
                break;
            }
        }
        if self.worker.handle_timeout(self.now_ms) {
            self.transmit(&mut happened);
        }
        happened
    }

    fn transmit(&mut self, happened: &mut bool) -> bool {
        let sockets = &self.sockets;
        let more = self.worker.poll_transmit(self.now_ms, |staged| {
            staged.push();
            if let Some(socket) = sockets.get(&staged.outbox.connection()) {
                socket.borrow_mut().flush();
            }
        });
        while let Some(event) = self.worker.poll_event() {
            *happened = true;
            self.handle(event);
        }
        more
    }

    fn handle(&mut self, event: Event) {
        let socket = |id: ConnectionId| self.sockets[&id].borrow_mut();
        match event {
            Event::Mail(0, mail) => self.mail.push_back(mail),
            Event::Lingering(id) => {
                let mut socket = socket(id);
                if let Some(end) = &mut socket.end {
                    end.has_disconnect_packet = true;
                }
                if self.hangs_up {
                    socket.hung_up = Some(Received::Closed);
                    drop(socket);
                    self.worker.handle_readable(id);
                }
            }
            Event::Closed(id) => {
                socket(id).close();
                self.sockets.remove(&id);
            }
            Event::Connected { connection, client_id, version, .. } => {
                socket(connection).connected = Some((client_id, version));
            }
            Event::Refused { connection, reason, .. } | Event::Disconnected { connection, reason, .. } => {
                socket(connection).end = Some(End { reason, has_disconnect_packet: false });
            }
            Event::TakenOver { old, new, .. } => socket(new).taken_over = Some(old),
            _ => {}
        }
    }

    /// Advances the time and handles everything that is due. While a connection is paused the worker has a turn each
    /// millisecond.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        loop {
            let step_ms = if self.worker.paused() > 0 { 1 } else { ms };
            self.now_ms = end_ms.min(self.now_ms + step_ms);
            self.run();
            if self.now_ms == end_ms {
                break;
            }
        }
    }

    /// Ends the connection, unless it has ended already.
    pub(crate) fn close(&mut self, peer: &mut Peer, reason: EndReason) {
        if peer.socket.borrow().end.is_none() {
            let hung_up = match reason {
                EndReason::Closed => Some(Received::Closed),
                EndReason::TransportFailed => Some(Received::Failed),
                _ => None,
            };
            match hung_up {
                Some(hung_up) => {
                    peer.socket.borrow_mut().hung_up = Some(hung_up);
                    self.worker.handle_readable(peer.id());
                }
                None => self.worker.handle_mail(self.now_ms, Mail::End(peer.id(), reason)),
            }
        }
        self.run();
    }

    /// How much mail waits for the worker.
    pub(crate) fn mail_count(&self) -> usize {
        self.mail.len()
    }

    /// Delivers a piece of mail that waits.
    pub(crate) fn deliver_mail(&mut self, index: usize) {
        let mail = self.mail.remove(index).unwrap();
        self.worker.handle_mail(self.now_ms, mail);
        self.run();
    }

    /// The client closes its side.
    pub(crate) fn hang_up(&mut self, peer: &Peer) {
        peer.socket.borrow_mut().hung_up = Some(Received::Closed);
        self.worker.handle_readable(peer.id());
        self.run();
    }

    /// The connection fails, and the worker hears of it with whatever comes next.
    pub(crate) fn fail_unnoticed(&mut self, peer: &Peer) {
        peer.socket.borrow_mut().hung_up = Some(Received::Failed);
        self.worker.handle_readable(peer.id());
    }

    /// Whether the broker has not closed the connection.
    pub(crate) fn is_open(&self, peer: &Peer) -> bool {
        self.sockets.contains_key(&peer.id())
    }

    /// No client is connected, and no state is left.
    pub(crate) fn assert_empty(&self) {
        let stats = self.stats();
        assert_eq!((stats.sessions, stats.retained, stats.buffered_bytes, stats.stored_bytes), (0, 0, 0, 0));
    }
}

impl Peer {
    pub(crate) fn id(&self) -> ConnectionId {
        self.socket.borrow().outbox.connection()
    }

    /// The client's version, also after it has disconnected.
    pub(crate) fn version(&self) -> ProtocolVersion {
        self.version_of(&self.socket.borrow())
    }

    fn version_of(&self, socket: &Socket) -> ProtocolVersion {
        socket.connected.as_ref().map_or(V3, |(_, version)| *version)
    }

    /// The client identifier, while it is connected.
    pub(crate) fn client_id(&self) -> Option<String> {
        let socket = self.socket.borrow();
        socket.connected.as_ref().filter(|_| socket.end.is_none()).map(|(client_id, _)| client_id.to_string())
    }

    /// How its connection ended, if it did.
    pub(crate) fn end(&self) -> Option<EndReason> {
        self.socket.borrow().end.map(|end| end.reason)
    }

    /// Bytes for the client that it has not read.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.socket.borrow().outbox.depth_bytes()
    }

    /// Bytes from the client that the worker has not received.
    pub(crate) fn unreceived_bytes(&self) -> usize {
        self.socket.borrow().incoming.len()
    }

    /// Reads all waiting bytes.
    pub(crate) fn read(&mut self) {
        let read = self.socket.borrow_mut().read();
        self.received.extend(read);
    }

    /// Everything received since the last call.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.read();
        std::mem::take(&mut self.received)
    }

    pub(crate) fn skip_connack(&mut self) {
        let received = self.take();
        assert_eq!(received.first(), Some(&0x20), "CONNACK is the first packet");
        let (_, len) = decode(&received, self.version(), u32::MAX >> 4).unwrap().unwrap();
        self.received = received[len..].to_vec();
    }

    /// Topics and payloads of all messages that were received, other packets left out.
    pub(crate) fn messages(&mut self) -> Vec<(String, Vec<u8>)> {
        self.read();
        let (version, mut rest, mut messages) = (self.version(), &self.received[..], vec![]);
        while let Some((packet, len)) = decode(rest, version, u32::MAX >> 4).unwrap() {
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

/// The packets other than messages. Undecodable bytes stay as they are.
fn without_messages(mut packets: &[u8], version: ProtocolVersion) -> Vec<u8> {
    let mut replies = Vec::new();
    while let Ok(Some((packet, len))) = decode(packets, version, u32::MAX >> 4) {
        if !matches!(packet, Packet::Publish(_)) {
            replies.extend(&packets[..len]);
        }
        packets = &packets[len..];
    }
    replies.extend(packets);
    replies
}

pub(crate) fn encoded<E: std::fmt::Debug>(encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out).unwrap();
    out
}

/// A CONNECT without options.
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

/// A message at QoS 0 with RETAIN, in MQTT 5.
pub(crate) fn publish_retained(topic: &str, payload: &[u8]) -> Vec<u8> {
    let publish = Publish { retain: true, ..Publish::new(TopicName::new(topic).unwrap(), payload) };
    encoded(|out| publish.encode(V5, out))
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

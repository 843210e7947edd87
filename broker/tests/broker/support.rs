//! Clients on the in-memory network that exchange single packets, and waits with a generous limit.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wisp_broker::{Broker, Config, ConfigBuilder, Limits, StallPolicy};
use wisp_net::memory::{MemoryHost, MemoryStream};
use wisp_net::{Host, Stream};
use wisp_wire::{
    Connect, Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, Subscribe, SubscriptionOptions,
    Subscriptions, TopicFilter, TopicName, decode, packet_len,
};

pub(crate) const V3: ProtocolVersion = ProtocolVersion::Mqtt311;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::Mqtt5;

/// Longer than any wait here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// These clients accept packets of any length.
const ANY_LENGTH: u32 = wisp_broker::PACKET_BYTES_CEILING;

/// The defaults, except that senders wait for receivers, since a test's receiver may not be scheduled for a moment.
pub(crate) const PATIENT: Limits = {
    let mut limits = Limits::DEFAULT;
    limits.stall_policy = StallPolicy::Hold;
    limits
};

/// A broker on a network of its own.
pub(crate) struct Net {
    pub(crate) host: MemoryHost,
    pub(crate) broker: Broker<MemoryHost>,
}

impl Net {
    pub(crate) fn start(workers: usize, limits: Limits) -> Self {
        let host = MemoryHost::new();
        let broker = Broker::start_on(host.clone(), config(workers, limits).build().unwrap()).unwrap();
        Self { host, broker }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.broker.local_addrs()[0]
    }

    /// Bytes in all queues and input buffers.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.broker.stats().buffered_bytes as usize
    }

    /// A connection without CONNECT.
    pub(crate) fn open(&self, version: ProtocolVersion) -> Client {
        Client::open(&self.host, self.addr(), version)
    }

    /// Runs `action`, which must not panic, while another client publishes to a topic as fast as it can.
    pub(crate) fn while_flooded<T>(&self, topic: &str, action: impl FnOnce() -> T) -> T {
        let mut flood = self.client(V3, "flood");
        let messages: Vec<u8> = (0..500).flat_map(|number| numbered(V3, topic, number, 16)).collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    flood.send(&messages);
                }
            });
            let result = action();
            stop.store(true, Ordering::Relaxed);
            result
        })
    }

    pub(crate) fn client(&self, version: ProtocolVersion, id: &str) -> Client {
        self.client_at(self.addr(), version, id)
    }

    /// A client of the listener at `address`.
    pub(crate) fn client_at(&self, address: SocketAddr, version: ProtocolVersion, id: &str) -> Client {
        let mut client = Client::open(&self.host, address, version);
        client.connect(id, &[]);
        client
    }
}

/// A configuration with a free port.
pub(crate) fn config(workers: usize, limits: Limits) -> ConfigBuilder {
    config_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), workers, limits)
}

pub(crate) fn config_at(address: SocketAddr, workers: usize, limits: Limits) -> ConfigBuilder {
    Config::builder().listener(address).workers(NonZeroUsize::new(workers)).limits(limits)
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The other end of a connection.
pub(crate) struct Client {
    stream: MemoryStream,
    version: ProtocolVersion,
    incoming: Vec<u8>,
}

impl Client {
    /// A connection that has said nothing yet.
    pub(crate) fn open(host: &MemoryHost, address: SocketAddr, version: ProtocolVersion) -> Self {
        let stream = host.connect(address).unwrap();
        Self { stream, version, incoming: Vec::new() }
    }

    pub(crate) fn connect(&mut self, id: &str, properties: &[Property<'_>]) {
        self.send(&connect(self.version, id, 0, properties));
        assert!(self.packet().starts_with(&[0x20]));
    }

    pub(crate) fn send(&mut self, mut bytes: &[u8]) {
        wait_until("the broker to read", || {
            bytes = &bytes[self.try_send(bytes)..];
            bytes.is_empty()
        });
    }

    /// Sends until the connection is full, and returns the number of bytes sent.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.send(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("the broker closed the connection: {error}"),
            }
        }
        sent
    }

    /// Whether the connection is open. Drops received bytes.
    pub(crate) fn is_open(&mut self) -> bool {
        self.incoming.clear();
        self.receive() != Some(0)
    }

    /// Drops received bytes.
    pub(crate) fn drain(&mut self) {
        while self.receive().is_some_and(|count| count > 0) {
            self.incoming.clear();
        }
    }

    /// False if the connection has ended.
    pub(crate) fn send_if_open(&mut self, bytes: &[u8]) -> bool {
        !matches!(self.stream.send(bytes), Err(error) if error.kind() != io::ErrorKind::WouldBlock)
    }

    /// The next packet, or none if the connection ends.
    pub(crate) fn packet_if_open(&mut self) -> Option<Vec<u8>> {
        let mut packet = None;
        wait_until("a packet or the end", || {
            packet = self.take();
            packet.is_some() || self.receive() == Some(0)
        });
        packet
    }

    /// The next packet, encoded.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        self.packet_if_open().expect("a packet, not the end of the connection")
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let len = packet_len(&self.incoming, ANY_LENGTH).unwrap().filter(|len| *len <= self.incoming.len())?;
        Some(self.incoming.drain(..len).collect())
    }

    /// The number of bytes received; `Some(0)` at the end of the connection.
    fn receive(&mut self) -> Option<usize> {
        let mut buffer = vec![0; 1 << 16];
        match self.stream.recv(&mut buffer) {
            Ok(count) => {
                self.incoming.extend_from_slice(&buffer[..count]);
                Some(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        }
    }

    /// The next message: topic and payload.
    pub(crate) fn message(&mut self) -> (String, Vec<u8>) {
        let packet = self.packet();
        match decode(&packet, self.version, ANY_LENGTH).unwrap().unwrap().0 {
            Packet::Publish(publish) => (publish.topic.unwrap().as_str().to_owned(), publish.payload.to_vec()),
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// The number in the payload of the next message.
    pub(crate) fn number(&mut self) -> u32 {
        let payload = self.message().1;
        u32::from_be_bytes(payload[..4].try_into().unwrap())
    }

    /// The reason code of the DISCONNECT before the end of the connection, if there is one.
    pub(crate) fn end(&mut self) -> Option<u8> {
        let mut code = None;
        wait_until("the end of the connection", || {
            while let Some(packet) = self.take() {
                assert_eq!(code, None, "{packet:02x?} came after DISCONNECT");
                if packet[0] == 0xe0 {
                    code = Some(packet.get(2).copied().unwrap_or(0));
                }
            }
            self.receive() == Some(0)
        });
        code
    }

    /// The first byte of each packet until the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut firsts = Vec::new();
        while let Some(packet) = self.packet_if_open() {
            firsts.push(packet[0]);
        }
        firsts
    }

    pub(crate) fn subscribe(&mut self, filter: &str) {
        self.send(&subscribe(self.version, filter));
        assert!(self.packet().starts_with(&[0x90]));
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.send(&publish(self.version, topic, payload));
    }

    /// Waits until all earlier packets have been handled.
    pub(crate) fn ping(&mut self) {
        self.send(&[0xc0, 0]);
        assert_eq!(self.packet(), [0xd0, 0]);
    }
}

pub(crate) fn connect(version: ProtocolVersion, id: &str, keep_alive_s: u16, properties: &[Property<'_>]) -> Vec<u8> {
    let connect = Connect {
        version,
        clean_start: true,
        keep_alive_s,
        client_id: id,
        properties: Properties::from_slice(properties),
        will: None,
        username: None,
        password: None,
    };
    encoded(|out| connect.encode(version, out))
}

pub(crate) fn subscribe(version: ProtocolVersion, filter: &str) -> Vec<u8> {
    let filters = [(TopicFilter::new(filter).unwrap(), SubscriptionOptions::new(QoS::AtMostOnce))];
    let subscribe = Subscribe {
        packet_id: PacketId::new(7).unwrap(),
        properties: Properties::EMPTY,
        filters: Subscriptions::from_slice(&filters),
    };
    encoded(|out| subscribe.encode(version, out))
}

pub(crate) fn publish(version: ProtocolVersion, topic: &str, payload: &[u8]) -> Vec<u8> {
    encoded(|out| Publish::new(TopicName::new(topic).unwrap(), payload).encode(version, out))
}

/// A PUBLISH at QoS 1 of MQTT 3.1.1.
pub(crate) fn publish_qos1(topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let publish = Publish::new(TopicName::new(topic).unwrap(), payload);
    let publish = Publish { qos: QoS::AtLeastOnce, packet_id: PacketId::new(packet_id), ..publish };
    let mut packet = Vec::new();
    publish.encode(V3, &mut packet).unwrap();
    packet
}

/// A message that begins with `number` and has `len` bytes of payload.
pub(crate) fn numbered(version: ProtocolVersion, topic: &str, number: u32, len: usize) -> Vec<u8> {
    let mut payload = vec![0; len.max(4)];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    publish(version, topic, &payload)
}

fn encoded<E: std::fmt::Debug>(encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out).unwrap();
    out
}

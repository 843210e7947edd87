//! A client that sends any bytes and reads the answers packet by packet.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::Version;
use crate::packet::{Connect, PINGREQ, Received, kind, publish, split_variable_integer, subscribe, unsubscribe};
use crate::wait::TIMEOUT;

/// One TCP connection to the broker.
pub struct RawClient {
    stream: TcpStream,
    version: Version,
    buffer: Vec<u8>,
    /// The number of bytes at the front of the buffer that were returned as packets.
    used: usize,
}

/// The result of a read.
#[derive(PartialEq, Eq, Debug)]
pub enum Incoming {
    /// A whole packet.
    Packet(Received),
    /// The broker closed the connection, normally or with a reset.
    Closed,
}

impl RawClient {
    /// Opens a connection and sends nothing.
    pub fn open(addr: SocketAddr, version: Version) -> RawClient {
        RawClient::try_open(addr, version).expect("the broker accepts connections")
    }

    /// Opens a connection, if the broker accepts it.
    pub fn try_open(addr: SocketAddr, version: Version) -> io::Result<RawClient> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(RawClient { stream, version, buffer: Vec::new(), used: 0 })
    }

    /// Opens a connection and a clean session; keep-alive is off.
    pub fn connect(addr: SocketAddr, version: Version, client_id: &str) -> RawClient {
        let mut client = RawClient::open(addr, version);
        client.send(&Connect::new(version, client_id).encode());
        let answer = client.read_packet().conn_ack(version);
        assert_eq!(answer.code, 0, "the broker refuses {client_id}: {answer:?}");
        client
    }

    /// The MQTT version in which answers are read.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Sends bytes that the broker must read.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the broker reads");
    }

    /// Sends bytes that may make the broker close the connection before it has read all of them.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Publishes at QoS 0.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.send(&publish(self.version, topic, payload));
    }

    /// Subscribes at QoS 0 and waits until the subscription is granted.
    pub fn subscribe(&mut self, filters: &[&str]) {
        let with_options: Vec<_> = filters.iter().map(|filter| (*filter, 0)).collect();
        self.send(&subscribe(self.version, 1, &with_options));
        let answer = self.read_packet();
        assert_eq!(answer.acknowledgement(self.version), (1, &vec![0; filters.len()][..]), "SUBACK for {filters:?}");
    }

    /// Unsubscribes, waits for the acknowledgement, and returns its codes.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        self.send(&unsubscribe(self.version, 2, filters));
        let answer = self.read_packet();
        let (packet_id, codes) = answer.acknowledgement(self.version);
        assert_eq!((answer.kind(), packet_id), (kind::UNSUBACK, 2), "UNSUBACK");
        codes.to_vec()
    }

    /// Reads the next packet.
    ///
    /// # Panics
    /// If the connection closes or no packet arrives.
    pub fn read_packet(&mut self) -> Received {
        match self.read() {
            Incoming::Packet(packet) => packet,
            Incoming::Closed => panic!("the broker closed the connection; a packet is expected"),
        }
    }

    /// Reads the next message, which must have this topic; returns its payload.
    pub fn read_message(&mut self, topic: &str) -> Vec<u8> {
        let packet = self.read_packet();
        let (found, payload) = packet.publish(self.version);
        assert_eq!(found, topic, "the topic of the next message");
        payload.to_vec()
    }

    /// Sends SUBSCRIBE for one filter and returns its code in SUBACK.
    pub fn subscribe_code(&mut self, filter: &str, options: u8) -> u8 {
        self.send(&subscribe(self.version, 3, &[(filter, options)]));
        let answer = self.read_packet();
        let (packet_id, codes) = answer.acknowledgement(self.version);
        assert_eq!((answer.kind(), packet_id, codes.len()), (kind::SUBACK, 3, 1), "SUBACK for {filter}");
        codes[0]
    }

    /// Expects the broker to close the connection: in MQTT 5 after a DISCONNECT with this code, before MQTT 5
    /// without any packet.
    pub fn expect_disconnect(&mut self, code: u8) {
        let codes: Vec<u8> = self.read_to_close().iter().map(Received::disconnect_code).collect();
        let expected = if self.version.is_v5() { vec![code] } else { vec![] };
        assert_eq!(codes, expected, "{:?}: codes of DISCONNECT before the end", self.version);
    }

    /// Reads until the broker closes the connection. Returns the packets read.
    ///
    /// # Panics
    /// If it does not close it.
    pub fn read_to_close(&mut self) -> Vec<Received> {
        let (packets, closed) = self.read_to_close_within(TIMEOUT);
        assert!(closed, "the broker does not close the connection; it sent {packets:02X?}");
        packets
    }

    /// Reads until the broker closes the connection or is silent for longer than the limit. Returns the
    /// packets, and whether the broker closed it.
    pub fn read_to_close_within(&mut self, limit: Duration) -> (Vec<Received>, bool) {
        let mut packets = Vec::new();
        loop {
            match self.read_within(limit) {
                Some(Incoming::Packet(packet)) => packets.push(packet),
                Some(Incoming::Closed) => return (packets, true),
                None => return (packets, false),
            }
        }
    }

    /// Reads the next packet or the end of the connection.
    ///
    /// # Panics
    /// If neither arrives.
    pub fn read(&mut self) -> Incoming {
        self.read_within(TIMEOUT).unwrap_or_else(|| panic!("the broker sent nothing for {TIMEOUT:?}"))
    }

    /// Like [`RawClient::read`]; None if neither arrives in time.
    pub fn read_within(&mut self, limit: Duration) -> Option<Incoming> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(packet) = self.take_packet() {
                return Some(Incoming::Packet(packet));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).expect("a time limit can be set");
            match self.fill() {
                Ok(0) => return Some(Incoming::Closed),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(Incoming::Closed),
            }
        }
    }

    /// Sends PINGREQ and expects PINGRESP as the next packet.
    pub fn ping(&mut self) {
        self.send(PINGREQ);
        let answer = self.read_packet();
        assert_eq!((answer.first, answer.body.len()), (0xD0, 0), "a PINGRESP is expected, not {answer:?}");
    }

    /// A second handle on the connection, to write from another thread.
    pub fn writer(&self) -> TcpStream {
        let writer = self.stream.try_clone().expect("a socket can be shared");
        writer.set_write_timeout(None).expect("a time limit can be lifted");
        writer
    }

    fn take_packet(&mut self) -> Option<Received> {
        let bytes = &self.buffer[self.used..];
        let (length, length_bytes) = split_variable_integer(bytes.get(1..)?)?;
        let body_at = 1 + length_bytes;
        let body = bytes.get(body_at..body_at + length)?.to_vec();
        let first = bytes[0];
        self.used += body_at + length;
        Some(Received { first, body })
    }

    fn fill(&mut self) -> io::Result<usize> {
        const READ_BYTES: usize = 1 << 18;
        self.buffer.drain(..self.used);
        self.used = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let result = self.stream.read(&mut self.buffer[filled..]);
        self.buffer.truncate(filled + result.as_ref().map_or(0, |length| *length));
        result
    }
}

/// Two clients that exchange messages through the broker while a test disturbs it.
pub struct Bystanders {
    sender: RawClient,
    receiver: RawClient,
    topic: String,
    sent: u64,
}

impl Bystanders {
    /// Connects the two. The name distinguishes them from others on the same broker.
    pub fn connect(addr: SocketAddr, name: &str) -> Bystanders {
        let sender = RawClient::connect(addr, Version::V5, &format!("{name}-sender"));
        let mut receiver = RawClient::connect(addr, Version::V311, &format!("{name}-receiver"));
        let topic = format!("bystanders/{name}");
        receiver.subscribe(&[&topic]);
        Bystanders { sender, receiver, topic, sent: 0 }
    }

    /// Sends a message from one to the other and returns its latency.
    ///
    /// # Panics
    /// If another packet arrives first.
    pub fn round_trip(&mut self) -> Duration {
        let start = Instant::now();
        self.sent += 1;
        self.sender.publish(&self.topic, &self.sent.to_be_bytes());
        assert_eq!(self.receiver.read_message(&self.topic), self.sent.to_be_bytes(), "the bystanders' message");
        start.elapsed()
    }
}

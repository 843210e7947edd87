//! A client that a case controls byte by byte: it sends when it is told to, reads when it is told to, and acknowledges
//! only as its [`Acks`] say. It speaks MQTT 3.1.1 or 5 through wisp-wire.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use wisp_wire::{
    Connect, List, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec, Publish, QoS,
    ReasonCode, Subscribe, SubscriptionOptions, TopicFilter, TopicName, decode,
};

/// The longest wait for an answer of the broker.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The bytes that one read takes at most, unless a packet is longer.
const READ_BYTES: usize = 64 * 1024;
/// Filters of one SUBSCRIBE, few enough for every broker.
const FILTERS_EACH: usize = 200;

/// How a client connects.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) version: ProtocolVersion,
    pub(crate) clean_start: bool,
    /// Only MQTT 5 sends it.
    pub(crate) session_expiry_s: u32,
    /// Only MQTT 5 sends it.
    pub(crate) receive_max: Option<NonZeroU16>,
    /// The kernel's receive buffer of the socket, if it is not to be the system's default.
    pub(crate) receive_buffer_bytes: Option<usize>,
    /// The user and the password.
    pub(crate) user: Option<(&'static str, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: ProtocolVersion::Mqtt311,
            clean_start: true,
            session_expiry_s: 0,
            receive_max: None,
            receive_buffer_bytes: None,
            user: None,
        }
    }
}

impl Options {
    /// A client of MQTT 3.1.1 with a session that outlives its connection.
    pub(crate) fn kept() -> Self {
        Self { clean_start: false, ..Self::default() }
    }

    /// A client of MQTT 5 with a session that outlives its connection by an hour.
    pub(crate) fn kept_v5() -> Self {
        Self { version: ProtocolVersion::Mqtt5, clean_start: false, session_expiry_s: 3600, ..Self::default() }
    }
}

/// Which messages a client acknowledges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Acks {
    /// All of them.
    All,
    /// None of them.
    None,
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    version: ProtocolVersion,
    /// Received bytes, of which the first `filled` are valid.
    input: Vec<u8>,
    filled: usize,
    /// Bytes to send, without the first `sent`.
    pub(crate) output: Vec<u8>,
    sent: usize,
}

impl Client {
    /// Connects and waits for the CONNACK.
    pub(crate) fn connect(address: SocketAddr, id: &str, options: &Options) -> io::Result<Self> {
        let mut client = Self::connect_unanswered(address, id, options)?;
        client
            .answer(|packet| match packet {
                Packet::ConnAck(ack) => Some(ack.code),
                _ => None,
            })
            .and_then(|code| match code {
                ReasonCode::Success => Ok(client),
                code => Err(refused("CONNECT", code)),
            })
    }

    /// Sends CONNECT and does not wait for the answer.
    pub(crate) fn connect_unanswered(address: SocketAddr, id: &str, options: &Options) -> io::Result<Self> {
        let stream = open(address, options.receive_buffer_bytes)?;
        let mut properties = Vec::new();
        if options.version.is_v5() {
            properties.push(Property::SessionExpiryInterval(options.session_expiry_s));
            properties.extend(options.receive_max.map(Property::ReceiveMaximum));
        }
        let mut client =
            Self { stream, version: options.version, input: Vec::new(), filled: 0, output: Vec::new(), sent: 0 };
        client.send(&Packet::Connect(Connect {
            version: options.version,
            clean_start: options.clean_start,
            // The cases pause for longer than any keep-alive that would test something.
            keep_alive_s: 0,
            client_id: id,
            properties: Properties::from_slice(&properties),
            will: None,
            username: options.user.as_ref().map(|(user, _)| *user),
            password: options.user.as_ref().map(|(_, password)| password.as_bytes()),
        }))?;
        Ok(client)
    }

    /// Subscribes and waits until the broker has granted every filter.
    pub(crate) fn subscribe<S: AsRef<str>>(&mut self, filters: &[S], qos: QoS) -> io::Result<()> {
        for part in filters.chunks(FILTERS_EACH) {
            self.send_subscribe(part, qos)?;
            let refusal = self.answer(|packet| match packet {
                Packet::SubAck(ack) => Some(ack.codes.iter().find(|code| code.is_error())),
                _ => None,
            })?;
            if let Some(code) = refusal {
                return Err(refused("SUBSCRIBE", code));
            }
        }
        Ok(())
    }

    /// Sends one SUBSCRIBE and does not wait for its answer.
    pub(crate) fn send_subscribe<S: AsRef<str>>(&mut self, filters: &[S], qos: QoS) -> io::Result<()> {
        let parsed: Result<Vec<_>, _> = filters
            .iter()
            .map(|filter| Ok((TopicFilter::new(filter.as_ref())?, SubscriptionOptions::new(qos))))
            .collect();
        let parsed = parsed.map_err(|error: wisp_wire::TopicError| invalid(&error))?;
        let packet_id = PacketId::new(1).expect("one is not zero");
        let (properties, filters) = (Properties::EMPTY, List::from_slice(&parsed));
        self.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters }))
    }

    /// Sends PINGREQ and waits for the answer, which comes after the broker has handled all earlier packets.
    pub(crate) fn ping(&mut self) -> io::Result<()> {
        self.send(&Packet::PingReq)?;
        self.answer(|packet| matches!(packet, Packet::PingResp).then_some(()))
    }

    /// Sends DISCONNECT.
    pub(crate) fn disconnect(mut self) -> io::Result<()> {
        self.send(&Packet::Disconnect(wisp_wire::Disconnect {
            code: ReasonCode::NORMAL_DISCONNECTION,
            properties: Properties::EMPTY,
        }))
    }

    /// Appends a packet to the bytes to send.
    pub(crate) fn queue(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        packet.encode(self.version, &mut self.output).map_err(|error| invalid(&error))
    }

    /// Sends a packet, and all bytes queued before it. The socket has to be blocking.
    pub(crate) fn send(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        self.queue(packet)?;
        self.stream.write_all(&self.output[self.sent..])?;
        self.output.clear();
        self.sent = 0;
        Ok(())
    }

    /// Sends as many of the queued bytes as the socket takes, and returns their number.
    pub(crate) fn flush(&mut self) -> io::Result<usize> {
        let before = self.sent;
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let count = self.sent - before;
        // Moving the rest to the front at each call would take longer than sending it.
        if self.sent >= self.output.len() / 2 {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        Ok(count)
    }

    /// The number of queued bytes.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Makes reads and writes return at once.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)
    }

    /// The longest time that one read waits.
    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(timeout))
    }

    /// Its socket, to poll.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Gives each whole packet that has arrived to `handle`; reads once if there is none. False if nothing has arrived in
    /// time.
    pub(crate) fn receive(&mut self, mut handle: impl FnMut(Packet<'_>)) -> io::Result<bool> {
        let mut take_all = |packet: Packet<'_>| {
            handle(packet);
            true
        };
        if self.take(&mut take_all)? > 0 {
            return Ok(true);
        }
        if !self.fill()? {
            return Ok(false);
        }
        self.take(&mut take_all)?;
        Ok(true)
    }

    /// Gives packets to `handle` as long as it wants more, and returns their number.
    fn take(&mut self, handle: &mut dyn FnMut(Packet<'_>) -> bool) -> io::Result<usize> {
        let (mut at, mut count, mut wants_more) = (0, 0, true);
        while wants_more
            && let Some((packet, length)) = decode(&self.input[at..self.filled], self.version, u32::MAX)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?
        {
            wants_more = handle(packet);
            at += length;
            count += 1;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(count)
    }

    /// As [`receive`](Self::receive), for messages: queues their acknowledgements, as a well-behaved subscriber does.
    pub(crate) fn receive_messages(&mut self, acks: Acks, mut handle: impl FnMut(&Publish<'_>)) -> io::Result<bool> {
        let (version, mut output) = (self.version, std::mem::take(&mut self.output));
        let mut refusal = None;
        let received = self.receive(|packet| {
            let answer = match packet {
                Packet::Publish(publish) => {
                    handle(&publish);
                    acknowledgement(&publish)
                }
                Packet::PubRel(release) => Some(Packet::PubComp(PubComp::new(release.packet_id))),
                Packet::Disconnect(disconnect) => {
                    refusal = Some(disconnect.code);
                    None
                }
                _ => None,
            };
            if let Some(answer) = answer.filter(|_| acks == Acks::All) {
                // An acknowledgement without properties has a legal length.
                let _ = answer.encode(version, &mut output);
            }
        });
        self.output = output;
        match refusal {
            Some(code) => Err(refused("the connection", code)),
            None => received,
        }
    }

    /// Waits for an answer and acknowledges the messages before it. Packets behind it stay for the next call.
    pub(crate) fn answer<T>(&mut self, mut wanted: impl FnMut(&Packet<'_>) -> Option<T>) -> io::Result<T> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        self.set_read_timeout(ANSWER_TIMEOUT)?;
        let (version, mut found, mut acks) = (self.version, None, Vec::new());
        loop {
            self.take(&mut |packet| {
                if let Packet::Publish(publish) = &packet
                    && let Some(ack) = acknowledgement(publish)
                {
                    // An acknowledgement without properties has a legal length.
                    let _ = ack.encode(version, &mut acks);
                }
                found = wanted(&packet);
                found.is_none()
            })?;
            self.stream.write_all(&acks)?;
            acks.clear();
            if let Some(found) = found {
                return Ok(found);
            }
            if Instant::now() >= deadline || !self.fill()? {
                return Err(io::Error::new(ErrorKind::TimedOut, format!("no answer in {ANSWER_TIMEOUT:?}")));
            }
        }
    }

    /// Reads once into the input buffer. False if nothing has arrived in time.
    fn fill(&mut self) -> io::Result<bool> {
        if self.input.len() - self.filled < READ_BYTES / 2 {
            self.input.resize(self.filled + READ_BYTES, 0);
        }
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.filled += count;
                Ok(true)
            }
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Opens a connection without Nagle's delay.
pub(crate) fn open(address: SocketAddr, receive_buffer_bytes: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(bytes) = receive_buffer_bytes {
        // Only before connecting does it also bound the window that is announced.
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.connect_timeout(&address.into(), ANSWER_TIMEOUT)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Appends an encoded PUBLISH. `number` gives the packet identifier, which repeats after 60,000 messages.
pub(crate) fn encode_publish(
    topic: &str,
    payload: &[u8],
    qos: QoS,
    number: u64,
    output: &mut Vec<u8>,
) -> io::Result<()> {
    let topic = TopicName::new(topic).map_err(|error| invalid(&error))?;
    let packet_id = (qos != QoS::AtMostOnce).then(|| packet_id(number));
    let publish = Publish { qos, packet_id, ..Publish::new(topic, payload) };
    publish.encode(ProtocolVersion::Mqtt311, output).map_err(|error| invalid(&error))
}

/// A packet identifier for each number from 0.
pub(crate) fn packet_id(number: u64) -> PacketId {
    PacketId::new((number % 60_000 + 1) as u16).expect("it is at least one")
}

fn acknowledgement(publish: &Publish<'_>) -> Option<Packet<'static>> {
    let packet_id = publish.packet_id?;
    match publish.qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce => Some(Packet::PubAck(PubAck::new(packet_id))),
        QoS::ExactlyOnce => Some(Packet::PubRec(PubRec::new(packet_id))),
    }
}

/// Whether a read or write has only to be repeated later.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn refused(request: &str, code: ReasonCode) -> io::Error {
    io::Error::new(ErrorKind::ConnectionRefused, format!("the broker refuses {request}: {code:?}"))
}

fn invalid(error: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, error.to_string())
}

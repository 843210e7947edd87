//! A broker that forwards nothing. It accepts clients, counts their messages, acknowledges them at QoS 1 and 2, and
//! answers pings. A run against it measures how fast the generator is itself.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wisp_net::{
    Capabilities, Event, Host, Listener, Poller, Registrar, Stream, SysHost, SysListener, SysPoller, SysRegistrar,
    SysStream, Token,
};
use wisp_wire::{ConnAck, List, Packet, PacketType, Properties, ProtocolVersion, QoS, ReasonCode, SubAck, UnsubAck};

use crate::drive::acks::granted;
use crate::drive::replies::{PUBACK, PUBCOMP, PUBREC, PUBREL, Replies, SHORT_BYTES, short};

/// The largest packet that is taken.
const PACKET_BYTES_MAX: u32 = 5 + (1 << 28) - 1;
/// The largest packet of another kind than PUBLISH, which has to be whole to be understood.
const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// The listener's token; connections count from 0.
const LISTENER: Token = Token(u64::MAX >> 1);

/// A listening sink.
pub struct Sink {
    listener: SysListener,
    poller: SysPoller,
    registrar: SysRegistrar,
    /// By token; `None` where a connection has gone.
    peers: Vec<Option<Peer>>,
    /// Connections that may have more to read.
    ready: Vec<usize>,
    scratch: Vec<u8>,
    burst: Burst,
}

/// The traffic from the first connection's arrival to the last one's departure.
#[derive(Clone, Copy, Default, Debug)]
pub struct Burst {
    /// Messages that were published.
    pub messages: u64,
    /// Bytes that were received, with everything around the messages.
    pub bytes: u64,
    /// When the first and the last message were read.
    times: Option<(Instant, Instant)>,
}

impl Burst {
    /// From the first message to the last.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.times.map_or(Duration::ZERO, |(first, last)| last - first)
    }

    /// Messages a second.
    #[must_use]
    pub fn messages_per_s(&self) -> f64 {
        let seconds = self.elapsed().as_secs_f64();
        if seconds > 0.0 { self.messages as f64 / seconds } else { 0.0 }
    }
}

impl Sink {
    /// Listens.
    ///
    /// # Errors
    /// The host's own, such as `AddrInUse`.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        let mut listener = SysHost.listen(address)?;
        let poller = SysHost.poller()?;
        let registrar = poller.registrar();
        registrar.add_listener(&mut listener, LISTENER)?;
        let Capabilities { recv_bytes, .. } = SysHost.capabilities();
        Ok(Self {
            listener,
            poller,
            registrar,
            peers: Vec::new(),
            ready: Vec::new(),
            scratch: vec![0; recv_bytes.max(2 * CONTROL_BYTES_MAX)],
            burst: Burst::default(),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The host's own.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until every connection is closed and at least one message has arrived, and returns the counts.
    ///
    /// # Errors
    /// When the host can no longer wait for sockets.
    pub fn serve(&mut self) -> io::Result<Burst> {
        let mut events = Vec::new();
        loop {
            let timeout = if self.ready.is_empty() { None } else { Some(Duration::ZERO) };
            self.poller.wait(&mut events, timeout)?;
            self.note(&events);
            self.round();
            if self.peers.is_empty() && self.burst.messages > 0 {
                return Ok(std::mem::take(&mut self.burst));
            }
        }
    }

    fn note(&mut self, events: &[Event]) {
        for event in events.iter().filter(|event| event.readable) {
            if event.token == LISTENER {
                self.accept();
            } else {
                self.make_ready(event.token.0 as usize);
            }
        }
    }

    fn make_ready(&mut self, index: usize) {
        if let Some(Some(peer)) = self.peers.get_mut(index)
            && !peer.is_queued
        {
            peer.is_queued = true;
            self.ready.push(index);
        }
    }

    fn accept(&mut self) {
        // Errors but would-block concern one connection, which is then not there; its client will say so.
        while let Ok((mut stream, _)) = self.listener.accept() {
            let index = self.peers.len();
            if self.registrar.add(&mut stream, Token(index as u64)).is_ok() {
                self.peers.push(Some(Peer::new(stream)));
                self.make_ready(index);
            }
        }
    }

    /// Reads once from each connection that has something.
    fn round(&mut self) {
        for index in std::mem::take(&mut self.ready) {
            let Some(Some(peer)) = self.peers.get_mut(index) else { continue };
            peer.is_queued = false;
            match peer.receive(&mut self.scratch, &mut self.burst) {
                Ok(true) => self.make_ready(index),
                Ok(false) => {}
                Err(Gone) => {
                    // Nothing is to be done if it was not registered any more.
                    let _ = self.registrar.remove(&peer.stream);
                    self.peers[index] = None;
                }
            }
        }
        // Tokens are given out anew once nobody has one.
        if self.peers.iter().all(Option::is_none) {
            self.peers.clear();
        }
    }
}

/// The connection has ended, or has to be ended.
struct Gone;

/// One connection.
struct Peer {
    stream: SysStream,
    version: ProtocolVersion,
    /// Bytes of a PUBLISH that is counted and has not come whole: they are of no interest.
    skip: usize,
    /// How it is acknowledged once it has.
    owed: Option<(u8, u16)>,
    replies: Replies,
    /// The beginning of a packet that is of interest.
    partial: Vec<u8>,
    is_queued: bool,
}

impl Peer {
    fn new(stream: SysStream) -> Self {
        // CONNECT brings its own version.
        let (version, replies) = (ProtocolVersion::Mqtt311, Replies::default());
        Self { stream, version, skip: 0, owed: None, replies, partial: Vec::new(), is_queued: false }
    }

    /// Receives once. True when there may be more.
    fn receive(&mut self, scratch: &mut [u8], burst: &mut Burst) -> Result<bool, Gone> {
        let begun = self.partial.len();
        scratch[..begun].copy_from_slice(&self.partial);
        let room = &mut scratch[begun..];
        let room_bytes = room.len();
        let received = match self.stream.recv(room) {
            Ok(0) => return Err(Gone),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(_) => return Err(Gone),
        };
        let before = burst.messages;
        self.take(&scratch[..begun + received], burst)?;
        self.reply()?;
        burst.bytes += received as u64;
        if burst.messages > before {
            let now = Instant::now();
            burst.times = Some((burst.times.map_or(now, |(first, _)| first), now));
        }
        Ok(received == room_bytes)
    }

    fn take(&mut self, bytes: &[u8], burst: &mut Burst) -> Result<(), Gone> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let mut rest = &bytes[skipped..];
        loop {
            if self.skip == 0
                && let Some((first, id)) = self.owed.take()
            {
                self.replies.push(first, id);
            }
            if let Some((PUBREL, id)) = short(rest) {
                self.replies.push(PUBCOMP, id);
                rest = &rest[SHORT_BYTES..];
                continue;
            }
            let Some(length) = wisp_wire::packet_len(rest, PACKET_BYTES_MAX).map_err(|_| Gone)? else { break };
            if PacketType::of(rest[0]) == Some(PacketType::Publish) {
                let Some(owed) = owed(rest) else { break };
                self.owed = owed;
                burst.messages += 1;
                self.skip = length.saturating_sub(rest.len());
            } else if length > CONTROL_BYTES_MAX {
                return Err(Gone);
            } else if length > rest.len() {
                break;
            } else {
                self.answer(rest)?;
            }
            rest = rest.get(length..).unwrap_or_default();
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Sends the pending acknowledgements.
    fn reply(&mut self) -> Result<(), Gone> {
        // As with answers: no client that reads leaves so much unread.
        let is_sent = self.replies.is_empty() || self.replies.send(&mut self.stream).map_err(|_| Gone)?;
        if is_sent { Ok(()) } else { Err(Gone) }
    }

    /// Answers a whole packet. An answer that the socket does not take at once is the end: no client that reads leaves
    /// so much unread.
    fn answer(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let decoded = wisp_wire::decode(bytes, self.version, PACKET_BYTES_MAX).map_err(|_| Gone)?;
        let (packet, _) = decoded.ok_or(Gone)?;
        let mut codes = Vec::new();
        let properties = Properties::EMPTY;
        let answer = match packet {
            Packet::Connect(connect) => {
                self.version = connect.version;
                Packet::ConnAck(ConnAck { session_present: false, code: ReasonCode::Success, properties })
            }
            Packet::Subscribe(subscribe) => {
                codes.extend(subscribe.filters.iter().map(|(_, options)| granted(options.qos)));
                let codes = List::from_slice(&codes);
                Packet::SubAck(SubAck { packet_id: subscribe.packet_id, properties, codes })
            }
            Packet::Unsubscribe(unsubscribe) => {
                codes.resize(unsubscribe.filters.iter().count(), ReasonCode::Success);
                let codes = List::from_slice(&codes);
                Packet::UnsubAck(UnsubAck { packet_id: unsubscribe.packet_id, properties, codes })
            }
            Packet::PingReq => Packet::PingResp,
            _ => return Err(Gone),
        };
        self.reply()?;
        let mut encoded = Vec::new();
        answer.encode(self.version, &mut encoded).map_err(|_| Gone)?;
        match self.stream.send(&encoded) {
            Ok(sent) if sent == encoded.len() => Ok(()),
            Ok(_) | Err(_) => Err(Gone),
        }
    }
}

/// How a PUBLISH is acknowledged, if at all; None while its identifier has not come.
fn owed(packet: &[u8]) -> Option<Option<(u8, u16)>> {
    let first = match QoS::new((packet[0] >> 1) & 3) {
        Some(QoS::AtLeastOnce) => PUBACK,
        Some(QoS::ExactlyOnce) => PUBREC,
        _ => return Some(None),
    };
    let length_bytes = 1 + packet[1..].iter().position(|byte| byte & 0x80 == 0)?;
    let (topic_bytes, rest) = packet[1 + length_bytes..].split_first_chunk()?;
    let id = rest.get(usize::from(u16::from_be_bytes(*topic_bytes))..)?.first_chunk()?;
    Some(Some((first, u16::from_be_bytes(*id))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wisp_wire::{PacketId, Publish, TopicName};

    #[test]
    fn identifiers_are_found_as_soon_as_they_are_there() {
        for (qos, first) in [(QoS::AtLeastOnce, PUBACK), (QoS::ExactlyOnce, PUBREC)] {
            let publish = Publish::new(TopicName::new("a/b").unwrap(), &[7; 300]);
            let publish = Publish { qos, packet_id: PacketId::new(0x1234), ..publish };
            let mut bytes = Vec::new();
            Packet::Publish(publish).encode(ProtocolVersion::Mqtt5, &mut bytes).unwrap();
            // First byte, two bytes of length, the topic with its length, the identifier.
            for end in 1..bytes.len() {
                let expected = (end >= 3 + 5 + 2).then_some(Some((first, 0x1234)));
                assert_eq!(owed(&bytes[..end]), expected, "{end}");
            }
        }
        assert_eq!(owed(&[0x30]), Some(None));
    }
}

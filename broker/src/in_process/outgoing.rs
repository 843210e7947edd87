//! The packets of a client in the process that wait for its worker, in a buffer of bounded length.
//!
//! A thread that publishes waits for room in it; an acknowledgement always enters, since the windows of both
//! directions bound these.

use wisp_wire::{ConnAck, EncodeError, Packet, PacketId, ProtocolVersion, PubComp, PubRel, ReasonCode};

use super::error::{ClientEnd, ClientError};
use super::requests::Requests;

/// The version of MQTT between the halves.
pub(super) const VERSION: ProtocolVersion = ProtocolVersion::Mqtt5;

/// Most bytes of packets that wait for the worker. Packets that the worker has taken do not count. A longer packet waits alone.
pub(super) const OUTGOING_BYTES_MAX: usize = 256 * 1024;

/// The packets of a client that wait for its worker, and the state of its connection.
pub(super) struct Outgoing {
    /// Packets for the worker.
    bytes: Vec<u8>,
    /// The worker has been told that there are bytes, and has not taken them since.
    pub(super) is_announced: bool,
    /// No packets follow, and the reason. The worker still reads the ones before.
    pub(super) closed: Option<ClientEnd>,
    /// The threads that wait for a change.
    pub(super) waiting: usize,
    pub(super) requests: Requests,
    pub(super) accepted: Option<Accepted>,
    pub(super) end: Option<ClientEnd>,
}

/// The broker's answer to CONNECT.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) session_present: bool,
    /// If the broker has assigned one.
    pub(super) client_id: Option<Box<str>>,
    /// Most messages at QoS 1 and 2 without an acknowledgement.
    messages_max: usize,
    packet_bytes_max: u32,
    retains: bool,
}

impl Outgoing {
    /// Begins with CONNECT, of which the worker is told in another way.
    pub(super) fn new(connect: Vec<u8>) -> Self {
        Self {
            bytes: connect,
            is_announced: true,
            closed: None,
            waiting: 0,
            requests: Requests::default(),
            accepted: None,
            end: None,
        }
    }

    pub(super) fn check_open(&self) -> Result<(), ClientError> {
        self.end.or(self.closed).map_or(Ok(()), |end| Err(end.into()))
    }

    /// Refuses a packet that the broker would end the connection for.
    pub(super) fn check_fits(&self, bytes: usize, retain: bool) -> Result<(), ClientError> {
        let Some(Accepted { packet_bytes_max, retains, .. }) = self.accepted else { return Ok(()) };
        if bytes > packet_bytes_max as usize {
            return Err(ClientError::PacketTooLong { bytes, max: packet_bytes_max });
        }
        if retain && !retains { Err(ClientError::RetainNotAvailable) } else { Ok(()) }
    }

    pub(super) fn pending(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.pending() == 0 || self.pending() + bytes <= OUTGOING_BYTES_MAX
    }

    /// Whether one more message may be unacknowledged.
    pub(super) fn has_window(&self) -> bool {
        self.requests.messages() < self.window()
    }

    /// Whether half of the window is free, so that threads are not woken for each acknowledgement.
    pub(super) fn has_half_a_window(&self) -> bool {
        self.requests.messages() <= self.window() / 2
    }

    /// Most messages that may be unacknowledged.
    fn window(&self) -> usize {
        self.accepted.as_ref().map_or(0, |accepted| accepted.messages_max)
    }

    pub(super) fn next_id(&mut self) -> Result<PacketId, ClientError> {
        self.requests.next_id().ok_or(ClientError::Full)
    }

    /// Adds a packet that a thread waits to send.
    pub(super) fn send(&mut self, packet: &Packet<'_>) -> Result<(), EncodeError> {
        packet.encode(VERSION, &mut self.bytes)
    }

    /// Adds a packet for which no thread waits.
    pub(super) fn reply(&mut self, packet: &Packet<'_>) {
        let encoded = packet.encode(VERSION, &mut self.bytes);
        debug_assert!(encoded.is_ok(), "packets without text are legal");
    }

    /// Moves all packets to `taken`, which is empty and gives its memory for the next ones.
    pub(super) fn take(&mut self, taken: &mut Vec<u8>) {
        std::mem::swap(&mut self.bytes, taken);
    }

    /// Drops all packets.
    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
    }

    /// Handles a packet of the broker that is not a message.
    pub(super) fn handle(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::ConnAck(ack) if ack.code.is_error() => self.end(ClientEnd::ByBroker(ack.code)),
            Packet::ConnAck(ack) => self.accepted = Some(Accepted::of(ack)),
            Packet::PubAck(ack) => {
                self.requests.received(ack.packet_id, ack.code);
            }
            Packet::PubRec(ack) => {
                if self.requests.received(ack.packet_id, ack.code) {
                    self.reply(&PubRel::new(ack.packet_id).into());
                }
            }
            Packet::PubRel(release) => self.reply(&PubComp::new(release.packet_id).into()),
            Packet::PubComp(complete) => self.requests.complete(complete.packet_id),
            Packet::SubAck(ack) => self.requests.answered(ack.packet_id, ack.codes.iter().collect()),
            Packet::UnsubAck(ack) => self.requests.answered(ack.packet_id, ack.codes.iter().collect()),
            Packet::Disconnect(disconnect) => {
                self.end(match disconnect.code {
                    ReasonCode::ServerShuttingDown => ClientEnd::BrokerStopped,
                    code => ClientEnd::ByBroker(code),
                });
                // Nothing more is to be said, so the worker need not linger.
                self.closed.get_or_insert(ClientEnd::Closed);
            }
            _ => debug_assert!(false, "a broker does not send {packet:?}"),
        }
    }

    /// Notes the end, once.
    pub(super) fn end(&mut self, end: ClientEnd) {
        let end = *self.end.get_or_insert(end);
        self.requests.end(end);
    }
}

impl Accepted {
    pub(super) fn of(ack: &ConnAck<'_>) -> Self {
        let properties = &ack.properties;
        Self {
            session_present: ack.session_present,
            client_id: properties.assigned_client_identifier().map(Box::from),
            messages_max: properties.receive_maximum().map_or(usize::from(u16::MAX), |max| usize::from(max.get())),
            packet_bytes_max: properties.maximum_packet_size().map_or(u32::MAX, std::num::NonZeroU32::get),
            retains: properties.retain_available() != Some(false),
        }
    }
}

//! Tracks the acknowledgements of one sender's messages, and with them how many more may be sent.
//!
//! The packet identifier of a sender's `n`th message is `n mod 65535 + 1`. A window is never larger than that, so an
//! identifier names one message in flight. Brokers acknowledge in the order of the messages, so most acknowledgements
//! only advance a counter; early ones are remembered.

use std::collections::BTreeSet;

use wisp_wire::{Packet, ProtocolVersion, QoS, ReasonCode};

use crate::drive::error::ConnectionError;
use crate::drive::replies::{PUBACK, PUBCOMP, PUBREC, PUBREL, Replies, SHORT_BYTES, short};
use crate::drive::timing::Timing;

/// Identifiers are 1 to 65535.
const IDS: u64 = 65_535;

/// The identifier of a sender's `n`th message.
#[inline]
pub(crate) fn packet_id(n: u64) -> u16 {
    // A remainder by 65535 fits.
    (n % IDS) as u16 + 1
}

/// The acknowledgements of one sender's messages.
#[derive(Debug)]
pub(crate) struct Acks {
    sender: u32,
    qos: QoS,
    /// How many messages were sent whole.
    sent: u64,
    /// Messages with QoS 2 of which PUBREC came.
    recorded: MessageSet,
    /// Messages of which the last acknowledgement came.
    done: MessageSet,
}

/// Messages of which something was heard.
#[derive(Default, Debug)]
struct MessageSet {
    /// All before this one.
    next: u64,
    /// And these.
    early: BTreeSet<u64>,
}

impl MessageSet {
    /// The message that an identifier names, among the messages before `end`. None if there is no such message, or it
    /// is in the set already.
    #[inline]
    fn message(&self, packet_id: u16, end: u64) -> Option<u64> {
        let offset = (IDS + u64::from(packet_id) - 1 - self.next % IDS) % IDS;
        let message = self.next + offset;
        (message < end && !self.early.contains(&message)).then_some(message)
    }

    fn has(&self, message: u64) -> bool {
        message < self.next || self.early.contains(&message)
    }

    #[inline]
    fn note(&mut self, message: u64) {
        if message != self.next {
            self.early.insert(message);
            return;
        }
        self.next += 1;
        while !self.early.is_empty() && self.early.remove(&self.next) {
            self.next += 1;
        }
    }
}

impl Acks {
    pub(crate) fn new(sender: u32, qos: QoS) -> Self {
        Self { sender, qos, sent: 0, recorded: MessageSet::default(), done: MessageSet::default() }
    }

    /// All messages before this one are acknowledged. At QoS 0 a message counts as acknowledged once it is sent.
    #[inline]
    pub(crate) fn settled(&self) -> u64 {
        if self.qos == QoS::AtMostOnce { self.sent } else { self.done.next }
    }

    /// Tells how many messages were sent whole.
    pub(crate) fn note_sent(&mut self, messages: u64) {
        self.sent = messages;
    }

    /// Takes the acknowledgements in their shortest form at the beginning of `bytes`, and says how long they were.
    pub(crate) fn take_usual(
        &mut self,
        bytes: &[u8],
        replies: &mut Replies,
        mut timing: Option<&mut Timing>,
    ) -> Result<usize, ConnectionError> {
        let mut at = 0;
        while let Some((first, packet_id)) = short(&bytes[at..]) {
            match first {
                PUBACK => self.acknowledged(packet_id, timing.as_deref_mut())?,
                PUBREC => self.recorded(packet_id, replies)?,
                PUBCOMP => self.completed(packet_id, timing.as_deref_mut())?,
                _ => break,
            }
            at += SHORT_BYTES;
        }
        Ok(at)
    }

    /// Takes an acknowledgement in another form. False if it is none.
    pub(crate) fn take_packet(
        &mut self,
        packet: &Packet<'_>,
        replies: &mut Replies,
        timing: Option<&mut Timing>,
    ) -> Result<bool, ConnectionError> {
        let (packet_id, code) = match packet {
            Packet::PubAck(ack) => (ack.packet_id, ack.code),
            Packet::PubRec(ack) => (ack.packet_id, ack.code),
            Packet::PubComp(ack) => (ack.packet_id, ack.code),
            _ => return Ok(false),
        };
        let packet_id = packet_id.get();
        if code.is_error() {
            return Err(ConnectionError::Rejected { packet_id, code });
        }
        match packet {
            Packet::PubAck(_) => self.acknowledged(packet_id, timing)?,
            Packet::PubRec(_) => self.recorded(packet_id, replies)?,
            _ => self.completed(packet_id, timing)?,
        }
        Ok(true)
    }

    #[inline]
    fn acknowledged(&mut self, packet_id: u16, timing: Option<&mut Timing>) -> Result<(), ConnectionError> {
        let message = self.done.message(packet_id, self.sent).filter(|_| self.qos == QoS::AtLeastOnce);
        self.settle(message.ok_or_else(|| unasked("PUBACK", packet_id))?, timing);
        Ok(())
    }

    #[inline]
    fn recorded(&mut self, packet_id: u16, replies: &mut Replies) -> Result<(), ConnectionError> {
        let message = self.recorded.message(packet_id, self.sent).filter(|_| self.qos == QoS::ExactlyOnce);
        self.recorded.note(message.ok_or_else(|| unasked("PUBREC", packet_id))?);
        replies.push(PUBREL, packet_id);
        Ok(())
    }

    #[inline]
    fn completed(&mut self, packet_id: u16, timing: Option<&mut Timing>) -> Result<(), ConnectionError> {
        let message = self.done.message(packet_id, self.sent).filter(|message| self.recorded.has(*message));
        self.settle(message.ok_or_else(|| unasked("PUBCOMP", packet_id))?, timing);
        Ok(())
    }

    #[inline]
    fn settle(&mut self, message: u64, timing: Option<&mut Timing>) {
        self.done.note(message);
        if let Some(timing) = timing {
            timing.acknowledged(self.sender, message);
        }
    }
}

#[cold]
fn unasked(packet: &'static str, packet_id: u16) -> ConnectionError {
    ConnectionError::UnexpectedAck { packet, packet_id }
}

/// The server's window for this client, whose own is `window`.
pub(crate) fn window(version: ProtocolVersion, window: u16, receive_max: u16) -> u16 {
    if version.is_v5() { window.min(receive_max) } else { window }
}

/// The code by which a server grants this QoS.
pub(crate) fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}

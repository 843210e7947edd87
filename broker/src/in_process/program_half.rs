//! The program's half of a connection: packets for the worker, requests that wait for an answer, and how much of the
//! received messages the program has not handled.
//!
//! The packets lie in a buffer ([`super::outgoing`]), and a thread that publishes waits for room in it.

use std::fmt;
use std::sync::{Arc, Weak};

use wisp_engine::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, rank};
use wisp_net::{Event, Token};
use wisp_wire::{Disconnect, EncodeError, Packet, PacketId, PubAck, PubRec, Publish, QoS, ReasonCode, decode};

use super::completion::Completion;
use super::doorbell::Bell;
use super::error::{ClientEnd, ClientError};
use super::options::{ClientOptions, ReceiveLimits};
use super::outgoing::{Accepted, Outgoing, VERSION};

/// One message in the counter of unhandled messages, which has their number in the upper bits and their bytes in the lower.
const ONE_MESSAGE: u64 = 1 << 40;

/// The program's half of a connection.
pub(super) struct ProgramHalf {
    token: Token,
    worker: usize,
    bell: Weak<dyn Bell>,
    receive: ReceiveLimits,
    /// Messages and their bytes that were received and are not handled: [`ONE_MESSAGE`].
    unhandled: AtomicU64,
    /// A message was refused, and the worker is to be told when there is room.
    has_refused: AtomicBool,
    /// The program takes no more messages, since it ends the connection.
    discards: AtomicBool,
    outgoing: Mutex<Outgoing, { rank::TRANSPORT }>,
    /// The connection was accepted or has ended, or there is room for packets.
    changed: Condvar,
}

/// What a thread does if there is no room for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Yes,
    No,
}

impl ProgramHalf {
    /// The half of a client of `worker`, with its CONNECT. The worker is told of it in another way.
    pub(super) fn new((token, worker): (Token, usize), bell: Weak<dyn Bell>, options: &ClientOptions) -> Self {
        Self {
            token,
            worker,
            bell,
            receive: options.receive,
            unhandled: AtomicU64::new(0),
            has_refused: AtomicBool::new(false),
            discards: AtomicBool::new(false),
            outgoing: Mutex::new(Outgoing::new(options.connect.clone())),
            changed: Condvar::default(),
        }
    }

    fn ring(&self, readable: bool) {
        if let Some(bell) = self.bell.upgrade() {
            bell.ring(self.worker, Event { token: self.token, readable, writable: !readable });
        }
    }

    /// Waits for the answer to CONNECT.
    pub(super) fn wait_accepted(&self) -> Result<Accepted, ClientError> {
        let mut outgoing = self.outgoing.lock();
        loop {
            if let Some(accepted) = &outgoing.accepted {
                return Ok(accepted.clone());
            }
            outgoing.check_open().map_err(|error| match error {
                ClientError::Ended(ClientEnd::ByBroker(code)) => ClientError::Refused(code),
                error => error,
            })?;
            outgoing = self.wait(outgoing);
        }
    }

    /// Waits until the connection has ended.
    pub(super) fn wait_end(&self) {
        let mut outgoing = self.outgoing.lock();
        while outgoing.end.is_none() {
            outgoing = self.wait(outgoing);
        }
    }

    fn wait<'a>(&'a self, mut outgoing: MutexGuard<'a, Outgoing>) -> MutexGuard<'a, Outgoing> {
        outgoing.waiting += 1;
        let mut outgoing = self.changed.wait(outgoing);
        outgoing.waiting -= 1;
        outgoing
    }

    /// The reason of the end, if the connection has ended or the broker has said that it ends.
    pub(super) fn end_reason(&self) -> Option<ClientEnd> {
        self.outgoing.lock().end
    }

    /// Sends a message, whose encoded length is `len`. `None` at QoS 0, which has no answer.
    pub(super) fn publish(
        &self,
        mut publish: Publish<'_>,
        len: usize,
        wait: Wait,
    ) -> Result<Option<Arc<Completion<ReasonCode>>>, ClientError> {
        let mut outgoing = self.outgoing.lock();
        outgoing.check_fits(len, publish.retain)?;
        let is_answered = publish.qos != QoS::AtMostOnce;
        let mut has_waited = false;
        loop {
            outgoing.check_open()?;
            // Threads that wait already come first.
            let is_next = has_waited || outgoing.waiting == 0;
            let has_window = !is_answered || outgoing.has_half_a_window() || is_next && outgoing.has_window();
            if outgoing.has_room(len) && has_window {
                break;
            }
            if wait == Wait::No {
                return Err(ClientError::Full);
            }
            has_waited = true;
            outgoing = self.wait(outgoing);
        }
        publish.packet_id = if is_answered { Some(outgoing.next_id()?) } else { None };
        outgoing.send(&publish.into())?;
        let completion = publish.packet_id.map(|id| outgoing.requests.add_message(id, publish.qos));
        self.announce(outgoing);
        Ok(completion)
    }

    /// Sends the SUBSCRIBE or UNSUBSCRIBE that `packet` makes.
    pub(super) fn request<'a>(
        &self,
        packet: impl Fn(PacketId) -> Packet<'a>,
    ) -> Result<Arc<Completion<Vec<ReasonCode>>>, ClientError> {
        let mut outgoing = self.outgoing.lock();
        let any_id = PacketId::new(1).ok_or(EncodeError::PropertyValue)?;
        let len = packet(any_id).encoded_len(VERSION)?;
        outgoing.check_fits(len, false)?;
        loop {
            outgoing.check_open()?;
            if outgoing.has_room(len) {
                break;
            }
            outgoing = self.wait(outgoing);
        }
        let id = outgoing.next_id()?;
        outgoing.send(&packet(id))?;
        let completion = outgoing.requests.add_filters(id);
        self.announce(outgoing);
        Ok(completion)
    }

    /// Tells the worker that there are packets, unless it knows.
    fn announce(&self, mut outgoing: MutexGuard<'_, Outgoing>) {
        let was_announced = std::mem::replace(&mut outgoing.is_announced, true);
        drop(outgoing);
        if !was_announced {
            self.ring(true);
        }
    }

    /// The program ends the connection, with a DISCONNECT unless the end is abnormal.
    pub(super) fn disconnect(&self, code: Option<ReasonCode>) {
        let mut outgoing = self.outgoing.lock();
        if outgoing.closed.is_some() {
            return;
        }
        if let Some(code) = code {
            outgoing.reply(&Disconnect::new(code).into());
        }
        outgoing.closed = Some(ClientEnd::Disconnected);
        self.announce(outgoing);
        // The worker may hold the packets back until the client's own messages are gone.
        self.discards.swap(true, Ordering::AcqRel);
        if self.takes_back_refusal() {
            self.ring(false);
        }
    }

    /// Whether the program wants no more messages. At QoS 1 and 2 they stay with the session.
    pub(super) fn discards(&self) -> bool {
        self.discards.load(Ordering::Relaxed)
    }

    /// For the worker: no more packets are wanted.
    pub(super) fn close(&self) {
        let mut outgoing = self.outgoing.lock();
        outgoing.closed.get_or_insert(ClientEnd::Closed);
        self.announce(outgoing);
    }

    /// The program has handled a received message of `bytes`, and acknowledges it if it is at QoS 1 or 2.
    pub(super) fn handled(&self, bytes: usize, acknowledged: Option<(QoS, PacketId)>) {
        if let Some((qos, id)) = acknowledged {
            let mut outgoing = self.outgoing.lock();
            if outgoing.check_open().is_ok() {
                outgoing.reply(&match qos {
                    QoS::ExactlyOnce => PubRec::new(id).into(),
                    QoS::AtMostOnce | QoS::AtLeastOnce => PubAck::new(id).into(),
                });
                self.announce(outgoing);
            }
        }
        let size = size_of_message(bytes);
        let left = self.unhandled.fetch_sub(size, Ordering::AcqRel) - size;
        if self.is_drained(left) && self.takes_back_refusal() {
            self.ring(false);
        }
    }

    /// Whether the program takes one more message. If not, the worker is told when it does.
    pub(super) fn takes_message(&self) -> bool {
        let unhandled = self.unhandled.load(Ordering::Relaxed);
        if messages_of(unhandled) < u64::from(self.receive.messages) && bytes_of(unhandled) < self.receive.bytes {
            return true;
        }
        self.has_refused.store(true, Ordering::Relaxed);
        // The program may have handled messages, or ended, before it could see the refusal. These write nothing new, but have an
        // order with the program's writes: it sees the refusal, or they see its write.
        let unhandled = self.unhandled.fetch_add(0, Ordering::AcqRel);
        let takes_now = self.discards.fetch_or(false, Ordering::AcqRel) || self.is_drained(unhandled);
        takes_now && self.takes_back_refusal()
    }

    /// Counts a message that is about to be received.
    pub(super) fn count_message(&self, bytes: usize) {
        self.unhandled.fetch_add(size_of_message(bytes), Ordering::Relaxed);
    }

    /// Whether half of the room is free, so that a worker is not woken for each message.
    fn is_drained(&self, unhandled: u64) -> bool {
        messages_of(unhandled) <= u64::from(self.receive.messages / 2) && bytes_of(unhandled) <= self.receive.bytes / 2
    }

    fn takes_back_refusal(&self) -> bool {
        self.has_refused.load(Ordering::Relaxed) && self.has_refused.swap(false, Ordering::AcqRel)
    }

    /// For the worker: takes all packets into `taken`, which is empty. True if none follow.
    pub(super) fn take_packets(&self, taken: &mut Vec<u8>) -> bool {
        let mut outgoing = self.outgoing.lock();
        outgoing.take(taken);
        let is_closed = outgoing.closed.is_some();
        outgoing.is_announced = is_closed;
        let is_awaited = outgoing.waiting > 0;
        drop(outgoing);
        if is_awaited {
            self.changed.notify_all();
        }
        is_closed
    }

    /// For the worker: handles the packets at the front of `bytes` up to the next message or DISCONNECT, and returns their length. With a lock
    /// for each of them a thread that publishes would get in between every time.
    pub(super) fn handle(&self, bytes: &[u8]) -> usize {
        let mut outgoing = self.outgoing.lock();
        let mut handled = 0;
        let mut others = false;
        while let Ok(Some((packet, len))) = decode(&bytes[handled..], VERSION, u32::MAX) {
            match packet {
                Packet::Publish(_) => break,
                // The caller has to know of it.
                Packet::Disconnect(_) if handled > 0 => break,
                Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) => {}
                _ => others = true,
            }
            outgoing.handle(&packet);
            handled += len;
        }
        // Acknowledgements matter to threads that wait for the window, the others to those that wait for the connection.
        if outgoing.waiting > 0 && (others || outgoing.has_half_a_window()) {
            self.changed.notify_all();
        }
        if outgoing.pending() > 0 || outgoing.closed.is_some() {
            self.announce(outgoing);
        }
        handled
    }

    /// For the worker: nothing more is read or sent.
    pub(super) fn end(&self) {
        let is_stopping = self.bell.upgrade().is_none_or(|bell| bell.is_stopping());
        let mut outgoing = self.outgoing.lock();
        let unless_closed = if is_stopping { ClientEnd::BrokerStopped } else { ClientEnd::Closed };
        let end = outgoing.closed.unwrap_or(unless_closed);
        outgoing.end(end);
        outgoing.clear();
        drop(outgoing);
        self.changed.notify_all();
    }
}

fn size_of_message(bytes: usize) -> u64 {
    ONE_MESSAGE + bytes as u64
}

fn messages_of(unhandled: u64) -> u64 {
    unhandled / ONE_MESSAGE
}

fn bytes_of(unhandled: u64) -> u64 {
    unhandled % ONE_MESSAGE
}

impl fmt::Debug for ProgramHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgramHalf").field("token", &self.token).field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// A bell that counts.
#[cfg(test)]
#[derive(Default)]
struct Rings {
    readable: wisp_engine::sync::AtomicUsize,
    writable: wisp_engine::sync::AtomicUsize,
}

#[cfg(test)]
impl Bell for Rings {
    fn ring(&self, _: usize, event: Event) {
        self.readable.fetch_add(usize::from(event.readable), Ordering::SeqCst);
        self.writable.fetch_add(usize::from(event.writable), Ordering::SeqCst);
    }

    fn is_stopping(&self) -> bool {
        false
    }
}

#[cfg(test)]
impl Rings {
    /// The half of a client that may have `messages` unhandled, with a bell of its own.
    fn with_half(messages: u32) -> (Arc<Self>, ProgramHalf) {
        let rings = Arc::<Self>::default();
        let of_rings = Arc::downgrade(&rings);
        let options = ClientOptions::builder("c").receive_messages_max(messages).build().expect("legal options");
        let half = ProgramHalf::new((Token(1), 0), of_rings, &options);
        (rings, half)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use wisp_wire::TopicName;

    use super::*;
    use crate::in_process::outgoing::OUTGOING_BYTES_MAX;

    fn publish(half: &ProgramHalf, payload: &[u8], wait: Wait) -> Result<(), ClientError> {
        let packet = Publish::new(TopicName::new("t").expect("a topic"), payload);
        half.publish(packet, packet.encoded_len(VERSION).expect("legal"), wait).map(drop)
    }

    /// Takes everything that waits, and returns its length.
    fn take(half: &ProgramHalf) -> usize {
        let mut taken = Vec::new();
        half.take_packets(&mut taken);
        taken.len()
    }

    #[test]
    fn a_burst_rings_once_until_the_worker_has_read_it() {
        let (rings, half) = Rings::with_half(1);
        let rung = || rings.readable.load(Ordering::SeqCst);
        (0..10).for_each(|_| publish(&half, b"1", Wait::No).unwrap());
        assert_eq!(rung(), 0, "the worker is told of the CONNECT in another way");
        take(&half);
        (0..10).for_each(|_| publish(&half, b"2", Wait::No).unwrap());
        assert_eq!(rung(), 1);
        take(&half);
        assert_eq!((take(&half), rung()), (0, 1));
        half.disconnect(None);
        assert_eq!(rung(), 2);
        let mut taken = Vec::new();
        assert!(half.take_packets(&mut taken) && taken.is_empty());
    }

    #[test]
    fn the_buffer_is_bounded_and_a_longer_packet_waits_alone() {
        let (_rings, half) = Rings::with_half(1);
        take(&half);
        let long = vec![0; OUTGOING_BYTES_MAX];
        publish(&half, &long, Wait::No).unwrap();
        assert_eq!(publish(&half, b"", Wait::No), Err(ClientError::Full));
        take(&half);
        let mut sent = 0;
        while publish(&half, &long[..1000], Wait::No).is_ok() {
            sent += 1;
        }
        assert_eq!(sent, OUTGOING_BYTES_MAX / 1007);
    }

    #[test]
    fn a_worker_that_was_refused_is_told_once_when_half_is_handled() {
        let (rings, half) = Rings::with_half(10);
        while half.takes_message() {
            half.count_message(5);
        }
        assert!(!half.takes_message());
        let rung = || rings.writable.load(Ordering::SeqCst);
        for n in 1..=10 {
            half.handled(5, None);
            assert_eq!(rung(), usize::from(n >= 5), "after {n}");
        }
        assert!(half.takes_message());
        half.count_message(5);
        half.handled(5, None);
        assert_eq!((rung(), half.unhandled.load(Ordering::SeqCst)), (1, 0));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    #[test]
    fn loom_a_refused_worker_is_told_of_the_room_or_finds_it() {
        loom::model(|| {
            let (rings, half) = Rings::with_half(1);
            let half = Arc::new(half);
            half.count_message(1);
            let program = Arc::clone(&half);
            let program = thread::spawn(move || program.handled(1, None));
            let takes = half.takes_message();
            program.join().unwrap();
            assert_eq!(
                rings.writable.load(Ordering::SeqCst),
                usize::from(!takes),
                "told if and only if it was refused"
            );
        });
    }
}

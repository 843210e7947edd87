//! The broker's half of a connection: in place of a socket, it takes the program's packets to the worker, and the
//! worker's to the program.
//!
//! A worker that sends decodes its packets here, copies the payloads and puts the messages into the program's channel.
//! The channel itself has no bound: the count of unhandled messages bounds it, and a message beyond that is left in the
//! outbox, as the bytes are for which a socket has no room.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender};
use wisp_engine::Received;
use wisp_engine::sync::{Mutex, rank};
use wisp_net::Token;
use wisp_wire::{Packet, Publish, decode};

use super::doorbell::Bell;
use super::message::{Message, size};
use super::options::ClientOptions;
use super::outgoing::VERSION;
use super::program_half::ProgramHalf;

/// A buffer of at most this size is kept while a client is idle.
const KEPT_BYTES: usize = 1024;

/// The broker's half of a connection.
pub(crate) struct BrokerHalf {
    program: Arc<ProgramHalf>,
    acknowledges: bool,
    incoming: Mutex<Incoming, { rank::IN_PROCESS }>,
    taken: Mutex<Taken, { rank::IN_PROCESS }>,
}

/// Packets that the worker has taken from the program, so that the program need not wait while it handles them. Only the
/// owner of the connection uses it.
#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    /// How many of the bytes were received.
    received: usize,
    /// No packets follow these.
    is_last: bool,
}

/// The way to the program.
struct Incoming {
    /// None once the connection has ended.
    messages: Option<Sender<Message>>,
    /// The topic of the last message, which the next one often has too.
    topic: Arc<str>,
}

impl BrokerHalf {
    /// Both halves of a new connection, and the program's end of the channel.
    pub(super) fn new(
        owner: (Token, usize),
        bell: Weak<dyn Bell>,
        options: &ClientOptions,
    ) -> (Self, Arc<ProgramHalf>, Receiver<Message>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let program = Arc::new(ProgramHalf::new(owner, bell, options));
        let incoming = Incoming { messages: Some(sender), topic: Arc::from("") };
        let half = Self {
            program: Arc::clone(&program),
            acknowledges: options.acknowledges,
            incoming: Mutex::new(incoming),
            taken: Mutex::default(),
        };
        (half, program, receiver)
    }

    /// Receives once into `buffer`, which must not be empty.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        let mut taken = self.taken.lock();
        let Taken { bytes, received, is_last } = &mut *taken;
        let takes = *received == bytes.len();
        if takes {
            bytes.clear();
            *received = 0;
            *is_last = self.program.take_packets(bytes);
        }
        let count = buffer.len().min(bytes.len() - *received);
        buffer[..count].copy_from_slice(&bytes[*received..*received + count]);
        *received += count;
        let is_all = *received == bytes.len();
        // The memory of a burst is kept only while bursts come.
        if is_all && bytes.capacity() > KEPT_BYTES.max(4 * bytes.len()) {
            *bytes = Vec::new();
            *received = 0;
        }
        match (count, *is_last) {
            (0, true) => Received::Closed,
            (0, false) => Received::WouldBlock,
            // The event for packets that came since the last ones were taken may have led to this receive.
            _ => Received::Bytes { count, more: !takes || !is_all || *is_last },
        }
    }

    /// Takes whole packets from the front of `bytes` and returns their length.
    ///
    /// # Errors
    /// `WouldBlock` if the program takes no message now.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.lock();
        let mut taken = 0;
        while taken < bytes.len() {
            let Ok(Some((packet, len))) = decode(&bytes[taken..], VERSION, u32::MAX) else {
                debug_assert!(false, "an outbox has whole packets");
                return Err(io::ErrorKind::InvalidData.into());
            };
            taken += match packet {
                Packet::Publish(publish) if self.deliver(&mut incoming, &publish) => len,
                Packet::Publish(_) => break,
                _ => self.program.handle(&bytes[taken..]),
            };
            // The program finds the reason when the channel has ended.
            if let Packet::Disconnect(_) = packet {
                incoming.messages = None;
            }
        }
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Puts a message into the channel. False if there is no room for it.
    fn deliver(&self, incoming: &mut Incoming, publish: &Publish<'_>) -> bool {
        let Some(messages) = &incoming.messages else { return true };
        if self.program.discards() {
            return true;
        }
        if !self.program.takes_message() {
            return false;
        }
        let topic = publish.topic.map_or("", |topic| topic.as_str());
        if *incoming.topic != *topic {
            incoming.topic = Arc::from(topic);
        }
        self.program.count_message(size(topic, publish.payload));
        let message = Message::new(publish, Arc::clone(&incoming.topic), self.acknowledges, &self.program);
        // It fails if the program has dropped the client. Then the connection is about to end.
        let _ = messages.send(message);
        true
    }

    /// The broker has sent its last packet.
    pub(crate) fn shutdown(&self) {
        self.program.close();
    }

    /// The connection has ended.
    pub(crate) fn end(&self) {
        self.program.end();
        self.incoming.lock().messages = None;
    }
}

impl fmt::Debug for BrokerHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerHalf").field("program", &self.program).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use wisp_engine::sync::{AtomicBool, Ordering};
    use wisp_wire::TopicName;

    use super::*;
    use crate::in_process::program_half::Wait;

    /// The bell of a worker that the test turns.
    #[derive(Default)]
    struct Rung(AtomicBool);

    impl Bell for Rung {
        fn ring(&self, _: usize, _: wisp_net::Event) {
            self.0.store(true, Ordering::Relaxed);
        }

        fn is_stopping(&self) -> bool {
            false
        }
    }

    #[test]
    fn packets_are_received_as_they_were_sent_in_pieces_of_any_length() {
        for len in [1, 7, 100, 1000, 3000, 100_000] {
            let bell = Arc::<Rung>::default();
            let of_bell = Arc::downgrade(&bell);
            let options = ClientOptions::builder("c").build().unwrap();
            let (half, program, _messages) = BrokerHalf::new((Token(1), 0), of_bell, &options);
            let (mut expected, mut actual) = (options.connect.clone(), Vec::new());
            let mut buffer = vec![0; len];
            // As a worker: it receives if an event has come since, or if there may be more.
            let mut may_have_more = true;
            let mut receive = || {
                if !bell.0.swap(false, Ordering::Relaxed) && !may_have_more {
                    return None;
                }
                let received = half.receive(&mut buffer);
                may_have_more = false;
                if let Received::Bytes { count, more } = received {
                    actual.extend_from_slice(&buffer[..count]);
                    may_have_more = more;
                }
                Some(received)
            };
            for n in 0..200_u8 {
                let payload = vec![n; usize::from(n) * 10];
                let publish = Publish::new(TopicName::new("t").unwrap(), &payload);
                publish.encode(VERSION, &mut expected).unwrap();
                program.publish(publish, payload.len() + 8, Wait::No).unwrap();
                receive();
            }
            while receive().is_some() {}
            program.disconnect(None);
            let last = receive();
            assert_eq!(last, Some(Received::Closed));
            assert!(actual == expected, "in pieces of {len} bytes");
            assert!(half.taken.lock().bytes.capacity() <= KEPT_BYTES, "nothing is kept for a client that is idle");
        }
    }
}

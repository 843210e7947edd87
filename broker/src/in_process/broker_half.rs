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

/// The broker's half of a connection.
pub(crate) struct BrokerHalf {
    program: Arc<ProgramHalf>,
    acknowledges: bool,
    incoming: Mutex<Incoming, { rank::IN_PROCESS }>,
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
        let half =
            Self { program: Arc::clone(&program), acknowledges: options.acknowledges, incoming: Mutex::new(incoming) };
        (half, program, receiver)
    }

    /// Receives once into `buffer`, which must not be empty.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        self.program.receive(buffer)
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
            match packet {
                Packet::Publish(publish) => {
                    if !self.deliver(&mut incoming, &publish) {
                        break;
                    }
                }
                packet => {
                    self.program.handle(&packet);
                    // The program finds the reason when the channel has ended.
                    if let Packet::Disconnect(_) = packet {
                        incoming.messages = None;
                    }
                }
            }
            taken += len;
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

//! The loop that drives a [`Protocol`] over a [`Socket`], for calls that block.
//!
//! Each call that waits repeats the same steps: take the events of the received packets ([`Driver::next_event`]), then
//! take a [`turn`](Driver::turn), which sends and receives where the socket is ready, pings if it is time, and else
//! waits for the socket until the deadline of the call. A full inbox stops receiving, and the broker's flow control
//! holds the rest back.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wisp_net::{Host, Stream};

use crate::error::Error;
use crate::inbox::Inbox;
use crate::message::Message;
use crate::options::ConnectOptions;
use crate::protocol::{Event, Protocol};
use crate::socket::{Received, Socket};
use crate::transport::{TlsSession, TransportStream};

/// How long closing waits for the broker to close as well.
const CLOSE_TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// A connection, from before CONNECT until after its end.
pub(crate) struct Driver<H: Host> {
    socket: Socket<H>,
    pub(crate) protocol: Protocol,
    pub(crate) inbox: Inbox,
    answer_timeout: Duration,
}

/// The remains of a client that gave up its connection.
#[non_exhaustive]
pub struct Parts<S: Stream> {
    /// The connection, no longer registered with a poller.
    pub stream: TransportStream<S>,
    /// Received messages that no call has returned.
    pub messages: Vec<Message>,
    /// Received bytes after them that are not decoded.
    pub bytes: Vec<u8>,
    /// Bytes to be sent before any others: acknowledgements of some of the messages.
    pub unsent: Vec<u8>,
}

impl<H: Host> Driver<H> {
    /// Connects to the address, sends CONNECT, and waits for the broker to accept the connection.
    pub(crate) fn connect(host: &H, address: SocketAddr, options: &ConnectOptions) -> Result<Self, Error> {
        // As long as no byte of MQTT has arrived, the address is the useful information.
        let of_address = |error| match error {
            Error::Transport(cause)
                if cause.kind() == io::ErrorKind::ConnectionReset && options.transport.is_plain() =>
            {
                let text = "reset without an answer: a port for TLS (mqtts://), or one of another protocol";
                Error::Connect { address, cause: io::Error::new(cause.kind(), text).into() }
            }
            Error::Transport(cause) => Error::Connect { address, cause },
            error => error,
        };
        let mut driver = Self {
            socket: Socket::open(host, address, options)?,
            // CONNECT may not wait longer than the whole of connecting, so its time begins now.
            protocol: Protocol::new(options, Instant::now())?,
            inbox: Inbox::new(options.inbox_messages_max, options.inbox_bytes_max),
            answer_timeout: options.answer_timeout,
        };
        if !options.transport.is_plain() {
            // A handshake has several small packets in a row, each of which would wait for an acknowledgement.
            let _ = driver.socket.set_nodelay();
        }
        let is_open = driver.socket.shake_hands(driver.protocol.poll_timeout());
        if !is_open.map_err(|error| of_address(Error::transport(error)))? {
            let waiting = "for the broker to complete the handshake of TLS or WebSocket";
            return Err(Error::Timeout { waiting, waited: options.connect_timeout });
        }
        while driver.next_event() != Some(Event::Connected) {
            // The protocol has a deadline for this wait.
            driver.turn(None).map_err(of_address)?;
        }
        // Without this option a small packet may wait for the acknowledgement of the one before. A host may refuse it.
        let _ = driver.socket.set_nodelay();
        Ok(driver)
    }

    /// The facts of TLS, if the transport has it.
    pub(crate) fn tls_session(&self) -> Option<TlsSession> {
        self.socket.tls_session()
    }

    /// Sends all queued bytes to the socket.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        // A look at the socket first shows that the broker has closed. Otherwise one more message would succeed: a
        // socket accepts it after its peer is gone.
        self.wait(Some(Duration::ZERO))?;
        let mut deadline = self.answer_deadline();
        let mut fewest = usize::MAX;
        loop {
            self.exchange();
            // Before the check, since a DISCONNECT among the received packets says more about the end.
            self.fill_inbox();
            self.protocol.check_open()?;
            let unsent = self.protocol.unsent_bytes() + self.socket.unsent_bytes();
            if unsent == 0 {
                return Ok(());
            }
            // A slow broker is not given up while it accepts bytes.
            if unsent < fewest {
                fewest = unsent;
                deadline = self.answer_deadline();
            }
            self.turn_before(deadline, "for the broker to accept bytes")?;
        }
    }

    /// Waits for an event that `wanted` accepts. Messages before it go to the inbox.
    pub(crate) fn await_answer<T>(
        &mut self,
        waiting: &'static str,
        mut wanted: impl FnMut(Event) -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = self.answer_deadline();
        loop {
            while !self.inbox.is_full() {
                match self.next_event() {
                    Some(Event::Message(message)) => self.inbox.push(message),
                    // Any other event answers an earlier call, which gave up.
                    Some(answer) => {
                        if let Some(wanted) = wanted(answer) {
                            return Ok(wanted);
                        }
                    }
                    None => break,
                }
            }
            if self.inbox.is_full() {
                // The request goes out all the same: its answer is there once the caller has emptied the inbox.
                self.exchange();
                self.protocol.check_open()?;
                return Err(Error::InboxFull { messages: self.inbox.len() });
            }
            self.turn_before(deadline, waiting)?;
        }
    }

    /// The next event. If the broker violated the protocol, it is told why the connection ends.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let event = self.protocol.poll_event(Instant::now());
        if event.is_none() && self.protocol.check_open().is_err() && !self.protocol.poll_transmit().is_empty() {
            // As far as the socket accepts it at once: the broker may have stopped reading.
            let _ = self.send();
            self.socket.finish_sending();
            self.protocol.handle_close(None);
        }
        event
    }

    /// Sends and receives where the socket is ready. If nothing moves, waits until the socket is ready or the deadline
    /// has passed. Returns false when the deadline has passed and nothing can move.
    pub(crate) fn turn(&mut self, deadline: Option<Instant>) -> Result<bool, Error> {
        self.protocol.check_open()?;
        if self.exchange() {
            return Ok(true);
        }
        let now = Instant::now();
        self.protocol.handle_timeout(now);
        self.protocol.check_open()?;
        if self.is_ready() {
            // A ping was queued, and no event would announce that the socket accepts it.
            return Ok(true);
        }
        let until = [deadline, self.protocol.poll_timeout()].into_iter().flatten().min();
        self.wait(until.map(|until| until.saturating_duration_since(now)))?;
        let has_passed = deadline.is_some_and(|deadline| deadline <= Instant::now());
        Ok(!has_passed || self.is_ready())
    }

    /// As [`turn`](Self::turn), with an error when the deadline has passed.
    fn turn_before(&mut self, deadline: Option<Instant>, waiting: &'static str) -> Result<(), Error> {
        if self.turn(deadline)? { Ok(()) } else { Err(Error::Timeout { waiting, waited: self.answer_timeout }) }
    }

    /// Sends DISCONNECT and waits until the broker has closed as well: closing while received bytes are unread would
    /// reset the connection, and the reset may overtake the last sent bytes.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        // A broker that closes before DISCONNECT is a failure; after it, closing is the expected answer.
        if self.protocol.unsent_bytes() > 0 {
            self.flush()?;
        }
        self.protocol.disconnect()?;
        match self.flush() {
            Err(Error::Closed { code: None, .. }) if self.protocol.unsent_bytes() == 0 => return Ok(()),
            flushed => flushed?,
        }
        self.socket.finish_sending();
        let deadline = Instant::now().checked_add(self.answer_timeout.min(CLOSE_TIMEOUT_MAX));
        loop {
            while self.inbox.pop().is_some() {}
            self.protocol.discard_input();
            match self.turn(deadline) {
                Ok(true) => {}
                // All bytes are sent, so the way the connection ends does not matter.
                Ok(false) | Err(_) => return Ok(()),
            }
        }
    }

    /// Gives the connection up, with the messages that no call has returned.
    pub(crate) fn into_parts(self, messages: Vec<Message>) -> Parts<H::Stream> {
        let (bytes, unsent) = (self.protocol.undecoded().to_vec(), self.protocol.poll_transmit().to_vec());
        Parts { bytes, unsent, stream: self.socket.into_stream(), messages }
    }

    /// Moves received messages to the inbox until it is full.
    fn fill_inbox(&mut self) {
        while !self.inbox.is_full() {
            match self.next_event() {
                Some(Event::Message(message)) => self.inbox.push(message),
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Sends and receives where the socket is ready. Returns whether anything moved; the end of the connection counts.
    fn exchange(&mut self) -> bool {
        if self.protocol.check_open().is_err() {
            return false;
        }
        let sent = match self.send() {
            Ok(sent) => sent,
            Err(error) => {
                self.end_after_last_input(error);
                return true;
            }
        };
        if self.inbox.is_full() {
            return sent;
        }
        match self.socket.receive(self.protocol.input_buffer()) {
            Ok(Received::Nothing) => return sent,
            Ok(Received::Bytes(bytes)) => self.protocol.handle_input(bytes),
            Ok(Received::End) => self.protocol.handle_close(None),
            Err(error) => self.protocol.handle_close(Some(error)),
        }
        true
    }

    /// Sends as much as the socket accepts. Returns whether that is any byte.
    fn send(&mut self) -> io::Result<bool> {
        let mut moved = false;
        loop {
            let sent = self.socket.send(self.protocol.poll_transmit())?;
            if sent == 0 {
                return Ok(moved);
            }
            self.protocol.handle_sent(sent, Instant::now());
            moved = true;
        }
    }

    /// Ends the connection because sending failed. The broker's last packets may still be in the socket; they are no
    /// more than the socket holds, since no more can arrive.
    fn end_after_last_input(&mut self, error: io::Error) {
        let received = loop {
            match self.socket.receive_now(self.protocol.input_buffer()) {
                Ok(Received::Bytes(bytes)) => self.protocol.handle_input(bytes),
                received => break received,
            }
        };
        // A connection that was never made also gives an end of stream, but its error says more.
        let by_peer = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        self.protocol.handle_close(match received {
            Ok(Received::End) if by_peer => None,
            // A layer of the transport tells why the peer closed.
            Err(explained) if is_explained(&explained) => Some(explained),
            _ => Some(error),
        });
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        if let Err(error) = self.socket.wait(timeout) {
            self.protocol.handle_close(Some(error));
            self.protocol.check_open()?;
        }
        Ok(())
    }

    /// Whether an attempt to send or to receive is worthwhile.
    fn is_ready(&self) -> bool {
        let may_receive = !self.inbox.is_full() && self.socket.is_readable();
        let may_send = !self.protocol.poll_transmit().is_empty() || self.socket.unsent_bytes() > 0;
        may_receive || (self.socket.is_writable() && may_send)
    }

    fn answer_deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.answer_timeout)
    }
}

/// Whether a layer of the transport made the error, with an error of this crate in it.
fn is_explained(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<Error>())
}

//! The program `wisp-transfer`: the cost of a host's sockets, with nothing else around them.
//!
//! ```text
//!   accept one connection ---> receive all messages ---> send as many back ---> wait until the peer closes
//!                              |<---- receive time ---->|<------------- send time ------------->|
//! ```
//!
//! The sent bytes are the last message received, over and over, so that the peer can tell whether every byte arrived in
//! its place. The peer closes when it has all, so that no bytes of the send time are left in the system's buffers.

pub mod args;

use std::io;
use std::net::Shutdown;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Instant;

use wisp_net::{Event, Host, Listener, Poller, Registrar, Stream, Token};

const LISTENER: Token = Token(0);
const STREAM: Token = Token(1);

/// The transfer in each direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How many messages.
    pub messages: NonZeroU64,
    /// How long each of them is.
    pub size_bytes: NonZeroUsize,
    /// How much one call is asked to carry.
    pub buffer: Buffer,
}

/// How much one call is asked to carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Buffer {
    /// One message, or the rest of it when an earlier call carried a part.
    Message,
    /// As many messages as fit into this number of bytes; at least one.
    Bytes(NonZeroUsize),
}

/// One direction of a transfer.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Phase {
    /// How long it took.
    pub seconds: f64,
    /// How often the host was asked to receive or send, also in vain.
    pub calls: u64,
    /// How often it had to be waited for.
    pub waits: u64,
}

/// The times of a transfer.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Report {
    /// From the first call to the last byte.
    pub receive: Phase,
    /// From then until the peer had it all.
    pub send: Phase,
}

/// Takes one connection, receives all messages from it and sends as many back.
///
/// # Errors
/// The host's own; `UnexpectedEof` when the peer closes too early, `InvalidData` when it sends too much.
pub fn serve<H: Host>(host: &H, listener: H::Listener, settings: &Settings) -> io::Result<Report> {
    let mut line = Line::<H>::accept(host, listener)?;
    let started = Instant::now();
    let message = line.receive_all(settings)?;
    let receive = line.phase_since(started);
    let started = Instant::now();
    line.send_all(settings, &message)?;
    line.expect_close()?;
    let send = line.phase_since(started);
    line.close()?;
    Ok(Report { receive, send })
}

/// A connection, and the poller that waits for it when it is not ready.
struct Line<H: Host> {
    stream: H::Stream,
    poller: H::Poller,
    events: Vec<Event>,
    calls: u64,
    waits: u64,
}

impl<H: Host> Line<H> {
    fn accept(host: &H, mut listener: H::Listener) -> io::Result<Self> {
        let mut poller = host.poller()?;
        let registrar = poller.registrar();
        registrar.add_listener(&mut listener, LISTENER)?;
        let mut events = Vec::new();
        let mut stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => poller.wait(&mut events, None)?,
                Err(error) => return Err(error),
            }
        };
        stream.set_nodelay()?;
        registrar.add(&mut stream, STREAM)?;
        Ok(Self { stream, poller, events, calls: 0, waits: 0 })
    }

    /// Receives everything and gives the last message.
    fn receive_all(&mut self, settings: &Settings) -> io::Result<Vec<u8>> {
        let size = settings.size_bytes.get();
        let total = settings.total_bytes()?;
        let mut buffer = vec![0; settings.buffer_bytes()];
        let mut last = vec![0; size];
        let last_starts = total - size as u64;
        let mut received = 0;
        while received < total {
            let wanted = settings.slice_bytes(received, total);
            let len = self.retry(|stream| stream.recv(&mut buffer[..wanted]))?;
            if len == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed before it had sent all"));
            }
            let ends = received + len as u64;
            if ends > last_starts {
                // Both differences are below the length of a buffer or a message.
                let skipped = last_starts.saturating_sub(received) as usize;
                let place = received.saturating_sub(last_starts) as usize;
                last[place..][..len - skipped].copy_from_slice(&buffer[skipped..len]);
            }
            received = ends;
        }
        Ok(last)
    }

    fn send_all(&mut self, settings: &Settings, message: &[u8]) -> io::Result<()> {
        let total = settings.total_bytes()?;
        let buffer = message.repeat(settings.buffer_bytes() / message.len());
        let mut sent = 0;
        while sent < total {
            let from = (sent % message.len() as u64) as usize;
            let len = settings.slice_bytes(sent, total).min(buffer.len() - from);
            sent += self.retry(|stream| stream.send(&buffer[from..from + len]))? as u64;
        }
        Ok(())
    }

    fn expect_close(&mut self) -> io::Result<()> {
        match self.retry(|stream| stream.recv(&mut [0]))? {
            0 => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the peer sent more than was agreed")),
        }
    }

    /// Tries until the host is ready.
    fn retry(&mut self, mut attempt: impl FnMut(&H::Stream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            self.calls += 1;
            match attempt(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waits += 1;
                    self.poller.wait(&mut self.events, None)?;
                }
                done => return done,
            }
        }
    }

    /// The counts since the last phase, and starts a new one.
    fn phase_since(&mut self, started: Instant) -> Phase {
        let seconds = started.elapsed().as_secs_f64();
        Phase { seconds, calls: std::mem::take(&mut self.calls), waits: std::mem::take(&mut self.waits) }
    }

    fn close(self) -> io::Result<()> {
        self.poller.registrar().remove(&self.stream)?;
        // The peer may have gone for good by now.
        drop(self.stream.shutdown(Shutdown::Both));
        Ok(())
    }
}

impl Settings {
    fn total_bytes(&self) -> io::Result<u64> {
        let too_much = || io::Error::new(io::ErrorKind::InvalidInput, "the messages have too many bytes together");
        self.messages.get().checked_mul(self.size_bytes.get() as u64).ok_or_else(too_much)
    }

    /// The length of the buffer: whole messages.
    fn buffer_bytes(&self) -> usize {
        let size = self.size_bytes.get();
        match self.buffer {
            Buffer::Message => size,
            Buffer::Bytes(bytes) => (bytes.get() / size).max(1) * size,
        }
    }

    /// How much to ask the next call for, after so much of the total.
    fn slice_bytes(&self, done: u64, total: u64) -> usize {
        let size = self.size_bytes.get();
        match self.buffer {
            Buffer::Message => size - (done % size as u64) as usize,
            Buffer::Bytes(_) => (total - done).min(self.buffer_bytes() as u64) as usize,
        }
    }
}

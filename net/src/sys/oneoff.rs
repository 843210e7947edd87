//! Streams and pollers for hosts that only have `poll_oneoff`: Wasmtime and WasmEdge.
//!
//! Each call passes a list of descriptors to the host, which answers by level; armed.rs makes edges of
//! that. A blocked call does not see directions that are armed meanwhile, so waits are cut into ticks on
//! hosts with threads.
//!
//! Each call asks about all armed directions, so a ready descriptor waits for the next call at most,
//! and the cost of a call grows with the number of connections. Where the host reports descriptors that
//! are not ready, groups of answers are checked again (sift.rs). Directions of rejected answers stay
//! armed.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::armed::{self, READ, WRITE};
use super::imp;
use super::poll::{self, Answer, Question};
use super::sift::sift;
use super::wasi::Fd;
use crate::{Event, Listener, Poller, Registrar, Stream, Token};

type Slot = armed::Slot<Source>;
type Registration = armed::Registration<Source>;
type Inbox = armed::Inbox<Source>;

/// A registered socket.
#[derive(Debug)]
struct Source {
    fd: u32,
    is_listener: bool,
}

/// The length of one call in a wait without a limit.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// The pause after the host returned early without an event. WasmEdge does this continually while a
/// stream only waits for room to send to a half-closed peer.
const NAP: Duration = Duration::from_millis(1);

/// A listening socket, opened or inherited.
#[derive(Debug)]
pub struct SysListener {
    slot: Slot,
    fd: Fd,
}

impl SysListener {
    /// `fd` is non-blocking.
    pub(super) fn new(fd: Fd) -> SysListener {
        SysListener { slot: Slot::new(), fd }
    }
}

impl Listener for SysListener {
    type Stream = SysStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        imp::local_addr(&self.fd)
    }

    fn accept(&self) -> io::Result<(SysStream, Option<SocketAddr>)> {
        // Armed after any failure, so that one failed connection does not delay the next.
        let (fd, peer) = imp::accept(&self.fd).inspect_err(|_| self.slot.arm(READ))?;
        Ok((SysStream::new(fd), peer))
    }
}

/// A connection.
#[derive(Debug)]
pub struct SysStream {
    slot: Slot,
    fd: Fd,
}

impl SysStream {
    /// `fd` is non-blocking.
    pub(super) fn new(fd: Fd) -> SysStream {
        SysStream { slot: Slot::new(), fd }
    }
}

impl Stream for SysStream {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.fd.recv(buffer, 0);
        match &result {
            Ok(len) if *len == 0 || *len == buffer.len() => {}
            Ok(_) => self.slot.arm(READ),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.slot.arm(READ),
            Err(_) => {}
        }
        result
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        // Several calls only where the host copies all of its input, even to send a part.
        for piece in bytes.chunks(imp::SEND_BYTES_MAX) {
            match self.fd.send(piece, 0) {
                Ok(len) => {
                    sent += len;
                    if len < piece.len() {
                        break;
                    }
                }
                Err(error) if sent == 0 => {
                    if error.kind() == io::ErrorKind::WouldBlock {
                        self.slot.arm(WRITE);
                    }
                    return Err(error);
                }
                // The next call returns the error.
                Err(_) => break,
            }
        }
        if sent < bytes.len() {
            self.slot.arm(WRITE);
        }
        Ok(sent)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.fd.shutdown(how)
    }

    fn set_nodelay(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Registers with one poller.
#[derive(Clone, Debug)]
pub struct SysRegistrar(Arc<Inbox>);

impl Registrar for SysRegistrar {
    type Listener = SysListener;
    type Stream = SysStream;

    fn add_listener(&self, listener: &mut SysListener, token: Token) -> io::Result<()> {
        let source = Source { fd: listener.fd.number(), is_listener: true };
        self.0.register(&mut listener.slot, source, token, READ)
    }

    fn add(&self, stream: &mut SysStream, token: Token) -> io::Result<()> {
        let source = Source { fd: stream.fd.number(), is_listener: false };
        self.0.register(&mut stream.slot, source, token, READ | WRITE)
    }

    fn remove(&self, stream: &SysStream) -> io::Result<()> {
        stream.slot.end()
    }

    fn wake(&self) -> bool {
        false
    }
}

/// Asks the host about armed directions.
#[derive(Debug)]
pub struct SysPoller {
    inbox: Arc<Inbox>,
    registrations: Vec<Arc<Registration>>,
    /// The questions to the host and its answers, kept to reuse their memory. A question and its answer
    /// carry the index of their registration.
    questions: Vec<Question>,
    answers: Vec<Answer>,
    /// Rejects answers that are wrong.
    recheck: Recheck,
}

impl SysPoller {
    pub(super) fn new() -> SysPoller {
        SysPoller {
            inbox: Arc::default(),
            registrations: Vec::new(),
            questions: Vec::new(),
            answers: Vec::new(),
            recheck: Recheck::default(),
        }
    }

    /// Asks about all armed directions; the host answers after `wait` at the latest.
    fn ask(&mut self, wait: Duration) -> io::Result<()> {
        self.inbox.update(&mut self.registrations);
        self.questions.clear();
        for (index, registration) in self.registrations.iter().enumerate() {
            let armed = registration.armed();
            for (direction, question) in [(READ, Question::read as fn(_, _) -> _), (WRITE, Question::write)] {
                if armed & direction != 0 {
                    self.questions.push(question(registration.source.fd, index));
                }
            }
        }
        self.questions.push(Question::clock(wait));
        match poll::poll(&self.questions, &mut self.answers) {
            // Another thread closed a stream after the question was made; the next call omits it.
            Err(error)
                if error.raw_os_error() == Some(poll::ERRNO_BADF)
                    && self.registrations.iter().any(|registration| registration.has_ended()) =>
            {
                self.answers.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Turns the answers into events. True if the wait timed out.
    fn report(&mut self, events: &mut Vec<Event>) -> bool {
        let mut time_is_up = false;
        // With one direction and the clock, the answer can only concern that direction.
        if self.questions.len() > 2 {
            self.recheck.retain_true(&self.registrations, &mut self.answers);
        }
        for answer in &self.answers {
            let directions = match answer.kind {
                Answer::READ if answer.is_plain() => READ,
                Answer::WRITE if answer.is_plain() => WRITE,
                Answer::READ | Answer::WRITE => READ | WRITE,
                _ => {
                    time_is_up = true;
                    continue;
                }
            };
            self.registrations[answer.index()].fire(directions, events);
        }
        time_is_up
    }
}

/// Corrects the answers of a host that reports all descriptors as ready as soon as one is. Checking
/// each of a thousand descriptors with a call of its own would cost more than serving the ready one.
/// The host does tell truly that no descriptor of a group is ready, so groups are checked.
#[derive(Default, Debug)]
struct Recheck {
    /// Positions of the answers that may be wrong, and of the confirmed ones among them.
    suspects: Vec<usize>,
    confirmed: Vec<usize>,
    questions: Vec<Question>,
    answers: Vec<Answer>,
}

impl Recheck {
    /// Removes wrong answers and keeps the order of the others.
    fn retain_true(&mut self, registrations: &[Arc<Registration>], answers: &mut Vec<Answer>) {
        self.suspects.clear();
        // Trying to accept costs no more than checking.
        let is_suspect =
            |answer: &Answer| imp::may_be_false(answer) && !registrations[answer.index()].source.is_listener;
        self.suspects.extend((0..answers.len()).filter(|place| is_suspect(&answers[*place])));
        if self.suspects.is_empty() {
            return;
        }
        self.confirmed.clear();
        let any_ready = |range: Range<usize>| {
            self.questions.clear();
            for place in &self.suspects[range] {
                let answer = &answers[*place];
                let registration = &registrations[answer.index()];
                if !registration.has_ended() {
                    self.questions.push(Question::again(answer, registration.source.fd));
                }
            }
            if self.questions.is_empty() {
                return false;
            }
            self.questions.push(Question::clock(Duration::ZERO));
            // An error may concern any of them.
            poll::poll(&self.questions, &mut self.answers).is_err()
                || self.answers.iter().any(|answer| answer.kind != Answer::CLOCK)
        };
        sift(self.suspects.len(), any_ready, |place| self.confirmed.push(self.suspects[place]));
        let (mut suspects, mut confirmed) = (self.suspects.iter().peekable(), self.confirmed.iter().peekable());
        let mut place = 0;
        answers.retain(|_| {
            let is_suspect = suspects.next_if_eq(&&place).is_some();
            let is_confirmed = confirmed.next_if_eq(&&place).is_some();
            place += 1;
            is_confirmed || !is_suspect
        });
    }
}

impl Poller for SysPoller {
    type Listener = SysListener;
    type Stream = SysStream;
    type Registrar = SysRegistrar;

    fn registrar(&self) -> SysRegistrar {
        SysRegistrar(Arc::clone(&self.inbox))
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let start = Instant::now();
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
            let slice = left.unwrap_or(WAIT_MAX).min(WAIT_MAX).min(imp::TICK);
            self.ask(slice)?;
            let time_is_up = self.report(events);
            if !events.is_empty() || left.is_some_and(|left| left <= slice) {
                return Ok(());
            }
            if !time_is_up {
                std::thread::sleep(NAP);
            }
        }
    }
}

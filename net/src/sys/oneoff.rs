//! Streams and pollers for hosts that have `poll_oneoff` and nothing better: Wasmtime and WasmEdge.
//!
//! The host is asked about a list of descriptors anew each time and answers by level, so the edges of
//! the contract are made here. Each registration has its armed directions in one atomic byte. The
//! poller asks about armed directions only and disarms what it reports; `recv` and `send` arm again
//! when they would block or come back short, from whatever thread. A blocked call cannot be told of
//! what was armed meanwhile, which is why waits are cut into ticks where the host has threads.
//!
//! Each call asks about everything armed, so nothing that is ready waits for longer than the next call,
//! and the cost of a call grows with the connections. Where the host calls ready what is not, groups
//! of answers are asked about again (sift.rs); an answer that this leaves out is to a direction that
//! stays armed.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::imp;
use super::poll::{self, Answer, Question};
use super::sift::sift;
use super::wasi::Fd;
use crate::{Event, Listener, Poller, Registrar, Stream, Token};

const READ: u8 = 1;
const WRITE: u8 = 2;
/// The registration has ended; its descriptor may belong to somebody else.
const ENDED: u8 = 4;

/// What a wait without a limit takes in one call.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// How long to let pass when the host came back early with nothing, as WasmEdge does again and again
/// for a half-closed peer that only room to send is wanted from.
const NAP: Duration = Duration::from_millis(1);

/// A listening socket, however the host came by it.
#[derive(Debug)]
pub struct SysListener {
    slot: Slot,
    fd: Fd,
}

impl SysListener {
    /// Of a descriptor that does not block.
    pub(super) fn new(fd: Fd) -> SysListener {
        SysListener { slot: Slot::default(), fd }
    }
}

impl Listener for SysListener {
    type Stream = SysStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        imp::local_addr(&self.fd)
    }

    fn accept(&self) -> io::Result<(SysStream, Option<SocketAddr>)> {
        // Armed after any failure, so that one connection that failed does not keep the next waiting.
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
    /// Of a descriptor that does not block.
    pub(super) fn new(fd: Fd) -> SysStream {
        SysStream { slot: Slot::default(), fd }
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
        // More than one call only where the host copies all it is given before it sends a part.
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
                // The next call tells.
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

/// The place for a registration, which ends with it and, as the first field, before the descriptor.
#[derive(Debug, Default)]
struct Slot(Option<Arc<Registration>>);

impl Slot {
    fn arm(&self, direction: u8) {
        if let Some(registration) = &self.0 {
            // Ordered after the call that would have blocked, as the poller's load is before its own.
            registration.state.fetch_or(direction, Ordering::Release);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(registration) = &self.0 {
            registration.end();
        }
    }
}

/// What a stream or listener shares with the poller it is registered with.
#[derive(Debug)]
struct Registration {
    fd: u32,
    token: Token,
    is_listener: bool,
    state: AtomicU8,
}

impl Registration {
    fn end(&self) {
        self.state.store(ENDED, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) & ENDED != 0
    }

    /// Takes what is armed of `directions`, as an event.
    fn fire(&self, directions: u8) -> Option<Event> {
        let before = self.state.fetch_and(!directions, Ordering::AcqRel);
        let fired = if before & ENDED == 0 { before & directions } else { 0 };
        let (readable, writable) = (fired & READ != 0, fired & WRITE != 0);
        (fired != 0).then_some(Event { token: self.token, readable, writable })
    }
}

/// What other threads hand to the poller's owner.
#[derive(Debug, Default)]
struct Inbox {
    registrations: Mutex<Vec<Arc<Registration>>>,
    /// Whether there are any, so that most waits need no lock.
    any: AtomicBool,
}

impl Inbox {
    fn push(&self, registration: Arc<Registration>) {
        self.registrations.lock().unwrap_or_else(PoisonError::into_inner).push(registration);
        self.any.store(true, Ordering::Release);
    }

    fn drain_into(&self, registrations: &mut Vec<Arc<Registration>>) {
        if self.any.swap(false, Ordering::Acquire) {
            registrations.append(&mut self.registrations.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Registers with one poller.
#[derive(Clone, Debug)]
pub struct SysRegistrar(Arc<Inbox>);

impl SysRegistrar {
    fn register(&self, slot: &mut Slot, fd: &Fd, token: Token, is_listener: bool) -> io::Result<()> {
        if slot.0.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let state = AtomicU8::new(if is_listener { READ } else { READ | WRITE });
        let registration = Registration { fd: fd.number(), token, is_listener, state };
        let registration = slot.0.insert(Arc::new(registration));
        self.0.push(Arc::clone(registration));
        Ok(())
    }
}

impl Registrar for SysRegistrar {
    type Listener = SysListener;
    type Stream = SysStream;

    fn add_listener(&self, listener: &mut SysListener, token: Token) -> io::Result<()> {
        self.register(&mut listener.slot, &listener.fd, token, true)
    }

    fn add(&self, stream: &mut SysStream, token: Token) -> io::Result<()> {
        self.register(&mut stream.slot, &stream.fd, token, false)
    }

    fn remove(&self, stream: &SysStream) -> io::Result<()> {
        stream.slot.0.as_ref().ok_or(io::ErrorKind::NotFound)?.end();
        Ok(())
    }

    fn wake(&self) -> bool {
        false
    }
}

/// Asks the host about what is armed.
#[derive(Debug)]
pub struct SysPoller {
    inbox: Arc<Inbox>,
    registrations: Vec<Arc<Registration>>,
    /// What the host is asked and what it answers, kept to be filled again. A question and its answer
    /// carry the index of their registration.
    questions: Vec<Question>,
    answers: Vec<Answer>,
    /// The answers that may be wrong.
    doubts: Doubts,
}

impl SysPoller {
    pub(super) fn new() -> SysPoller {
        SysPoller {
            inbox: Arc::default(),
            registrations: Vec::new(),
            questions: Vec::new(),
            answers: Vec::new(),
            doubts: Doubts::default(),
        }
    }

    /// Asks about everything armed, and to be answered after `wait` in any case.
    fn ask(&mut self, wait: Duration) -> io::Result<()> {
        self.inbox.drain_into(&mut self.registrations);
        self.registrations.retain(|registration| !registration.has_ended());
        self.questions.clear();
        for (index, registration) in self.registrations.iter().enumerate() {
            let armed = registration.state.load(Ordering::Acquire);
            for (direction, question) in [(READ, Question::read as fn(_, _) -> _), (WRITE, Question::write)] {
                if armed & direction != 0 {
                    self.questions.push(question(registration.fd, index));
                }
            }
        }
        self.questions.push(Question::clock(wait));
        match poll::poll(&self.questions, &mut self.answers) {
            // Another thread has closed a stream since it was asked about; the next question is
            // without it.
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

    /// Turns the answers into events, and says whether the time was up.
    fn report(&mut self, events: &mut Vec<Event>) -> bool {
        let mut time_is_up = false;
        // With the clock and one more, the answer can only be about that one.
        if self.questions.len() > 2 {
            self.doubts.settle(&self.registrations, &mut self.answers);
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
            let Some(event) = self.registrations[answer.index()].fire(directions) else { continue };
            match events.last_mut() {
                Some(last) if last.token == event.token => {
                    last.readable |= event.readable;
                    last.writable |= event.writable;
                }
                _ => events.push(event),
            }
        }
        time_is_up
    }
}

/// Sets right what a host says that calls all it was asked about ready as soon as one descriptor is. To
/// each of a thousand a call of its own would cost more than all that is done for the one; but that
/// nothing of a group is ready, this host says truly.
#[derive(Default, Debug)]
struct Doubts {
    /// Places of answers that may be wrong, and of those among them that are right.
    doubtful: Vec<usize>,
    right: Vec<usize>,
    questions: Vec<Question>,
    answers: Vec<Answer>,
}

impl Doubts {
    /// Keeps of the answers those that are right, in their order.
    fn settle(&mut self, registrations: &[Arc<Registration>], answers: &mut Vec<Answer>) {
        self.doubtful.clear();
        // To accept in vain costs no more than to ask again.
        let is_doubtful = |answer: &Answer| imp::may_be_wrong(answer) && !registrations[answer.index()].is_listener;
        self.doubtful.extend((0..answers.len()).filter(|place| is_doubtful(&answers[*place])));
        if self.doubtful.is_empty() {
            return;
        }
        self.right.clear();
        let any_ready = |range: Range<usize>| {
            self.questions.clear();
            for place in &self.doubtful[range] {
                let answer = &answers[*place];
                let registration = &registrations[answer.index()];
                if !registration.has_ended() {
                    self.questions.push(Question::again(answer, registration.fd));
                }
            }
            if self.questions.is_empty() {
                return false;
            }
            self.questions.push(Question::clock(Duration::ZERO));
            // An error may be about any of them.
            poll::poll(&self.questions, &mut self.answers).is_err()
                || self.answers.iter().any(|answer| answer.kind != Answer::CLOCK)
        };
        sift(self.doubtful.len(), any_ready, |place| self.right.push(self.doubtful[place]));
        let (mut doubtful, mut right) = (self.doubtful.iter().peekable(), self.right.iter().peekable());
        let mut place = 0;
        answers.retain(|_| {
            let is_doubtful = doubtful.next_if_eq(&&place).is_some();
            let is_right = right.next_if_eq(&&place).is_some();
            place += 1;
            is_right || !is_doubtful
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

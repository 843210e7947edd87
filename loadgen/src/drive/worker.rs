//! One thread's event loop over its senders and receivers.
//!
//! Each round it waits for events, receives once from every connection that is readable, and sends once on every
//! sender's that is writable: a large batch for each call, no thread and no buffer for a connection, and no
//! connection that starves another.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wisp_net::{Event, Host, Poller, Registrar, Stream, SysHost, SysPoller, SysStream, Token};

use crate::drive::checker::Checker;
use crate::drive::inbound::{Inbound, Received};
use crate::drive::outgoing::Outgoing;
use crate::drive::sending::Sending;

/// How long a wait lasts at most, so that a thread notices in time that the run has ended.
const TICK: Duration = Duration::from_millis(50);

/// What the threads of a run tell each other.
#[derive(Debug)]
pub(crate) struct Shared {
    /// All threads and the supervisor start together.
    pub(crate) start: Barrier,
    pub(crate) stop: AtomicBool,
    /// One for each thread.
    progress: Vec<Progress>,
    failure: Mutex<Option<String>>,
    supervisor: Thread,
}

/// How far one thread has come, for all to see. Alone in its cache lines, since it is written every round.
#[derive(Default, Debug)]
#[repr(align(128))]
pub(crate) struct Progress {
    sent_bytes: AtomicU64,
    received: AtomicU64,
    confirmed: AtomicU64,
}

/// How far a run, or a thread of it, has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Done {
    pub(crate) sent_bytes: u64,
    /// Different messages received.
    pub(crate) received: u64,
    /// Senders of which the broker has read everything.
    pub(crate) confirmed: u64,
}

impl Progress {
    fn tell(&self, done: &Done) {
        self.sent_bytes.store(done.sent_bytes, Ordering::Relaxed);
        self.received.store(done.received, Ordering::Relaxed);
        self.confirmed.store(done.confirmed, Ordering::Relaxed);
    }
}

impl Shared {
    /// For so many threads, supervised by the calling one.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            start: Barrier::new(threads + 1),
            stop: AtomicBool::new(false),
            progress: (0..threads).map(|_| Progress::default()).collect(),
            failure: Mutex::new(None),
            supervisor: std::thread::current(),
        }
    }

    /// How far all threads together have come.
    pub(crate) fn done(&self) -> Done {
        self.progress.iter().fold(Done::default(), |sum, progress| Done {
            sent_bytes: sum.sent_bytes + progress.sent_bytes.load(Ordering::Relaxed),
            received: sum.received + progress.received.load(Ordering::Relaxed),
            confirmed: sum.confirmed + progress.confirmed.load(Ordering::Relaxed),
        })
    }

    /// The first failure of any thread.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, why: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.supervisor.unpark();
    }
}

/// A connection that is ready for the run.
pub(crate) struct Link {
    pub(crate) stream: SysStream,
    pub(crate) inbound: Inbound,
    /// `None` for a receiver.
    pub(crate) sending: Option<Sending>,
    /// What a reader knows it as: "sender 3".
    pub(crate) name: String,
}

/// What one thread found.
#[derive(Default, Debug)]
pub(crate) struct Findings {
    /// Of its receivers.
    pub(crate) checkers: Vec<Checker>,
    /// Messages handed to sockets, by sender.
    pub(crate) sent: Vec<(u32, u64)>,
    pub(crate) first_send: Option<Instant>,
    /// When the last message came that had not come before.
    pub(crate) last_message: Option<Instant>,
    /// When the broker last said that it has read all of a sender's messages.
    pub(crate) last_answer: Option<Instant>,
}

/// One thread of a run.
pub(crate) struct Worker {
    poller: SysPoller,
    links: Vec<Registered>,
    outgoing: Outgoing,
    /// The largest message and more.
    scratch: Vec<u8>,
    shared: Arc<Shared>,
    index: usize,
    /// Links that can receive or send without waiting.
    ready: VecDeque<usize>,
    done: Done,
    findings: Findings,
}

struct Registered {
    link: Link,
    readable: bool,
    writable: bool,
    /// Whether it stands in `ready`.
    is_queued: bool,
}

impl Registered {
    fn is_ready(&self) -> bool {
        let Link { inbound, sending, .. } = &self.link;
        let has_replies = !inbound.replies.is_empty();
        let may_send = || has_replies || sending.is_some_and(|sending| sending.may_send(inbound.settled()));
        // What cannot be answered is not read, so that answers do not pile up.
        (self.readable && !has_replies) || (self.writable && may_send())
    }
}

impl Worker {
    /// Takes over the connections of one thread.
    pub(crate) fn new(
        links: Vec<Link>,
        outgoing: Outgoing,
        scratch_bytes: usize,
        shared: Arc<Shared>,
        index: usize,
    ) -> io::Result<Self> {
        let poller = SysHost.poller()?;
        let registrar = poller.registrar();
        let mut registered = Vec::with_capacity(links.len());
        for mut link in links {
            registrar.add(&mut link.stream, Token(registered.len() as u64))?;
            registered.push(Registered { link, readable: true, writable: true, is_queued: true });
        }
        Ok(Self {
            poller,
            ready: (0..registered.len()).collect(),
            links: registered,
            outgoing,
            scratch: vec![0; scratch_bytes],
            shared,
            index,
            done: Done::default(),
            findings: Findings::default(),
        })
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) -> Findings {
        self.shared.start.wait();
        let mut events = Vec::new();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let timeout = if self.ready.is_empty() { TICK } else { Duration::ZERO };
            if let Err(error) = self.poller.wait(&mut events, Some(timeout)) {
                self.shared.fail(format!("cannot wait for sockets: {error}"));
                break;
            }
            self.note(&events);
            self.round();
            self.shared.progress[self.index].tell(&self.done);
        }
        self.finish()
    }

    fn note(&mut self, events: &[Event]) {
        for event in events {
            // A token is an index that was given out when registering.
            let index = event.token.0 as usize;
            let link = &mut self.links[index];
            link.readable |= event.readable;
            link.writable |= event.writable;
            if !link.is_queued && link.is_ready() {
                link.is_queued = true;
                self.ready.push_back(index);
            }
        }
    }

    /// One turn for each link that is ready.
    fn round(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(index) = self.ready.pop_front() else { break };
            if let Err(why) = self.turn(index) {
                let link = &mut self.links[index];
                (link.readable, link.writable) = (false, false);
                self.shared.fail(format!("{}: {why}", link.link.name));
            }
            let link = &mut self.links[index];
            link.is_queued = link.is_ready();
            if link.is_queued {
                self.ready.push_back(index);
            }
        }
    }

    /// Receives once and sends once, where the socket is ready.
    fn turn(&mut self, index: usize) -> Result<(), String> {
        let registered = &mut self.links[index];
        let Link { stream, inbound, sending, .. } = &mut registered.link;
        if registered.readable && inbound.replies.is_empty() {
            let (messages, answers) = (inbound.received(), inbound.pongs);
            registered.readable = inbound.receive(stream, &mut self.scratch)? == Received::More;
            if inbound.received() > messages {
                self.done.received += inbound.received() - messages;
                self.findings.last_message = Some(Instant::now());
            }
            if inbound.pongs > answers {
                self.done.confirmed += inbound.pongs - answers;
                self.findings.last_answer = Some(Instant::now());
            }
        }
        if !registered.writable {
            return Ok(());
        }
        let cannot_send = |error: io::Error| format!("cannot send: {error}");
        if !inbound.replies.is_empty() {
            // A packet that was begun is first brought to its end.
            if let Some(sending) = sending {
                let sent = sending.finish_packet(stream, &mut self.outgoing).map_err(cannot_send)?;
                self.done.sent_bytes += sent.bytes;
                registered.writable = sent.has_room;
                inbound.note_sent(sending.sent());
            }
            registered.writable = registered.writable && inbound.replies.send(stream).map_err(cannot_send)?;
        }
        if let Some(sending) = sending
            && registered.writable
            && sending.may_send(inbound.settled())
        {
            self.findings.first_send.get_or_insert_with(Instant::now);
            let sent = sending.send(stream, &mut self.outgoing, inbound.settled()).map_err(cannot_send)?;
            self.done.sent_bytes += sent.bytes;
            registered.writable = sent.has_room;
            inbound.note_sent(sending.sent());
        }
        Ok(())
    }

    fn finish(mut self) -> Findings {
        let registrar = self.poller.registrar();
        for Registered { link, .. } in self.links {
            let at_boundary = link.sending.is_none_or(|sending| sending.is_done()) && link.inbound.replies.is_empty();
            if let Some(goodbye) = link.inbound.protocol.goodbye().filter(|_| at_boundary) {
                // The run is over: whether the broker still hears it changes nothing.
                let _ = link.stream.send(goodbye);
            }
            let _ = registrar.remove(&link.stream);
            self.findings.sent.extend(link.sending.map(|sending| (sending.sender(), sending.sent())));
            self.findings.checkers.extend(link.inbound.into_checker());
        }
        self.findings
    }
}

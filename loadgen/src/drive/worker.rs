//! One thread's event loop over its senders and receivers.
//!
//! Each round it waits for events, receives once from every readable connection, and sends once on every writable
//! connection of a sender: a large batch for each call, no thread and no buffer for a connection, and no connection
//! that starves another. Where the run has a rate, it also waits for the next due time, and sends all due messages of a
//! sender with one call.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use wisp_client::ByteStream;
use wisp_net::{Event, Host, Poller, Registrar, SysHost, SysPoller, Token};

use crate::drive::busy::Times;
use crate::drive::connection::{ClientConnection, silence_check_interval};
use crate::drive::error::ConnectionError;
use crate::drive::inbound::Received;
use crate::drive::outgoing::Outgoing;
use crate::drive::schedule::{Pace, Schedule};
use crate::drive::shared::{Shared, ThreadProgress};
use crate::drive::thread_report::ThreadReport;
use crate::drive::timing::Timing;

/// How long a wait lasts at most, so that a thread notices in time that the run has ended.
const TICK: Duration = Duration::from_millis(50);
/// The least time between two checks for due messages; messages closer to each other are sent together. A wait and a
/// send call for each of 100,000 messages a second would take a whole processor, which the broker may need.
const SPACING_NS: u64 = 25_000;

/// One thread of a run.
pub(crate) struct Worker {
    poller: SysPoller,
    connections: Vec<Registered>,
    outgoing: Outgoing,
    /// The largest message and more.
    scratch: Vec<u8>,
    shared: Arc<Shared>,
    index: usize,
    /// Connections that can receive or send without waiting.
    ready: VecDeque<usize>,
    /// The schedule, where the run has a rate. It is started together with the run.
    schedule: Option<Schedule>,
    paced: Option<Paced>,
    /// How often to look for silent connections, where the broker wants to hear of them, and when to do so next.
    silence_check_every: Option<Duration>,
    look_at: Option<Instant>,
    done: ThreadProgress,
    report: ThreadReport,
}

/// The state of a thread in a run with a rate.
struct Paced {
    pace: Pace,
    timing: Timing,
    /// When the wait ended in this round.
    woke_ns: u64,
    /// When messages were last found to be due.
    batch_ns: u64,
}

struct Registered {
    client: ClientConnection,
    readable: bool,
    writable: bool,
    /// Whether it stands in `ready`.
    is_queued: bool,
    /// Whether it is of no use any more.
    has_failed: bool,
}

impl Registered {
    fn is_ready(&self) -> bool {
        let ClientConnection { stream, inbound, sending, .. } = &self.client;
        let has_replies = !inbound.replies.is_empty();
        let may_send = || {
            has_replies
                || sending.is_some_and(|sending| sending.may_send(inbound.settled()))
                || stream.unsent_bytes() > 0
        };
        // A connection is not read while it cannot be answered, so that answers do not pile up.
        (self.readable && !has_replies) || (self.writable && may_send())
    }

    /// `index` is the connection's own.
    fn queue_if_ready(&mut self, index: usize, ready: &mut VecDeque<usize>) {
        if !self.is_queued && self.is_ready() {
            self.is_queued = true;
            ready.push_back(index);
        }
    }
}

impl Paced {
    fn new(schedule: Schedule, begun: Instant, connections: &[Registered]) -> Self {
        let senders =
            (0..).zip(connections).filter_map(|(index, connection)| Some((index, connection.client.sending?)));
        let senders = senders.map(|(index, sending)| (sending.sender(), sending.messages(), index));
        let pace = Pace::new(schedule, senders.collect());
        // Else the system lets every wait last some 50 us longer. Where it does not know the call, it does not do that either.
        #[cfg(target_os = "linux")]
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        Self { pace, timing: Timing::new(schedule, begun), woke_ns: 0, batch_ns: 0 }
    }

    /// How long to wait for the next message to be due.
    fn until_due(&self) -> Duration {
        let due_ns = self.pace.next_due_ns().map(|due_ns| due_ns.max(self.batch_ns + SPACING_NS));
        due_ns.map_or(TICK, |due_ns| Duration::from_nanos(due_ns.saturating_sub(self.timing.now_ns()))).min(TICK)
    }
}

impl Worker {
    /// Takes over the connections of one thread. With a schedule messages are sent when they are due, else as fast as they
    /// can be.
    pub(crate) fn new(
        clients: Vec<ClientConnection>,
        outgoing: Outgoing,
        scratch_bytes: usize,
        schedule: Option<Schedule>,
        shared: Arc<Shared>,
        index: usize,
    ) -> io::Result<Self> {
        let poller = SysHost.poller()?;
        let registrar = poller.registrar();
        let mut registered = Vec::with_capacity(clients.len());
        for mut client in clients {
            registrar.add(client.stream.socket_mut(), Token(registered.len() as u64))?;
            registered.push(Registered { client, readable: true, writable: true, is_queued: true, has_failed: false });
        }
        Ok(Self {
            poller,
            ready: (0..registered.len()).collect(),
            outgoing,
            scratch: vec![0; scratch_bytes],
            schedule,
            paced: None,
            silence_check_every: silence_check_interval(registered.iter().map(|registered| &registered.client)),
            look_at: None,
            connections: registered,
            shared,
            index,
            done: ThreadProgress::default(),
            report: ThreadReport::default(),
        })
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) -> ThreadReport {
        let begun = self.shared.wait_for_start();
        let times = Times::of_this_thread();
        self.paced = self.schedule.map(|schedule| Paced::new(schedule, begun, &self.connections));
        self.look_at = self.silence_check_every.map(|silence_check_every| begun + silence_check_every);
        let mut events = Vec::new();
        loop {
            if let Err(error) = self.wait(&mut events) {
                self.shared.fail(format!("cannot wait for sockets: {error}"));
                break;
            }
            // Checked after the wait: once other receivers have left, the broker may resend their unacknowledged
            // messages to this one.
            if self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
            self.note(&events);
            self.note_due();
            self.note_silence();
            self.round();
            self.shared.tell(self.index, &self.done);
        }
        self.report.times = times.zip(Times::of_this_thread()).map(|(before, now)| now.since(before));
        self.finish()
    }

    /// Waits for events, or for a message to be due.
    fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = match &self.paced {
            _ if !self.ready.is_empty() => Duration::ZERO,
            None => TICK,
            Some(paced) => paced.until_due(),
        };
        if self.paced.is_none() || timeout.is_zero() {
            return self.poller.wait(events, Some(timeout));
        }
        // The poller knows milliseconds only.
        let timeout = Timespec::try_from(timeout).expect("a tick is short");
        match poll(&mut [PollFd::new(&self.poller, PollFlags::IN)], Some(&timeout)) {
            Ok(1..) => self.poller.wait(events, Some(Duration::ZERO)),
            Ok(0) | Err(Errno::INTR) => {
                events.clear();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn note(&mut self, events: &[Event]) {
        for event in events {
            // A token is an index that was given out when registering.
            let index = event.token.0 as usize;
            let connection = &mut self.connections[index];
            if connection.has_failed {
                continue;
            }
            connection.readable |= event.readable;
            connection.writable |= event.writable;
            connection.queue_if_ready(index, &mut self.ready);
        }
    }

    /// Lets each sender know of its messages that are due by now.
    fn note_due(&mut self) {
        let Some(Paced { pace, timing, woke_ns, batch_ns }) = &mut self.paced else { return };
        *woke_ns = timing.now_ns();
        if *woke_ns < *batch_ns + SPACING_NS {
            return;
        }
        pace.advance(*woke_ns, |index| {
            *batch_ns = *woke_ns;
            let connection = &mut self.connections[index];
            connection.client.sending.as_mut().expect("only senders have messages that are due").note_due();
            connection.queue_if_ready(index, &mut self.ready);
        });
    }

    /// Lets connections ping that have sent nothing for long, where the broker would close them.
    fn note_silence(&mut self) {
        let Some((silence_check_every, look_at)) = self.silence_check_every.zip(self.look_at) else { return };
        let now = Instant::now();
        if now < look_at {
            return;
        }
        self.look_at = Some(now + silence_check_every);
        for (index, registered) in self.connections.iter_mut().enumerate() {
            if registered.client.ping_if_silent(registered.writable) {
                registered.queue_if_ready(index, &mut self.ready);
            }
        }
    }

    /// One turn for each connection that is ready.
    fn round(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(index) = self.ready.pop_front() else { break };
            if let Err(why) = self.exchange(index) {
                let connection = &mut self.connections[index];
                (connection.readable, connection.writable, connection.has_failed) = (false, false, true);
                self.shared.fail(format!("{}: {why}", connection.client.name));
            }
            let connection = &mut self.connections[index];
            connection.is_queued = connection.is_ready();
            if connection.is_queued {
                self.ready.push_back(index);
            }
        }
    }

    /// Receives once and sends once, where the socket is ready.
    fn exchange(&mut self, index: usize) -> Result<(), ConnectionError> {
        let registered = &self.connections[index];
        if registered.readable && registered.client.inbound.replies.is_empty() {
            self.connections[index].readable = self.receive(index)?;
        }
        if self.connections[index].writable {
            self.send(index)?;
        }
        Ok(())
    }

    /// Receives once. True when there may be more.
    fn receive(&mut self, index: usize) -> Result<bool, ConnectionError> {
        let ClientConnection { stream, inbound, .. } = &mut self.connections[index].client;
        let (messages, was_confirmed) = (inbound.received(), inbound.is_confirmed());
        let timing = self.paced.as_mut().map(|paced| &mut paced.timing);
        let received = inbound.receive(stream, &mut self.scratch, timing)?;
        if inbound.received() > messages {
            self.done.received += inbound.received() - messages;
            self.report.last_message = Some(Instant::now());
        }
        if inbound.is_confirmed() && !was_confirmed {
            self.done.confirmed += 1;
            self.report.last_answer = Some(Instant::now());
        }
        Ok(received == Received::More)
    }

    /// Sends pending replies once, and messages once.
    fn send(&mut self, index: usize) -> io::Result<()> {
        let Registered { client, writable, .. } = &mut self.connections[index];
        let ClientConnection { stream, inbound, sending, has_sent, .. } = client;
        if stream.unsent_bytes() > 0 && !flush(stream)? {
            *writable = false;
            return Ok(());
        }
        let Some(sending) = sending else {
            if !inbound.replies.is_empty() {
                *has_sent = true;
                *writable = inbound.replies.send(stream)?;
            }
            return Ok(());
        };
        let sent_before = sending.sent();
        let times = self.paced.as_ref().map(|paced| (sending.note_free(paced.woke_ns), paced.timing.now_ns()));
        if !inbound.replies.is_empty() {
            // A packet that was begun is first brought to its end.
            let sent = sending.finish_packet(stream, &mut self.outgoing)?;
            self.done.sent_bytes += sent.bytes;
            *writable = sent.has_room && inbound.replies.send(stream)?;
            *has_sent = true;
        }
        if *writable && sending.may_send(inbound.settled()) {
            self.report.first_send.get_or_insert_with(Instant::now);
            let sent = sending.send(stream, &mut self.outgoing, inbound.settled())?;
            self.done.sent_bytes += sent.bytes;
            *writable = sent.has_room;
            if sent.bytes > 0 {
                *has_sent = true;
                // The end of the stream is no message, and may have waited for the last acknowledgement.
                if !sending.is_ending() {
                    self.report.last_send = Some(Instant::now());
                }
            }
        }
        let sent = sending.sent();
        inbound.note_sent(sent);
        self.done.sent += sent - sent_before;
        if let Some((paced, (free_ns, now_ns))) = self.paced.as_mut().zip(times) {
            paced.timing.sent(sending.sender(), sent_before..sent, free_ns, now_ns);
            sending.note_attempt(*writable, inbound.settled());
        }
        Ok(())
    }

    fn finish(mut self) -> ThreadReport {
        let registrar = self.poller.registrar();
        for Registered { mut client, .. } in self.connections {
            let at_boundary =
                client.sending.is_none_or(|sending| sending.is_done()) && client.inbound.replies.is_empty();
            if let Some(goodbye) = client.inbound.protocol.goodbye().filter(|_| at_boundary) {
                // The run is over: whether the broker still hears it changes nothing.
                let _ = client.stream.write(goodbye);
            }
            let _ = registrar.remove(client.stream.socket());
            let window = client.sending.and_then(|sending| sending.window());
            self.report.window = self.report.window.into_iter().chain(window).min();
            self.report.sent.extend(client.sending.map(|sending| (sending.sender(), sending.sent())));
            self.report.checkers.extend(client.inbound.into_checker());
        }
        self.report.histograms = self.paced.map(|paced| paced.timing.into_histograms());
        self.report
    }
}

/// Sends the rest of what the transport has taken over before. Returns whether the socket has room for more.
#[cold]
fn flush(stream: &mut impl ByteStream) -> io::Result<bool> {
    match stream.write(&[]) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

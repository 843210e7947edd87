//! Publishers that send at a rate, or as fast as the broker takes it, and measure how soon their PINGREQs are answered.
//!
//! A message carries the time at which it was made, not the time at which the socket took it: a broker that stops reading
//! makes messages late, not fewer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wisp_wire::{Packet, PubRel, QoS};

use super::clock::Clock;
use crate::client::{Client, Options, encode_publish};

/// Bytes that wait in a publisher at most. Further messages are not sent, and counted.
const BACKLOG_BYTES_MAX: usize = 16 << 20;
/// Messages that a publisher without a rate has ready.
const BATCH: u64 = 32;
const PING_EVERY: Duration = Duration::from_secs(1);
/// The pause of publishers without a rate when no socket takes anything.
const BLOCKED_PAUSE: Duration = Duration::from_micros(200);
/// How long the last messages may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// The messages of publishers.
pub(crate) struct Plan {
    /// How many publishers there are, and the prefix of their client identifiers.
    pub(crate) count: usize,
    pub(crate) name: &'static str,
    /// Of all together; none for as fast as it goes.
    pub(crate) rate_per_s: Option<f64>,
    /// How often messages are made.
    pub(crate) tick: Duration,
    pub(crate) qos: QoS,
    pub(crate) payload_bytes: usize,
    /// The topic of the message with this number of the publisher with this number.
    pub(crate) topic: Box<dyn Fn(usize, u64) -> String + Send>,
}

/// The thread with its publishers.
#[derive(Debug)]
pub(crate) struct Publishers {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<Published>>,
}

/// The outcome of publishers.
#[derive(Default, Debug)]
pub(crate) struct Published {
    /// Messages that the broker's side of the connection took.
    pub(crate) sent: u64,
    /// Messages that were due and found no space behind earlier ones.
    pub(crate) unsent: u64,
    /// The longest time that a PINGREQ waited for its answer, or still waits.
    pub(crate) ping_max_us: u64,
    /// Publishers that the broker disconnected.
    pub(crate) ended: u64,
}

struct Publisher {
    number: usize,
    client: Client,
    /// Messages made so far.
    made: u64,
    /// None when no PINGREQ is unanswered.
    pinged: Option<Instant>,
    next_ping: Instant,
}

impl Publishers {
    /// Connects the publishers and lets them send until [`finish`](Self::finish).
    pub(crate) fn start(address: SocketAddr, plan: Plan, clock: Clock) -> io::Result<Self> {
        let now = Instant::now();
        let mut publishers = Vec::new();
        for number in 0..plan.count {
            let client = Client::connect(address, &format!("{}{number}", plan.name), &Options::default())?;
            client.set_nonblocking()?;
            // Their PINGREQs are spread over the second.
            let next_ping = now + PING_EVERY.mul_f64(number as f64 / plan.count as f64);
            publishers.push(Publisher { number, client, made: 0, pinged: None, next_ping });
        }
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (of_thread, count) = (stop.clone(), sent.clone());
        let thread = thread::Builder::new().name("publishers".to_owned()).spawn(move || {
            Work { plan, clock, publishers, begun: Instant::now(), published: Published::default(), sent: count }
                .run(&of_thread)
        })?;
        Ok(Self { stop, sent, thread })
    }

    /// Messages made so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops making messages, sends those made, and ends the connections.
    pub(crate) fn finish(self) -> io::Result<Published> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the publishers' thread panicked"))?
    }
}

struct Work {
    plan: Plan,
    clock: Clock,
    publishers: Vec<Publisher>,
    begun: Instant,
    published: Published,
    sent: Arc<AtomicU64>,
}

impl Work {
    fn run(mut self, stop: &AtomicBool) -> io::Result<Published> {
        while !stop.load(Ordering::Relaxed) {
            let moved = self.turn(true)?;
            if self.plan.rate_per_s.is_some() {
                thread::sleep(self.plan.tick);
            } else if moved == 0 {
                thread::sleep(BLOCKED_PAUSE);
            }
        }
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while self.publishers.iter().any(|publisher| publisher.client.queued_bytes() > 0) && Instant::now() < deadline {
            self.turn(false)?;
            thread::sleep(Duration::from_millis(1));
        }
        self.close()
    }

    /// Makes the messages that are due, sends and receives. Returns the number of bytes sent.
    fn turn(&mut self, makes_messages: bool) -> io::Result<usize> {
        let (mut moved, mut index) = (0, 0);
        while index < self.publishers.len() {
            if makes_messages {
                self.make(index)?;
            }
            match self.publishers[index].exchange(&mut self.published) {
                Ok(bytes) => moved += bytes,
                Err(_) => {
                    self.published.ended += 1;
                    self.publishers.swap_remove(index);
                    continue;
                }
            }
            index += 1;
        }
        Ok(moved)
    }

    fn make(&mut self, index: usize) -> io::Result<()> {
        let (plan, publisher) = (&self.plan, &mut self.publishers[index]);
        let due = match plan.rate_per_s {
            Some(rate) => (self.begun.elapsed().as_secs_f64() * rate / plan.count as f64) as u64,
            None if publisher.client.queued_bytes() == 0 => publisher.made + BATCH,
            None => publisher.made,
        };
        let mut payload = vec![7; plan.payload_bytes];
        while publisher.made < due {
            if publisher.client.queued_bytes() > BACKLOG_BYTES_MAX {
                self.published.unsent += due - publisher.made;
                publisher.made = due;
                break;
            }
            if let Some(stamp) = payload.first_chunk_mut() {
                *stamp = self.clock.now_us().to_be_bytes();
            }
            let topic = (plan.topic)(publisher.number, publisher.made);
            encode_publish(&topic, &payload, plan.qos, publisher.made, &mut publisher.client.output)?;
            publisher.made += 1;
            self.published.sent += 1;
        }
        self.sent.store(self.published.sent, Ordering::Relaxed);
        Ok(())
    }

    fn close(mut self) -> io::Result<Published> {
        for publisher in &self.publishers {
            let message = self.plan.payload_bytes.max(1);
            let unsent = (publisher.client.queued_bytes() / message) as u64;
            self.published.unsent += unsent;
            self.published.sent -= unsent.min(self.published.sent);
            publisher.note_ping(&mut self.published);
        }
        Ok(self.published)
    }
}

impl Publisher {
    fn exchange(&mut self, published: &mut Published) -> io::Result<usize> {
        let now = Instant::now();
        if self.pinged.is_none() && now >= self.next_ping {
            self.client.queue(&Packet::PingReq)?;
            self.pinged = Some(now);
            self.next_ping = now + PING_EVERY;
        }
        let sent = self.client.flush()?;
        let (mut releases, mut is_answered) = (Vec::new(), false);
        self.client.receive(|packet| match packet {
            Packet::PingResp => is_answered = true,
            Packet::PubRec(received) => releases.push(received.packet_id),
            _ => {}
        })?;
        if is_answered {
            self.note_ping(published);
            self.pinged = None;
        }
        for packet_id in releases {
            self.client.queue(&Packet::PubRel(PubRel::new(packet_id)))?;
        }
        Ok(sent)
    }

    fn note_ping(&self, published: &mut Published) {
        let waited = self.pinged.map_or(0, |pinged| pinged.elapsed().as_micros() as u64);
        published.ping_max_us = published.ping_max_us.max(waited);
    }
}

//! Senders at full speed, and receivers that check every message.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::packet::{Connect, DISCONNECT, publish};
use wisp_e2e::raw::{Incoming, RawClient};
use wisp_e2e::wait::wait_until;

const PAYLOAD_BYTES: usize = 1024;
const BATCH: u64 = 64;

/// Matches the topics of all senders of a flood.
pub(crate) const FLOOD_FILTER: &str = "flood/#";

/// A message on this topic ends [`Tally::read_to_end`].
pub(crate) const END_TOPIC: &str = "flood/end";

/// Senders that publish as fast as the broker reads, one thread each.
pub(crate) struct Flood {
    sent: Arc<AtomicU64>,
    senders: Vec<JoinHandle<io::Result<()>>>,
    total: u64,
}

impl Flood {
    /// Starts senders that publish `messages_each` messages of 1 KiB, numbered by sender.
    pub(crate) fn start(addr: SocketAddr, senders: usize, messages_each: u64) -> Flood {
        let sent = Arc::new(AtomicU64::new(0));
        let threads = (0..senders).map(|sender| {
            let sent = Arc::clone(&sent);
            let mut client = RawClient::open(addr, Version::V311);
            // A sender that the broker does not read from cannot ping, so back-pressure for longer than the
            // keep-alive must not end the connection.
            let client_id = format!("flood {sender}");
            let connect = Connect { keep_alive_s: 1, ..Connect::new(Version::V311, &client_id) };
            client.send(&connect.encode());
            assert_eq!(client.read_packet().conn_ack(Version::V311).code, 0);
            thread::spawn(move || send_numbered(&client, sender, messages_each, &sent))
        });
        Flood { senders: threads.collect(), sent, total: messages_each * senders as u64 }
    }

    /// Waits until no sender has made progress for a second, and returns the number of messages sent.
    pub(crate) fn wait_until_it_stops(&self) -> u64 {
        let mut last = (self.sent.load(Ordering::Relaxed), Instant::now());
        wait_until("senders that are held back", || {
            let sent = self.sent.load(Ordering::Relaxed);
            if sent != last.0 {
                last = (sent, Instant::now());
            }
            last.1.elapsed() > Duration::from_secs(1)
        });
        assert!(last.0 < self.total, "the senders are not held back: all {} messages went out", self.total);
        last.0
    }

    /// Waits until all messages are sent.
    pub(crate) fn finish(mut self) {
        wait_until("senders that are done", || self.senders.iter().all(JoinHandle::is_finished));
        for sender in self.senders.drain(..) {
            sender.join().expect("senders do not panic").expect("the broker reads from senders to the end");
        }
    }
}

fn send_numbered(client: &RawClient, sender: usize, messages: u64, sent: &AtomicU64) -> io::Result<()> {
    let mut writer = client.writer();
    let topic = format!("flood/{sender}");
    let mut payload = [b'.'; PAYLOAD_BYTES];
    let mut number = 0;
    while number < messages {
        let mut batch = Vec::new();
        for _ in 0..BATCH.min(messages - number) {
            payload[..8].copy_from_slice(&number.to_be_bytes());
            batch.extend(publish(Version::V311, &topic, &payload));
            number += 1;
        }
        writer.write_all(&batch)?;
        sent.fetch_add(BATCH, Ordering::Relaxed);
    }
    writer.write_all(DISCONNECT)
}

/// The messages that one receiver got of a flood.
pub(crate) struct Tally {
    /// The next expected number, by sender.
    next: Vec<u64>,
    /// Messages that never arrived.
    pub(crate) lost: u64,
    /// Messages that arrived.
    pub(crate) received: u64,
    /// The broker ended the connection before the end of the flood.
    pub(crate) disconnected: bool,
}

impl Tally {
    /// Reads `messages_each` messages of each sender.
    /// # Panics
    /// If a message is lost, arrives twice, or out of its sender's order.
    /// If one is lost, comes twice, or out of the order in which its sender sent it.
    pub(crate) fn read_all(client: &mut RawClient, senders: usize, messages_each: u64) {
        let mut tally = Tally::new(senders);
        while tally.received < messages_each * senders as u64 {
            let packet = client.read_packet();
            tally.count(packet.publish(client.version()));
            assert_eq!(tally.lost, 0, "after {} messages", tally.received);
        }
    }

    /// Reads until a message on [`END_TOPIC`] or the end of the connection.
    ///
    /// # Panics
    /// If a message arrives twice or out of order.
    pub(crate) fn read_to_end(client: &mut RawClient, senders: usize) -> Tally {
        Tally::read_to_end_with(client, senders, |_| {})
    }

    /// Reads as [`Tally::read_to_end`] does, and calls `after_each` with the number of messages after each of them.
    pub(crate) fn read_to_end_with(client: &mut RawClient, senders: usize, mut after_each: impl FnMut(u64)) -> Tally {
        let mut tally = Tally::new(senders);
        loop {
            let Incoming::Packet(packet) = client.read() else {
                tally.disconnected = true;
                return tally;
            };
            if packet.kind() == wisp_e2e::packet::kind::DISCONNECT {
                assert!(packet.disconnect_code() >= 0x80, "the broker has a reason: {packet:?}");
                continue;
            }
            match packet.publish(client.version()) {
                (END_TOPIC, _) => return tally,
                message => tally.count(message),
            }
            after_each(tally.received);
        }
    }

    fn new(senders: usize) -> Tally {
        Tally { next: vec![0; senders], lost: 0, received: 0, disconnected: false }
    }

    fn count(&mut self, (topic, payload): (&str, &[u8])) {
        let sender: usize = topic.strip_prefix("flood/").and_then(|name| name.parse().ok()).expect("a flood's topic");
        assert_eq!(payload.len(), PAYLOAD_BYTES);
        let number = u64::from_be_bytes(payload[..8].try_into().expect("eight bytes"));
        let expected = self.next[sender];
        assert!(number >= expected, "sender {sender}: {number} came after {expected} was due");
        self.lost += number - expected;
        self.received += 1;
        self.next[sender] = number + 1;
    }
}

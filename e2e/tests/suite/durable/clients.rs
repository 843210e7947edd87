//! Clients that keep their sessions while the broker is killed and started again, and the check of the messages that they have exchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::packet::{Connect, Publish, Received, acknowledge, kind};
use wisp_e2e::raw::{Incoming, RawClient};
use wisp_e2e::wait::TIMEOUT;
pub(crate) const VERSION: Version = Version::V311;

/// Messages that a sender has in flight.
const WINDOW: usize = 20;

/// A folder that is removed with its contents.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("wisp-e2e-data-{}-{number}", process::id()));
        fs::create_dir(&path).expect("the temporary folder is writable");
        Folder(path)
    }

    pub(crate) fn flags(&self) -> [&str; 2] {
        ["--data-dir", self.0.to_str().expect("a path of text")]
    }

    /// With room for all that senders at full speed publish while the receiver is away.
    pub(crate) fn roomy_flags(&self) -> [&str; 6] {
        let [flag, dir] = self.flags();
        [flag, dir, "--queue-bytes-max", "1073741824", "--queue-messages-max", "10000000"]
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If it cannot be removed, it stays in the temporary folder.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The next packet. `None`: the connection is broken.
fn next(client: &mut RawClient, limit: Duration) -> Option<Option<Received>> {
    match client.read_within(limit) {
        Some(Incoming::Packet(packet)) => Some(Some(packet)),
        Some(Incoming::Closed) => None,
        None => Some(None),
    }
}

/// A client that runs until the broker ends would run for ever if its test failed before it ended the broker.
fn check_time(started: Instant) {
    assert!(started.elapsed() < 3 * TIMEOUT, "the broker has not ended: the test has failed before");
}

/// Connects with a session that is kept. `None`: the broker is gone. `is_known`: it has acknowledged the session before.
fn connect(addr: SocketAddr, id: &str, is_known: &mut bool) -> Option<RawClient> {
    let mut client = RawClient::try_open(addr, VERSION).ok()?;
    client.try_send(&Connect::kept(VERSION, id, 3600).encode()).ok()?;
    let answer = next(&mut client, TIMEOUT)??.conn_ack(VERSION);
    assert_eq!(answer.code, 0, "{id} is refused");
    assert!(answer.session_present || !*is_known, "{id}: the session is lost");
    *is_known = true;
    Some(client)
}

/// Publishes the numbers from 0 on, as a client that keeps its session on its own side too.
pub(crate) struct Sender {
    pub(crate) id: String,
    /// Publishes to the queue, and otherwise with RETAIN to a topic of its own.
    to_queue: bool,
    qos: u8,
    /// The bytes of a payload beyond its number.
    padding: usize,
    is_known: bool,
    next: u32,
    /// The packets that the broker may not have: the number of each, and whether PUBREC has come.
    unacknowledged: BTreeMap<u32, bool>,
    pub(crate) acknowledged: BTreeSet<u32>,
}

impl Sender {
    pub(crate) fn new(id: &str, qos: u8) -> Sender {
        let (unacknowledged, acknowledged) = Default::default();
        Sender {
            id: id.to_owned(),
            to_queue: false,
            qos,
            padding: 0,
            is_known: false,
            next: 0,
            unacknowledged,
            acknowledged,
        }
    }

    pub(crate) fn for_queue(self) -> Sender {
        Sender { to_queue: true, ..self }
    }

    pub(crate) fn with_padding(self, padding: usize) -> Sender {
        Sender { padding, ..self }
    }

    fn packet_id(number: u32) -> u16 {
        (number % 60_000) as u16 + 1
    }

    fn bytes(&self, number: u32, again: bool) -> Vec<u8> {
        let (topic, queued) = (format!("load/{}", self.id), self.text(number));
        let payload = format!("{number}{:padding$}", "", padding = self.padding);
        let publish =
            if self.to_queue { Publish::new(QUEUE, &queued) } else { Publish::new(&topic, &payload).retained() };
        let publish = publish.qos(self.qos);
        let publish = if again { publish.duplicate() } else { publish };
        publish.encode(VERSION, Self::packet_id(number))
    }

    /// The payload in the queue.
    pub(crate) fn text(&self, number: u32) -> String {
        format!("{} {number}", self.id)
    }

    /// Sends until the broker is gone; once `ends` is set, until all is acknowledged.
    pub(crate) fn run(&mut self, addr: SocketAddr, ends: &AtomicBool) -> Option<()> {
        let mut client = connect(addr, &self.id, &mut self.is_known)?;
        for (number, is_released) in &self.unacknowledged {
            let packet_id = Self::packet_id(*number);
            let bytes = if *is_released { acknowledge(kind::PUBREL, packet_id) } else { self.bytes(*number, true) };
            client.try_send(&bytes).ok()?;
        }
        let started = Instant::now();
        loop {
            check_time(started);
            let is_last = ends.load(Ordering::Acquire);
            if is_last && self.unacknowledged.is_empty() {
                return Some(());
            }
            while !is_last && self.unacknowledged.len() < WINDOW {
                let number = self.next;
                self.next += 1;
                self.unacknowledged.insert(number, false);
                client.try_send(&self.bytes(number, false)).ok()?;
            }
            let packet = next(&mut client, TIMEOUT)?.expect("an acknowledgement comes");
            let packet_id = packet.publish_acknowledgement(VERSION).packet_id;
            let is_it = |number: &u32| Self::packet_id(*number) == packet_id;
            let number = self.unacknowledged.keys().copied().find(is_it).expect("it is of a message in flight");
            self.acknowledged.insert(number);
            if packet.kind() == kind::PUBREC {
                self.unacknowledged.insert(number, true);
                client.try_send(&acknowledge(kind::PUBREL, packet_id)).ok()?;
            } else {
                self.unacknowledged.remove(&number);
            }
        }
    }
}

/// Receives what the senders publish.
#[derive(Default)]
pub(crate) struct Receiver {
    is_known: bool,
    /// Packet identifiers at QoS 2 that the broker has not released.
    unreleased: BTreeSet<u16>,
    /// The numbers from each topic, in the order in which they came.
    received: BTreeMap<String, Vec<u32>>,
}

impl Receiver {
    /// Receives until the broker is gone, or `is_done` says so after a while without a message.
    pub(crate) fn run(&mut self, addr: SocketAddr, is_done: impl Fn(&Self) -> bool) -> Option<()> {
        let mut client = connect(addr, "receiver", &mut self.is_known)?;
        let started = Instant::now();
        loop {
            check_time(started);
            let Some(packet) = next(&mut client, Duration::from_millis(50))? else {
                if is_done(self) {
                    return Some(());
                }
                continue;
            };
            let answer = match packet.kind() {
                kind::PUBLISH => {
                    let message = packet.message(VERSION);
                    let is_new = message.qos == 1 || self.unreleased.insert(message.packet_id);
                    let number = message.text().trim_end().parse().expect("a number");
                    if is_new {
                        self.received.entry(message.topic).or_default().push(number);
                    }
                    acknowledge(if message.qos == 1 { kind::PUBACK } else { kind::PUBREC }, message.packet_id)
                }
                kind::PUBREL => {
                    let packet_id = packet.publish_acknowledgement(VERSION).packet_id;
                    self.unreleased.remove(&packet_id);
                    acknowledge(kind::PUBCOMP, packet_id)
                }
                other => panic!("a packet of type {other}"),
            };
            client.try_send(&answer).ok()?;
        }
    }

    fn has_all_of(&self, sender: &Sender) -> bool {
        let received: BTreeSet<u32> =
            self.received.get(&format!("load/{}", sender.id)).into_iter().flatten().copied().collect();
        sender.acknowledged.is_subset(&received)
    }

    /// Each message once at QoS 2 and at least once at QoS 1, the first time in order.
    fn check(&self, sender: &Sender) {
        let received = &self.received[&format!("load/{}", sender.id)];
        let mut seen = BTreeSet::new();
        let first: Vec<u32> = received.iter().copied().filter(|number| seen.insert(*number)).collect();
        assert!(first.is_sorted(), "{}: out of order: {first:?}", sender.id);
        if sender.qos == 2 {
            assert_eq!(received.len(), first.len(), "{}: a message came twice", sender.id);
        }
    }
}

pub(crate) const QUEUE: &str = "$queue/load";

/// The messages that all consumers of the queue have received, and the messages at QoS 2 that the broker has released with PUBREL.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) received: BTreeSet<String>,
    done: BTreeSet<String>,
}

/// Takes messages of the queue, in a session that is kept.
pub(crate) struct Consumer {
    id: &'static str,
    is_known: bool,
    /// The messages with identifiers at QoS 2 that the broker has not released.
    unreleased: BTreeMap<u16, String>,
}

impl Consumer {
    pub(crate) fn new(broker: &Broker, id: &'static str, qos: u8) -> Consumer {
        let mut client = Client::kept(broker, VERSION, id);
        client.subscribe(QUEUE, qos);
        client.disconnect();
        Consumer { id, is_known: true, unreleased: BTreeMap::new() }
    }

    /// Takes messages until the broker is gone, or `is_done` says so after a while without a message.
    pub(crate) fn run(
        &mut self,
        addr: SocketAddr,
        taken: &Mutex<Taken>,
        is_done: impl Fn(&Taken) -> bool,
    ) -> Option<()> {
        let mut client = connect(addr, self.id, &mut self.is_known)?;
        let (mut begun, mut last) = (BTreeSet::new(), BTreeMap::new());
        let started = Instant::now();
        loop {
            check_time(started);
            let Some(packet) = next(&mut client, Duration::from_millis(50))? else {
                if is_done(&taken.lock().expect("no consumer has failed")) {
                    return Some(());
                }
                continue;
            };
            let mut taken = taken.lock().expect("no consumer has failed");
            let answer = match packet.kind() {
                kind::PUBLISH => {
                    let message = packet.message(VERSION);
                    let text = message.text().to_owned();
                    assert!(!taken.done.contains(&text), "{}: {text} came again after its end", self.id);
                    if taken.received.insert(text.clone()) && !message.duplicate {
                        let (sender, number) = text.split_once(' ').expect("a sender and a number");
                        let number: u32 = number.parse().expect("a number");
                        let before = last.insert(sender.to_owned(), number);
                        assert!(
                            before.is_none_or(|before| before < number),
                            "{}: {text} came after {before:?}",
                            self.id
                        );
                    }
                    if message.qos == 2 {
                        begun.insert(message.packet_id);
                        let known = self.unreleased.insert(message.packet_id, text.clone());
                        assert!(known.is_none_or(|known| known == text), "an identifier in use is given to {text}");
                    }
                    acknowledge(if message.qos == 1 { kind::PUBACK } else { kind::PUBREC }, message.packet_id)
                }
                kind::PUBREL => {
                    let packet_id = packet.publish_acknowledgement(VERSION).packet_id;
                    let released = self.unreleased.remove(&packet_id);
                    // One that came on an earlier connection has returned to the queue.
                    taken.done.extend(released.filter(|_| begun.remove(&packet_id)));
                    acknowledge(kind::PUBCOMP, packet_id)
                }
                other => panic!("a packet of type {other}"),
            };
            drop(taken);
            client.try_send(&answer).ok()?;
        }
    }
}

/// A full queue would excuse a loss. A limit that was reached is in the log after 250 ms at the latest, if the broker lives that long.
pub(crate) fn assert_nothing_dropped(broker: &Broker) {
    let dropped: Vec<String> =
        broker.log().into_iter().filter(|line| line.contains("limit reached") && !line.contains("data-dir")).collect();
    assert!(dropped.is_empty(), "the queue is too small for this test: {dropped:?}");
}

/// Has the senders finish and the receiver receive, and checks that nothing that was acknowledged is lost.
pub(crate) fn finish(broker: &Broker, senders: &mut [Sender], receiver: &mut Receiver) {
    // All that is in flight is finished, and then all that was acknowledged is to come.
    let (addr, ends) = (broker.addr(), AtomicBool::new(true));
    for sender in &mut *senders {
        sender.run(addr, &ends).expect("the broker runs");
    }
    // One that the machine did not let run before the broker ended has sent nothing.
    let senders: Vec<&Sender> = senders.iter().filter(|sender| !sender.acknowledged.is_empty()).collect();
    assert!(!senders.is_empty(), "nothing was acknowledged");
    let started = Instant::now();
    let is_done = |receiver: &Receiver| {
        let has_all = senders.iter().all(|sender| receiver.has_all_of(sender));
        assert!(has_all || started.elapsed() < TIMEOUT, "acknowledged messages are lost");
        has_all
    };
    receiver.run(addr, is_done).expect("the broker runs");
    assert_nothing_dropped(broker);
    for sender in senders {
        receiver.check(sender);
        // Retained is the last message that was acknowledged.
        let mut client = Client::clean(broker, VERSION, "reader");
        client.subscribe(&format!("load/{}", sender.id), 0);
        let last = sender.acknowledged.last().expect("some are");
        assert_eq!(client.next_message().text().trim_end(), last.to_string(), "{}", sender.id);
        client.disconnect();
    }
}

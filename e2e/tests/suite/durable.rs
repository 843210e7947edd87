//! A broker with a data folder, killed with SIGKILL under load and started again: what it has acknowledged is there, in order, and
//! at QoS 2 once.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, Host, cannot, native_program};
use wisp_e2e::packet::{Connect, Publish, Received, acknowledge, kind};
use wisp_e2e::program::Program;
use wisp_e2e::random::Random;
use wisp_e2e::raw::{Incoming, RawClient};
use wisp_e2e::wait::{TIMEOUT, wait_until};

const VERSION: Version = Version::V311;

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
    id: String,
    /// Publishes to the queue, and otherwise with RETAIN to a topic of its own.
    to_queue: bool,
    qos: u8,
    /// The bytes of a payload beyond its number.
    padding: usize,
    is_known: bool,
    next: u32,
    /// The packets that the broker may not have: the number of each, and whether PUBREC has come.
    unacknowledged: BTreeMap<u32, bool>,
    acknowledged: BTreeSet<u32>,
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
    fn text(&self, number: u32) -> String {
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
    fn run(&mut self, addr: SocketAddr, is_done: impl Fn(&Self) -> bool) -> Option<()> {
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

const QUEUE: &str = "$queue/load";

/// The messages that consumers of the queue have received, and those at QoS 2 that the broker has released.
#[derive(Default)]
struct Taken {
    received: BTreeSet<String>,
    done: BTreeSet<String>,
}

/// Takes messages of the queue, in a session that is kept.
struct Consumer {
    id: &'static str,
    is_known: bool,
    /// The messages with identifiers at QoS 2 that the broker has not released.
    unreleased: BTreeMap<u16, String>,
}

impl Consumer {
    fn new(broker: &Broker, id: &'static str, qos: u8) -> Consumer {
        let mut client = Client::kept(broker, VERSION, id);
        client.subscribe(QUEUE, qos);
        client.disconnect();
        Consumer { id, is_known: true, unreleased: BTreeMap::new() }
    }

    /// Takes messages until the broker is gone, or `is_done` says so after a while without a message.
    fn run(&mut self, addr: SocketAddr, taken: &Mutex<Taken>, is_done: impl Fn(&Taken) -> bool) -> Option<()> {
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
fn assert_nothing_dropped(broker: &Broker) {
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

/// The number of kills: `WISP_E2E_KILLS`, or a few.
fn kills() -> u32 {
    let default = if Host::current() == Host::Native { 20 } else { 3 };
    env::var("WISP_E2E_KILLS").map_or(default, |kills| kills.parse().expect("a number"))
}

#[test]
fn what_is_acknowledged_survives_kill_9_under_load_and_comes_once_at_qos_2() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (folder, addr) = (Folder::new(), free_addr());
    let mut random = Random::new(Instant::now().elapsed().as_nanos() as u64 ^ u64::from(process::id()));
    let mut senders = [Sender::new("one", 1), Sender::new("two", 2), Sender::new("three", 2)];
    let mut receiver = Receiver::default();
    let never = AtomicBool::new(false);
    for round in 0..kills() {
        let mut broker = Broker::start_at(addr, &folder.roomy_flags());
        if round == 0 {
            let mut client = Client::kept(&broker, VERSION, "receiver");
            client.subscribe("load/#", 2);
            client.disconnect();
        }
        let receives = random.percent(50);
        thread::scope(|scope| {
            for sender in &mut senders {
                scope.spawn(|| sender.run(addr, &never));
            }
            if receives {
                scope.spawn(|| receiver.run(addr, |_| false));
            }
            thread::sleep(Duration::from_millis(5 + random.below(150)));
            broker.kill();
        });
        assert_nothing_dropped(&broker);
    }
    let broker = Broker::start_at(addr, &folder.roomy_flags());
    finish(&broker, &mut senders, &mut receiver);
}

#[test]
fn a_queue_under_load_loses_nothing_at_kill_9_and_repeats_nothing_that_its_consumer_has_for_good() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (folder, addr) = (Folder::new(), free_addr());
    let mut random = Random::new(Instant::now().elapsed().as_nanos() as u64 ^ u64::from(process::id()));
    let mut senders = ["one", "two"].map(|id| Sender { to_queue: true, ..Sender::new(id, 2) });
    let mut consumers = Vec::new();
    let (taken, never) = (Mutex::new(Taken::default()), AtomicBool::new(false));
    for round in 0..kills() {
        let mut broker = Broker::start_at(addr, &folder.roomy_flags());
        if round == 0 {
            consumers =
                [("first", 2), ("second", 2), ("third", 1)].map(|(id, qos)| Consumer::new(&broker, id, qos)).into();
        }
        let consuming = random.below(4) as usize;
        thread::scope(|scope| {
            for sender in &mut senders {
                scope.spawn(|| sender.run(addr, &never));
            }
            for consumer in &mut consumers[..consuming] {
                scope.spawn(|| consumer.run(addr, &taken, |_| false));
            }
            thread::sleep(Duration::from_millis(5 + random.below(150)));
            broker.kill();
        });
        assert_nothing_dropped(&broker);
    }
    let broker = Broker::start_at(addr, &folder.roomy_flags());
    let ends = AtomicBool::new(true);
    for sender in &mut senders {
        sender.run(addr, &ends).expect("the broker runs");
        assert!(!sender.acknowledged.is_empty(), "{}: nothing was acknowledged", sender.id);
    }
    let started = Instant::now();
    let acknowledged: BTreeSet<String> =
        senders.iter().flat_map(|sender| sender.acknowledged.iter().map(|number| sender.text(*number))).collect();
    let is_done = |taken: &Taken| {
        let has_all = acknowledged.is_subset(&taken.received);
        assert!(has_all || started.elapsed() < TIMEOUT, "acknowledged messages are lost");
        has_all
    };
    consumers[0].run(addr, &taken, is_done).expect("the broker runs");
    assert_nothing_dropped(&broker);
}

#[test]
fn a_session_with_its_subscriptions_and_messages_is_there_after_a_clean_end_too() {
    if cannot(Ability::Signals) {
        return;
    }
    let (folder, addr) = (Folder::new(), free_addr());
    let mut broker = Broker::start_at(addr, &folder.flags());
    for version in Version::ALL {
        let id = format!("kept {version:?}");
        let mut client = Client::kept(&broker, version, &id);
        client.subscribe(&format!("{version:?}/+"), 2);
        client.disconnect();
        let mut publisher = Client::clean(&broker, version, "publisher");
        for (number, qos) in [1, 2, 1].into_iter().enumerate() {
            publisher.publish(&Publish::new(&format!("{version:?}/{qos}"), &number.to_string()).qos(qos));
        }
        publisher.disconnect();
    }
    broker.signal("TERM");
    broker.finish();
    let broker = Broker::start_at(addr, &folder.flags());
    broker.wait_log("restored from");
    for version in Version::ALL {
        let mut client = Client::kept(&broker, version, &format!("kept {version:?}"));
        let mut texts: Vec<String> = (0..3).map(|_| client.receive().text().to_owned()).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["0", "1", "2"], "{version:?}");
        client.nothing_came();
        client.disconnect();
    }
}

#[test]
fn a_folder_in_use_damaged_or_foreign_is_refused_by_name() {
    if cannot(Ability::Signals) {
        return;
    }
    let folder = Folder::new();
    let refusal = || {
        let command = Host::current().command(free_addr(), &folder.flags());
        let mut program = Program::start(command);
        wait_until("the end of the second broker", || program.ended().is_some());
        let finished = program.finish();
        assert_eq!(finished.status.code(), Some(2), "{:?}", finished.stderr);
        finished.stderr.last().cloned().unwrap_or_default()
    };
    let mut broker = Broker::start_with(&folder.flags());
    assert!(refusal().contains("in use by another process"), "{}", refusal());
    let mut client = Client::clean(&broker, VERSION, "sender");
    client.publish(&Publish::new("kept", "value").qos(1).retained());
    client.publish(&Publish::new("kept", "other").qos(1).retained());
    broker.kill();
    let segment = folder.0.join("segment-0000000002.log");
    let mut bytes = fs::read(&segment).expect("the segment is there");
    bytes[90] ^= 1;
    fs::write(&segment, bytes).expect("it can be written");
    let refused = refusal();
    assert!(refused.contains("segment-0000000002.log: damaged at offset"), "{refused}");
    fs::remove_dir_all(&folder.0).expect("it is ours");
    fs::create_dir(&folder.0).expect("it is gone");
    fs::write(folder.0.join("letter.txt"), "dear").expect("it can be written");
    assert!(refusal().contains("not a store"), "{}", refusal());
}

/// Runs `wisp-broker store`. Returns the status, standard output, and the last line of standard error.
fn store(words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(native_program("wisp-broker", "WISP_BROKER_BIN"));
    command.arg("store").args(words);
    let finished = Program::run(command, b"");
    let last = finished.stderr.last().cloned().unwrap_or_default();
    (finished.status.code(), finished.stdout.join("\n"), last)
}

/// The retained messages below `kept/`.
fn kept(broker: &Broker, count: usize) -> BTreeMap<String, String> {
    let mut client = Client::clean(broker, VERSION, "reader");
    client.subscribe("kept/#", 0);
    let messages = (0..count).map(|_| client.next_message());
    let texts = messages.map(|message| (message.topic.clone(), message.text().to_owned())).collect();
    client.nothing_came();
    client.disconnect();
    texts
}

#[test]
fn a_folder_is_checked_listed_and_repaired_by_the_command_line() {
    if cannot(Ability::Signals) {
        return;
    }
    let (folder, parent) = (Folder::new(), Folder::new());
    let new = Folder(parent.0.join("new"));
    let [dir, new_dir] = [folder.flags()[1], new.flags()[1]];
    let mut broker = Broker::start_with(&folder.flags());
    let mut client = Client::clean(&broker, VERSION, "sender");
    for (topic, payload) in [("kept/1", "first"), ("kept/2", "second"), ("kept/3", "third\u{1b}[31m")] {
        client.publish(&Publish::new(topic, payload).qos(1).retained());
    }
    let used = format!("wisp-broker: {dir}: in use by another process");
    for words in [vec!["check", dir], vec!["dump", dir], vec!["compact", dir], vec!["repair", dir, new_dir]] {
        assert_eq!(store(&words), (Some(2), String::new(), used.clone()), "{words:?}");
    }
    broker.kill();

    let (status, report, _) = store(&["check", dir]);
    assert!(status == Some(0) && report.ends_with("3 objects\nwhole"), "{status:?} {report}");
    let (status, dump, _) = store(&["dump", dir]);
    let line = "client=\"sender\" topic=\"kept/3\" qos=1 retain payload-bytes=10 payload=\"third\\u{1b}[31m\"";
    assert!(status == Some(0) && dump.lines().any(|found| found.ends_with(line)), "{status:?} {dump}");
    let (reader, writer) = io::pipe().expect("there are pipes");
    drop(reader);
    let mut command = Command::new(native_program("wisp-broker", "WISP_BROKER_BIN"));
    let unread = command.args(["store", "dump", dir]).stdout(writer).output().expect("it starts");
    assert!(unread.status.success() && unread.stderr.is_empty(), "{unread:?}");

    let segment = folder.0.join("segment-0000000002.log");
    let mut bytes = fs::read(&segment).expect("the segment is there");
    let place = bytes.windows(6).position(|window| window == b"second").expect("the payload is there");
    bytes[place] ^= 1;
    fs::write(&segment, bytes).expect("it can be written");
    let (status, report, last) = store(&["check", dir]);
    assert!(status == Some(1) && report.starts_with("damaged: segment-0000000002.log: offset "), "{status:?} {report}");
    assert!(last.contains(&format!("`wisp-broker store repair {dir} NEWFOLDER`")), "{last}");
    let (status, report, last) = store(&["repair", dir, new_dir]);
    assert!(status == Some(0) && report.starts_with("damaged: segment-0000000002.log"), "{status:?} {report} {last}");
    assert!(report.contains(&format!("\n2 objects saved to {new_dir}; {dir} stays")), "{report}");
    let (status, report, _) = store(&["compact", new_dir]);
    assert!(status == Some(0) && report.ends_with(" after, 2 objects"), "{status:?} {report}");
    let broker = Broker::start_with(&new.flags());
    let expected = [("kept/1", "first"), ("kept/3", "third\u{1b}[31m")];
    let expected = expected.map(|(topic, text)| (topic.to_owned(), text.to_owned()));
    assert_eq!(kept(&broker, 2), BTreeMap::from(expected));
}

#[test]
fn a_copy_of_a_running_broker_has_all_that_was_acknowledged_before() {
    if cannot(Ability::Signals) {
        return;
    }
    let (folder, parent) = (Folder::new(), Folder::new());
    let copy = Folder(parent.0.join("copy"));
    let broker = Broker::start_with(&folder.roomy_flags());
    let addr = broker.addr();
    let mut client = Client::kept(&broker, VERSION, "receiver");
    client.subscribe("load/#", 2);
    client.disconnect();
    let (never, soon) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut before = [Sender::new("early", 1), Sender::new("earlier", 2)];
    let mut during = [Sender::new("one", 1).with_padding(2000), Sender::new("two", 2).with_padding(2000)];
    thread::scope(|scope| {
        for sender in &mut before {
            scope.spawn(|| sender.run(addr, &soon));
        }
        thread::sleep(Duration::from_millis(100));
        soon.store(true, Ordering::Release);
    });
    let mut broker = broker;
    thread::scope(|scope| {
        for sender in &mut during {
            scope.spawn(|| sender.run(addr, &never));
        }
        // So that segments end while others are copied.
        wait_until("some segments", || folder.0.join("segment-0000000004.log").exists());
        let (status, report, last) = store(&["backup", folder.flags()[1], copy.flags()[1]]);
        assert!(status == Some(0) && report.starts_with("copied: "), "{status:?} {report} {last}");
        broker.kill();
    });
    assert_eq!(store(&["check", copy.flags()[1]]).0, Some(0));
    let broker = Broker::start_at(addr, &copy.roomy_flags());
    // The sessions of these senders are as they were, so they go on where they were.
    finish(&broker, &mut before, &mut Receiver::default());
}

//! Members of a shared subscription, and receivers of a queue, connect and disconnect while messages are
//! published to them. No message may be lost, and at QoS 2 none may arrive twice where sessions are kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish, Received, kind};
use wisp_e2e::random::Random;
use wisp_e2e::raw::Incoming;
use wisp_e2e::wait::{SetAtTheEnd, TIMEOUT, wait_or_report};

const MEMBERS: usize = 8;
const MESSAGES: usize = 3000;
const TIME_MAX: Duration = Duration::from_secs(6);
const SHARED: &str = "$share/group/load";

/// Whether a member's session outlives its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sessions {
    Kept,
    Ended,
}

/// The state that all members share.
struct Group {
    filter: &'static str,
    qos: u8,
    sessions: Sessions,
    received: Mutex<BTreeSet<usize>>,
    /// Set at the end: members stay connected and acknowledge everything.
    calm: AtomicBool,
    done: AtomicBool,
}

impl Group {
    fn connect(&self, broker: &Broker, number: usize) -> Client {
        let version = [Version::V311, Version::V5][number % 2];
        let id = format!("member {number}");
        let connect = Connect::kept(version, &id, 3600);
        let mut member = match self.sessions {
            Sessions::Kept => Client::connect(broker, &connect),
            Sessions::Ended => Client::clean(broker, version, &id),
        };
        if member.session_present() == Some(false) {
            // Messages may arrive before the answer; they are set aside.
            member.subscribe(self.filter, self.qos);
        }
        member
    }

    /// Reads until the deadline or the end, and answers `care` percent of the packets. An unanswered message is
    /// sent again only after the connection has ended.
    fn work(&self, member: &mut Member, random: &mut Random, until: Instant, care: u64) {
        while !self.done.load(Ordering::Relaxed) && Instant::now() < until {
            match member.client.read_within(Duration::from_millis(5)) {
                Some(Incoming::Packet(packet)) => self.take(member, &packet, random.percent(care)),
                Some(Incoming::Closed) => panic!("a member was disconnected"),
                None => {}
            }
        }
    }

    fn take(&self, member: &mut Member, packet: &Received, answers: bool) {
        let version = member.client.version();
        if packet.kind() == kind::PUBREL {
            let packet_id = packet.publish_acknowledgement(version).packet_id;
            member.unreleased.remove(&packet_id);
            if answers {
                member.client.answer(kind::PUBCOMP, packet_id);
            }
            return;
        }
        let message = packet.message(version);
        let number: usize = message.text().parse().expect("a number");
        if message.qos == 2 {
            match member.unreleased.insert(message.packet_id, number) {
                Some(known) => assert_eq!(known, number, "another message under an id in use: {message:?}"),
                None => assert!(self.lock().insert(number), "twice: {message:?}"),
            }
        } else if answers {
            self.lock().insert(number);
        }
        if answers {
            member.client.answer(if message.qos == 2 { kind::PUBREC } else { kind::PUBACK }, message.packet_id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.received.lock().expect("no thread panicked")
    }

    /// Connects and disconnects, with varying care, until the end, and then stays.
    fn live(&self, broker: &Broker, number: usize) {
        let mut random = Random::new(number as u64);
        let mut unreleased = HashMap::new();
        while !self.done.load(Ordering::Relaxed) {
            let mut member = Member { client: self.connect(broker, number), unreleased };
            if self.calm.load(Ordering::Relaxed) {
                self.work(&mut member, &mut random, Instant::now() + TIMEOUT, 100);
            } else {
                let (time, care) = (Duration::from_millis(random.below(40)), random.below(101));
                self.work(&mut member, &mut random, Instant::now() + time, care);
            }
            unreleased = member.unreleased;
            if random.percent(50) {
                member.client.die();
            } else {
                member.client.disconnect();
            }
        }
    }
}

/// A connected member.
struct Member {
    client: Client,
    /// Messages at QoS 2 that its session has received but not released, by packet id.
    unreleased: HashMap<u16, usize>,
}

fn churn(filter: &'static str, qos: u8, sessions: Sessions) {
    let broker = Broker::start();
    let group = Group {
        filter,
        qos,
        sessions,
        received: Mutex::default(),
        calm: AtomicBool::new(false),
        done: AtomicBool::new(false),
    };
    // A steady member, so that there is always a session for the messages of the others.
    let mut steady = Member { client: Client::clean(&broker, Version::V5, "steady"), unreleased: HashMap::new() };
    steady.client.subscribe(filter, qos);
    thread::scope(|scope| {
        let _done_at_the_end = SetAtTheEnd(&group.done);
        for number in 0..MEMBERS {
            let (group, broker) = (&group, &broker);
            scope.spawn(move || group.live(broker, number));
        }
        scope.spawn(|| {
            group.work(&mut steady, &mut Random::new(99), Instant::now() + TIME_MAX + TIMEOUT, 100);
        });
        let topic = filter.strip_prefix("$share/group/").unwrap_or(filter);
        let mut publisher = Client::clean(&broker, Version::V311, "publisher");
        let start = Instant::now();
        let mut published = 0;
        while published < MESSAGES && start.elapsed() < TIME_MAX {
            publisher.publish(&Publish::new(topic, &published.to_string()).qos(qos));
            published += 1;
        }
        group.calm.store(true, Ordering::Relaxed);
        let all_came = || (group.lock().len() == published).then_some(());
        let missing = || {
            let received = group.lock();
            let lost: Vec<usize> = (0..published).filter(|number| !received.contains(number)).collect();
            format!("{} of {published} are lost: {lost:?}", lost.len())
        };
        wait_or_report("all messages at some member", all_came, missing);
    });
}

#[test]
fn members_that_come_and_go_with_their_sessions_kept_lose_nothing() {
    churn(SHARED, 1, Sessions::Kept);
}

#[test]
fn members_that_come_and_go_with_their_sessions_kept_get_each_qos_2_message_once() {
    if cannot(Ability::Wisp) {
        // mosquitto may send a released message again if connections end quickly enough.
        return;
    }
    churn(SHARED, 2, Sessions::Kept);
}

#[test]
fn members_that_come_and_go_for_good_lose_nothing() {
    if cannot(Ability::Wisp) {
        // mosquitto drops messages that were sent to a session that ends.
        return;
    }
    churn(SHARED, 1, Sessions::Ended);
}

#[test]
fn receivers_of_a_queue_that_come_and_go_lose_nothing() {
    if cannot(Ability::Wisp) {
        return;
    }
    churn("$queue/load", 1, Sessions::Ended);
}

#[test]
fn receivers_of_a_queue_that_come_and_go_with_their_sessions_kept_lose_nothing() {
    if cannot(Ability::Wisp) {
        return;
    }
    churn("$queue/load", 1, Sessions::Kept);
}

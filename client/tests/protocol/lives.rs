//! Whole lives of a connection under virtual time: bytes arrive in random pieces after random delays, the socket accepts
//! random numbers of bytes, and the client publishes, subscribes and idles at random. Each seed repeats its life.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;
use wisp_client::protocol::{Delivered, Event, Protocol};
use wisp_client::{Error, PublishOptions, QoS, ReasonCode, SubscriptionOptions};
use wisp_wire::{List, Packet, PacketId, Properties, PubAck, PubComp, PubRec, PubRel, SubAck};

use crate::support::{SECOND, Sent, V5, connected, encoded, message, options, receive, sent, take_packets};

const LIVES: u64 = 300;
/// The longest delay of a piece of bytes in one direction: a ping and its answer take far less than the answer timeout.
const DELAY_MS_MAX: u64 = 400;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_secs(10);
/// The steps with random actions, and the most that may follow until everything is settled.
const ACTIVE_STEPS: usize = 120;
const STEPS_MAX: usize = 5000;

/// The broker's end: it answers every packet, and delivers messages of its own at every QoS.
#[derive(Default)]
struct FakeBroker {
    input: Vec<u8>,
    /// The payloads of the client's messages, by their order.
    published: Vec<Vec<u8>>,
    /// The next number to deliver, which is also the packet identifier.
    next: u16,
    unreleased: BTreeMap<u16, Vec<u8>>,
    acknowledged: Vec<u16>,
    completed: Vec<u16>,
    is_mute: bool,
}

/// Bytes on their way, with the time of arrival, in order.
#[derive(Default)]
struct Wire(VecDeque<(Instant, Vec<u8>)>);

impl Wire {
    fn push(&mut self, bytes: Vec<u8>, at: Instant) {
        // TCP keeps the order, so a piece never arrives before the one in front of it.
        let at = self.0.back().map_or(at, |(last, _)| at.max(*last));
        if !bytes.is_empty() {
            self.0.push_back((at, bytes));
        }
    }

    fn arrival(&self) -> Option<Instant> {
        self.0.front().map(|(at, _)| *at)
    }

    fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.arrival()? > now {
            return None;
        }
        self.0.pop_front().map(|(_, bytes)| bytes)
    }
}

impl FakeBroker {
    /// The answers to the packets in `bytes`.
    fn answer(&mut self, bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
        self.input.extend_from_slice(bytes);
        let mut answers = Vec::new();
        let mut answer = |packet: &Packet<'_>| answers.extend(encoded(V5, packet));
        for packet in take_packets(&mut self.input, V5) {
            match packet {
                Sent::Ping => answer(&Packet::PingResp),
                Sent::Publish { qos, id, payload } => {
                    self.published.push(payload);
                    match PacketId::new(id).map(|id| (id, qos)) {
                        Some((id, QoS::ExactlyOnce)) => answer(&Packet::PubRec(PubRec::new(id))),
                        Some((id, _)) => answer(&Packet::PubAck(PubAck::new(id))),
                        None => {}
                    }
                }
                Sent::PubRel(id) => answer(&Packet::PubComp(PubComp::new(PacketId::new(id).unwrap()))),
                Sent::PubAck(id) => self.acknowledged.push(id),
                Sent::PubRec(id) => {
                    // A repeated PUBLISH has a PUBREC of its own, and the second PUBREL is harmless.
                    self.unreleased.remove(&id);
                    answer(&Packet::PubRel(PubRel::new(PacketId::new(id).unwrap())));
                }
                Sent::PubComp(id) => self.completed.push(id),
                Sent::Subscribe { id, filters } => {
                    let codes = vec![ReasonCode::GrantedQoS1; filters];
                    let packet_id = PacketId::new(id).unwrap();
                    let codes = List::from_slice(&codes);
                    answer(&Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, codes }));
                }
                other => panic!("{other:?} is not part of these lives"),
            }
        }
        // A message that the client has not acknowledged may come again.
        if let Some((id, payload)) = self.unreleased.iter().next().filter(|_| rng.u8(..) < 20) {
            answers.extend(message(V5, QoS::ExactlyOnce, *id, payload, true));
        }
        if self.is_mute { Vec::new() } else { answers }
    }

    /// The next message, numbered.
    fn deliver(&mut self, qos: QoS) -> Vec<u8> {
        self.next += 1;
        let payload = self.next.to_be_bytes().to_vec();
        let bytes = message(V5, qos, self.next, &payload, false);
        if qos == QoS::ExactlyOnce {
            self.unreleased.insert(self.next, payload);
        }
        bytes
    }
}

struct Life {
    rng: Rng,
    now: Instant,
    client: Protocol,
    broker: FakeBroker,
    to_broker: Wire,
    to_client: Wire,
    /// The payloads that the client has published, and the identifiers and requests without an answer.
    published: Vec<Vec<u8>>,
    waiting: Vec<PacketId>,
    held: VecDeque<Delivered>,
    received: Vec<u16>,
    pinged_at: Option<Instant>,
    pings: usize,
    last_sent: Instant,
}

impl Life {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let mut options = options(V5);
        (options.answer_timeout, options.keep_alive_s) = (ANSWER_TIMEOUT, INTERVAL.as_secs() as u16);
        Self {
            rng: Rng::with_seed(seed),
            now,
            client: connected(&options, &[], now),
            broker: FakeBroker::default(),
            to_broker: Wire::default(),
            to_client: Wire::default(),
            published: Vec::new(),
            waiting: Vec::new(),
            held: VecDeque::new(),
            received: Vec::new(),
            pinged_at: None,
            pings: 0,
            last_sent: now,
        }
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(1..=DELAY_MS_MAX))
    }

    fn qos(&mut self) -> QoS {
        QoS::new(self.rng.u8(0..3)).unwrap()
    }

    /// One random action of the client or the broker.
    fn act(&mut self) {
        match self.rng.u8(0..6) {
            0 | 1 => {
                let (qos, payload) = (self.qos(), vec![self.rng.u8(..); self.rng.usize(0..50)]);
                self.published.push(payload.clone());
                self.waiting.extend(self.client.publish("t", &payload, PublishOptions::new(qos)).unwrap());
            }
            2 => {
                let filter = ("a", SubscriptionOptions::new(QoS::AtLeastOnce));
                self.waiting.push(self.client.subscribe(&[filter, filter], None).unwrap());
            }
            3 | 4 if !self.broker.is_mute => {
                let qos = self.qos();
                let bytes = self.broker.deliver(qos);
                self.broker_sends(bytes);
            }
            _ => {}
        }
    }

    /// Sends in two pieces, each with a delay of its own.
    fn broker_sends(&mut self, mut bytes: Vec<u8>) {
        let rest = bytes.split_off(self.rng.usize(0..=bytes.len()));
        for piece in [bytes, rest] {
            let at = self.now + self.delay();
            self.to_client.push(piece, at);
        }
    }

    /// The socket of the client accepts some bytes.
    fn client_sends(&mut self) {
        let bytes = self.client.poll_transmit();
        let accepted = self.rng.usize(0..=bytes.len());
        let bytes = bytes[..accepted].to_vec();
        self.client.handle_sent(accepted, self.now);
        if accepted > 0 {
            self.last_sent = self.now;
            let at = self.now + self.delay();
            self.to_broker.push(bytes, at);
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.client.poll_event(self.now) {
            match event {
                Event::Message(delivered) => self.held.push_back(delivered),
                Event::Published { packet_id, .. } | Event::Subscribed { packet_id, .. } => {
                    let at = self.waiting.iter().position(|waiting| *waiting == packet_id);
                    self.waiting.remove(at.expect("an answer comes once, to a request"));
                }
                other => panic!("{other:?}"),
            }
        }
        while self.rng.bool() {
            let Some(delivered) = self.held.pop_front() else { break };
            let payload = self.client.acknowledge(delivered).payload;
            self.received.push(u16::from_be_bytes([payload[0], payload[1]]));
        }
    }

    /// Moves the clock to the next event, or a random time closer.
    fn pass_time(&mut self) {
        let sending = (!self.client.poll_transmit().is_empty()).then_some(self.now + Duration::from_millis(1));
        let next = [self.to_broker.arrival(), self.to_client.arrival(), self.client.poll_timeout(), sending];
        let next = next.into_iter().flatten().min().expect("a keep-alive is never without a deadline");
        let span = next.saturating_duration_since(self.now);
        self.now += if self.rng.bool() { span } else { span.mul_f64(self.rng.f64()) };
    }

    fn step(&mut self) {
        while let Some(bytes) = self.to_broker.take(self.now) {
            let answers = self.broker.answer(&bytes, &mut self.rng);
            self.broker_sends(answers);
        }
        let mut arrived = false;
        while let Some(bytes) = self.to_client.take(self.now) {
            receive(&mut self.client, &bytes);
            arrived = true;
        }
        self.take_events();
        if !arrived {
            let unsent = self.client.unsent_bytes();
            self.client.handle_timeout(self.now);
            if self.client.unsent_bytes() > unsent {
                self.pinged_at = Some(self.now);
                self.pings += 1;
                assert!(self.now - self.last_sent >= INTERVAL / 2, "a ping is never early");
            }
        }
        if self.client.check_open().is_ok() {
            assert!(self.client.poll_timeout().is_none_or(|at| at > self.now || arrived), "a deadline is handled once");
            self.client_sends();
        }
    }

    fn is_settled(&self) -> bool {
        self.waiting.is_empty()
            && self.received.len() == usize::from(self.broker.next)
            && self.client.unsent_bytes() == 0
            && self.to_broker.0.is_empty()
            && self.to_client.0.is_empty()
    }
}

#[test]
fn every_request_is_answered_once_and_every_message_comes_once_and_in_order() {
    let (mut repeated, mut pings) = (0, 0);
    for seed in 0..LIVES {
        let mut life = Life::new(seed);
        for step in 0.. {
            if step < ACTIVE_STEPS {
                life.act();
            } else if life.is_settled() {
                break;
            }
            assert!(step < STEPS_MAX, "seed {seed}: not settled");
            life.step();
            life.client.check_open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            life.pass_time();
        }
        assert_eq!(life.published, life.broker.published, "seed {seed}");
        let all: Vec<u16> = (1..=life.broker.next).collect();
        assert_eq!(life.received, all, "seed {seed}");
        assert!(life.broker.unreleased.is_empty(), "seed {seed}");
        let (acknowledged, completed) = (&life.broker.acknowledged, &life.broker.completed);
        assert!(acknowledged.is_sorted_by(|one, next| one < next), "seed {seed}: each once, in order");
        let mut once = completed.clone();
        once.dedup();
        repeated += completed.len() - once.len();
        pings += life.pings;
        life.client.disconnect().unwrap();
        let goodbye = sent(&mut life.client, V5, life.now);
        assert_eq!(goodbye, [Sent::Disconnect(ReasonCode::NORMAL_DISCONNECTION)], "seed {seed}");
    }
    assert!(repeated > 0 && pings > 0, "{repeated} messages came again after PUBREC, {pings} pings");
}

#[test]
fn a_broker_that_falls_silent_is_given_up_when_its_answer_to_a_ping_is_due() {
    for seed in 0..LIVES {
        let mut life = Life::new(seed);
        let silent_after = life.rng.usize(0..ACTIVE_STEPS);
        for step in 0.. {
            life.broker.is_mute |= step == silent_after;
            if step < ACTIVE_STEPS {
                life.act();
            }
            assert!(step < STEPS_MAX, "seed {seed}: not given up");
            life.step();
            if let Err(error) = life.client.check_open() {
                assert!(matches!(error, Error::Silent { waited } if waited == ANSWER_TIMEOUT), "seed {seed}: {error}");
                break;
            }
            life.pass_time();
        }
        let waited = life.now - life.pinged_at.expect("a ping comes first");
        assert_eq!(waited, ANSWER_TIMEOUT, "seed {seed}");
        assert!(life.broker.is_mute, "seed {seed}: a broker that answers is not given up");
        assert!(life.now - life.last_sent <= INTERVAL / 2 + ANSWER_TIMEOUT + SECOND, "seed {seed}");
    }
}

//! The receivers of a message, and its faults on the way.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wisp_wire::{Packet, PacketId, ProtocolVersion, Publish, QoS, TopicName};

use super::{Fault, Output};

/// All subscriptions, in the order in which they were made.
#[derive(Default)]
pub(super) struct Routes {
    subscriptions: Mutex<Vec<Subscription>>,
    deliveries: AtomicU64,
    turns: AtomicU64,
}

struct Subscription {
    /// Without its group.
    filter: String,
    /// Whose members take turns: the group's name, or the queue's.
    group: Option<String>,
    subscriber: Arc<Subscriber>,
}

/// A connection that receives.
pub(super) struct Subscriber {
    version: ProtocolVersion,
    output: Output,
    state: Mutex<Deliveries>,
}

#[derive(Default)]
struct Deliveries {
    last_id: u16,
    held: Option<Vec<u8>>,
}

impl Routes {
    pub(super) fn add(&self, filter: &str, subscriber: Arc<Subscriber>) {
        let share = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
        let (group, filter) = match share {
            Some((group, filter)) => (Some(group), filter),
            None => (filter.strip_prefix("$queue/"), filter),
        };
        let (filter, group) = (filter.to_owned(), group.map(str::to_owned));
        self.subscriptions.lock().unwrap().push(Subscription { filter, group, subscriber });
    }

    /// Sends a message to all its receivers, with the fault if it is due.
    pub(super) fn deliver(&self, publish: &Publish<'_>, fault: Fault) {
        for subscriber in self.receivers(publish.topic.unwrap().as_str(), fault) {
            let number = self.deliveries.fetch_add(1, Ordering::Relaxed) + 1;
            subscriber.deliver(publish, fault, number);
        }
    }

    fn receivers(&self, topic: &str, fault: Fault) -> Vec<Arc<Subscriber>> {
        let subscriptions = self.subscriptions.lock().unwrap();
        let matching = subscriptions.iter().filter(|subscription| matches(&subscription.filter, topic));
        // A run has one group, or none.
        let (members, alone): (Vec<_>, Vec<_>) = matching.partition(|subscription| subscription.group.is_some());
        let mut receivers: Vec<_> = alone.iter().map(|subscription| Arc::clone(&subscription.subscriber)).collect();
        if !members.is_empty() {
            let turn = self.turns.fetch_add(1, Ordering::Relaxed) as usize;
            let of_turn = |turn: usize| Arc::clone(&members[turn % members.len()].subscriber);
            receivers.push(of_turn(turn));
            if matches!(fault, Fault::ShareTwice(every) if (turn as u64 + 1).is_multiple_of(every)) {
                receivers.push(of_turn(turn + 1));
            }
        }
        receivers
    }
}

/// Whether a filter that may have `+` for levels is for a topic.
fn matches(filter: &str, topic: &str) -> bool {
    let same = |(level, name): (&str, &str)| level == "+" || level == name;
    filter.split('/').count() == topic.split('/').count() && filter.split('/').zip(topic.split('/')).all(same)
}

/// The same name with another last digit.
fn other_topic(topic: &str) -> String {
    let (head, last) = topic.split_at(topic.len() - 1);
    format!("{head}{}", if last == "0" { '1' } else { '0' })
}

impl Subscriber {
    pub(super) fn new(version: ProtocolVersion, output: Output) -> Self {
        Self { version, output, state: Mutex::default() }
    }

    fn deliver(&self, publish: &Publish<'_>, fault: Fault, number: u64) {
        let is_hit = |every: u64| number.is_multiple_of(every);
        let mut publish = *publish;
        let mut payload = publish.payload.to_vec();
        let topic = other_topic(publish.topic.unwrap().as_str());
        match fault {
            Fault::Corrupt(every) if is_hit(every) => _ = payload.pop(),
            Fault::Flip(every) if is_hit(every) => {
                let middle = payload.len() / 2;
                payload[middle] ^= 1;
            }
            Fault::Misroute(every) if is_hit(every) => publish.topic = Some(TopicName::new(&topic).unwrap()),
            _ => {}
        }
        publish.payload = &payload;
        // Held until all is written, so that the order is that of the messages.
        let mut state = self.state.lock().unwrap();
        if let Fault::Stall { at, ms } = fault
            && number == at
        {
            thread::sleep(Duration::from_millis(ms));
        }
        let mut bytes = state.encode(&publish, self.version);
        match fault {
            Fault::Drop(every) if is_hit(every) => return,
            Fault::Duplicate(every) if is_hit(every) => bytes.extend(state.encode(&publish, self.version)),
            Fault::Repeat(every) if is_hit(every) => bytes = bytes.repeat(2),
            Fault::Reorder(every) if is_hit(every) && state.held.is_none() => {
                state.held = Some(bytes);
                return;
            }
            _ => {}
        }
        bytes.extend(state.held.take().unwrap_or_default());
        // A receiver that has gone needs nothing.
        let _ = self.output.lock().unwrap().write_all(&bytes);
    }
}

impl Deliveries {
    /// The message under a fresh identifier, if it needs one.
    fn encode(&mut self, publish: &Publish<'_>, version: ProtocolVersion) -> Vec<u8> {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let packet_id = PacketId::new(self.last_id).filter(|_| publish.qos > QoS::AtMostOnce);
        let mut bytes = Vec::new();
        Packet::Publish(Publish { packet_id, ..*publish }).encode(version, &mut bytes).unwrap();
        bytes
    }
}

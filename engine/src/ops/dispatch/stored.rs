//! A message that is stored once for all its receivers, made when the first of them needs it, and the changes that put it into the
//! store.

use std::borrow::Cow;

use wisp_wire::QoS;

use super::forms::Received;
use crate::delivery::addressed::Delivery;
use crate::delivery::loan::{QueueInfo, Queued};
use crate::delivery::message::Message;
use crate::ops::routes::{Route, Target};
use crate::store::journal::Recorder;
use crate::store::key::incoming_key;
use crate::store::{Change, Key, Object, WaitingState};

/// A stored message.
pub(super) struct SharedMessage<'a> {
    pub(super) received: &'a Received<'a>,
    now_ms: u64,
    message: Option<Message>,
}

/// The part of a message that the store keeps: the message, the sessions that it waits for, and the queues that it is in.
#[derive(Default)]
pub(super) struct Kept<'r> {
    message: Option<Message>,
    /// The first is the message's own, or will be: `Delete` stands in its place.
    changes: Vec<Change<'r>>,
}

impl<'r> Kept<'r> {
    /// The changes of most messages: the message, one receiver, and its sender's packet identifier.
    const USUAL: usize = 3;

    /// The message, made when it is asked for first. `receivers_max` is the most deliveries.
    fn message(&mut self, shared: &SharedMessage<'_>, recorder: Recorder<'_>, receivers_max: usize) -> Message {
        let Self { message, changes } = self;
        let make = || {
            let key = recorder.new_keys(1 + receivers_max as u64);
            changes.reserve(Self::USUAL);
            changes.push(Change::Delete { key });
            Message::with_key(&shared.received.publish, shared.received.topic, shared.now_ms, Some(key))
        };
        message.get_or_insert_with(make).clone()
    }

    /// The key of the next receiver, less the message's.
    fn next_ordinal(&self) -> u32 {
        self.changes.len() as u32
    }
}

impl<'a> SharedMessage<'a> {
    pub(super) fn new(received: &'a Received<'a>, now_ms: u64) -> Self {
        Self { received, now_ms, message: None }
    }

    /// A share of the message. The last one is handed over: counting it while the copy is still on its way to memory would wait
    /// for it.
    pub(super) fn share(&mut self, is_last: bool) -> Message {
        let Self { received, now_ms, message } = self;
        let make = || Message::from_publish(&received.publish, received.topic, *now_ms);
        if is_last { message.take().unwrap_or_else(make) } else { message.get_or_insert_with(make).clone() }
    }

    /// The delivery to a session that the store keeps, and so the delivery too. `receivers_max` is the most deliveries.
    #[inline(never)]
    pub(super) fn keep<'r>(
        &self,
        (kept, recorder): (&mut Option<Box<Kept<'r>>>, Recorder<'_>),
        target: &'r Target,
        (qos, session): (QoS, Key),
        receivers_max: usize,
    ) -> Delivery {
        let kept = kept.get_or_insert_default();
        let mut delivery = deliver_at(target, qos, kept.message(self, recorder, receivers_max));
        delivery.set_ordinal(kept.next_ordinal());
        let object = Object::Waiting {
            session,
            message: delivery.message.key(),
            qos,
            retain: delivery.retain,
            subscription_ids: Cow::Borrowed(target.subscription_ids.as_deref().unwrap_or_default()),
            state: WaitingState::Pending,
        };
        kept.changes.extend(delivery.key().map(|key| Change::Put { key, object }));
        delivery
    }

    /// The message in a queue whose messages the store keeps. `receivers_max` as above.
    #[inline(never)]
    pub(super) fn keep_queued<'r>(
        &self,
        (kept, recorder): (&mut Option<Box<Kept<'r>>>, Recorder<'_>),
        queue: &'r QueueInfo,
        receivers_max: usize,
    ) -> Queued {
        let kept = kept.get_or_insert_default();
        let message = kept.message(self, recorder, receivers_max);
        let queued = Queued { message, deliveries: 0, ordinal: kept.next_ordinal() };
        let put = |(key, message)| {
            let object = Object::Queued { queue: &queue.name, message, deliveries: 0, loan: None };
            Change::Put { key, object }
        };
        kept.changes.extend(queued.key().zip(queued.message.key()).map(put));
        queued
    }

    /// Appends the message, the sessions that it waits for, the queues, and its sender's packet identifier, all or nothing.
    pub(super) fn record(&self, kept: Option<Box<Kept<'_>>>, recorder: Recorder<'_>) {
        let received = self.received;
        if kept.is_none() && received.incoming.is_none() {
            return;
        }
        let Kept { message, mut changes } = kept.map_or_else(Kept::default, |kept| *kept);
        if let (Some(message), Some(first)) = (&message, changes.first_mut())
            && let Some(key) = message.key()
        {
            *first = Change::Put { key, object: Object::Message(message.as_object(recorder)) };
        }
        if let (Some(session), Some(packet_id)) = (received.incoming, received.publish.packet_id) {
            let object = Object::Incoming { session, packet_id };
            changes.push(Change::Put { key: incoming_key(session, packet_id), object });
        }
        recorder.append(&changes);
    }
}

/// The delivery of a message at QoS 1 or 2.
#[inline(always)]
pub(super) fn deliver_at(target: &Target, qos: QoS, message: Message) -> Delivery {
    let retain = message.retain() && target.retain_as_published;
    Delivery::new(message, qos, retain, target.subscription_ids.clone())
}

/// Whether the store keeps the message for a receiver, in a queue, for later subscribers, or its packet identifier.
#[cold]
pub(super) fn is_stored(route: &Route, received: &Received<'_>) -> bool {
    let mut waiting =
        route.targets.iter().filter(|target| target.session.key().is_some() && target.qos != QoS::AtMostOnce);
    let waits = received.publish.qos != QoS::AtMostOnce && waiting.next().is_some();
    let is_queued = route.queues.iter().any(|queue| queue.info().keeps(received.publish.qos));
    waits || is_queued || received.publish.retain || received.incoming.is_some()
}

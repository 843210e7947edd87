//! Builds the state that a broker takes up at its start, for a program that brings it from elsewhere.

use std::borrow::Cow;

use wisp_wire::{PacketId, QoS, SubscriptionId, SubscriptionOptions, TopicFilter};

use super::key::{Key, SESSION_KEYS, incoming_key};
use super::{MessageObject, Object, WaitingState};

/// Gives objects their keys, as [`Shared::restore`](crate::Shared::restore) expects the keys, and passes each object to a function that
/// stores it. Objects are taken up in the order of the calls: messages wait for a session in the order in which
/// [`waiting`](Self::waiting) is called for it.
///
/// ```
/// use wisp_engine::{Limits, MessageObject, Restored, Shared, StateBuilder, WaitingState, WaitingMessage};
/// use wisp_wire::QoS;
///
/// let mut objects = Vec::new();
/// let mut builder = StateBuilder::new(|key, object| {
///     let mut body = Vec::new();
///     object.encode_head(&mut body);
///     body.extend(object.tail());
///     objects.push(Restored { key, kind: object.kind(), body });
///     Ok::<(), std::convert::Infallible>(())
/// });
/// let session = builder.session("pump-1", 3600, None, None)?;
/// let (topic, payload, qos) = ("orders/7", b"start", QoS::AtLeastOnce);
/// let content = MessageObject { topic, properties: &[], payload, qos, retain: false, expires_ms: None };
/// let mut message = builder.message(content, 1)?;
/// let waiting = WaitingMessage { qos, retain: false, subscription_ids: &[], state: WaitingState::Pending };
/// builder.waiting(session, &mut message, waiting)?;
///
/// let restoration = Shared::new(Limits::DEFAULT, 1).restore(objects).unwrap();
/// assert_eq!((restoration.sessions, restoration.messages), (1, 1));
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Debug)]
pub struct StateBuilder<F> {
    store: F,
    next_key: u64,
}

/// A message of a [`StateBuilder`], and the keys that are left for its receivers.
#[derive(Debug)]
pub struct BuiltMessage {
    key: Key,
    receivers: u32,
    receivers_max: u32,
}

/// A message as it waits for one session.
#[derive(Clone, Copy, Debug)]
pub struct WaitingMessage<'a> {
    /// The lower QoS of the message's and the subscription's: not 0.
    pub qos: QoS,
    /// RETAIN as it is sent.
    pub retain: bool,
    /// The identifiers of the subscriptions that it matched.
    pub subscription_ids: &'a [SubscriptionId],
    /// How far it is: pending or sent. See [`StateBuilder::released`].
    pub state: WaitingState,
}

impl<F, E> StateBuilder<F>
where
    F: FnMut(Key, &Object<'_>) -> Result<(), E>,
{
    /// A state without objects. `store` gets each object, and fails if it cannot.
    pub fn new(store: F) -> Self {
        Self { store, next_key: 1 }
    }

    /// Adds a session that outlives its connection, of a client that left at `away_since_ms`, or was connected to the end.
    ///
    /// # Errors
    /// As `store`, like all methods.
    pub fn session(
        &mut self,
        client_id: &str,
        expiry_s: u32,
        away_since_ms: Option<u64>,
        user: Option<&str>,
    ) -> Result<Key, E> {
        let key = self.new_keys(SESSION_KEYS);
        (self.store)(key, &Object::Session { client_id, expiry_s, away_since_ms, user, will: None })?;
        Ok(key)
    }

    /// Adds a subscription of a session, which has none with this filter yet.
    ///
    /// # Errors
    /// As `store`.
    pub fn subscription(
        &mut self,
        session: Key,
        filter: TopicFilter<'_>,
        options: SubscriptionOptions,
        id: Option<SubscriptionId>,
    ) -> Result<(), E> {
        let key = self.new_keys(1);
        (self.store)(key, &Object::Subscription { session, filter: filter.as_str(), options, id })
    }

    /// Adds a message for at most `receivers_max` sessions.
    ///
    /// # Errors
    /// As `store`.
    pub fn message(&mut self, message: MessageObject<'_>, receivers_max: u32) -> Result<BuiltMessage, E> {
        let key = self.new_keys(1 + u64::from(receivers_max));
        (self.store)(key, &Object::Message(message))?;
        Ok(BuiltMessage { key, receivers: 0, receivers_max })
    }

    /// Has a message wait for a session, behind the ones that wait for it already.
    ///
    /// # Errors
    /// As `store`.
    ///
    /// # Panics
    /// If the message has as many receivers already as it was added for.
    pub fn waiting(&mut self, session: Key, message: &mut BuiltMessage, waiting: WaitingMessage<'_>) -> Result<(), E> {
        let WaitingMessage { qos, retain, subscription_ids, state } = waiting;
        let object = Object::Waiting {
            session,
            message: Some(message.key),
            qos,
            retain,
            subscription_ids: Cow::Borrowed(subscription_ids),
            state,
        };
        (self.store)(message.receiver_key(), &object)
    }

    /// Adds the packet identifier of a message at QoS 2 that the client has (PUBREC) and whose exchange has not ended.
    ///
    /// # Errors
    /// As `store`.
    pub fn released(&mut self, session: Key, packet_id: PacketId) -> Result<(), E> {
        let key = self.new_keys(1);
        (self.store)(key, &Object::released(session, packet_id))
    }

    /// Adds the packet identifier of a message at QoS 2 that the client has sent, and not released yet.
    ///
    /// # Errors
    /// As `store`.
    pub fn incoming(&mut self, session: Key, packet_id: PacketId) -> Result<(), E> {
        (self.store)(incoming_key(session, packet_id), &Object::Incoming { session, packet_id })
    }

    /// Adds the retained message of a topic, which has none yet.
    ///
    /// # Errors
    /// As `store`.
    pub fn retained(&mut self, sender: &str, message: MessageObject<'_>) -> Result<(), E> {
        let key = self.new_keys(1);
        (self.store)(key, &Object::Retained { sender, message })
    }

    /// The first of `count` keys.
    fn new_keys(&mut self, count: u64) -> Key {
        let number = self.next_key;
        self.next_key += count;
        Key::new(number).expect("the first key is 1, and there are more than memory can hold objects for")
    }
}

impl BuiltMessage {
    fn receiver_key(&mut self) -> Key {
        assert!(self.receivers < self.receivers_max, "the message has no keys for more receivers");
        self.receivers += 1;
        self.key.plus(u64::from(self.receivers))
    }
}

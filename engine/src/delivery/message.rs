//! A message that outlives the packet it came in: it is retained, or waits for a client that is away or slow, or is
//! unacknowledged at QoS 1 or 2, or is in a topic queue.
//!
//! It is stored once and shared by all receivers, in a form independent of protocol version and receiver. It lies in
//! one piece of memory: with a hundred thousand messages in flight, each further piece would be another cache miss.
//!
//! ```text
//! [ header | topic name | properties to forward | payload | unused ]
//! ```

mod memory;
pub(crate) mod pool;

use triomphe::Arc;
use wisp_wire::{
    EncodeError, PacketId, Properties, Property, PropertyOwner, ProtocolVersion, Publish, QoS, SubscriptionId,
    TopicName,
};

use self::memory::{Header, Memory, NEVER};
use crate::store::journal::Recorder;
use crate::store::{Key, MessageObject};

/// An estimate of the bytes that a message takes beyond its own: its header and its entry in a queue.
const OVERHEAD_BYTES: usize = 128;

/// A share of a message. The thread that drops the last share reuses the memory for another message, since at a million
/// messages a second the allocator would be the slowest part.
#[derive(Clone, Debug)]
pub(crate) struct Message(Option<Arc<Memory>>);

impl Drop for Message {
    fn drop(&mut self) {
        if let Some(memory) = self.0.take() {
            pool::give(memory);
        }
    }
}

/// When the first of some messages expires, so that they are not searched before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextExpiry(u64);

impl Default for NextExpiry {
    fn default() -> Self {
        Self(NEVER)
    }
}

impl NextExpiry {
    /// Takes a message into account.
    pub(crate) fn note(&mut self, message: &Message) {
        self.0 = self.0.min(message.header().expires_at_ms);
    }

    /// Whether no message expires.
    pub(crate) fn is_never(self) -> bool {
        self.0 == NEVER
    }

    /// The time; the maximum if no message expires.
    pub(crate) fn at_ms(self) -> u64 {
        self.0
    }

    /// Whether a message may have expired by now.
    pub(crate) fn is_due(self, now_ms: u64) -> bool {
        now_ms >= self.0
    }
}

/// The parts of a PUBLISH that differ from receiver to receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) subscription_ids: &'a [SubscriptionId],
}

/// Whether a property of a PUBLISH is forwarded unchanged. The others concern the sender's connection, or are written
/// anew for each receiver.
fn is_forwarded(property: &Property<'_>) -> bool {
    !matches!(
        property,
        Property::TopicAlias(_) | Property::MessageExpiryInterval(_) | Property::SubscriptionIdentifier(_)
    )
}

impl Message {
    /// Stores a message that was published to `topic` at `now_ms`.
    pub(crate) fn from_publish(publish: &Publish<'_>, topic: TopicName<'_>, now_ms: u64) -> Self {
        Self::with_key(publish, topic, now_ms, None)
    }

    /// The same, with the key that the message has in the store.
    pub(crate) fn with_key(publish: &Publish<'_>, topic: TopicName<'_>, now_ms: u64, key: Option<Key>) -> Self {
        let mut properties = Vec::new();
        let mut expires_at_ms = NEVER;
        if !publish.properties.is_empty() {
            let copied = publish.properties.copy_where(&mut properties, is_forwarded);
            debug_assert!(copied.is_ok(), "decoded properties can be encoded");
            let interval_s = publish.properties.message_expiry_interval_s();
            expires_at_ms = interval_s.map_or(NEVER, |seconds| now_ms + u64::from(seconds) * 1000);
        }
        let (qos, retain) = (publish.qos, publish.retain);
        Self::build((expires_at_ms, qos, retain, key), topic.as_str(), &properties, publish.payload)
    }

    /// A message that the store has kept.
    pub(crate) fn restored(object: &MessageObject<'_>, key: Option<Key>, recorder: Recorder<'_>) -> Self {
        let MessageObject { topic, properties, payload, qos, retain, expires_ms } = *object;
        let expires_at_ms = expires_ms.map_or(NEVER, |unix_ms| recorder.engine_ms(unix_ms));
        Self::build((expires_at_ms, qos, retain, key), topic, properties, payload)
    }

    /// A message with the same content, for a place in the store of its own.
    pub(crate) fn copy_with_key(&self, key: Key) -> Self {
        let (Header { expires_at_ms, qos, retain, .. }, topic, properties, payload) = self.parts();
        Self::build((expires_at_ms, qos, retain, Some(key)), topic.as_str(), properties, payload)
    }

    #[inline]
    fn build(
        (expires_at_ms, qos, retain, key): (u64, QoS, bool, Option<Key>),
        topic: &str,
        properties: &[u8],
        payload: &[u8],
    ) -> Self {
        let body_len = topic.len() + properties.len() + payload.len();
        let mut memory = pool::take(body_len);
        memory.header = Header {
            expires_at_ms,
            body_len: body_len as u32,
            properties_len: properties.len() as u32,
            topic_len: topic.len() as u16,
            qos,
            retain,
            key,
        };
        let (head, rest) = memory.slice.split_at_mut(topic.len());
        head.copy_from_slice(topic.as_bytes());
        let (middle, rest) = rest.split_at_mut(properties.len());
        middle.copy_from_slice(properties);
        rest[..payload.len()].copy_from_slice(payload);
        Self(Some(memory.shareable()))
    }

    /// The key that the message has in the store.
    pub(crate) fn key(&self) -> Option<Key> {
        self.header().key
    }

    /// The message as the store keeps it.
    pub(crate) fn as_object(&self, recorder: Recorder<'_>) -> MessageObject<'_> {
        let (header, topic, properties, payload) = self.parts();
        let expires_ms = self.expires_at_ms().map(|at_ms| recorder.to_unix_ms(at_ms).max(1));
        let Header { qos, retain, .. } = header;
        MessageObject { topic: topic.as_str(), properties, payload, qos, retain, expires_ms }
    }

    fn memory(&self) -> &Memory {
        self.0.as_deref().expect("it is there until it is dropped")
    }

    fn header(&self) -> Header {
        self.memory().header
    }

    /// Topic name, properties and payload.
    fn parts(&self) -> (Header, TopicName<'_>, &[u8], &[u8]) {
        let header = self.header();
        let body = &self.memory().slice[..header.body_len as usize];
        let (topic, rest) = body.split_at(usize::from(header.topic_len));
        let (properties, payload) = rest.split_at(header.properties_len as usize);
        let topic = str::from_utf8(topic).ok().and_then(|name| TopicName::new(name).ok());
        (header, topic.expect("a topic name was stored"), properties, payload)
    }

    /// The topic name.
    pub(crate) fn topic(&self) -> TopicName<'_> {
        self.parts().1
    }

    /// The QoS at which it was published.
    pub(crate) fn qos(&self) -> QoS {
        self.header().qos
    }

    /// Whether it was published with RETAIN.
    pub(crate) fn retain(&self) -> bool {
        self.header().retain
    }

    /// The payload.
    pub(crate) fn payload(&self) -> &[u8] {
        self.parts().3
    }

    /// The bytes of the payload.
    pub(crate) fn payload_bytes(&self) -> usize {
        let header = self.header();
        (header.body_len - header.properties_len) as usize - usize::from(header.topic_len)
    }

    /// The bytes that it counts for in a queue.
    pub(crate) fn cost_bytes(&self) -> usize {
        self.header().body_len as usize + OVERHEAD_BYTES
    }

    /// When it expires, if it has a Message Expiry Interval.
    pub(crate) fn expires_at_ms(&self) -> Option<u64> {
        Some(self.header().expires_at_ms).filter(|at_ms| *at_ms != NEVER)
    }

    /// Whether its Message Expiry Interval has passed [MQTT-3.3.2-5].
    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        now_ms >= self.header().expires_at_ms
    }

    /// Appends the PUBLISH for one receiver, with the rest of its Message Expiry Interval [MQTT-3.3.2-6].
    pub(crate) fn encode(
        &self,
        version: ProtocolVersion,
        head: &Head<'_>,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let (header, topic, kept, payload) = self.parts();
        let mut all = Vec::new();
        let mut properties = Properties::EMPTY;
        if version.is_v5() {
            // The properties were checked when the packet was decoded, and are still legal without the ones written for
            // this receiver.
            properties = Properties::from_bytes(kept, PropertyOwner::Publish).unwrap_or_default();
            if header.expires_at_ms != NEVER || !head.subscription_ids.is_empty() {
                all.extend(properties.iter());
                if header.expires_at_ms != NEVER {
                    // Rounded up, so that a message that is sent has some time left.
                    let left_s = header.expires_at_ms.saturating_sub(now_ms).div_ceil(1000);
                    all.push(Property::MessageExpiryInterval(left_s as u32));
                }
                all.extend(head.subscription_ids.iter().map(|&id| Property::SubscriptionIdentifier(id)));
                properties = Properties::from_slice(&all);
            }
        }
        let publish = Publish {
            dup: head.dup,
            qos: head.qos,
            retain: head.retain,
            topic: Some(topic),
            packet_id: head.packet_id,
            properties,
            payload,
        };
        publish.encode(version, out)
    }
}

//! A message that outlives the packet it came in: retained, waiting for a client that is away or slow, on its way at
//! QoS 1 or 2, or in a topic queue.
//!
//! It is kept once, whoever waits for it, in a form that no version and no receiver has a part in:
//!
//! ```text
//! [ topic name | properties to forward | payload ]
//! ```

pub(crate) mod pool;

use std::ops::Deref;
use std::sync::Arc;

use wisp_wire::{
    EncodeError, PacketId, Properties, Property, PropertyOwner, ProtocolVersion, Publish, QoS, SubscriptionId,
    TopicName,
};

use crate::budget::Budget;

/// What a message costs beyond its bytes, about: its own fields and its place where it waits.
const OVERHEAD_BYTES: usize = 128;

const NEVER: u64 = u64::MAX;

/// A message. Its bytes count as stored for as long as it exists.
#[derive(Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    topic_len: u16,
    properties_len: u32,
    qos: QoS,
    retain: bool,
    expires_at_ms: u64,
    /// What the budget was charged.
    charged: usize,
    budget: Arc<Budget>,
}

/// A share of a message. What the last one leaves is used again for another message by the thread that drops it, since at a
/// million messages a second the allocator would be the slowest part.
#[derive(Clone, Debug)]
pub(crate) struct MessageRef(Option<Arc<Message>>);

impl Deref for MessageRef {
    type Target = Message;

    fn deref(&self) -> &Message {
        self.0.as_deref().expect("it is there until it is dropped")
    }
}

impl Drop for MessageRef {
    fn drop(&mut self) {
        if let Some(message) = self.0.take() {
            pool::give(message);
        }
    }
}

/// What of a PUBLISH differs from receiver to receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) subscription_ids: &'a [SubscriptionId],
}

/// Whether a property of a PUBLISH goes on to its receivers as it came. The others concern the sender's connection, or
/// are written anew for each receiver.
fn is_forwarded(property: &Property<'_>) -> bool {
    !matches!(
        property,
        Property::TopicAlias(_) | Property::MessageExpiryInterval(_) | Property::SubscriptionIdentifier(_)
    )
}

impl Message {
    /// Keeps what was published to `topic` at `now_ms`.
    pub(crate) fn keep(publish: &Publish<'_>, topic: TopicName<'_>, now_ms: u64, budget: &Arc<Budget>) -> MessageRef {
        let topic = topic.as_str().as_bytes();
        let mut shared = pool::take(topic.len() + publish.payload.len(), budget);
        let message = Arc::get_mut(&mut shared).expect("the pool has no other share");
        let bytes = &mut message.bytes;
        bytes.extend_from_slice(topic);
        message.expires_at_ms = NEVER;
        if !publish.properties.is_empty() {
            let copied = publish.properties.copy_where(bytes, is_forwarded);
            debug_assert!(copied.is_ok(), "what was decoded can be encoded");
            let interval_s = publish.properties.message_expiry_interval_s();
            message.expires_at_ms = interval_s.map_or(NEVER, |seconds| now_ms + u64::from(seconds) * 1000);
        }
        message.properties_len = (bytes.len() - topic.len()) as u32;
        bytes.extend_from_slice(publish.payload);
        message.topic_len = topic.len() as u16;
        (message.qos, message.retain) = (publish.qos, publish.retain);
        message.charge();
        MessageRef(Some(shared))
    }

    fn charge(&mut self) {
        debug_assert_eq!(self.charged, 0, "it was let go of before");
        self.charged = self.bytes.capacity() + OVERHEAD_BYTES;
        self.budget.charge(self.charged);
    }

    fn let_go(&mut self) {
        self.budget.release(std::mem::take(&mut self.charged));
    }

    /// What it was published to.
    pub(crate) fn topic(&self) -> TopicName<'_> {
        let name = str::from_utf8(&self.bytes[..usize::from(self.topic_len)]).unwrap_or_default();
        TopicName::new(name).expect("a topic name was stored")
    }

    /// At which QoS it was published.
    pub(crate) fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether it was published with RETAIN.
    pub(crate) fn retain(&self) -> bool {
        self.retain
    }

    /// What it says.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[usize::from(self.topic_len) + self.properties_len as usize..]
    }

    /// What it counts for where it waits.
    pub(crate) fn cost_bytes(&self) -> usize {
        self.bytes.len() + OVERHEAD_BYTES
    }

    /// Whether its Message Expiry Interval has passed [MQTT-3.3.2-5].
    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        now_ms > self.expires_at_ms
    }

    /// When it expires, if it does.
    pub(crate) fn expires_at_ms(&self) -> Option<u64> {
        (self.expires_at_ms != NEVER).then_some(self.expires_at_ms)
    }

    /// Appends the PUBLISH for one receiver, with what is left of its Message Expiry Interval [MQTT-3.3.2-6].
    pub(crate) fn encode(
        &self,
        version: ProtocolVersion,
        head: &Head<'_>,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let kept = &self.bytes[usize::from(self.topic_len)..][..self.properties_len as usize];
        let mut all = Vec::new();
        let mut properties = Properties::EMPTY;
        if version.is_v5() {
            // Checked when it was decoded, and without what was added for this receiver it still is legal.
            properties = Properties::from_bytes(kept, PropertyOwner::Publish).unwrap_or_default();
            if self.expires_at_ms != NEVER || !head.subscription_ids.is_empty() {
                all.extend(properties.iter());
                if self.expires_at_ms != NEVER {
                    all.push(Property::MessageExpiryInterval(self.remaining_s(now_ms)));
                }
                all.extend(head.subscription_ids.iter().map(|&id| Property::SubscriptionIdentifier(id)));
                properties = Properties::from_slice(&all);
            }
        }
        let publish = Publish {
            dup: head.dup,
            qos: head.qos,
            retain: head.retain,
            topic: Some(self.topic()),
            packet_id: head.packet_id,
            properties,
            payload: self.payload(),
        };
        publish.encode(version, out)
    }

    /// Whole seconds left, rounded up: 0 only in the millisecond in which it expires.
    fn remaining_s(&self, now_ms: u64) -> u32 {
        self.expires_at_ms.saturating_sub(now_ms).div_ceil(1000) as u32
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.let_go();
    }
}

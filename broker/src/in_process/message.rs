//! A message that a client in the process has received.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use wisp_wire::{PacketId, Publish, QoS};

use super::content::{MessageProperties, Publication};
use super::program_half::ProgramHalf;

/// A received message. It counts for the limits of [`ClientOptions`](super::ClientOptions) until it is dropped, so a program
/// that keeps messages keeps clones of their topics and payloads. When a message at QoS 1 or 2 is dropped it is acknowledged,
/// unless the program acknowledges messages itself.
pub struct Message {
    topic: Arc<str>,
    payload: Bytes,
    properties: Option<Box<MessageProperties>>,
    qos: QoS,
    retain: bool,
    dup: bool,
    packet_id: Option<PacketId>,
    acknowledges: bool,
    half: Arc<ProgramHalf>,
}

impl Message {
    /// The message in `publish`, already counted by `half`.
    pub(super) fn new(publish: &Publish<'_>, topic: Arc<str>, acknowledges: bool, half: &Arc<ProgramHalf>) -> Self {
        Self {
            topic,
            payload: Bytes::copy_from_slice(publish.payload),
            properties: MessageProperties::of(&publish.properties),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id,
            acknowledges,
            half: Arc::clone(half),
        }
    }

    /// The topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The payload. A clone shares its memory.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The QoS with which it was delivered.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether it is a retained message.
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// Whether it may have been delivered before, to an earlier client of the session.
    pub fn dup(&self) -> bool {
        self.dup
    }

    /// The properties, if it has any.
    pub fn properties(&self) -> Option<&MessageProperties> {
        self.properties.as_deref()
    }

    /// A response to it, with its correlation data. `None` if its sender wants none.
    pub fn response(&self, payload: impl Into<Bytes>) -> Option<Publication> {
        let request = self.properties()?;
        let response = Publication::new(&**request.response_topic.as_ref()?, payload);
        let data = request.correlation_data.clone();
        Some(if data.is_some() { response.with_properties(|to| to.correlation_data = data) } else { response })
    }

    /// Acknowledges the message. One that the program drops instead stays with the session, and comes again to the session's next
    /// client, if the program acknowledges messages itself.
    pub fn acknowledge(mut self) {
        self.acknowledges = true;
    }

    fn size(&self) -> usize {
        size(&self.topic, &self.payload)
    }
}

/// The bytes for which a message counts.
pub(super) fn size(topic: &str, payload: &[u8]) -> usize {
    topic.len() + payload.len()
}

impl Drop for Message {
    fn drop(&mut self) {
        let acknowledged = self.packet_id.filter(|_| self.acknowledges).map(|id| (self.qos, id));
        self.half.handled(self.size(), acknowledged);
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("payload", &self.payload)
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("dup", &self.dup)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

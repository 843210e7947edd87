//! The content of messages: topic, payload and properties, in both directions.

use std::sync::Arc;

use bytes::Bytes;
use wisp_wire::{PacketId, Properties, Property, Publish, QoS, SubscriptionId, TopicName, Will};

use super::error::ClientError;

/// A message to publish.
///
/// ```
/// use wisp_broker::{Publication, QoS};
///
/// let publication = Publication::new("sensors/door", "open")
///     .qos(QoS::AtLeastOnce)
///     .retain(true)
///     .with_properties(|properties| properties.content_type = Some("text/plain".into()));
/// # drop(publication);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Publication {
    topic: Arc<str>,
    payload: Bytes,
    qos: QoS,
    retain: bool,
    properties: Option<Box<MessageProperties>>,
}

/// The properties that MQTT 5 has for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageProperties {
    /// Whether the payload is declared to be UTF-8 text.
    pub payload_is_utf8: bool,
    /// Seconds after which the message expires; of a received message the seconds that are left.
    pub message_expiry_interval_s: Option<u32>,
    /// The content type of the payload.
    pub content_type: Option<Box<str>>,
    /// The topic to publish a response to.
    pub response_topic: Option<Box<str>>,
    /// Data that ties a response to its request.
    pub correlation_data: Option<Bytes>,
    /// Names and values of the application, in order.
    pub user_properties: Vec<(Box<str>, Box<str>)>,
    /// Of a received message: the identifiers of the subscriptions that it matches.
    pub subscription_identifiers: Vec<u32>,
}

impl Publication {
    /// A message at QoS 0 that is not retained.
    pub fn new(topic: impl Into<Arc<str>>, payload: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: QoS::AtMostOnce, retain: false, properties: None }
    }

    /// The delivery guarantee.
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Whether the broker retains the message for later subscribers.
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets properties. The subscription identifiers are the broker's to set.
    pub fn with_properties(mut self, set: impl FnOnce(&mut MessageProperties)) -> Self {
        set(self.properties.get_or_insert_default());
        self
    }

    /// The same message with another payload.
    pub fn with_payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The properties as the wire format has them.
    pub(super) fn properties(&self) -> Result<Vec<Property<'_>>, ClientError> {
        self.properties.as_ref().map_or_else(|| Ok(Vec::new()), |properties| properties.to_wire())
    }

    /// The packet, with `properties` of [`Publication::properties`] and a packet identifier that is not the final one.
    pub(super) fn packet<'a>(&'a self, properties: &'a [Property<'a>]) -> Result<Publish<'a>, ClientError> {
        let mut publish = Publish::new(topic_name(&self.topic)?, &self.payload);
        publish.qos = self.qos;
        publish.retain = self.retain;
        publish.packet_id = PacketId::new(1).filter(|_| self.qos != QoS::AtMostOnce);
        publish.properties = Properties::from_slice(properties);
        Ok(publish)
    }

    /// The same as a will.
    pub(super) fn will<'a>(&'a self, properties: &'a [Property<'a>]) -> Result<Will<'a>, ClientError> {
        Ok(Will {
            topic: topic_name(&self.topic)?,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            properties: Properties::from_slice(properties),
        })
    }
}

impl MessageProperties {
    /// The properties of a received message, if it has any.
    pub(super) fn of(properties: &Properties<'_>) -> Option<Box<Self>> {
        if properties.is_empty() {
            return None;
        }
        let pairs = properties.user_properties();
        Some(Box::new(Self {
            payload_is_utf8: properties.payload_is_utf8() == Some(true),
            message_expiry_interval_s: properties.message_expiry_interval_s(),
            content_type: properties.content_type().map(Box::from),
            response_topic: properties.response_topic().map(|topic| topic.as_str().into()),
            correlation_data: properties.correlation_data().map(Bytes::copy_from_slice),
            user_properties: pairs.map(|(name, value)| (name.into(), value.into())).collect(),
            subscription_identifiers: properties.subscription_identifiers().map(SubscriptionId::get).collect(),
        }))
    }

    fn to_wire(&self) -> Result<Vec<Property<'_>>, ClientError> {
        let mut properties = Vec::new();
        properties.extend(self.payload_is_utf8.then_some(Property::PayloadFormatIndicator(true)));
        properties.extend(self.message_expiry_interval_s.map(Property::MessageExpiryInterval));
        properties.extend(self.content_type.as_deref().map(Property::ContentType));
        if let Some(topic) = &self.response_topic {
            properties.push(Property::ResponseTopic(topic_name(topic)?));
        }
        properties.extend(self.correlation_data.as_deref().map(Property::CorrelationData));
        let pairs = self.user_properties.iter();
        properties.extend(pairs.map(|(name, value)| Property::UserProperty((name, value))));
        Ok(properties)
    }
}

fn topic_name(topic: &str) -> Result<TopicName<'_>, ClientError> {
    TopicName::new(topic).map_err(|error| ClientError::Topic(topic.into(), error))
}

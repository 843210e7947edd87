//! A subscription of a client in the process.

use wisp_wire::{QoS, RetainHandling, SubscriptionOptions, TopicFilter};

use super::error::ClientError;

/// A filter to subscribe to, with its options.
///
/// ```
/// use wisp_broker::{QoS, Subscription};
///
/// let subscription = Subscription::new("sensors/+/temperature", QoS::AtLeastOnce).no_local(true);
/// # drop(subscription);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Subscription {
    filter: Box<str>,
    options: SubscriptionOptions,
}

impl Subscription {
    /// Messages whose topics match `filter`, at `qos` at most. `$share/GROUP/FILTER` and `$queue/NAME` work as over the network.
    pub fn new(filter: impl Into<Box<str>>, qos: QoS) -> Self {
        Self { filter: filter.into(), options: SubscriptionOptions::new(qos) }
    }

    /// Whether to leave out the client's own messages.
    pub fn no_local(mut self, no_local: bool) -> Self {
        self.options.no_local = no_local;
        self
    }

    /// Whether messages keep the flag that their senders set for retained messages.
    pub fn retain_as_published(mut self, retain_as_published: bool) -> Self {
        self.options.retain_as_published = retain_as_published;
        self
    }

    /// Which retained messages come on subscribing.
    pub fn retain_handling(mut self, retain_handling: RetainHandling) -> Self {
        self.options.retain_handling = retain_handling;
        self
    }

    pub(super) fn to_wire(&self) -> Result<(TopicFilter<'_>, SubscriptionOptions), ClientError> {
        Ok((filter(&self.filter)?, self.options))
    }
}

/// The filter as the wire format has it.
pub(super) fn filter(text: &str) -> Result<TopicFilter<'_>, ClientError> {
    TopicFilter::new(text).map_err(|error| ClientError::Topic(text.into(), error))
}

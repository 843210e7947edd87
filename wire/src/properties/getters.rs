//! Getters for the properties that occur once at most. A getter decodes no other property than its own.

use core::num::{NonZeroU16, NonZeroU32};

use super::property::id;
use super::{Properties, Property};
use crate::{QoS, SubscriptionId, TopicName};

macro_rules! getters {
    ($($getter:ident $variant:ident $type:ty, $doc:literal;)*) => {
        impl<'a> Properties<'a> {
            $(
                #[doc = $doc]
                pub fn $getter(&self) -> Option<$type> {
                    match self.find(id::$variant) {
                        Some(Property::$variant(value)) => Some(value),
                        _ => None,
                    }
                }
            )*
        }
    };
}

getters! {
    payload_is_utf8 PayloadFormatIndicator bool, "Whether the payload is declared to be UTF-8 text.";
    message_expiry_interval_s MessageExpiryInterval u32, "Seconds after which the message expires.";
    content_type ContentType &'a str, "The content type of the payload.";
    response_topic ResponseTopic TopicName<'a>, "The topic to publish a response to.";
    correlation_data CorrelationData &'a [u8], "Data that ties a response to its request.";
    session_expiry_interval_s SessionExpiryInterval u32, "Seconds the session outlives the connection.";
    assigned_client_identifier AssignedClientIdentifier &'a str, "The client identifier the server chose.";
    server_keep_alive_s ServerKeepAlive u16, "The keep-alive in seconds that the client has to use.";
    authentication_method AuthenticationMethod &'a str, "The name of the extended authentication method.";
    authentication_data AuthenticationData &'a [u8], "Data of the authentication method.";
    request_problem_information RequestProblemInformation bool, "Whether failures may carry reason strings and user properties.";
    will_delay_interval_s WillDelayInterval u32, "Seconds before the will is published.";
    request_response_information RequestResponseInformation bool, "Whether the client asks for response information.";
    response_information ResponseInformation &'a str, "The basis for creating response topics.";
    server_reference ServerReference &'a str, "Another server to use.";
    reason_string ReasonString &'a str, "A human-readable reason.";
    receive_maximum ReceiveMaximum NonZeroU16, "The most QoS 1 and 2 messages that may be unacknowledged at a time.";
    topic_alias_maximum TopicAliasMaximum u16, "The highest topic alias accepted.";
    topic_alias TopicAlias NonZeroU16, "A number in place of the topic name.";
    maximum_qos MaximumQoS QoS, "The highest QoS the server accepts, if not 2.";
    retain_available RetainAvailable bool, "Whether the server supports retained messages.";
    maximum_packet_size MaximumPacketSize NonZeroU32, "The largest packet in bytes that the sender accepts.";
    wildcard_subscription_available WildcardSubscriptionAvailable bool, "Whether the server accepts filters with wildcards.";
    subscription_identifier_available SubscriptionIdentifierAvailable bool, "Whether the server accepts subscription identifiers.";
    shared_subscription_available SharedSubscriptionAvailable bool, "Whether the server accepts shared subscriptions.";
    subscription_identifier SubscriptionIdentifier SubscriptionId, "The first subscription identifier, the only one of a SUBSCRIBE.";
}

impl<'a> Properties<'a> {
    /// The user properties, in order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(pair) => Some(pair),
            _ => None,
        })
    }

    /// The subscription identifiers of a PUBLISH, in order.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = SubscriptionId> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }
}

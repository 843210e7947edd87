//! The arguments of a client's packets, checked: topics, filters, and the contents of CONNECT.

use std::num::{NonZeroU16, NonZeroU32};

use wisp_wire::{Connect, Packet, Properties, Property, TopicFilter, TopicName};

use crate::error::Error;
use crate::options::{ConnectOptions, Will};

pub(crate) fn parse_topic(topic: &str) -> Result<TopicName<'_>, Error> {
    TopicName::new(topic).map_err(|error| Error::Usage(format!("topic {topic:?}: {error}")))
}

pub(crate) fn parse_filters<'a>(filters: impl IntoIterator<Item = &'a str>) -> Result<Vec<TopicFilter<'a>>, Error> {
    let parse = |filter: &'a str| {
        TopicFilter::new(filter).map_err(|error| Error::Usage(format!("topic filter {filter:?}: {error}")))
    };
    let filters: Vec<_> = filters.into_iter().map(parse).collect::<Result<_, _>>()?;
    if filters.is_empty() {
        return Err(Error::Usage("no topic filter was given".to_owned()));
    }
    Ok(filters)
}

/// Builds CONNECT from the options and passes it to `queue`. The packet borrows its properties from this function.
pub(crate) fn with_connect<T>(
    options: &ConnectOptions,
    queue: impl FnOnce(&Packet<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let properties = connect_properties(options)?;
    let delay_s = options.will.as_ref().map(|will| will.delay_s).filter(|delay_s| *delay_s > 0);
    let delay = delay_s.map(Property::WillDelayInterval);
    let will = options.will.as_ref().map(|will| wire_will(will, delay.as_slice())).transpose()?;
    queue(&Packet::Connect(Connect {
        version: options.version,
        clean_start: options.clean_start,
        keep_alive_s: options.keep_alive_s,
        client_id: &options.client_id,
        properties: Properties::from_slice(&properties),
        will,
        username: options.username.as_deref(),
        password: options.password.as_deref(),
    }))
}

/// The properties of CONNECT: each option that differs from the value that MQTT assumes.
fn connect_properties(options: &ConnectOptions) -> Result<Vec<Property<'static>>, Error> {
    let mut properties = Vec::new();
    if options.session_expiry_s > 0 {
        properties.push(Property::SessionExpiryInterval(options.session_expiry_s));
    }
    if options.receive_max < u16::MAX {
        let receive_max = NonZeroU16::new(options.receive_max);
        let illegal = || Error::Usage("the receive maximum is at least 1".to_owned());
        properties.push(Property::ReceiveMaximum(receive_max.ok_or_else(illegal)?));
    }
    if options.topic_alias_max > 0 {
        properties.push(Property::TopicAliasMaximum(options.topic_alias_max));
    }
    let is_delayed = options.will.as_ref().is_some_and(|will| will.delay_s > 0);
    if !options.version.is_v5() && (is_delayed || !properties.is_empty()) {
        let version = options.version;
        return Err(Error::Usage(format!(
            "{version} has no session expiry, receive maximum, topic aliases or will delay"
        )));
    }
    let limit =
        NonZeroU32::new(options.packet_bytes_max).filter(|limit| limit.get() < ConnectOptions::PACKET_BYTES_MAX);
    // Before MQTT 5 CONNECT cannot name the limit, which holds all the same.
    properties.extend(limit.filter(|_| options.version.is_v5()).map(Property::MaximumPacketSize));
    Ok(properties)
}

fn wire_will<'a>(will: &'a Will, properties: &'a [Property<'a>]) -> Result<wisp_wire::Will<'a>, Error> {
    Ok(wisp_wire::Will {
        topic: parse_topic(&will.topic)?,
        payload: &will.payload,
        qos: will.qos,
        retain: will.retain,
        properties: Properties::from_slice(properties),
    })
}

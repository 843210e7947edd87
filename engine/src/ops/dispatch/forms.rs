//! A message at QoS 0 in each form that a receiver needs, written at most once for each form. Most receivers get the
//! received bytes unchanged, and nothing is written at all.

use std::sync::Arc;

use wisp_wire::{Properties, Property, Publish, QoS, TopicName};

use crate::delivery::batch::{Batch, Piece, Source};
use crate::delivery::outbox::WireFormat;
use crate::ops::routes::Target;
use crate::store::Key;

/// The first byte of a PUBLISH at QoS 0 without DUP and RETAIN: it can be forwarded as it is.
const PLAIN_PUBLISH: u8 = 0x30;

/// A PUBLISH as it was received, its bytes and its sender.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) publish: Publish<'a>,
    /// The topic name, resolved if the packet has an alias.
    pub(crate) topic: TopicName<'a>,
    /// Its encoding.
    pub(crate) raw: &'a [u8],
    /// The offset of the encoding in the worker's scratch buffer, if it stays there until the batch is pushed.
    pub(crate) in_scratch: Option<usize>,
    /// Its format.
    pub(crate) format: WireFormat,
    /// The sender.
    pub(crate) client_id: &'a Arc<str>,
    /// It is a will, so it has no sender to answer.
    pub(crate) is_will: bool,
    /// The sender's session, if the message is at QoS 2 and the store keeps its packet identifier.
    pub(crate) incoming: Option<Key>,
}

/// The forms of one message.
pub(super) struct Forms<'a> {
    received: &'a Received<'a>,
    /// Without RETAIN and subscription identifiers, by format. The inner `None` if the message cannot be written in the
    /// format.
    plain: [Option<Option<Piece>>; 2],
}

impl<'a> Forms<'a> {
    pub(super) fn new(received: &'a Received<'a>) -> Self {
        Self { received, plain: [None; 2] }
    }

    /// `None` if the message cannot be written for this receiver, since it would be longer than a packet can be.
    pub(super) fn piece_for(&mut self, target: &Target, format: WireFormat, batch: &mut Batch) -> Option<Piece> {
        let retain = self.received.publish.retain && target.retain_as_published;
        if retain || (target.subscription_ids.is_some() && format == WireFormat::V5) {
            return self.write_for(target, retain, format, batch);
        }
        *self.plain[format as usize].get_or_insert_with(|| write_plain(self.received, format, batch))
    }

    fn write_for(&self, target: &Target, retain: bool, format: WireFormat, batch: &mut Batch) -> Option<Piece> {
        let mut properties = forwarded(self.received);
        let ids = target.subscription_ids.iter().flat_map(|ids| ids.iter());
        properties.extend(ids.map(|&id| Property::SubscriptionIdentifier(id)));
        write(self.received, retain, &properties, format, batch)
    }
}

fn write_plain(received: &Received<'_>, format: WireFormat, batch: &mut Batch) -> Option<Piece> {
    let has_alias = received.publish.properties.topic_alias().is_some();
    if received.format != format || received.raw[0] != PLAIN_PUBLISH || has_alias {
        return write(received, false, &forwarded(received), format, batch);
    }
    match received.in_scratch {
        Some(start) => Some(Piece { source: Source::Scratch, start, len: received.raw.len() }),
        None => Some(batch.copy(received.raw)),
    }
}

/// The properties to forward: an alias belongs to the sender's connection.
fn forwarded<'a>(received: &Received<'a>) -> Vec<Property<'a>> {
    received.publish.properties.iter().filter(|property| !matches!(property, Property::TopicAlias(_))).collect()
}

fn write(
    received: &Received<'_>,
    retain: bool,
    properties: &[Property<'_>],
    format: WireFormat,
    batch: &mut Batch,
) -> Option<Piece> {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain,
        topic: Some(received.topic),
        packet_id: None,
        properties: Properties::from_slice(if format == WireFormat::V5 { properties } else { &[] }),
        payload: received.publish.payload,
    };
    batch.translate(|out| publish.encode(format.version(), out)).ok()
}

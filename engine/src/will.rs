//! Wills: what is published for a client that ends without saying goodbye (MQTT 5 section 3.1.2.5).
//!
//! A will is kept as the PUBLISH it becomes, in the version of the client that left it, and goes the way of any message from
//! there on. Since no session outlives its connection, the end of the connection is the end of the session, and a will delay
//! interval never runs [MQTT-3.1.2-8].

use std::sync::Arc;

use wisp_wire::{self as wire, Packet, Properties, Property, ProtocolVersion, Publish, QoS, decode};

use crate::budget::Budget;
use crate::core::Core;
use crate::publish::{Publisher, Received, Routed};
use crate::queue::Queue;

/// A will. Its bytes count as waiting for as long as it exists.
#[derive(Debug)]
pub struct Will {
    packet: Vec<u8>,
    version: ProtocolVersion,
    sender: Arc<Queue>,
    budget: Arc<Budget>,
}

impl Will {
    /// Keeps the will of a CONNECT, to be published at QoS 0 and without RETAIN. None if it is longer than a packet can be.
    pub(crate) fn new(
        will: &wire::Will<'_>,
        version: ProtocolVersion,
        sender: &Arc<Queue>,
        budget: &Arc<Budget>,
    ) -> Option<Self> {
        let is_published = |property: &Property<'_>| !matches!(property, Property::WillDelayInterval(_));
        let properties: Vec<Property<'_>> = will.properties.iter().filter(is_published).collect();
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: Some(will.topic),
            packet_id: None,
            properties: Properties::from_slice(&properties),
            payload: will.payload,
        };
        let mut packet = Vec::new();
        publish.encode(version, &mut packet).ok()?;
        budget.charge(packet.len());
        Some(Self { packet, version, sender: Arc::clone(sender), budget: Arc::clone(budget) })
    }
}

impl Drop for Will {
    fn drop(&mut self) {
        self.budget.release(self.packet.len());
    }
}

impl Publisher {
    /// Stages a will like a message that its client has just sent.
    pub fn publish_will(&mut self, core: &Core, will: &Will, now_ms: u64) -> Routed {
        let Ok(Some((Packet::Publish(publish), _))) = decode(&will.packet, will.version, u32::MAX) else {
            debug_assert!(false, "what was encoded can be decoded");
            return Routed::Done;
        };
        let received = Received {
            publish,
            raw: &will.packet,
            in_scratch: None,
            format: will.version.into(),
            sender: &will.sender,
        };
        // Its topic was held against the limits at CONNECT.
        self.publish(core, &received, now_ms).unwrap_or(Routed::Done)
    }
}

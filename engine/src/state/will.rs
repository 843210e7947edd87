//! Wills: messages that the broker publishes for clients that end without a normal DISCONNECT (MQTT 5 section 3.1.2.5).
//!
//! A will is stored as the PUBLISH that it becomes, in its client's version, and is then routed like any message.

use std::sync::Arc;

use foldhash::HashMap;
use wisp_wire::{self as wire, PacketId, Properties, Property, ProtocolVersion, Publish, QoS};

use crate::base::budget::Budget;
use crate::base::sync::{AtomicUsize, Mutex, Ordering, rank};
use crate::policy::Rights;
use crate::store::WillObject;

/// An estimate of the bytes that a will takes beyond its packet.
const OVERHEAD_BYTES: usize = 128;

/// A will. Its bytes count as stored for as long as it exists.
#[derive(Debug)]
pub(crate) struct Will {
    /// The PUBLISH.
    pub(crate) packet: Vec<u8>,
    pub(crate) version: ProtocolVersion,
    pub(crate) client_id: Arc<str>,
    /// The client's rights, which are asked when the will is due.
    pub(crate) rights: Option<Arc<dyn Rights>>,
    delay_s: u32,
    budget: Arc<Budget>,
}

impl Will {
    /// Stores the will of a CONNECT. `None` if its PUBLISH would be longer than a packet can be.
    pub(crate) fn new(
        will: &wire::Will<'_>,
        version: ProtocolVersion,
        (client_id, rights): (&str, Option<&Arc<dyn Rights>>),
        budget: &Arc<Budget>,
    ) -> Option<Self> {
        let is_published = |property: &Property<'_>| !matches!(property, Property::WillDelayInterval(_));
        let properties: Vec<Property<'_>> = will.properties.iter().filter(is_published).collect();
        let publish = Publish {
            dup: false,
            qos: will.qos,
            retain: will.retain,
            topic: Some(will.topic),
            // The will has no sender that expects an acknowledgement.
            packet_id: if will.qos == QoS::AtMostOnce { None } else { PacketId::new(1) },
            properties: Properties::from_slice(&properties),
            payload: will.payload,
        };
        let mut packet = Vec::new();
        publish.encode(version, &mut packet).ok()?;
        packet.shrink_to_fit();
        budget.charge(packet.len() + OVERHEAD_BYTES);
        let delay_s = will.properties.will_delay_interval_s().unwrap_or(0);
        let (client_id, rights) = (client_id.into(), rights.cloned());
        Some(Self { packet, version, client_id, rights, delay_s, budget: Arc::clone(budget) })
    }

    /// A will that was stored before the start.
    pub(crate) fn restored(
        object: &WillObject<'_>,
        client_id: Arc<str>,
        rights: Option<Arc<dyn Rights>>,
        budget: &Arc<Budget>,
    ) -> Self {
        let WillObject { version, delay_s, packet } = *object;
        budget.charge(packet.len() + OVERHEAD_BYTES);
        Self { packet: packet.into(), version, client_id, rights, delay_s, budget: Arc::clone(budget) }
    }

    /// The will as the store keeps it.
    pub(crate) fn as_object(&self) -> WillObject<'_> {
        WillObject { version: self.version, delay_s: self.delay_s, packet: &self.packet }
    }

    /// The delay between the end of the connection and the will's publication (section 3.1.3.2.2).
    pub(crate) fn delay_s(&self) -> u32 {
        self.delay_s
    }
}

/// The clients with wills that are due and not delivered yet. Nothing that such a client sends on a new connection is handled before.
#[derive(Debug, Default)]
pub(crate) struct DueWills {
    /// How many wills there are, so that nobody locks the table when there is none.
    count: AtomicUsize,
    clients: Mutex<HashMap<Arc<str>, usize>, { rank::LEAF }>,
}

impl DueWills {
    /// Notes that a will is due.
    pub(crate) fn add(&self, client_id: &Arc<str>) {
        *self.clients.lock().entry(Arc::clone(client_id)).or_default() += 1;
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Notes that it was delivered.
    pub(crate) fn remove(&self, client_id: &str) {
        let mut clients = self.clients.lock();
        let left = clients.get_mut(client_id).map(|count| {
            *count -= 1;
            *count
        });
        debug_assert!(left.is_some(), "it was added before");
        if left == Some(0) {
            clients.remove(client_id);
        }
        drop(clients);
        self.count.fetch_sub(1, Ordering::Release);
    }

    /// Whether the client has one.
    pub(crate) fn has(&self, client_id: &str) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.clients.lock().contains_key(client_id)
    }
}

impl Drop for Will {
    fn drop(&mut self) {
        self.budget.release(self.packet.len() + OVERHEAD_BYTES);
    }
}

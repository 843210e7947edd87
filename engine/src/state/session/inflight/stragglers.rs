//! Messages that are still unacknowledged when many later ones have been acknowledged. They are kept apart from the ring,
//! which would otherwise hold a place for each message since.

use std::collections::BTreeMap;

use wisp_wire::PacketId;

use super::place::Place;

/// The stragglers of one session, by packet identifier. None of them is free.
#[derive(Debug, Default)]
pub(super) struct Stragglers {
    by_id: BTreeMap<u16, Straggler>,
    /// The number of messages that have become stragglers.
    count: u64,
    /// Some were not yet sent on this connection.
    has_unsent: bool,
}

#[derive(Debug)]
struct Straggler {
    /// Its place in the order of sending.
    order: u64,
    is_sent: bool,
    place: Place,
}

impl Stragglers {
    /// Adds a message that was given its identifier later than all that are here.
    pub(super) fn push(&mut self, id: PacketId, place: Place, is_sent: bool) {
        self.count += 1;
        self.has_unsent |= !is_sent;
        self.by_id.insert(id.get(), Straggler { order: self.count, is_sent, place });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn contains(&self, id: PacketId) -> bool {
        self.by_id.contains_key(&id.get())
    }

    /// The place of a packet, and whether it was sent on this connection.
    pub(super) fn get(&self, id: PacketId) -> Option<(&Place, bool)> {
        self.by_id.get(&id.get()).map(|straggler| (&straggler.place, straggler.is_sent))
    }

    /// The place of a packet that was sent on this connection.
    pub(super) fn sent_mut(&mut self, id: PacketId) -> Option<&mut Place> {
        self.by_id.get_mut(&id.get()).filter(|straggler| straggler.is_sent).map(|straggler| &mut straggler.place)
    }

    /// The place of a packet.
    pub(super) fn get_mut(&mut self, id: PacketId) -> Option<&mut Place> {
        self.by_id.get_mut(&id.get()).map(|straggler| &mut straggler.place)
    }

    pub(super) fn remove(&mut self, id: PacketId) -> Option<Place> {
        self.by_id.remove(&id.get()).map(|straggler| straggler.place)
    }

    /// Nothing was sent on the new connection.
    pub(super) fn rewind(&mut self) {
        self.by_id.values_mut().for_each(|straggler| straggler.is_sent = false);
        self.has_unsent = !self.by_id.is_empty();
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.has_unsent
    }

    /// The first packet that was not sent on this connection. It counts as sent from now on.
    pub(super) fn next_unsent(&mut self) -> Option<PacketId> {
        let unsent = self.by_id.iter_mut().filter(|(_, straggler)| !straggler.is_sent);
        let first = unsent.min_by_key(|(_, straggler)| straggler.order);
        self.has_unsent = first.is_some();
        first.and_then(|(id, straggler)| {
            straggler.is_sent = true;
            PacketId::new(*id)
        })
    }

    /// The places of all, in no order.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.by_id.values().map(|straggler| &straggler.place)
    }

    /// All identifiers, in the order of sending.
    pub(super) fn ids(&self) -> Vec<PacketId> {
        let mut ids: Vec<_> = self.by_id.iter().map(|(id, straggler)| (straggler.order, *id)).collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|(_, id)| PacketId::new(id)).collect()
    }
}

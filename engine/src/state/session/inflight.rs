//! The window of one session: messages at QoS 1 and 2 that were sent and are not yet acknowledged (MQTT 5 sections 4.4
//! and 4.9).
//!
//! Packet identifiers are used in turn, so the window is a ring: a message's place is its identifier less the first
//! one's. Clients acknowledge in order [MQTT-4.6.0-2], so places become free at the front; a message that is
//! acknowledged earlier leaves a gap. A message that many others have overtaken leaves the ring for the [`stragglers`].
//!
//! ```text
//!   first                                        next identifier
//!     |  sent to this connection  |   not yet sent to it   |
//!   [ Sent | Free | Released | Sent | Sent | Released | Sent ]
//! ```

mod place;
mod restore;
mod stragglers;

use std::collections::VecDeque;

use wisp_wire::{PacketId, QoS};

pub(crate) use self::place::Place;
use self::stragglers::Stragglers;
use crate::delivery::addressed::Delivery;
use crate::delivery::loan::{Loan, Returned};
use crate::store::Key;

/// The number of packet identifiers.
const IDS: usize = u16::MAX as usize;

/// The first messages become stragglers when the ring has this many times as many places as messages in flight.
const SPARSE: usize = 4;

/// A ring up to this length has no stragglers.
const SHORT: usize = 64;

/// The window of one session.
#[derive(Debug, Default)]
pub(crate) struct Inflight {
    /// At most [`IDS`].
    places: VecDeque<Place>,
    /// The identifier of the first place, less 1.
    first: u16,
    /// Places at the end that were not yet sent on this connection, or wait for the store before they are sent at all.
    unsent: u16,
    /// Sent places that are not free, with those of stragglers.
    outstanding: u16,
    /// The session has ended. It is noted here, where it makes no session larger.
    is_closed: bool,
    /// Bytes of all messages.
    bytes: usize,
    /// Messages before the first place.
    stragglers: Option<Box<Stragglers>>,
}

/// The use of a packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InUse {
    Nothing,
    /// A message of this QoS.
    Message(QoS),
    /// A message that the client has.
    Released,
}

/// A packet to send again.
pub(crate) enum Resend<'a> {
    Message(PacketId, &'a mut Delivery),
    Release(PacketId),
}

impl Inflight {
    /// The window of a session that has ended.
    pub(crate) fn closed() -> Self {
        Self { is_closed: true, ..Self::default() }
    }

    /// Whether the session has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether the window admits one more message.
    pub(crate) fn has_window(&self, window: usize) -> bool {
        usize::from(self.outstanding) < window
    }

    /// Whether every message has been sent on this connection.
    pub(crate) fn is_sent(&self) -> bool {
        self.unsent == 0 && !self.stragglers.as_ref().is_some_and(|stragglers| stragglers.has_unsent())
    }

    /// Bytes of the messages.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Starts again for a new connection, on which nothing has been sent.
    pub(crate) fn rewind(&mut self) {
        (self.unsent, self.outstanding) = (self.places.len() as u16, 0);
        if let Some(stragglers) = &mut self.stragglers {
            stragglers.rewind();
        }
    }

    /// Places at the front that were sent on this connection.
    fn sent(&self) -> usize {
        self.places.len() - usize::from(self.unsent)
    }

    /// Packet identifiers in use, or a few more: places that are free again between others may count.
    pub(crate) fn in_flight(&self) -> usize {
        usize::from(self.outstanding) + usize::from(self.unsent)
    }

    fn id_at(&self, place: usize) -> PacketId {
        let number = (usize::from(self.first) + place) % IDS + 1;
        PacketId::new(number as u16).expect("counted from 1")
    }

    /// The place in the ring of the packet sent on this connection under an identifier.
    fn place_of(&self, id: PacketId) -> Option<usize> {
        let place = (usize::from(id.get()) - 1 + IDS - usize::from(self.first)) % IDS;
        (place < self.sent()).then_some(place)
    }

    /// The identifier of the next message.
    #[inline]
    pub(crate) fn next_id(&mut self) -> PacketId {
        loop {
            self.separate_stragglers();
            let id = self.id_at(self.places.len());
            if !self.stragglers.as_ref().is_some_and(|stragglers| stragglers.contains(id)) {
                return id;
            }
            self.places.push_back(Place::Free);
        }
    }

    /// Moves the first messages out of a ring that is long and nearly empty, or has a place for every identifier.
    fn separate_stragglers(&mut self) {
        let is_sparse = |ring: &Self| ring.places.len() >= SHORT.max(SPARSE * ring.in_flight());
        while is_sparse(self) || self.places.len() >= IDS {
            let (id, is_sent) = (self.id_at(0), self.sent() > 0);
            let Some(place) = self.places.pop_front() else { break };
            self.first = ((usize::from(self.first) + 1) % IDS) as u16;
            if !matches!(place, Place::Free) {
                self.stragglers.get_or_insert_default().push(id, place, is_sent);
            }
            self.trim();
        }
    }

    /// Notes that a message was sent under the next identifier.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        debug_assert!(self.is_sent(), "packets to send again come first");
        self.bytes += delivery.message.cost_bytes();
        self.outstanding += 1;
        self.places.push_back(Place::Sent(delivery));
    }

    /// Whether the window admits one more message that is not sent at once.
    pub(crate) fn has_window_for_unsent(&self, window: usize) -> bool {
        self.in_flight() < window
    }

    /// Gives a message the next identifier. It is sent later, behind all others that are not sent yet.
    pub(crate) fn push_unsent(&mut self, delivery: Delivery) {
        debug_assert!(delivery.is_unsent, "it is sent for the first time later");
        self.bytes += delivery.message.cost_bytes();
        self.unsent += 1;
        self.places.push_back(Place::Sent(delivery));
    }

    /// The places that are in use.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().chain(self.stragglers.iter().flat_map(|stragglers| stragglers.places()))
    }

    /// The next packet that was sent on an earlier connection, or never. It counts as sent from now on.
    pub(crate) fn next_unsent(&mut self) -> Option<Resend<'_>> {
        self.trim();
        if let Some(id) = self.stragglers.as_mut().and_then(|stragglers| stragglers.next_unsent()) {
            self.outstanding += 1;
            let place = self.stragglers.as_mut().and_then(|stragglers| stragglers.get_mut(id))?;
            return Some(match place {
                Place::Sent(delivery) => Resend::Message(id, delivery),
                Place::Free | Place::Released(_) => Resend::Release(id),
            });
        }
        loop {
            if self.unsent == 0 {
                return None;
            }
            let place = self.sent();
            self.unsent -= 1;
            let id = self.id_at(place);
            if matches!(self.places[place], Place::Free) {
                continue;
            }
            self.outstanding += 1;
            return match &mut self.places[place] {
                Place::Sent(delivery) => Some(Resend::Message(id, delivery)),
                Place::Free | Place::Released(_) => Some(Resend::Release(id)),
            };
        }
    }

    /// The packet sent on this connection under an identifier.
    pub(crate) fn in_use(&self, id: PacketId) -> InUse {
        let in_ring = self.place_of(id).map(|place| &self.places[place]);
        match in_ring.filter(|place| !matches!(place, Place::Free)).or_else(|| self.straggler(id)) {
            None | Some(Place::Free) => InUse::Nothing,
            Some(Place::Released(_)) => InUse::Released,
            Some(Place::Sent(delivery)) => InUse::Message(delivery.qos),
        }
    }

    /// The place of a straggler that was sent on this connection.
    fn straggler(&self, id: PacketId) -> Option<&Place> {
        let (place, is_sent) = self.stragglers.as_ref()?.get(id)?;
        is_sent.then_some(place)
    }

    /// The client has the message. The identifier stays in use, in the store as well if that keeps the session. The caller subtracts the
    /// bytes of the message.
    pub(crate) fn release(&mut self, id: PacketId, is_kept: bool) -> Option<Delivery> {
        let place = if self.straggler(id).is_some() {
            self.stragglers.as_mut().and_then(|stragglers| stragglers.sent_mut(id))?
        } else {
            let place = self.place_of(id)?;
            &mut self.places[place]
        };
        // A place whose message the client has already keeps its key.
        let Place::Sent(delivery) = &*place else { return None };
        let released = Place::Released(delivery.key().filter(|_| is_kept));
        if let Place::Sent(delivery) = std::mem::replace(place, released) { Some(delivery) } else { None }
    }

    /// Frees the identifier. Returns its place. The caller subtracts the bytes of the message.
    pub(crate) fn finish(&mut self, id: PacketId) -> Place {
        if self.straggler(id).is_some() {
            self.outstanding -= 1;
            return self.remove_straggler(id);
        }
        let Some(place) = self.place_of(id) else { return Place::Free };
        if matches!(self.places[place], Place::Free) {
            return Place::Free;
        }
        self.outstanding -= 1;
        let before = std::mem::replace(&mut self.places[place], Place::Free);
        self.trim();
        before
    }

    /// Messages of so many bytes were released or finished.
    pub(crate) fn subtract(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    fn remove_straggler(&mut self, id: PacketId) -> Place {
        let Some(stragglers) = &mut self.stragglers else { return Place::Free };
        let place = stragglers.remove(id).unwrap_or(Place::Free);
        if stragglers.is_empty() {
            self.stragglers = None;
        }
        place
    }

    fn replace(&mut self, place: usize, by: Place) -> Place {
        let before = std::mem::replace(&mut self.places[place], by);
        self.note_gone(&before);
        before
    }

    /// A place is no longer in use.
    fn note_gone(&mut self, place: &Place) {
        if let Place::Sent(delivery) = place {
            self.bytes -= delivery.message.cost_bytes();
        }
    }

    fn trim(&mut self) {
        while matches!(self.places.front(), Some(Place::Free)) {
            self.places.pop_front();
            self.first = ((usize::from(self.first) + 1) % IDS) as u16;
        }
        self.unsent = self.unsent.min(self.places.len() as u16);
    }

    /// Takes the messages that `wanted` accepts, in their order, with their identifiers. Identifiers at QoS 2 stay in use until the
    /// client has released them, since it may have stored the message. `take` returns the key that such an identifier has in the store.
    pub(crate) fn take_where(
        &mut self,
        wanted: impl Fn(&Delivery) -> bool,
        mut take: impl FnMut(PacketId, &Delivery) -> Option<Key>,
    ) -> Vec<(PacketId, Delivery)> {
        let mut taken = self.take_stragglers(&wanted, &mut take);
        for place in 0..self.places.len() {
            let Place::Sent(delivery) = &self.places[place] else { continue };
            if !wanted(delivery) {
                continue;
            }
            let id = self.id_at(place);
            let key = take(id, delivery);
            let left = if delivery.qos == QoS::ExactlyOnce { Place::Released(key) } else { Place::Free };
            if matches!(left, Place::Free) && place < self.sent() {
                self.outstanding -= 1;
            }
            if let Place::Sent(delivery) = self.replace(place, left) {
                taken.push((id, delivery));
            }
        }
        self.trim();
        taken
    }

    fn take_stragglers(
        &mut self,
        wanted: impl Fn(&Delivery) -> bool,
        take: &mut impl FnMut(PacketId, &Delivery) -> Option<Key>,
    ) -> Vec<(PacketId, Delivery)> {
        let mut taken = Vec::new();
        for id in self.stragglers.as_ref().map_or_else(Vec::new, |stragglers| stragglers.ids()) {
            let Some((Place::Sent(delivery), is_sent)) = self.stragglers.as_ref().and_then(|all| all.get(id)) else {
                continue;
            };
            if !wanted(delivery) {
                continue;
            }
            let key = take(id, delivery);
            let before = if delivery.qos == QoS::ExactlyOnce {
                let released = Place::Released(key);
                let place = self.stragglers.as_mut().and_then(|stragglers| stragglers.get_mut(id));
                let before = place.map_or(Place::Free, |place| std::mem::replace(place, released));
                self.note_gone(&before);
                before
            } else {
                self.outstanding -= u16::from(is_sent);
                let before = self.remove_straggler(id);
                self.note_gone(&before);
                before
            };
            if let Place::Sent(delivery) = before {
                taken.push((id, delivery));
            }
        }
        taken
    }

    /// Takes the messages on loan from queues that `wanted` accepts, as [`Inflight::take_where`] does.
    pub(crate) fn take_loans(
        &mut self,
        wanted: impl Fn(&Loan) -> bool,
        take: impl FnMut(PacketId, &Delivery) -> Option<Key>,
    ) -> Vec<Returned> {
        let loans = self.take_where(|delivery| delivery.loan().is_some_and(&wanted), take);
        loans.into_iter().filter_map(|(_, delivery)| delivery.into_returned()).collect()
    }

    /// Frees the memory of free places.
    pub(crate) fn shrink(&mut self) {
        self.places.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use wisp_wire::{Publish, TopicName};

    use super::*;
    use crate::delivery::message::Message;

    fn delivery(qos: QoS) -> Delivery {
        let topic = TopicName::new("t").unwrap();
        Delivery::new(Message::from_publish(&Publish::new(topic, b"x"), topic, 0), qos, false, None)
    }

    /// Frees the identifier, and subtracts the bytes of its message. True if there was one.
    fn finish(inflight: &mut Inflight, id: PacketId) -> bool {
        let Place::Sent(delivery) = inflight.finish(id) else { return false };
        inflight.subtract(delivery.message.cost_bytes());
        true
    }

    fn release(inflight: &mut Inflight, id: PacketId) -> bool {
        let released = inflight.release(id, false);
        released.inspect(|delivery| inflight.subtract(delivery.message.cost_bytes())).is_some()
    }

    #[test]
    fn identifiers_go_round_without_zero() {
        let mut inflight = Inflight::default();
        for number in 0..IDS * 2 + 5 {
            let id = inflight.next_id();
            assert_eq!(usize::from(id.get()), number % IDS + 1);
            inflight.push(delivery(QoS::AtLeastOnce));
            assert!(finish(&mut inflight, id));
        }
        assert_eq!((inflight.bytes(), inflight.places.len()), (0, 0));
    }

    #[test]
    fn a_client_that_skips_messages_gets_all_others_and_their_places_take_no_memory() {
        let mut inflight = Inflight::default();
        let mut skipped = Vec::new();
        // More than all identifiers, so that those of the skipped messages have to be passed over.
        for number in 0..3 * IDS {
            assert!(inflight.has_window(10));
            let id = inflight.next_id();
            assert!(!skipped.contains(&id), "{id:?} is in use");
            inflight.push(delivery(if number == 1 { QoS::ExactlyOnce } else { QoS::AtLeastOnce }));
            if [0, 1, 100, 5_000, 2 * IDS].contains(&number) {
                skipped.push(id);
            } else {
                assert!(finish(&mut inflight, id));
            }
            assert!(inflight.places.len() <= SHORT + 1, "{} places", inflight.places.len());
        }
        assert!(inflight.has_window(6) && !inflight.has_window(5));
        assert!(release(&mut inflight, skipped[1]));
        assert_eq!(inflight.in_use(skipped[1]), InUse::Released);
        inflight.rewind();
        assert_eq!((inflight.in_use(skipped[0]), inflight.is_sent()), (InUse::Nothing, false));
        let again = std::iter::from_fn(|| {
            inflight.next_unsent().map(|again| match again {
                Resend::Message(id, _) | Resend::Release(id) => id,
            })
        });
        assert_eq!(again.collect::<Vec<_>>(), skipped, "in the order of sending");
        assert_eq!(skipped.iter().filter(|id| finish(&mut inflight, **id)).count(), skipped.len() - 1);
        assert_eq!((inflight.outstanding, inflight.bytes(), inflight.places.len()), (0, 0, 0));
        assert!(inflight.stragglers.is_none());
    }

    #[test]
    fn stragglers_on_loan_return_to_their_queue_in_order() {
        let mut inflight = Inflight::default();
        let send = |inflight: &mut Inflight| {
            let id = inflight.next_id();
            inflight.push(delivery(QoS::AtLeastOnce));
            id
        };
        let first = send(&mut inflight);
        for _ in 0..SHORT {
            let id = send(&mut inflight);
            assert!(finish(&mut inflight, id));
        }
        send(&mut inflight);
        assert_eq!(inflight.straggler(first).is_some(), inflight.stragglers.is_some());
        assert!(inflight.stragglers.is_some());
        assert_eq!(inflight.take_where(|_| true, |_, _| None).len(), 2);
        assert_eq!((inflight.outstanding, inflight.bytes(), inflight.is_sent()), (0, 0, true));
    }

    #[test]
    fn free_places_that_are_passed_over_are_gone() {
        let mut inflight = Inflight::default();
        let mut send = |qos| {
            let id = inflight.next_id();
            inflight.push(delivery(qos));
            id
        };
        let ids: Vec<PacketId> = (0..5).map(|_| send(QoS::AtLeastOnce)).collect();
        assert!(ids[1..].iter().all(|id| finish(&mut inflight, *id)));
        inflight.rewind();
        assert!(inflight.next_unsent().is_some());
        assert!(finish(&mut inflight, ids[0]));
        while inflight.next_unsent().is_some() {}
        assert!(inflight.has_window(1));
    }

    #[test]
    fn loans_that_were_taken_back_before_they_were_sent_again_leave_no_gap() {
        let mut inflight = Inflight::default();
        (0..100).for_each(|_| inflight.push(delivery(QoS::AtLeastOnce)));
        inflight.rewind();
        (0..10).for_each(|_| assert!(inflight.next_unsent().is_some()));
        assert_eq!(inflight.take_where(|_| true, |_, _| None).len(), 100);
        inflight.rewind();
        assert!(inflight.has_window(10) && inflight.next_unsent().is_none());
    }

    proptest! {
        /// Compares with a map from identifiers to their use, and with the order of sending.
        #[test]
        fn the_ring_is_a_map_that_remembers_the_order(
            operations in prop::collection::vec((0..7_u8, 0..8_usize, any::<bool>()), 1..200),
        ) {
            let mut inflight = Inflight::default();
            // Identifier to QoS, or to None once released; and the identifiers sent on this connection.
            let mut model: BTreeMap<u64, (PacketId, Option<QoS>)> = BTreeMap::new();
            let (mut seen, mut number) = (Vec::<u64>::new(), 0);
            for (kind, which, twice) in operations {
                let qos = if twice { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
                let chosen = seen.get(which).copied();
                match (kind, chosen) {
                    (0 | 1, _) if inflight.is_sent() && inflight.has_window(8) => {
                        number += 1;
                        model.insert(number, (inflight.next_id(), Some(qos)));
                        seen.push(number);
                        inflight.push(delivery(qos));
                    }
                    (2, Some(chosen)) => {
                        finish(&mut inflight, model[&chosen].0);
                        model.remove(&chosen);
                        seen.retain(|seen| *seen != chosen);
                    }
                    (3, Some(chosen)) => {
                        release(&mut inflight, model[&chosen].0);
                        model.get_mut(&chosen).unwrap().1 = None;
                    }
                    (4, _) => {
                        inflight.rewind();
                        seen.clear();
                    }
                    (5, _) => {
                        let expected = model.keys().copied().find(|number| !seen.contains(number));
                        let again = inflight.next_unsent().map(|again| match again {
                            Resend::Message(id, delivery) => (id, Some(delivery.qos)),
                            Resend::Release(id) => (id, None),
                        });
                        prop_assert_eq!(again, expected.map(|number| model[&number]));
                        seen.extend(expected);
                    }
                    // Many messages are acknowledged, and the ones before them become stragglers.
                    (6, _) if inflight.is_sent() && inflight.has_window(8) => {
                        for _ in 0..2 * SHORT {
                            number += 1;
                            let id = inflight.next_id();
                            inflight.push(delivery(qos));
                            assert!(finish(&mut inflight, id));
                        }
                    }
                    _ => {}
                }
                for (number, (id, qos)) in &model {
                    let expected = match qos {
                        _ if !seen.contains(number) => InUse::Nothing,
                        Some(qos) => InUse::Message(*qos),
                        None => InUse::Released,
                    };
                    prop_assert_eq!(inflight.in_use(*id), expected);
                }
                prop_assert_eq!(usize::from(inflight.outstanding), seen.len());
                let messages = model.values().filter(|(_, qos)| qos.is_some()).count();
                prop_assert_eq!(inflight.bytes(), messages * delivery(qos).message.cost_bytes());
            }
        }
    }
}

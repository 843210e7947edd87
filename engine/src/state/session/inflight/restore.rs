//! The window of a session that was restored from the store.

use wisp_wire::PacketId;

use super::place::Place;
use super::{IDS, Inflight, SHORT, SPARSE};

impl Inflight {
    /// Takes the places of a session's packet identifiers in an empty window, none of which was sent on this connection. Identifiers
    /// are given in turn, so the first one is behind the longest run of free ones. The next one is `skipped` further than the last.
    pub(crate) fn restore(&mut self, mut places: Vec<(PacketId, Place)>, skipped: usize) {
        debug_assert!(self.places.is_empty() && self.stragglers.is_none(), "the session is new");
        places.sort_unstable_by_key(|(id, _)| id.get());
        let number = |place: usize, places: &[(PacketId, Place)]| usize::from(places[place % places.len()].0.get());
        let distance = |from: usize, to: usize| (to + IDS - from - 1) % IDS + 1;
        let count = places.len();
        let gap_before = |place: &usize| distance(number(place + count - 1, &places), number(*place, &places));
        let Some(first) = (0..count).max_by_key(gap_before) else {
            self.first = (skipped % IDS) as u16;
            return;
        };
        places.rotate_left(first);
        // The last one is the last of the ring, and ring and window are about as long.
        let last = number(count - 1, &places);
        let is_in_ring = |place: usize| {
            let len = (last + IDS - number(place, &places)) % IDS + 1;
            skipped == 0 && len < SHORT.max(SPARSE * (count - place))
        };
        let in_ring = (0..count).rev().take_while(|place| is_in_ring(*place)).count();
        let stragglers = count - in_ring;
        self.first = if in_ring == 0 { (last + skipped) % IDS } else { number(stragglers, &places) - 1 } as u16;
        for (place, (id, content)) in places.into_iter().enumerate() {
            if let Place::Sent(delivery) = &content {
                self.bytes += delivery.message.cost_bytes();
            }
            if place < stragglers {
                self.stragglers.get_or_insert_default().push(id, content, false);
                continue;
            }
            while self.id_at(self.places.len()) != id {
                self.places.push_back(Place::Free);
            }
            self.places.push_back(content);
        }
        self.unsent = self.places.len() as u16;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::super::Resend;
    use super::*;

    fn ids(inflight: &mut Inflight) -> Vec<u16> {
        let resent = std::iter::from_fn(|| {
            inflight.next_unsent().map(|(Resend::Release(id) | Resend::Message(id, _))| id.get())
        });
        resent.collect()
    }

    #[test]
    fn identifiers_come_in_the_order_in_which_they_were_given() {
        let cases: [(&[u16], u16); 6] = [
            (&[], 1),
            (&[7], 8),
            (&[65_535], 1),
            (&[65_534, 65_535, 1, 2], 3),
            (&[1, 2, 3, 500], 501),
            (&[60_000, 3, 4], 5),
        ];
        for (given, next) in cases {
            let mut inflight = Inflight::default();
            let places = given.iter().rev().map(|id| (PacketId::new(*id).unwrap(), Place::Released(None)));
            inflight.restore(places.collect(), 0);
            assert_eq!(ids(&mut inflight), given);
            assert_eq!(inflight.next_id().get(), next);
        }
    }

    #[test]
    fn identifiers_are_skipped_behind_the_last() {
        for (given, skipped, next) in [(&[][..], 7, 8), (&[65_535, 1, 2], 100, 103), (&[65_535], 65_534, 1)] {
            let mut inflight = Inflight::default();
            let places = given.iter().map(|id| (PacketId::new(*id).unwrap(), Place::Released(None)));
            inflight.restore(places.collect(), skipped);
            assert_eq!((ids(&mut inflight), inflight.next_id().get()), (given.to_vec(), next));
        }
    }

    proptest! {
        /// Each of any identifiers is sent once, and the next is another one.
        #[test]
        fn each_identifier_is_sent_once(given in prop::collection::btree_set(1..=u16::MAX, 1..200)) {
            let mut inflight = Inflight::default();
            let places = given.iter().map(|id| (PacketId::new(*id).unwrap(), Place::Released(None)));
            inflight.restore(places.collect(), 0);
            prop_assert!(inflight.places.len() <= SHORT.max(SPARSE * given.len()));
            let mut sent = ids(&mut inflight);
            prop_assert!(!given.contains(&inflight.next_id().get()));
            sent.sort_unstable();
            prop_assert!(sent.iter().eq(&given));
        }
    }
}

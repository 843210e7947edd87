//! The fullest queues and sessions, for an operator who asks where messages wait.

use std::sync::Arc;

use crate::base::capacity::Capacity;
use crate::delivery::outbox::Outbox;
use crate::state::queue_directory::queue_name;
use crate::state::session::Session;
use crate::state::shared::Shared;

/// Messages that wait in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Their number.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Depth {
    pub(super) fn of(capacity: &Capacity) -> Self {
        Self { messages: capacity.depth_messages() as u64, bytes: capacity.depth_bytes() as u64 }
    }
}

/// A topic queue, or a group of shared subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueDepth {
    /// `$queue/NAME`, or `$share/GROUP/FILTER`.
    pub name: String,
    /// The messages in it and on loan to receivers.
    pub depth: Depth,
}

/// A session, and the connection of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionDepth {
    /// The client's identifier.
    pub client_id: Arc<str>,
    /// Whether the client is connected.
    pub is_connected: bool,
    /// Messages at QoS 1 and 2 that wait for it or are unacknowledged.
    pub unacknowledged: Depth,
    /// Packets that its socket has not taken.
    pub unsent: Depth,
}

impl SessionDepth {
    fn of(session: &Session, outbox: Option<&Outbox>) -> Self {
        Self {
            client_id: Arc::clone(session.client_id()),
            is_connected: outbox.is_some(),
            unacknowledged: Depth::of(session.capacity()),
            unsent: outbox.map_or_else(Depth::default, |outbox| Depth::of(outbox.capacity())),
        }
    }
}

/// The first of some items by their bytes. Those without bytes are left out.
struct Fullest<T> {
    most: usize,
    items: Vec<(u64, T)>,
}

impl<T> Fullest<T> {
    fn new(most: usize) -> Self {
        Self { most, items: Vec::with_capacity(most + 1) }
    }

    /// Takes the item up if it is among the first so far.
    fn offer(&mut self, bytes: u64, item: impl FnOnce() -> T) {
        let least =
            if self.items.len() < self.most { 0 } else { self.items.last().map_or(u64::MAX, |(least, _)| *least) };
        if bytes > least {
            let place = self.items.partition_point(|(other, _)| *other >= bytes);
            self.items.insert(place, (bytes, item()));
            self.items.truncate(self.most);
        }
    }

    fn into_items(self) -> Vec<T> {
        self.items.into_iter().map(|(_, item)| item).collect()
    }
}

impl Shared {
    /// The topic queues and groups with the most bytes, `most` at most, the fullest first, without empty ones.
    pub fn fullest_queues(&self, most: usize) -> Vec<QueueDepth> {
        let mut fullest = Fullest::new(most);
        self.queues.for_each(|name, capacity| {
            let depth = Depth::of(capacity);
            fullest.offer(depth.bytes, || QueueDepth { name: name.to_owned(), depth });
        });
        fullest.into_items()
    }

    /// The topic queues that the configuration names and that exist, with empty ones, by name.
    pub fn configured_queues(&self) -> Vec<QueueDepth> {
        let mut queues = Vec::new();
        self.queues.for_each(|name, capacity| {
            if queue_name(name).is_some_and(|name| self.queues.is_configured(name)) {
                queues.push(QueueDepth { name: name.to_owned(), depth: Depth::of(capacity) });
            }
        });
        queues.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        queues
    }

    /// The sessions for which the most bytes wait, `most` at most, the fullest first, without empty ones. Looks at all of them, a part
    /// of the sessions at a time.
    pub fn fullest_sessions(&self, most: usize) -> Vec<SessionDepth> {
        let mut fullest = Fullest::new(most);
        self.registry.for_each(|session| {
            let outbox = session.outbox();
            let unsent = outbox.as_ref().map_or(0, |outbox| outbox.depth_bytes());
            let bytes = (session.capacity().depth_bytes() + unsent) as u64;
            fullest.offer(bytes, || SessionDepth::of(session, outbox.as_deref()));
        });
        fullest.into_items()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_come_first_and_are_as_many_as_asked_for() {
        for most in [0, 1, 3, 10] {
            let mut fullest = Fullest::new(most);
            for bytes in [5, 0, 9, 2, 9, 7, 0, 1] {
                fullest.offer(bytes, || bytes);
            }
            let expected = [9, 9, 7, 5, 2, 1];
            assert_eq!(fullest.into_items(), expected[..most.min(expected.len())]);
        }
    }
}

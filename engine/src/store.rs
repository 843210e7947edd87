//! The door for durable storage: the objects that outlive the process, their changes, and when a change may be acknowledged.
//!
//! The state that is kept consists of [`Object`]s under [`Key`]s: sessions that outlive their connections, their subscriptions, the
//! messages that wait for them or are unacknowledged, packet identifiers at QoS 2, retained messages, and the messages of topic queues and
//! groups. A worker appends each change
//! in the moment of its effect, under the lock under which it takes effect. So the one order of all changes agrees with the order of
//! the effects, and each prefix of it is a state that the broker was in.
//!
//! A worker holds the replies to packets that have changed objects (PUBACK, PUBREC, SUBACK and the others) until everything that was
//! appended before them is committed, and the connection with them. Other connections do not wait. A message at QoS 2 is sent to a
//! client when the message and its packet identifier are. [`MemoryStore`] keeps nothing, so nothing waits.
//!
//! Not kept: sessions that end with their connections, messages of shared subscription groups that have only such members, and messages at QoS 0
//! without RETAIN, except in topic queues.

mod builder;
pub(crate) mod journal;
pub(crate) mod key;
mod object;
#[cfg(test)]
mod object_tests;

use crate::metrics::histogram::HistogramSnapshot;
use std::fmt::Debug;

pub use self::builder::{BuiltMessage, StateBuilder, WaitingMessage};
pub use self::key::Key;
pub use self::object::{BadObject, LoanObject, MessageObject, Object, ObjectFault, WaitingState, WillObject};

/// A change of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// There is an object, or another one in place of the one with this key.
    Put {
        /// Its key.
        key: Key,
        /// The object.
        object: Object<'a>,
    },
    /// There is no object with this key any more. There may have been none.
    Delete {
        /// The key.
        key: Key,
    },
}

/// An object as a store gives it back, with its body as bytes of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored<B = Vec<u8>> {
    /// Its key.
    pub key: Key,
    /// Its [kind](Object::kind).
    pub kind: u8,
    /// Its [head](Object::encode_head) and [tail](Object::tail).
    pub body: B,
}

/// Keeps objects. Called by all workers in the middle of their turns, with locks held: it must not block for long, nor call the
/// engine.
pub trait Store: Debug + Send + Sync {
    /// Whether changes are wanted at all. Asked once, at the start.
    fn is_durable(&self) -> bool {
        true
    }

    /// Appends changes of `worker` to the one order of the changes of all workers. After a crash all changes of a call are there, or
    /// none.
    ///
    /// An object that [is shared](Object::is_shared) goes when the last object goes that [refers to](Object::refers_to) it, or when that
    /// one is replaced by one that does not.
    fn append(&self, worker: usize, changes: &[Change<'_>]);

    /// A ticket that is committed when everything that was appended so far, by any worker, is durable.
    fn commit(&self, worker: usize) -> Ticket;

    /// Whether a ticket is committed. Tickets are committed in the order of their calls.
    fn state(&self, ticket: Ticket) -> CommitState;

    /// Whether it takes more changes. While it does not, the senders of messages that it should keep are held back.
    fn admits(&self) -> bool {
        true
    }

    /// Its counters and sizes, for the metrics.
    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}

/// Counters since the start, sizes, and times, of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Writes.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Writes that failed and are tried again.
    pub write_failures: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of these objects.
    pub live_bytes: u64,
    /// Bytes on the disk.
    pub disk_bytes: u64,
    /// Bytes that are not written yet.
    pub pending_bytes: u64,
    /// The times that commits took.
    pub commits: HistogramSnapshot,
}

/// Names everything that was appended before a call of [`Store::commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The state of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// All its changes are durable.
    Committed,
    /// The store is not done yet.
    Pending,
    /// The store has failed for good: neither these changes nor any later ones become durable. None of them is acknowledged; the
    /// connections that sent them are ended. The driver ends the broker.
    Failed,
}

/// The store of a broker that keeps everything in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn is_durable(&self) -> bool {
        false
    }

    fn append(&self, _: usize, _: &[Change<'_>]) {}

    fn commit(&self, _: usize) -> Ticket {
        Ticket(0)
    }

    fn state(&self, _: Ticket) -> CommitState {
        CommitState::Committed
    }
}

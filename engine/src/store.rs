//! The door for durable storage: the changes to record, and when they may be acknowledged.
//!
//! A worker collects the records of a turn in a group, commits the group, and holds the replies of the turn (PUBACK,
//! PUBREC, SUBACK and the others) until the store has committed it. Groups of one worker are acknowledged in the
//! worker's order, in any order of commits. [`MemoryStore`] keeps nothing, so no reply waits.

use std::fmt::Debug;

use wisp_wire::PacketId;

/// Keeps records. Called by all workers, in the middle of their turns: it must not block for long.
pub trait Store: Debug + Send + Sync {
    /// Whether records are wanted at all. Asked once, at the start.
    fn is_durable(&self) -> bool {
        true
    }

    /// Adds a record to the group that `worker` is collecting.
    fn append(&self, worker: usize, record: &Record<'_>);

    /// Ends the group of the records that `worker` has appended since the last call. The ticket names it.
    fn commit(&self, worker: usize) -> Ticket;

    /// Whether a group is committed.
    fn state(&self, ticket: Ticket) -> CommitState;
}

/// Names a group of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The state of a group of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// It is durable.
    Committed,
    /// The store is not done yet.
    Pending,
    /// It is lost. None of its changes is acknowledged; the connections that sent them are ended.
    Failed,
}

/// A change that a reply acknowledges. A client repeats a packet that was not acknowledged, and then its record comes again, also if
/// the first was committed after all: a message is the same one while its packet identifier was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record<'a> {
    /// A message at QoS 1 or 2 was accepted.
    Published {
        /// The client that sent it.
        client_id: &'a str,
        /// Its packet identifier.
        packet_id: PacketId,
        /// The topic name.
        topic: &'a str,
        /// The payload.
        payload: &'a [u8],
    },
    /// A client has released the packet identifier of a message at QoS 2 (PUBREL).
    Released {
        /// The client.
        client_id: &'a str,
        /// The packet identifier.
        packet_id: PacketId,
    },
    /// A subscription was added or replaced.
    Subscribed {
        /// The client.
        client_id: &'a str,
        /// The filter.
        filter: &'a str,
    },
    /// A subscription was removed.
    Unsubscribed {
        /// The client.
        client_id: &'a str,
        /// The filter.
        filter: &'a str,
    },
}

/// The store of a broker that keeps everything in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn is_durable(&self) -> bool {
        false
    }

    fn append(&self, _: usize, _: &Record<'_>) {}

    fn commit(&self, _: usize) -> Ticket {
        Ticket(0)
    }

    fn state(&self, _: Ticket) -> CommitState {
        CommitState::Committed
    }
}

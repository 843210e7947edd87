//! The door for durable storage: what is kept, and when it may be acknowledged.
//!
//! A worker collects the records of a turn in a group, commits the group, and holds the replies of the turn (PUBACK, PUBREC,
//! SUBACK and the others) until the store has committed it. Groups of one worker are acknowledged in their order, whatever order
//! the store commits them in. [`MemoryStore`] keeps nothing, so nothing waits.

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

    /// Ends the group that `worker` has collected since the last call, and says how to ask for it.
    fn commit(&self, worker: usize) -> Ticket;

    /// What has become of a group.
    fn state(&self, ticket: Ticket) -> CommitState;
}

/// Names a group of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What has become of a group of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// It will survive.
    Committed,
    /// It is not known yet.
    Pending,
    /// It is lost. Nothing in it is acknowledged; the connections that sent it are ended.
    Failed,
}

/// A change that a reply acknowledges.
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

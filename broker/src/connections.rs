//! The table of connections, in which a worker finds the sending half of a receiver that another worker owns.

use std::sync::Arc;

use wisp_engine::ConnectionId;
use wisp_engine::sync::{AtomicU64, Ordering, RwLock, rank};
use wisp_net::Stream;

use crate::output::SendHalf;

/// All connections by their identity.
pub(crate) struct Connections<S: Stream> {
    table: RwLock<Table<S>, { rank::CONNECTIONS }>,
    count: AtomicU64,
}

struct Table<S: Stream> {
    entries: Vec<Entry<S>>,
    free: Vec<u32>,
}

struct Entry<S: Stream> {
    generation: u32,
    half: Option<Arc<SendHalf<S>>>,
}

impl<S: Stream> Default for Connections<S> {
    fn default() -> Self {
        let table = Table { entries: Vec::new(), free: Vec::new() };
        Self { table: RwLock::new(table), count: AtomicU64::new(0) }
    }
}

impl<S: Stream> Connections<S> {
    /// The number of connections.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// A new identity, for a connection that the caller then inserts or removes.
    pub(crate) fn reserve(&self) -> ConnectionId {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table.write();
        let slot = table.free.pop().unwrap_or_else(|| {
            table.entries.push(Entry { generation: 0, half: None });
            (table.entries.len() - 1) as u32
        });
        let entry = &mut table.entries[slot as usize];
        // Generation 0 belongs to the listeners.
        entry.generation = entry.generation.wrapping_add(1).max(1);
        ConnectionId { slot, generation: entry.generation }
    }

    /// Adds a connection under its identity.
    pub(crate) fn insert(&self, half: Arc<SendHalf<S>>) {
        let slot = half.id.slot as usize;
        self.table.write().entries[slot].half = Some(half);
    }

    /// The connection with this identity, unless it is closed.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<Arc<SendHalf<S>>> {
        let table = self.table.read();
        let entry = table.entries.get(id.slot as usize)?;
        entry.half.as_ref().filter(|_| entry.generation == id.generation).cloned()
    }

    /// Removes a connection. Its slot is reused, its identity is not.
    pub(crate) fn remove(&self, id: ConnectionId) {
        let mut table = self.table.write();
        let entry = &mut table.entries[id.slot as usize];
        debug_assert_eq!(entry.generation, id.generation, "a connection is removed once, by its owner");
        entry.half = None;
        table.free.push(id.slot);
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

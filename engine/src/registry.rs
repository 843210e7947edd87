//! Which connection each client identifier is in use by.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::queue::ConnectionId;
use crate::sync::Mutex;

const SHARDS: usize = 16;

/// Client identifiers in use, in shards so that connecting clients do not wait for each other.
#[derive(Debug)]
pub(crate) struct Registry {
    hasher: RandomState,
    shards: [Mutex<HashMap<Box<str>, ConnectionId, RandomState>>; SHARDS],
}

impl Default for Registry {
    fn default() -> Self {
        Self { hasher: RandomState::default(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Registry {
    fn shard(&self, client_id: &str) -> &Mutex<HashMap<Box<str>, ConnectionId, RandomState>> {
        use std::hash::BuildHasher;
        &self.shards[self.hasher.hash_one(client_id) as usize % SHARDS]
    }

    /// Gives the identifier to `connection` and returns the connection that had it, which must be closed
    /// [MQTT-3.1.4-3].
    pub(crate) fn claim(&self, client_id: &str, connection: ConnectionId) -> Option<ConnectionId> {
        self.shard(client_id).lock().insert(client_id.into(), connection)
    }

    /// Forgets the identifier, unless another connection has claimed it since.
    pub(crate) fn release(&self, client_id: &str, connection: ConnectionId) {
        let mut shard = self.shard(client_id).lock();
        if shard.get(client_id) == Some(&connection) {
            shard.remove(client_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: ConnectionId = ConnectionId { slot: 1, generation: 1 };
    const NEW: ConnectionId = ConnectionId { slot: 2, generation: 1 };

    #[test]
    fn a_late_release_does_not_undo_a_takeover() {
        let registry = Registry::default();
        assert_eq!(registry.claim("c", OLD), None);
        assert_eq!(registry.claim("c", NEW), Some(OLD));
        registry.release("c", OLD);
        assert_eq!(registry.claim("c", OLD), Some(NEW));
        registry.release("c", OLD);
        assert_eq!(registry.claim("c", NEW), None);
    }
}

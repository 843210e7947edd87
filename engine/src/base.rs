//! The vocabulary of the engine: identities, capacities, limits and locks. Uses nothing else of the engine.

pub(crate) mod budget;
pub(crate) mod capacity;
pub(crate) mod denials;
pub(crate) mod hold;
pub(crate) mod known_topics;
pub(crate) mod limits;
pub(crate) mod listener_limits;
pub(crate) mod packet_ids;
pub(crate) mod reached;
pub(crate) mod reserved;
pub(crate) mod slot;
pub(crate) mod spent;
pub mod sync;

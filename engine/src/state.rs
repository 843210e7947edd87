//! The state that all workers share: sessions, subscriptions, queues, retained messages. Each file holds one structure
//! and uses only the ones below it; [`crate::ops`] has the verbs that involve several of them.

pub(crate) mod evictable;
pub(crate) mod queue_directory;
pub(crate) mod registry;
pub(crate) mod retained;
pub(crate) mod roster;
pub(crate) mod session;
pub(crate) mod shared;
pub(crate) mod subscriber;
pub(crate) mod subscribers;
pub(crate) mod timers;
pub(crate) mod topic_queue;
pub(crate) mod topic_tree;
pub(crate) mod unauthenticated;
pub(crate) mod will;

//! Messages on the way to receivers: the stored message, the batch of one worker, the outbox of a connection.

pub(crate) mod addressed;
pub(crate) mod aliases;
pub(crate) mod batch;
pub(crate) mod bundles;
pub(crate) mod loan;
pub(crate) mod message;
pub(crate) mod outbox;

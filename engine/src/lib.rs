//! The queue-per-topic core of the Wisp broker, without I/O.
//!
//! Steps 4 to 7 of a message's way. No sockets and no clocks: packets, time and identities of connections come in as
//! arguments; packets to send come out as bytes in a [`Queue`], which whoever owns the socket empties. So tests, models and
//! fuzzers drive the very code that production runs.
//!
//! ```text
//! packet -> session -> router -> batch -> queue -> bytes for a socket
//! ```
//!
//! [`Core`] is what all workers share; [`Session`], [`RouteCache`] and [`Batch`] belong to one worker.

mod batch;
mod budget;
mod core;
mod limits;
mod publish;
mod queue;
mod registry;
mod router;
mod session;
mod slot;
pub mod sync;
mod targets;
mod will;

pub use batch::{Batch, Piece, Source, Staged};
pub use budget::Budget;
pub use core::{Core, Stats, StatsSnapshot};
pub use limits::{Limits, PACKET_BYTES_CEILING, StallPolicy, TOPIC_LEVELS_CEILING};
pub use publish::{Publisher, Received, Routed};
pub use queue::{Chunk, ConnectionId, Queue, ReceiverInfo, WireFormat};
pub use router::{Route, RouteCache, Router, Target, TopicTooLarge};
pub use session::{End, EndReason, Fault, Next, Session};
pub use will::Will;

#[cfg(test)]
mod testing {
    //! Queues for unit tests, with numbers that are unique in the process.

    use std::sync::{Arc, LazyLock};

    use crate::budget::Budget;
    use crate::limits::Limits;
    use crate::queue::{ConnectionId, Queue, ReceiverInfo, WireFormat};
    use crate::slot::Slots;

    pub(crate) fn queue() -> Arc<Queue> {
        queue_for(WireFormat::V3, &Limits::DEFAULT)
    }

    pub(crate) fn queue_for(format: WireFormat, limits: &Limits) -> Arc<Queue> {
        static SLOTS: LazyLock<Arc<Slots>> = LazyLock::new(Arc::default);
        let connection = ConnectionId { slot: 0, generation: 0 };
        let queue = Queue::new(connection, SLOTS.take(), Arc::new(Budget::new(usize::MAX)), limits);
        queue.set_receiver(ReceiverInfo { format, packet_bytes_max: u32::MAX });
        Arc::new(queue)
    }
}

//! The queue-per-topic core of the Wisp broker, without I/O.
//!
//! Steps 4 to 7 of a message's way. No sockets and no clocks: packets, time and identities of connections come in as
//! arguments; packets to send come out as bytes in a [`Outbox`], which whoever owns the socket empties. So tests, models and
//! fuzzers drive the very code that production runs.
//!
//! ```text
//! packet -> link -> router -> batch, or session, or queue -> outbox -> bytes for a socket
//! ```
//!
//! [`Core`] is what all workers share; a [`Link`] for each connection and a [`Publisher`] belong to one worker.

mod aliases;
mod batch;
mod budget;
mod bundles;
mod core;
mod lifetime;
mod limits;
mod link;
mod message;
mod outbox;
mod packet_ids;
mod publish;
mod registry;
mod replay;
mod retained;
mod room;
mod router;
mod session;
mod slot;
mod subscribers;
pub mod sync;
#[cfg(all(test, loom))]
mod takeover_loom;
mod topic_queue;
mod will;

pub use batch::{Batch, Piece, Source, Staged};
pub use budget::Budget;
pub use core::{Core, Options, Stats, StatsSnapshot};
pub use limits::{DISCONNECT_STALL_MS, Limits, PACKET_BYTES_CEILING, StallPolicy, TOPIC_LEVELS_CEILING};
pub use link::{End, EndReason, Fault, Link, Next, Raw, Replaying};
pub use outbox::{Chunk, ConnectionId, Outbox, ReceiverInfo, WireFormat};
pub use publish::Publisher;
pub use room::Room;
pub use topic_queue::{FullPolicy, InvalidQueue, QueueSettings};

#[cfg(test)]
mod testing {
    //! Places for unit tests, with numbers that are unique in the process.

    use std::sync::{Arc, LazyLock};

    use crate::budget::Budget;
    use crate::core::Core;
    use crate::limits::Limits;
    use crate::outbox::{ConnectionId, Outbox, ReceiverInfo, WireFormat};
    use crate::session::Session;
    use crate::slot::Slots;

    static SLOTS: LazyLock<Arc<Slots>> = LazyLock::new(Arc::default);
    static CORE: LazyLock<Core> = LazyLock::new(|| Core::new(Limits::DEFAULT, 0));

    pub(crate) fn outbox() -> Arc<Outbox> {
        let connection = ConnectionId { slot: 0, generation: 0 };
        let outbox = Outbox::new(connection, SLOTS.take(), Arc::new(Budget::new(usize::MAX)), &Limits::DEFAULT);
        let format = WireFormat::V3;
        outbox.set_receiver(ReceiverInfo { format, packet_bytes_max: u32::MAX, topic_aliases_max: 0 });
        Arc::new(outbox)
    }

    pub(crate) fn session() -> Arc<Session> {
        Arc::new(Session::new("client", &CORE, CORE.receiver_slots.take()))
    }
}

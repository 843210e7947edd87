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
//! [`Shared`] is what all workers share; a [`Connection`] for each connection and a [`Dispatcher`] belong to one worker.

mod base;
mod connection;
mod delivery;
mod ops;
mod state;
#[cfg(all(test, loom))]
mod takeover_loom;

pub use base::budget::Budget;
pub use base::capacity::Capacity;
pub use base::limits::{DISCONNECT_STALL_MS, Limits, PACKET_BYTES_CEILING, StallPolicy, TOPIC_LEVELS_CEILING};
pub use base::sync;
pub use connection::{Connection, End, EndReason, Fault, Next, Raw, Replaying};
pub use delivery::batch::{Batch, Piece, Source, Staged};
pub use delivery::outbox::{Chunk, ConnectionId, Outbox, ReceiverInfo, WireFormat};
pub use ops::dispatch::Dispatcher;
pub use state::shared::{Options, Shared, Stats, StatsSnapshot};
pub use state::topic_queue::{FullPolicy, InvalidQueue, QueueSettings};

#[cfg(test)]
mod testing {
    //! Places for unit tests, with numbers that are unique in the process.

    use std::sync::{Arc, LazyLock};

    use crate::base::budget::Budget;
    use crate::base::limits::Limits;
    use crate::base::slot::Slots;
    use crate::delivery::outbox::{ConnectionId, Outbox, ReceiverInfo, WireFormat};
    use crate::state::session::Session;
    use crate::state::shared::Shared;

    static SLOTS: LazyLock<Arc<Slots>> = LazyLock::new(Arc::default);
    static SHARED: LazyLock<Shared> = LazyLock::new(|| Shared::new(Limits::DEFAULT, 0));

    pub(crate) fn outbox() -> Arc<Outbox> {
        let connection = ConnectionId { slot: 0, generation: 0 };
        let outbox = Outbox::new(connection, SLOTS.take(), Arc::new(Budget::new(usize::MAX)), &Limits::DEFAULT);
        let format = WireFormat::V3;
        outbox.set_receiver(ReceiverInfo { format, packet_bytes_max: u32::MAX, topic_aliases_max: 0 });
        Arc::new(outbox)
    }

    pub(crate) fn session() -> Arc<Session> {
        Arc::new(Session::new("client", &SHARED.limits, &SHARED.stored, SHARED.receiver_slots.take()))
    }
}

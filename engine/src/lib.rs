//! The engine of the Wisp broker, without I/O: sessions, routing, queues, and the worker that drives them.
//!
//! There are no sockets, threads or clocks here. Bytes, connections and the time come in as arguments; packets to send
//! come out as bytes in an [`Outbox`]. So tests, models and fuzzers drive the code that production runs.
//!
//! ```text
//! bytes -> connection -> ops (route, deliver) -> batch, session or queue -> outbox -> bytes for a socket
//! ```
//!
//! [`Shared`] is the state that all workers share. A [`Worker`] owns its connections; each thread has one.
//!
//! # The contract
//!
//! A driver gives a worker turns. `handle_*` brings something in, `poll_*` takes something out. In one turn:
//!
//! 1. [`Worker::handle_mail`]: connections that were accepted for this worker, and orders from other workers to end
//!    one.
//! 2. [`Worker::handle_readable`]: connections that may have bytes.
//! 3. [`Worker::poll_read`], [`Worker::handle_bytes`]: the worker names a connection and a buffer, and the driver
//!    receives once into the buffer and passes the result on; until `poll_read` returns `None`. Connections that send much
//!    may be left for the next turn.
//! 4. [`Worker::poll_transmit`]: each receiver that has something to send, once. If it returns true, back to 3.
//! 5. [`Worker::poll_event`]: sockets to close, mail for other workers, and events for log, metrics and hooks; until
//!    `None`.
//! 6. [`Worker::handle_timeout`]: everything that is due by time. If it returns true, 4 and 5 once more.
//! 7. [`Worker::poll_timeout`]: how long the driver may wait for events before the next turn.
//!
//! Two rules hold between the steps. Nothing is read while messages must be transmitted first: then `poll_read` returns
//! `None`. And no reply enters an outbox before the [`Store`] has committed the change it acknowledges.
//!
//! ```
//! use std::sync::Arc;
//! use wisp_engine::{Chunk, ConnectionId, Limits, Mail, Origin, Received, Shared, Worker};
//!
//! let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
//! let mut worker = Worker::new(Arc::clone(&shared), 0, 64 * 1024);
//! let outbox = shared.new_outbox(ConnectionId { slot: 0, generation: 1 }, 0);
//! let now_ms = 0;
//!
//! // A client of MQTT 3.1.1 connects, with the client identifier `c`, and pings.
//! worker.handle_mail(now_ms, Mail::Accept(Arc::clone(&outbox), Origin { peer: None, listener: 0 }));
//! worker.handle_readable(outbox.connection());
//! let packets = [b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c".as_slice(), b"\xc0\0"].concat();
//! while let Some(read) = worker.poll_read(now_ms) {
//!     read.buffer[..packets.len()].copy_from_slice(&packets);
//!     worker.handle_bytes(now_ms, Received::Bytes { count: packets.len(), more: false });
//! }
//! worker.poll_transmit(now_ms, |staged| staged.push());
//! while let Some(event) = worker.poll_event() {
//!     println!("{event:?}");
//! }
//! worker.handle_timeout(now_ms);
//!
//! // CONNACK and PINGRESP.
//! let mut chunk = Chunk::default();
//! assert!(outbox.take(&mut chunk));
//! assert_eq!(chunk.bytes, b"\x20\x02\0\0\xd0\0");
//! ```

mod base;
mod connection;
mod delivery;
mod event;
mod metrics;
mod ops;
mod order;
mod policy;
mod state;
mod store;
#[cfg(all(test, loom))]
mod takeover_loom;
mod worker;

pub use base::denials::{Denial, DeniedUse};
pub use base::limits::{
    LIMITS, Limit, LimitOutOfRange, Limits, PACKET_BYTES_CEILING, SessionsPolicy, StallPolicy, TOPIC_LEVELS_CEILING,
};
pub use base::listener_limits::ListenerLimits;
pub use base::sync;
pub use connection::disconnect::{EndReason, Fault};
pub use connection::{OtherProtocol, Received, TransportNote};
pub use delivery::batch::Staged;
pub use delivery::outbox::{Chunk, ConnectionId, Outbox};
pub use event::{Event, Mail, Origin};
pub use metrics::histogram::{BUCKET_BOUNDS_US, HISTOGRAMS, Histogram, HistogramMetric, HistogramSnapshot, Histograms};
pub use metrics::{METRICS, Metric, MetricKind, StatsSnapshot};
pub use ops::fullest::{Depth, QueueDepth, SessionDepth};
pub use ops::lists::{
    InvalidCursor, LIST_ITEMS_MAX, List, ListQuery, Presence, QueueRow, RetainedMessage, RetainedRow, SessionRow,
    SubscriptionRow,
};
pub use order::{Action, Done, NewMessage, Order, OrderError, PendingAction};
pub use policy::{
    AllowAll, ConnectRequest, Decision, IN_PROCESS_LISTENER, PendingDecision, Policy, PublishRequest, Rights,
    SubscribeRequest, Verdict,
};
pub use state::roster::ConnectionFacts;
pub use state::shared::{InvalidOptions, Options, Restoration, Shared, SysOptions, Unsaved, is_mqtt_text};
pub use state::topic_queue::{FullPolicy, InvalidQueue, QueueSettings};
pub use store::{
    BadObject, BuiltMessage, Change, CommitState, Key, LoanObject, MemoryStore, MessageObject, Object, ObjectFault,
    Restored, StateBuilder, Store, StoreStats, Ticket, WaitingMessage, WaitingState, WillObject,
};
pub use worker::{Read, Worker};

#[cfg(loom)]
pub mod testing {
    //! For the models of the broker's sending half.

    use std::sync::Arc;

    use crate::delivery::batch::{Batch, Piece, Source};
    use crate::delivery::outbox::{ReceiverInfo, WireFormat};
    use crate::{Outbox, Staged};

    /// Lets the receiver accept packets of MQTT 3 of any length.
    pub fn accept_everything(outbox: &Outbox) {
        let format = WireFormat::V3;
        outbox.set_receiver(ReceiverInfo {
            format,
            packet_bytes_max: u32::MAX,
            topic_aliases_max: 0,
            sets_window: false,
        });
    }

    /// Calls `transmit` with `bytes` as one message staged for `outbox`.
    pub fn with_staged(outbox: &Arc<Outbox>, bytes: &[u8], transmit: impl FnMut(Staged<'_>)) {
        let mut batch = Batch::default();
        batch.stage(outbox, Piece { source: Source::Scratch, start: 0, len: bytes.len() });
        batch.drain(bytes, transmit);
    }
}

#[cfg(test)]
mod test_receivers {
    //! Receivers for unit tests, with indices that are unique in the process.

    use std::sync::{Arc, LazyLock};

    use crate::base::budget::Budget;
    use crate::base::capacity::CapacityLimits;
    use crate::base::limits::Limits;
    use crate::base::slot::Slots;
    use crate::delivery::outbox::{ConnectionId, Outbox, ReceiverInfo, WireFormat};
    use crate::state::session::Session;
    use crate::state::shared::Shared;

    static SLOTS: LazyLock<Arc<Slots>> = LazyLock::new(Arc::default);
    static SHARED: LazyLock<Shared> = LazyLock::new(|| Shared::new(Limits::DEFAULT, 0));

    pub(crate) fn outbox() -> Arc<Outbox> {
        let connection = ConnectionId { slot: 0, generation: 0 };
        let limits = CapacityLimits::of_receivers(&Limits::DEFAULT, &Arc::new(Budget::new(usize::MAX)));
        let outbox = Outbox::new((connection, 0), SLOTS.take(), &Arc::new(limits));
        let format = WireFormat::V3;
        outbox.set_receiver(ReceiverInfo {
            format,
            packet_bytes_max: u32::MAX,
            topic_aliases_max: 0,
            sets_window: false,
        });
        Arc::new(outbox)
    }

    pub(crate) fn session() -> Arc<Session> {
        Arc::new(Session::new(("client", None), &SHARED.session_limits, SHARED.receiver_slots.take()))
    }
}

//! A summary of connections, sessions, traffic, dropped messages, memory and the fullest queues, in a few lines of the log.

use tracing::info;
use wisp_engine::{QueueDepth, SessionDepth};
use wisp_net::Host;

use super::Log;
use crate::state::Server;

/// Most queues, and most sessions, that have a line.
const LISTED_MAX: usize = 10;

impl Log {
    /// The summary of the running broker.
    pub(crate) fn summary<H: Host>(server: &Server<H>) {
        let stats = server.engine.stats();
        info!(
            connections = server.connections.count(),
            sessions = stats.sessions,
            connected = stats.sessions_connected,
            kept = stats.sessions_kept,
            subscriptions = stats.subscriptions,
            shared_subscriptions = stats.shared_subscriptions,
            retained_messages = stats.retained,
            "summary: clients"
        );
        info!(
            seconds = server.now_ms() / 1000,
            messages_received = stats.messages_received,
            messages_delivered = stats.messages_delivered,
            bytes_received = stats.bytes_received,
            bytes_sent = stats.bytes_sent,
            "summary: traffic since the start"
        );
        info!(
            messages_dropped = stats.messages_dropped,
            deliveries_denied = stats.deliveries_denied,
            publishes_denied = stats.publishes_denied,
            retained_refused = stats.retained_refused,
            sessions_expired = stats.sessions_expired,
            connections_refused = stats.connections_refused,
            connections_rejected = stats.connections_rejected,
            connects_denied = stats.connects_denied,
            "summary: dropped and refused since the start"
        );
        info!(
            process_bytes = server.host.memory_bytes(),
            buffered_bytes = stats.buffered_bytes,
            stored_bytes = stats.stored_bytes,
            retained_bytes = stats.retained_bytes,
            subscription_bytes = stats.subscription_bytes,
            "summary: memory"
        );
        Self::list_queues(&server.engine.fullest_queues(LISTED_MAX));
        Self::list_sessions(&server.engine.fullest_sessions(LISTED_MAX));
    }

    fn list_queues(queues: &[QueueDepth]) {
        for QueueDepth { name, depth, .. } in queues {
            info!(queue = name, messages = depth.messages, bytes = depth.bytes, "summary: one of the fullest queues");
        }
        if queues.is_empty() {
            info!("summary: all queues are empty");
        }
    }

    fn list_sessions(sessions: &[SessionDepth]) {
        for SessionDepth { client_id, is_connected, unacknowledged, unsent, .. } in sessions {
            info!(
                client = &**client_id,
                connected = is_connected,
                unacknowledged_messages = unacknowledged.messages,
                unacknowledged_bytes = unacknowledged.bytes,
                unsent_messages = unsent.messages,
                unsent_bytes = unsent.bytes,
                "summary: one of the fullest sessions"
            );
        }
        if sessions.is_empty() {
            info!("summary: no messages wait for clients");
        }
    }
}

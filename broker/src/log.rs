//! Events as lines of the log.

use tracing::{debug, field::display, info, warn};
use wisp_engine::{Event, Fault, Origin, Unsaved};

/// A connection was accepted.
pub(crate) fn accepted(origin: Origin, worker: usize) {
    debug!(peer = origin.peer.map(display), listener = origin.listener, worker, "connection accepted");
}

/// The broker stops, and this state with it.
pub(crate) fn stopping(unsaved: &Unsaved) {
    let Unsaved { sessions, retained_messages, queued_messages, .. } = unsaved;
    info!(sessions, retained_messages, queued_messages, "the broker stops; state in memory is lost");
}

/// An event of the engine.
pub(crate) fn event(event: &Event) {
    match event {
        Event::Connected { client_id, version, origin, keep_alive_s, clean_start, .. } => debug!(
            client = &**client_id,
            peer = origin.peer.map(display),
            listener = origin.listener,
            version = ?version,
            keep_alive_s,
            clean_start,
            "client connected"
        ),
        Event::Refused { origin, reason, .. } => ended(None, *origin, reason),
        Event::Disconnected { client_id, origin, reason, .. } => ended(Some(client_id), *origin, reason),
        Event::TakenOver { client_id, .. } => debug!(client = &**client_id, "session taken over"),
        Event::Evicted { client_id } => {
            warn!(client = &**client_id, "session of a client that is away ended for a new one (sessions-max)");
        }
        Event::Subscribed { client_id, filter, qos } => {
            debug!(client = &**client_id, filter = &**filter, qos = *qos as u8, "subscribed");
        }
        Event::Unsubscribed { client_id, filter } => {
            debug!(client = &**client_id, filter = &**filter, "unsubscribed");
        }
        Event::Dropped { client_id, origin, messages } => warn!(
            client = client_id.as_deref(),
            peer = origin.peer.map(display),
            dropped = messages,
            "messages dropped: receiver queue full"
        ),
        _ => {}
    }
}

fn ended(client: Option<&str>, origin: Origin, reason: &wisp_engine::EndReason) {
    let peer = origin.peer.map(display);
    match reason.fault() {
        Fault::None => info!(client, peer, "connection ended: {reason}"),
        fault => warn!(client, peer, ?fault, "connection ended: {reason}"),
    }
}

//! Events as lines of the log, and the summary that an operator asks for.

mod summary;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::HashMap;
use tracing::{debug, field::display, info, warn};
use wisp_engine::sync::{Mutex, rank};
use wisp_engine::{Denial, DeniedUse, EndReason, Event, Fault, Origin, Unsaved};

const ADD_WRITE_RULE: &str = "to allow it, add a rule \"topic write TOPIC\" to the acl-file";
const DATA_DIR_FULL: &str = ": it takes no more. Senders of messages to keep are held back, and refused after queue-stall-ms-max: make room on its disk, or raise disk-bytes-max";
const ADD_READ_RULE: &str = "to allow it, add a rule \"topic read TOPIC\" to the acl-file";

/// How long a limit that has a line in the log is only counted.
const QUIET_MS: u64 = 60_000;

/// The log of one broker. A limit that is reached again and again gets one line a minute.
#[derive(Default)]
pub(crate) struct Log {
    limits: Mutex<HashMap<&'static str, Repetition>, { rank::LEAF }>,
}

/// The number of the listener; none for a client in the process.
fn listener_of(origin: &Origin) -> Option<u16> {
    Some(origin.listener).filter(|_| !origin.is_in_process())
}

/// A limit since its last line.
struct Repetition {
    quiet_until_ms: u64,
    count: u64,
    /// The first client.
    client: Option<Arc<str>>,
}

impl Log {
    /// A connection was accepted.
    pub(crate) fn accepted(origin: Origin, worker: usize) {
        debug!(peer = origin.peer.map(display), listener = listener_of(&origin), worker, "connection accepted");
    }

    /// The broker stops, and this state with it.
    pub(crate) fn stopping(unsaved: &Unsaved) {
        let Unsaved { sessions, retained_messages, queued_messages, .. } = unsaved;
        info!(sessions, retained_messages, queued_messages, "the broker stops; state in memory is lost");
    }

    /// New connections are closed, because there are as many as allowed.
    pub(crate) fn refusing(&self, connections: u64, now_ms: u64) {
        if self.is_first("connections-max", None, 1, now_ms) {
            warn!(connections, "limit reached: connections-max: new connections are closed at once");
        }
    }

    /// New connections of one listener are closed, because it has as many as allowed.
    pub(crate) fn refusing_on(&self, listener: SocketAddr, now_ms: u64) {
        if self.is_first("connections-max of a listener", None, 1, now_ms) {
            warn!(%listener, "limit reached: connections-max of a listener: its new connections are closed at once");
        }
    }

    /// A connection to a listener for proxies comes from elsewhere.
    pub(crate) fn no_proxy(&self, listener: SocketAddr, peer: Option<SocketAddr>, now_ms: u64) {
        if self.is_first("not a trusted proxy", None, 1, now_ms) {
            let peer = peer.map(display);
            warn!(%listener, peer, "connection closed: it comes from no proxy of proxy-protocol-from: add the address, or use another listener");
        }
    }

    /// A request to the admin listener was refused.
    #[cfg(feature = "admin")]
    pub(crate) fn admin_refused(&self, reason: &'static str, now_ms: u64) {
        if self.is_first(reason, None, 1, now_ms) {
            warn!("a request to the admin listener was refused: {reason}");
        }
    }

    /// The host could not accept a connection.
    pub(crate) fn cannot_accept(&self, error: &io::Error, connections: u64, now_ms: u64) {
        if self.is_first("the host's connections", None, 1, now_ms) {
            warn!(%error, connections, "the host cannot accept a connection: new ones are closed, or wait");
        }
    }

    /// An event of the engine.
    pub(crate) fn event(&self, event: &Event, now_ms: u64) {
        match event {
            Event::Connected { client_id, user, version, origin, keep_alive_s, clean_start, .. } => info!(
                client = &**client_id,
                user = user.as_deref(),
                peer = origin.peer.map(display),
                listener = listener_of(origin),
                version = ?version,
                keep_alive_s,
                clean_start,
                "client connected"
            ),
            Event::Refused { origin, reason, .. } => self.ended(None, *origin, *reason, now_ms),
            Event::Disconnected { client_id, origin, reason, .. } => {
                self.ended(Some(client_id), *origin, *reason, now_ms);
            }
            Event::TakenOver { client_id, .. } => debug!(client = &**client_id, "session taken over"),
            Event::Evicted { client_id } => self.evicted(client_id, now_ms),
            Event::Subscribed { client_id, filter, qos } => {
                debug!(client = &**client_id, filter = &**filter, qos = *qos as u8, "subscribed");
            }
            Event::Unsubscribed { client_id, filter } => {
                debug!(client = &**client_id, filter = &**filter, "unsubscribed");
            }
            Event::LimitReached { limit, client_id, count } => {
                self.limit_reached(limit, client_id.as_ref(), *count, now_ms);
            }
            Event::Dropped { client_id, origin, messages } => {
                self.dropped(client_id.as_ref(), *origin, *messages, now_ms);
            }
            Event::Denied(denial) => self.denied(denial, now_ms),
            _ => {}
        }
    }

    fn denied(&self, denial: &Denial, now_ms: u64) {
        let Denial { denied, client_id, user, topic, count } = denial;
        let (what, remedy) = match denied {
            DeniedUse::Publish => ("PUBLISH was denied", ADD_WRITE_RULE),
            DeniedUse::Will => ("a will was denied", ADD_WRITE_RULE),
            DeniedUse::Receive => ("a subscriber may not read a topic, and does not get it", ADD_READ_RULE),
            DeniedUse::Reserved => ("PUBLISH to $SYS was denied", "only the broker publishes there: use another topic"),
        };
        if self.is_first(what, Some(client_id), *count, now_ms) {
            let (client, user) = (&**client_id, user.as_deref());
            warn!(client, user, topic = &**topic, count, "{what}: {remedy}");
        }
    }

    fn evicted(&self, client: &Arc<str>, now_ms: u64) {
        if self.is_first("sessions-max", Some(client), 1, now_ms) {
            warn!(client = &**client, "limit reached: sessions-max: the session of a client that is away ended");
        }
    }

    fn limit_reached(&self, limit: &'static str, client: Option<&Arc<str>>, count: u64, now_ms: u64) {
        if self.is_first(limit, client, count, now_ms) {
            let remedy = if limit == "data-dir" { DATA_DIR_FULL } else { "" };
            warn!(client = client.map(|client| &**client), count, "limit reached: {limit}{remedy}");
        }
    }

    fn dropped(&self, client: Option<&Arc<str>>, origin: Origin, messages: u64, now_ms: u64) {
        if self.is_first("stall-ms-max", client, messages, now_ms) {
            let (client, peer) = (client.map(|client| &**client), origin.peer.map(display));
            warn!(
                client,
                peer,
                dropped = messages,
                "limit reached: stall-ms-max: messages dropped: receiver queue full"
            );
        }
    }

    fn ended(&self, client: Option<&Arc<str>>, origin: Origin, reason: EndReason, now_ms: u64) {
        let key = match reason {
            EndReason::ConnectRefused(_) => Some("CONNECT refused"),
            _ => reason.limit().or(reason.alike()),
        };
        let is_first = key.is_none_or(|key| self.is_first(key, client, 1, now_ms));
        let (client, peer) = (client.map(|client| &**client), origin.peer.map(display));
        match reason.fault() {
            Fault::None => info!(client, peer, "connection ended: {reason}"),
            fault if is_first => warn!(client, peer, ?fault, "connection ended: {reason}"),
            fault => debug!(client, peer, ?fault, "connection ended: {reason}"),
        }
    }

    /// Whether a limit that was reached `count` times gets a line. If not, it is counted for the next one.
    fn is_first(&self, limit: &'static str, client: Option<&Arc<str>>, count: u64, now_ms: u64) -> bool {
        let mut limits = self.limits.lock();
        let known = limits.get_mut(limit).filter(|known| known.count > 0 || now_ms < known.quiet_until_ms);
        let Some(known) = known else {
            limits.insert(limit, Repetition { quiet_until_ms: now_ms + QUIET_MS, count: 0, client: None });
            return true;
        };
        if known.count == 0 {
            known.client = client.cloned();
        }
        known.count += count;
        false
    }

    /// Writes the counts of the last minute. Called regularly.
    pub(crate) fn flush(&self, now_ms: u64) {
        for (limit, count, client) in self.take_overdue(now_ms) {
            warn!(client = client.as_deref(), count, "again in the last minute: {limit}");
        }
    }

    fn take_overdue(&self, now_ms: u64) -> Vec<(&'static str, u64, Option<Arc<str>>)> {
        let mut limits = self.limits.lock();
        let overdue = limits.iter_mut().filter(|(_, known)| known.count > 0 && now_ms >= known.quiet_until_ms);
        let overdue = overdue.map(|(limit, known)| {
            known.quiet_until_ms = now_ms + QUIET_MS;
            (*limit, std::mem::take(&mut known.count), known.client.take())
        });
        overdue.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_a_line_at_first_and_then_one_a_minute_with_a_count() {
        let (log, first, second) = (Log::default(), Arc::from("first"), Arc::from("second"));
        assert!(log.is_first("a", Some(&first), 1, 0));
        assert!(log.is_first("b", None, 1, 1_000), "each limit has its own");
        assert!(!log.is_first("a", Some(&second), 3, 2_000));
        assert!(!log.is_first("a", Some(&first), 1, QUIET_MS - 1));
        assert_eq!(log.take_overdue(QUIET_MS - 1), []);
        assert_eq!(log.take_overdue(QUIET_MS), [("a", 4, Some(second))]);
        assert!(!log.is_first("a", None, 1, QUIET_MS + 1), "the count has begun a minute of its own");
        assert_eq!(log.take_overdue(2 * QUIET_MS), [("a", 1, None)]);
        assert_eq!(log.take_overdue(3 * QUIET_MS), []);
        assert!(log.is_first("a", Some(&first), 1, 3 * QUIET_MS + 1), "after a quiet minute");
    }
}

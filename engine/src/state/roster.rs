//! The sessions by their indices, for the lists that an operator looks at a page at a time.
//!
//! A session keeps its place for as long as it exists. So pages in the order of places have each session once that exists from
//! the first page to the last, and the work for a page does not depend on the number of sessions.

use std::net::SocketAddr;
use std::sync::Arc;

use wisp_wire::ProtocolVersion;

use crate::base::sync::{Mutex, rank};
use crate::delivery::bundles::Indexed;
use crate::delivery::outbox::ConnectionId;
use crate::state::session::Session;

/// A client's connection, as its CONNECT and its listener describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionFacts {
    /// The connection.
    pub connection: ConnectionId,
    /// The user that the client's rights are about, or else the user name of its CONNECT.
    pub user: Option<Box<str>>,
    /// The peer's address, if the host provides it.
    pub peer: Option<SocketAddr>,
    /// The index of the listener in the configuration.
    pub listener: u16,
    /// The version of MQTT.
    pub version: ProtocolVersion,
    /// The keep-alive in effect, in seconds; 0 for none.
    pub keep_alive_s: u16,
    /// Whether it asked for a clean start.
    pub clean_start: bool,
    /// When the client connected, in milliseconds of the engine's time.
    pub(crate) since_ms: u64,
}

/// A session, and the facts of its last connection.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) session: Arc<Session>,
    pub(crate) facts: Option<Arc<ConnectionFacts>>,
}

/// The entries of sessions and their places, and the place at which to continue, unless that was the end.
pub(crate) type Walked = (Vec<(usize, Entry)>, Option<usize>);

/// All sessions by their indices. Nothing at all if nobody wants lists.
#[derive(Debug)]
pub(crate) struct Roster(Option<Mutex<Vec<Option<Entry>>, { rank::LEAF }>>);

impl Roster {
    pub(crate) fn new(is_kept: bool) -> Self {
        Self(is_kept.then(Mutex::default))
    }

    /// Adds a session.
    pub(crate) fn add(&self, session: &Arc<Session>) {
        let Some(entries) = &self.0 else { return };
        let (mut entries, index) = (entries.lock(), session.index());
        if entries.len() <= index {
            entries.resize(index + 1, None);
        }
        debug_assert!(entries[index].is_none(), "an index belongs to one session");
        entries[index] = Some(Entry { session: Arc::clone(session), facts: None });
    }

    /// Removes a session.
    pub(crate) fn remove(&self, session: &Session) {
        let Some(entries) = &self.0 else { return };
        // Dropped when the lock is released, since the end of a session takes other locks.
        let _entry = entries.lock().get_mut(session.index()).and_then(Option::take);
    }

    /// Notes the facts of a session's new connection.
    pub(crate) fn note(&self, session: &Session, facts: impl FnOnce() -> ConnectionFacts) {
        let Some(entries) = &self.0 else { return };
        let facts = Arc::new(facts());
        if let Some(Some(entry)) = entries.lock().get_mut(session.index()) {
            entry.facts = Some(facts);
        }
    }

    /// The facts of a session's last connection.
    pub(crate) fn facts(&self, session: &Session) -> Option<Arc<ConnectionFacts>> {
        self.0.as_ref()?.lock().get(session.index())?.as_ref()?.facts.clone()
    }

    /// The sessions at the places from `from` on, of which `places` are looked at.
    pub(crate) fn walk(&self, from: usize, places: usize) -> Walked {
        let Some(entries) = &self.0 else { return (Vec::new(), None) };
        let entries = entries.lock();
        let end = from.saturating_add(places).min(entries.len());
        let found = entries.get(from..end).unwrap_or_default().iter().enumerate();
        let found = found.filter_map(|(place, entry)| Some((from + place, entry.clone()?))).collect();
        (found, (end < entries.len()).then_some(end))
    }
}

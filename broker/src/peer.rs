//! What a worker keeps of each connection it owns. What all workers share of it is in [`crate::output`].

use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::HashMap;
use wisp_engine::{Capacity, Connection as EngineConnection, ConnectionId, EndReason};
use wisp_net::Stream;

use crate::input::Input;
use crate::output::Connection;
use crate::pace::Pace;
use crate::shared::Connections;

/// The owner's part of a connection.
pub(crate) struct Peer<S> {
    pub(crate) connection: Arc<Connection<S>>,
    pub(crate) stream: Arc<S>,
    pub(crate) link: EngineConnection,
    pub(crate) input: Input,
    pub(crate) peer_addr: Option<SocketAddr>,
    /// In the worker's list of connections to read.
    pub(crate) listed: bool,
    pub(crate) pause: Option<Pause>,
    /// How fast it may send, if that is limited.
    pub(crate) pace: Option<Box<Pace>>,
    /// It is to end for this reason when the connection that had its session before is done.
    pub(crate) deferred_end: Option<EndReason>,
    /// In the worker's list of connections with retained messages to come.
    pub(crate) replaying: bool,
    /// The session has ended and the peer was told: what it still sends is thrown away until then.
    pub(crate) farewell_until_ms: Option<u64>,
}

/// Why a connection is not read, and since when.
pub(crate) struct Pause {
    pub(crate) cause: PauseCause,
    pub(crate) since_ms: u64,
}

/// What a connection that is not read waits for.
pub(crate) enum PauseCause {
    /// A place without room for its messages.
    Room(Arc<Capacity>),
    /// Its own peer, who does not read the replies.
    Replies,
    /// The connection that had its session before: what that one still had in hand comes first.
    TakenOver(ConnectionId),
    /// The time when it may send again: it was faster than it may be.
    Pace { until_ms: u64 },
}

impl<S> Peer<S> {
    pub(crate) fn new(
        connection: Arc<Connection<S>>,
        stream: Arc<S>,
        link: EngineConnection,
        peer_addr: Option<SocketAddr>,
    ) -> Self {
        Self {
            connection,
            stream,
            link,
            input: Input::default(),
            peer_addr,
            listed: false,
            pause: None,
            pace: None,
            deferred_end: None,
            replaying: false,
            farewell_until_ms: None,
        }
    }
}

impl<S: Stream> Peer<S> {
    /// Whether the connection that had the session before still has something in hand.
    pub(crate) fn waits_for_another(&self, connections: &Connections<S>) -> bool {
        match &self.pause {
            Some(Pause { cause: PauseCause::TakenOver(old), .. }) => {
                connections.get(*old).is_some_and(|connection| !connection.is_released())
            }
            _ => false,
        }
    }
}

/// What is to become of a connection that was read.
pub(crate) enum Reading {
    /// Nothing more is there.
    Drained,
    /// More may be there.
    More,
    /// Not to be read until what it waits for has happened.
    Paused,
    /// The session is over. True if a packet that tells the peer why is among the replies.
    Ended(EndReason, bool),
}

/// Of those who wait for the same room, so many bytes are handled in a turn if they have them, however small the room: they may be
/// for others too, and the next turn may be a tick away.
const INVITED_BYTES_MIN: usize = 1024 * 1024;

/// Whom a worker asks back in a turn. Those who wait for a room that has drained are asked in the order in which they have waited, as
/// many as may fill it: all others would find it full again, and what they have read would be moved to and fro for nothing.
#[derive(Default)]
pub(crate) struct Invited {
    /// What those of each room have read, by where it lies.
    bytes: HashMap<*const Capacity, usize>,
}

impl Invited {
    /// Whether one more may come who has read `held_bytes`, to a room in which `free_bytes` more fit.
    pub(crate) fn fits(&mut self, room: *const Capacity, free_bytes: usize, held_bytes: usize) -> bool {
        let bytes = self.bytes.entry(room).or_default();
        if *bytes >= free_bytes.max(INVITED_BYTES_MIN) {
            return false;
        }
        *bytes += held_bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    #[test]
    fn as_many_are_invited_as_may_fill_the_room() {
        let (one, other) = (ptr::without_provenance(8), ptr::without_provenance(16));
        let mut invited = Invited::default();
        for (room, free_bytes) in [(one, 3 * INVITED_BYTES_MIN), (other, 0)] {
            let come = (0..100).filter(|_| invited.fits(room, free_bytes, INVITED_BYTES_MIN / 2)).count();
            assert_eq!(come, if room == one { 6 } else { 2 }, "{free_bytes} bytes are free");
        }
        assert!(invited.fits(ptr::without_provenance(24), 0, 100 * INVITED_BYTES_MIN), "whatever one has read");
    }
}

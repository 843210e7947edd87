//! What a worker keeps of each connection it owns. What all workers share of it is in [`crate::output`].

use std::net::SocketAddr;
use std::sync::Arc;

use wisp_engine::{EndReason, Queue, Session};

use crate::input::Input;
use crate::output::Connection;

/// The owner's part of a connection.
pub(crate) struct Peer<S> {
    pub(crate) connection: Arc<Connection<S>>,
    pub(crate) stream: Arc<S>,
    pub(crate) session: Session,
    pub(crate) input: Input,
    pub(crate) peer_addr: Option<SocketAddr>,
    /// In the worker's list of connections to read.
    pub(crate) listed: bool,
    pub(crate) pause: Option<Pause>,
    /// The session has ended and the peer was told: what it still sends is thrown away until then.
    pub(crate) farewell_until_ms: Option<u64>,
}

/// Why a connection is not read.
pub(crate) struct Pause {
    /// The receiver without room; the connection's own queue if its replies are not read.
    pub(crate) queue: Arc<Queue>,
    pub(crate) since_ms: u64,
}

impl<S> Peer<S> {
    pub(crate) fn new(
        connection: Arc<Connection<S>>,
        stream: Arc<S>,
        session: Session,
        peer_addr: Option<SocketAddr>,
    ) -> Self {
        Self {
            connection,
            stream,
            session,
            input: Input::default(),
            peer_addr,
            listed: false,
            pause: None,
            farewell_until_ms: None,
        }
    }
}

/// What is to become of a connection that was read.
pub(crate) enum Reading {
    /// Nothing more is there.
    Drained,
    /// More may be there.
    More,
    /// Not to be read until a receiver has room.
    Paused,
    /// The session is over. True if a packet that tells the peer why is among the replies.
    Ended(EndReason, bool),
}

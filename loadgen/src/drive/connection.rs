//! A client's connection that takes part in a run.

use std::mem;
use std::time::Duration;

use wisp_client::TransportStream;
use wisp_net::SysStream;

use crate::drive::inbound::Inbound;
use crate::drive::sending::Sending;

/// A connection that is ready for the run.
pub(crate) struct ClientConnection {
    pub(crate) stream: TransportStream<SysStream>,
    pub(crate) inbound: Inbound,
    /// `None` for a receiver.
    pub(crate) sending: Option<Sending>,
    /// The name in error messages: "sender 3".
    pub(crate) name: String,
    /// How long the broker puts up with silence, where it has said so.
    pub(crate) keep_alive: Option<Duration>,
    /// Whether anything was sent since it was last looked whether to ping.
    pub(crate) has_sent: bool,
}

impl ClientConnection {
    /// Sees to it that something is sent in good time, if the connection is `writable`; a socket that takes nothing has something to
    /// bring already. True if there is something to send now. To be called every [`silence_check_interval`].
    pub(crate) fn ping_if_silent(&mut self, writable: bool) -> bool {
        let is_silent = !mem::take(&mut self.has_sent) && writable && self.inbound.replies.is_empty();
        if self.keep_alive.is_none() || !is_silent {
            return false;
        }
        self.inbound.ping(self.sending.is_some_and(|sending| !sending.is_ending()));
        true
    }
}

/// The interval at which connections are checked for silence. A ping is sent after two intervals at most, which is half
/// of the shortest keep-alive. None if no broker asked for one.
pub(crate) fn silence_check_interval<'a>(connections: impl Iterator<Item = &'a ClientConnection>) -> Option<Duration> {
    connections.filter_map(|connection| connection.keep_alive).min().map(|keep_alive| keep_alive / 4)
}

//! A client's connection before the run takes it over.

use std::time::Duration;

use wisp_client::{Client, Error, Parts, TransportStream};
use wisp_net::SysStream;

use crate::drive::deadline::InterruptibleHost;

/// The keep-alive that clients ask brokers for, in seconds: the longest that MQTT has.
pub(crate) const KEEP_ALIVE_S: u16 = u16::MAX;

/// A connection that is ready for the run, with the bytes and messages received on it before.
pub(crate) struct OpenedConnection {
    pub(crate) stream: TransportStream<SysStream>,
    /// Bytes received and not decoded.
    pub(crate) bytes: Vec<u8>,
    /// Bytes to be sent first.
    pub(crate) unsent: Vec<u8>,
    /// Messages that came. Nothing was sent yet, so that they can only be strangers, such as a retained message.
    pub(crate) strangers: u64,
    /// How long the broker puts up with silence, if it has ordered something.
    pub(crate) keep_alive: Option<Duration>,
}

impl OpenedConnection {
    pub(crate) fn of(client: Client<InterruptibleHost>) -> Result<Self, Error> {
        // A broker that accepts the requested keep-alive needs no pings: no run lasts that long.
        let keep_alive_s = Some(client.keep_alive_s()).filter(|seconds| (1..KEEP_ALIVE_S).contains(seconds));
        let Parts { stream, bytes, messages, unsent, .. } = client.into_parts()?;
        let keep_alive = keep_alive_s.map(|seconds| Duration::from_secs(seconds.into()));
        Ok(Self { stream, bytes, unsent, strangers: messages.len() as u64, keep_alive })
    }
}

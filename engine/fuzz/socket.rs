//! The two ends of a connection, with a socket in memory between them.

use std::collections::VecDeque;
use std::sync::Arc;

use wisp_engine::{Chunk, Outbox, Received};
use wisp_wire::{ProtocolVersion, decode};

/// Bytes that the socket holds for a client that does not read.
const SOCKET_BYTES: usize = 300;

pub(crate) struct Socket {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) worker: usize,
    /// The version in which the client has connected.
    pub(crate) version: Option<ProtocolVersion>,
    /// Sent by the client, and not received by the worker yet.
    pub(crate) incoming: VecDeque<u8>,
    /// How the client has ended the connection.
    pub(crate) hung_up: Option<Received>,
    /// Taken from the outbox; `sent` bytes of it are in the socket.
    chunk: Chunk,
    sent: usize,
    /// In the socket, and not read by the client yet.
    flushed: Vec<u8>,
}

impl Socket {
    pub(crate) fn new(outbox: Arc<Outbox>, worker: usize) -> Self {
        Self {
            outbox,
            worker,
            version: None,
            incoming: VecDeque::new(),
            hung_up: None,
            chunk: Chunk::default(),
            sent: 0,
            flushed: Vec::new(),
        }
    }

    /// The worker receives.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        assert!(!buffer.is_empty(), "a read has room");
        let count = buffer.len().min(self.incoming.len());
        if count == 0 {
            return self.hung_up.unwrap_or(Received::WouldBlock);
        }
        buffer.iter_mut().zip(self.incoming.drain(..count)).for_each(|(to, byte)| *to = byte);
        Received::Bytes { count, more: !self.incoming.is_empty() || self.hung_up.is_some() }
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) {
        loop {
            if self.chunk.bytes.is_empty() && !self.outbox.take(&mut self.chunk) {
                return;
            }
            let rest = &self.chunk.bytes[self.sent..];
            let count = rest.len().min(SOCKET_BYTES.saturating_sub(self.flushed.len()));
            self.flushed.extend(&rest[..count]);
            self.sent += count;
            if self.sent < self.chunk.bytes.len() {
                self.outbox.sent(count, 0);
                return;
            }
            self.outbox.sent(count, self.chunk.messages);
            self.chunk = Chunk::default();
            self.sent = 0;
        }
    }

    /// The client reads everything, which has to be MQTT.
    pub(crate) fn read(&mut self) {
        loop {
            self.flush();
            let mut read = 0;
            while let Some(len) = self.packet_len(&self.flushed[read..]) {
                read += len;
            }
            if read == 0 {
                // Longer than the socket: the client assembles it.
                if self.sent < self.chunk.bytes.len() {
                    let rest = self.chunk.bytes.split_off(self.sent);
                    self.flushed.extend(&rest);
                    self.outbox.sent(rest.len(), self.chunk.messages);
                    self.chunk = Chunk::default();
                    self.sent = 0;
                    continue;
                }
                return;
            }
            self.flushed.drain(..read);
        }
    }

    fn packet_len(&self, bytes: &[u8]) -> Option<usize> {
        let versions = match self.version {
            Some(version) => vec![version],
            // The answer to a CONNECT that was refused.
            None => vec![ProtocolVersion::Mqtt311, ProtocolVersion::Mqtt5],
        };
        let decoded = versions.into_iter().map(|version| decode(bytes, version, u32::MAX >> 4));
        let decoded = decoded.reduce(Result::or).expect("there is a version");
        decoded.unwrap_or_else(|error| panic!("not MQTT: {error}: {bytes:02x?}")).map(|(_, len)| len)
    }

    pub(crate) fn close(&mut self) {
        self.outbox.sent(self.chunk.bytes.len() - self.sent, self.chunk.messages);
        self.outbox.close();
    }
}

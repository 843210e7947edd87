//! A second implementation of each door, in one simulated run.

use std::io;
use std::sync::Mutex;

use wisp_engine::Received;
use wisp_net::Stream;

/// A transport that hands out few bytes at a time, late, and sends few at a time.
#[derive(Debug)]
pub(crate) struct Splitting<S> {
    stream: S,
    received: Mutex<Vec<u8>>,
}

impl<S: Stream> Splitting<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, received: Mutex::default() }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    /// Hands out one byte at a time of what the stream has.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        let mut waiting = self.received.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut more = [0; 64];
        match self.stream.recv(&mut more) {
            Ok(count) => waiting.extend(&more[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Received::Failed,
        }
        if waiting.is_empty() {
            return Received::WouldBlock;
        }
        buffer[0] = waiting.remove(0);
        Received::Bytes { count: 1, more: true }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.send(&bytes[..bytes.len().min(7)])
    }
}

#[cfg(test)]
mod tests {
    use wisp_net::memory::MemoryStream;

    use super::*;
    use crate::transport::Transport;

    #[test]
    fn a_short_read_does_not_mean_that_nothing_more_is_there() {
        let (near, far) = MemoryStream::pair(64);
        let transport = Transport::Splitting(Splitting::new(near));
        far.send(b"ab").unwrap();
        let mut buffer = [0; 8];
        for byte in *b"ab" {
            assert_eq!(transport.receive(&mut buffer), Received::Bytes { count: 1, more: true });
            assert_eq!(buffer[0], byte);
        }
        assert_eq!(transport.receive(&mut buffer), Received::WouldBlock);
        assert!(!transport.is_transparent());
    }
}

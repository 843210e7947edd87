//! The bytes of one connection on their way in and out.
//!
//! ```text
//!   socket --recv--> Input --decode--> packets
//!   socket <--send-- Output <--encode-- packets
//! ```

/// The space for one `recv`. A larger packet grows the buffer as its bytes arrive.
const RECV_BYTES: usize = 64 * 1024;
/// An empty buffer keeps at most this much memory.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Received bytes that are not decoded yet: `bytes[start..end]`.
#[derive(Default, Debug)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Space for the next bytes, never empty. Moves the undecoded bytes to the front if that makes enough space, and
    /// else doubles the buffer: memory follows the bytes that arrived, not the length that a packet announces.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes.resize(RECV_BYTES, 0);
        }
        if self.start > 0 && self.bytes.len() - self.end < RECV_BYTES / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// The first bytes of the spare space hold received bytes now.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.end += bytes;
        assert!(self.end <= self.bytes.len(), "no more bytes arrive than the spare space holds");
    }

    /// Removes all bytes.
    pub(crate) fn discard(&mut self) {
        self.consume(self.end - self.start);
    }

    /// Removes the first bytes, which are decoded.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEPT_BYTES_MAX {
                self.bytes = Vec::new();
            }
        }
    }
}

/// Encoded bytes that are not sent yet: `bytes[sent..]`.
#[derive(Default, Debug)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

impl Output {
    /// The buffer to encode into; an encoder only appends.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The socket has accepted the first pending bytes.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        assert!(self.sent <= self.bytes.len(), "no more bytes are sent than are pending");
        if self.sent == self.bytes.len() {
            self.sent = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of numbered bytes that arrives in pieces of odd sizes keeps its order.
    #[test]
    fn input_keeps_order_whatever_the_pieces() {
        let mut input = Input::default();
        let (mut given, mut taken) = (0u32, 0u32);
        for round in 0..2000usize {
            let spare = input.spare();
            assert!(!spare.is_empty());
            let piece = spare.len().min(1 + round * 37 % 5000);
            for byte in &mut spare[..piece] {
                *byte = (given % 251) as u8;
                given += 1;
            }
            input.received(piece);
            let take = input.filled().len().min(round * 53 % 6000);
            for byte in &input.filled()[..take] {
                assert_eq!(*byte, (taken % 251) as u8);
                taken += 1;
            }
            input.consume(take);
        }
        assert_eq!(input.filled().len(), (given - taken) as usize);
        assert!(input.bytes.len() <= 4 * RECV_BYTES, "memory follows the undecoded bytes, not all that arrived");
    }

    #[test]
    fn memory_of_a_large_packet_is_given_back() {
        let mut input = Input::default();
        for _ in 0..7 {
            let room = input.spare().len();
            input.received(room);
        }
        input.consume(input.filled().len());
        assert_eq!(input.bytes.capacity(), 0);

        let mut output = Output::default();
        output.bytes().resize(8 * KEPT_BYTES_MAX, 0);
        output.sent(8 * KEPT_BYTES_MAX);
        assert!(output.bytes.capacity() <= KEPT_BYTES_MAX);
    }
}

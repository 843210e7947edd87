//! Steps 2 and 3 of the path of a message: received bytes, divided into packets.
//!
//! One receive fills a stretch of the worker's scratch buffer. The packets are decoded there and stay until they are
//! delivered. The leftover at the end, the beginning of a packet, is held with the connection and put in front of the
//! next bytes:
//!
//! ```text
//! scratch  [ staged by others | held | received                       | free ]
//!                             '--------- packets ---------'- leftover -'
//! ```
//!
//! A long packet is received directly into the connection's own buffer. The buffer grows with the bytes received, not
//! with the announced length.

use crate::base::budget::Budget;

/// Packets longer than this are assembled in the connection's own buffer.
pub(crate) const LONG_PACKET_BYTES: usize = 64 * 1024;

/// How many full reads the scratch buffer holds.
const SCRATCH_READS: usize = 4;

/// Read budget shared by a worker's paused connections; the per-read size shrinks as their number grows, down to
/// [`READ_BYTES_MIN`]. The paused connections can hold a few times this, since their first reads were large. Without
/// the budget a thousand senders to one receiver would hold 256 MiB, and 1 GiB under WASIX. Long packets are counted
/// separately.
const HELD_BYTES: usize = 32 * 1024 * 1024;

/// The least that a connection reads at once, if the host has no smaller limit: less does not justify a system call.
const READ_BYTES_MIN: usize = 64 * 1024;

/// The buffer a worker receives into.
#[derive(Debug)]
pub(crate) struct Scratch {
    bytes: Box<[u8]>,
    /// End of the staged packets that are not yet delivered.
    pub(crate) filled: usize,
    /// Most bytes of one read.
    pub(crate) recv_bytes: usize,
    /// Most bytes of one read while connections are paused.
    pub(crate) share_bytes: usize,
}

impl Scratch {
    pub(crate) fn new(recv_bytes: usize) -> Self {
        let bytes = vec![0; SCRATCH_READS * recv_bytes + LONG_PACKET_BYTES].into_boxed_slice();
        Self { bytes, filled: 0, recv_bytes, share_bytes: recv_bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Frees the buffer after all staged packets were delivered.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Limits the bytes of one read while `paused` connections hold bytes.
    pub(crate) fn share_among(&mut self, paused: usize) {
        self.share_bytes = match paused {
            0 => self.recv_bytes,
            _ => (HELD_BYTES / (paused + 1)).max(READ_BYTES_MIN).min(self.recv_bytes),
        };
    }

    /// Bytes behind the staged ones.
    pub(crate) fn free_bytes(&self) -> usize {
        self.bytes.len() - self.filled
    }
}

/// Bytes of one connection that were received and not yet handled.
#[derive(Debug)]
pub(crate) struct Framing {
    /// Longest packet accepted.
    pub(crate) packet_bytes_max: u32,
    pub(crate) held: Vec<u8>,
    /// The length of the packet that `held` begins with, if `held` is a part of it; 0 if it is not known.
    pub(crate) expected: u32,
    /// `held` begins with whole packets that are not handled yet.
    pub(crate) has_packets: bool,
    /// Bytes of `held` that are charged to the budget.
    charged: usize,
}

impl Framing {
    /// No bytes yet, of packets of at most `packet_bytes_max`.
    pub(crate) fn new(packet_bytes_max: u32) -> Self {
        Self { packet_bytes_max, held: Vec::new(), expected: 0, has_packets: false, charged: 0 }
    }

    /// The length of the long packet that is being assembled.
    pub(crate) fn long_packet(&self) -> Option<usize> {
        Some(self.expected as usize).filter(|&len| len > LONG_PACKET_BYTES)
    }

    /// Charges the budget for the bytes held now.
    pub(crate) fn sync_budget(&mut self, budget: &Budget) {
        if self.held.len() > self.charged {
            budget.charge(self.held.len() - self.charged);
        } else if self.held.len() < self.charged {
            budget.release(self.charged - self.held.len());
        }
        self.charged = self.held.len();
    }

    /// Drops the bytes.
    pub(crate) fn clear(&mut self, budget: &Budget) {
        self.held = Vec::new();
        self.expected = 0;
        self.has_packets = false;
        self.sync_budget(budget);
    }

    /// Whether there is a buffer, which may be empty.
    pub(crate) fn has_buffer(&self) -> bool {
        self.held.capacity() > 0
    }

    /// Frees an empty buffer.
    pub(crate) fn shrink(&mut self) {
        if self.held.is_empty() {
            self.held = Vec::new();
        }
    }

    /// Makes room for `bytes` more, and returns the offset to receive at.
    pub(crate) fn extend(&mut self, bytes: usize) -> usize {
        let have = self.held.len();
        self.held.resize(have + bytes, 0);
        have
    }

    /// Makes room for up to `recv_bytes` more of a long packet of `len` bytes, and returns the offset to receive at.
    pub(crate) fn grow(&mut self, len: usize, recv_bytes: usize) -> usize {
        let have = self.held.len();
        let want = (len - have).min(recv_bytes);
        if self.held.capacity() < have + want {
            self.held.reserve_exact((have * 2).clamp(have + want, len) - have);
        }
        self.held.resize(have + want, 0);
        have
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_connections_are_paused_the_less_is_read_at_once() {
        for (recv_bytes, few, many) in
            [(1 << 20, 1 << 20, READ_BYTES_MIN), (256 << 10, 256 << 10, READ_BYTES_MIN), (16 << 10, 16 << 10, 16 << 10)]
        {
            let mut scratch = Scratch::new(recv_bytes);
            for (paused, share_bytes) in [(0, recv_bytes), (20, few), (10_000, many), (0, recv_bytes)] {
                scratch.share_among(paused);
                assert_eq!(scratch.share_bytes, share_bytes, "{paused} of {recv_bytes} B");
            }
        }
        let mut scratch = Scratch::new(1 << 20);
        scratch.share_among(99);
        assert_eq!(scratch.share_bytes, HELD_BYTES / 100);
    }
}

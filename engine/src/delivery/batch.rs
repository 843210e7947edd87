//! Between steps 5 and 6 of the path of a message: the messages at QoS 0 that one worker has routed and not yet pushed.
//!
//! A worker reads many packets into one scratch buffer. Routing a packet only notes, for each receiver, the part of the
//! scratch buffer that it gets; neighbouring packets for the same receiver become one piece. Each receiver's lock is
//! then taken once a batch, and its pieces are copied together, or sent from where they lie.
//!
//! ```text
//! scratch   [ p1 ][ p2 ][ p3 ][ p4 ]        translated   [ p3 for MQTT 5 ]
//! receiver A: 1-2, 4      receiver B: 3 (translated)
//! ```

use std::sync::Arc;

use crate::delivery::outbox::Outbox;

/// Where the bytes of a piece lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In the worker's scratch buffer, as they were received.
    Scratch,
    /// In the batch's own buffer, rewritten for the receiver.
    Translated,
}

/// A part of one of the two buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Which buffer.
    pub source: Source,
    /// Offset of the first byte.
    pub start: usize,
    /// Length in bytes.
    pub len: usize,
}

#[derive(Debug)]
struct PieceNode {
    piece: Piece,
    next: u32,
}

/// One receiver's share of the batch.
#[derive(Debug)]
struct Share {
    outbox: Arc<Outbox>,
    first: u32,
    last: u32,
    bytes: usize,
    messages: usize,
}

const NONE: u32 = u32::MAX;

/// A batch's own buffer up to this size is kept for the next batch. A batch with more in it needs a flush.
const KEPT_BYTES: usize = 1024 * 1024;

/// A batch with this many bytes needs a flush; each receiver's share counts by itself. Outboxes and budgets count
/// messages only when they are delivered, and with thousands of receivers one read could otherwise stage gigabytes.
const FLUSH_BYTES: usize = 32 * 1024 * 1024;

/// A send of fewer bytes is small: the system call costs more than a few percent of copying its bytes.
const SEND_BYTES: usize = 64 * 1024;

/// A batch with this many pieces needs a flush.
const FLUSH_PIECES: usize = 128 * 1024;

/// The routed messages of one worker that are not yet pushed, and the receivers marked for flush.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    shares: Vec<Share>,
    nodes: Vec<PieceNode>,
    /// Index into `shares` by the outbox's index, or `NONE`.
    share_of: Vec<u32>,
    translated: Vec<u8>,
    /// The sum over all shares.
    staged_bytes: usize,
    /// The shares that have messages.
    receivers: usize,
}

/// The messages staged for one receiver, ready to be pushed.
#[derive(Debug)]
pub struct Staged<'a> {
    /// The receiver.
    pub outbox: &'a Arc<Outbox>,
    /// Bytes in all pieces together; 0 if the receiver is only marked for flush.
    pub bytes: usize,
    /// Messages in them.
    pub messages: usize,
    nodes: &'a [PieceNode],
    first: u32,
    scratch: &'a [u8],
    translated: &'a [u8],
}

impl<'a> Staged<'a> {
    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (nodes, scratch, translated) = (self.nodes, self.scratch, self.translated);
        let mut at = self.first;
        std::iter::from_fn(move || {
            let node = nodes.get(at as usize)?;
            at = node.next;
            let Piece { source, start, len } = node.piece;
            let buffer = match source {
                Source::Scratch => scratch,
                Source::Translated => translated,
            };
            Some(&buffer[start..start + len])
        })
    }

    /// All the bytes, if they lie in one piece.
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        let mut pieces = self.pieces();
        let only = pieces.next()?;
        (only.len() == self.bytes).then_some(only)
    }

    /// Copies the pieces into the outbox.
    pub fn push(&self) {
        if self.bytes > 0 {
            self.outbox.push(self.pieces(), self.bytes, self.messages);
        }
    }
}

impl Batch {
    /// Bytes and messages staged for `outbox` so far.
    pub(crate) fn staged_for(&self, outbox: &Outbox) -> (usize, usize) {
        match self.share_index(outbox) {
            Some(index) => (self.shares[index].bytes, self.shares[index].messages),
            None => (0, 0),
        }
    }

    fn share_index(&self, outbox: &Outbox) -> Option<usize> {
        match self.share_of.get(outbox.index()) {
            Some(&index) if index != NONE => Some(index as usize),
            _ => None,
        }
    }

    /// Marks the receiver for flush without staging a message for it.
    pub(crate) fn mark_for_flush(&mut self, outbox: &Arc<Outbox>) -> usize {
        if let Some(index) = self.share_index(outbox) {
            return index;
        }
        let index = self.shares.len();
        if self.share_of.len() <= outbox.index() {
            self.share_of.resize(outbox.index() + 1, NONE);
        }
        self.share_of[outbox.index()] = index as u32;
        self.shares.push(Share { outbox: Arc::clone(outbox), first: NONE, last: NONE, bytes: 0, messages: 0 });
        index
    }

    /// Stages the packet at `piece` for `outbox`.
    pub(crate) fn stage(&mut self, outbox: &Arc<Outbox>, piece: Piece) {
        let index = self.mark_for_flush(outbox);
        let share = &mut self.shares[index];
        share.bytes += piece.len;
        share.messages += 1;
        self.staged_bytes += piece.len;
        if let Some(last) = self.nodes.get_mut(share.last as usize) {
            let end = last.piece.start + last.piece.len;
            if last.piece.source == piece.source && end == piece.start {
                last.piece.len += piece.len;
                return;
            }
        }
        let at = self.nodes.len() as u32;
        self.nodes.push(PieceNode { piece, next: NONE });
        match self.nodes.get_mut(share.last as usize) {
            Some(last) => last.next = at,
            None => {
                share.first = at;
                self.receivers += 1;
            }
        }
        share.last = at;
    }

    /// Writes a packet into the batch's own buffer, which lives until the batch is pushed.
    pub(crate) fn translate<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Piece, E> {
        let start = self.translated.len();
        write(&mut self.translated).inspect_err(|_| self.translated.truncate(start))?;
        Ok(Piece { source: Source::Translated, start, len: self.translated.len() - start })
    }

    /// Copies a packet that does not stay where it lies into the batch's own buffer.
    pub(crate) fn copy(&mut self, packet: &[u8]) -> Piece {
        let start = self.translated.len();
        self.translated.extend_from_slice(packet);
        Piece { source: Source::Translated, start, len: packet.len() }
    }

    /// Whether the batch should be delivered before more is staged.
    pub(crate) fn needs_flush(&self) -> bool {
        self.staged_bytes >= FLUSH_BYTES || self.nodes.len() >= FLUSH_PIECES || self.translated.len() > KEPT_BYTES
    }

    /// Whether the receivers' shares are small, in the mean. `stored_bytes` more are staged elsewhere, for
    /// `stored_receivers`.
    pub(crate) fn sends_are_small(&self, stored_receivers: usize, stored_bytes: usize) -> bool {
        self.staged_bytes + stored_bytes < (self.receivers + stored_receivers) * SEND_BYTES
    }

    /// Pushes all staged messages to their outboxes. The receivers stay marked for flush.
    pub(crate) fn push_all(&mut self, scratch: &[u8]) {
        self.for_each(scratch, |staged| staged.push());
        for share in &mut self.shares {
            (share.first, share.last, share.bytes, share.messages) = (NONE, NONE, 0, 0);
        }
        self.clear_pieces();
    }

    /// Passes each marked receiver to `deliver` with the messages staged for it, and clears the batch.
    pub(crate) fn drain(&mut self, scratch: &[u8], deliver: impl FnMut(Staged<'_>)) {
        self.for_each(scratch, deliver);
        for share in self.shares.drain(..) {
            self.share_of[share.outbox.index()] = NONE;
        }
        self.clear_pieces();
    }

    fn for_each(&self, scratch: &[u8], mut deliver: impl FnMut(Staged<'_>)) {
        for share in &self.shares {
            deliver(Staged {
                outbox: &share.outbox,
                bytes: share.bytes,
                messages: share.messages,
                nodes: &self.nodes,
                first: share.first,
                scratch,
                translated: &self.translated,
            });
        }
    }

    fn clear_pieces(&mut self) {
        (self.staged_bytes, self.receivers) = (0, 0);
        self.nodes.clear();
        self.translated.clear();
        self.translated.shrink_to(KEPT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_receivers::outbox;

    fn scratch(start: usize, len: usize) -> Piece {
        Piece { source: Source::Scratch, start, len }
    }

    fn drained(batch: &mut Batch, bytes: &[u8]) -> Vec<(usize, Vec<u8>, bool)> {
        let mut out = Vec::new();
        batch.drain(bytes, |staged| {
            out.push((staged.messages, staged.pieces().flatten().copied().collect(), staged.contiguous().is_some()));
        });
        out
    }

    #[test]
    fn neighbouring_packets_become_one_piece() {
        let (a, mut batch) = (outbox(), Batch::default());
        batch.stage(&a, scratch(0, 2));
        batch.stage(&a, scratch(2, 3));
        assert_eq!(drained(&mut batch, b"abcde"), [(2, b"abcde".to_vec(), true)]);
    }

    #[test]
    fn each_receiver_gets_its_own_pieces_in_order() {
        let (a, b, mut batch) = (outbox(), outbox(), Batch::default());
        batch.stage(&a, scratch(0, 1));
        batch.stage(&b, scratch(1, 1));
        batch.stage(&a, scratch(2, 1));
        let rewritten = batch
            .translate(|out| {
                out.extend_from_slice(b"xyz");
                Ok::<_, ()>(())
            })
            .unwrap();
        batch.stage(&a, rewritten);
        assert_eq!(drained(&mut batch, b"abc"), [(3, b"acxyz".to_vec(), false), (1, b"b".to_vec(), true)]);
        assert!(drained(&mut batch, b"").is_empty(), "drained means forgotten");
    }

    #[test]
    fn pushing_leaves_the_receiver_marked_for_flush() {
        let (a, mut batch) = (outbox(), Batch::default());
        batch.stage(&a, scratch(0, 3));
        assert_eq!(batch.staged_for(&a), (3, 1));
        batch.push_all(b"abc");
        assert_eq!((batch.staged_for(&a), a.depth_bytes()), ((0, 0), 3));
        assert_eq!(drained(&mut batch, b""), [(0, Vec::new(), false)]);
    }

    #[test]
    fn a_batch_with_many_bytes_or_pieces_needs_a_flush_until_it_is_delivered() {
        let (a, b, mut batch) = (outbox(), outbox(), Batch::default());
        batch.stage(&a, scratch(0, FLUSH_BYTES / 2));
        assert!(!batch.needs_flush());
        batch.stage(&b, scratch(0, FLUSH_BYTES / 2));
        assert!(batch.needs_flush());
        batch.drain(&[0; FLUSH_BYTES / 2], |_| {});
        assert!(!batch.needs_flush());
        (0..FLUSH_PIECES).for_each(|_| batch.stage(&a, scratch(0, 1)));
        assert!(batch.needs_flush());
        batch.push_all(b"x");
        assert!(!batch.needs_flush());
    }

    #[test]
    fn sends_are_small_until_the_receivers_have_enough_in_the_mean() {
        let (a, b, mut batch) = (outbox(), outbox(), Batch::default());
        assert!(!batch.sends_are_small(0, 0), "there are none");
        batch.mark_for_flush(&a);
        assert!(!batch.sends_are_small(0, 0), "a mark is not a message");
        batch.stage(&a, scratch(0, SEND_BYTES - 1));
        assert!(batch.sends_are_small(0, 0));
        batch.stage(&a, scratch(0, 1));
        assert!(!batch.sends_are_small(0, 0));
        batch.stage(&b, scratch(0, 1));
        assert!(batch.sends_are_small(0, 0));
        assert!(!batch.sends_are_small(1, 2 * SEND_BYTES), "stored messages count too");
        assert!(batch.sends_are_small(2, SEND_BYTES));
        batch.drain(&[0; SEND_BYTES], |_| {});
        assert!(!batch.sends_are_small(0, 0));
    }

    #[test]
    fn a_failed_translation_leaves_nothing_behind() {
        let mut batch = Batch::default();
        let failed = batch.translate(|out| {
            out.push(1);
            Err("no")
        });
        assert_eq!((failed.map(|_| ()), batch.translated.len()), (Err("no"), 0));
    }
}

//! Steps 8 and 9 of a message's way: the sending half of a connection, which any worker may use.
//!
//! In: packets, staged by the worker that routed them or waiting in the receiver's queue. Out: bytes in its socket. The
//! worker that routed a message sends it itself, whichever worker owns the receiver's connection; nobody is woken for it.
//!
//! One lock covers the socket and the bytes on their way into it, so a closed socket's number can never be written to by
//! a late flush. It is held during a send, which does not block. A worker that finds it taken leaves: the holder looks
//! at the queue once more after it has let go, and so sees everything that was pushed before somebody left.
//!
//! ```text
//!            push, lock free                 would block
//!   idle ----------------------> sending ------------------> blocked
//!     ^                             |                           |
//!     '---------- all sent ---------'<--- owner: writable event -'
//! ```
//!
//! While *blocked*, others only push; the owner goes on when the socket is writable again.

use std::sync::Arc;

use wisp_engine::sync::{AtomicBool, Mutex, Ordering};
use wisp_engine::{Chunk, ConnectionId, Queue, Staged};
use wisp_net::Stream;

/// Staged packets that lie in one piece of at least this length are sent from where they lie; shorter ones are not
/// worth a turn without the queue.
const DIRECT_BYTES_MIN: usize = 2 * 1024;

/// A chunk's buffer up to this size is kept for the next chunk.
const KEPT_BYTES: usize = 1024 * 1024;

/// The part of a connection that all workers share.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) id: ConnectionId,
    /// The worker that owns it.
    pub(crate) worker: usize,
    pub(crate) queue: Arc<Queue>,
    output: Mutex<Output<S>>,
    /// The socket took no more when it was last tried. Changes only under the lock of `output`.
    blocked: AtomicBool,
}

#[derive(Debug)]
struct Output<S> {
    /// None once the connection is closed.
    stream: Option<Arc<S>>,
    /// Bytes taken from the queue, or left over from a direct send; `sent` of them are gone.
    chunk: Chunk,
    sent: usize,
}

impl<S: Stream> Connection<S> {
    pub(crate) fn new(id: ConnectionId, worker: usize, queue: Arc<Queue>, stream: Arc<S>) -> Self {
        let output = Output { stream: Some(stream), chunk: Chunk::default(), sent: 0 };
        Self { id, worker, queue, output: Mutex::new(output), blocked: AtomicBool::new(false) }
    }

    /// Sends what a worker staged for this receiver, or leaves it in the queue for whoever can.
    pub(crate) fn deliver(&self, staged: &Staged<'_>) {
        let direct = staged.contiguous().filter(|bytes| bytes.len() >= DIRECT_BYTES_MIN && !self.is_blocked());
        if let Some(bytes) = direct
            && let Some(mut output) = self.output.try_lock()
            && output.is_idle()
            && self.queue.bypass(bytes.len(), staged.messages)
        {
            self.send_direct(&mut output, bytes, staged.messages);
            drop(output);
            if self.queue.is_empty() {
                return;
            }
        } else {
            staged.push();
        }
        self.flush();
    }

    fn send_direct(&self, output: &mut Output<S>, bytes: &[u8], messages: usize) {
        let sent = output.send(bytes, &self.blocked);
        if sent == bytes.len() {
            self.queue.sent(sent, messages);
        } else {
            self.queue.sent(sent, 0);
            output.chunk.bytes.extend_from_slice(&bytes[sent..]);
            output.chunk.messages = messages;
        }
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&self) {
        while !self.is_blocked() {
            let Some(mut output) = self.output.try_lock() else { return };
            output.drain(&self.queue, &self.blocked);
            drop(output);
            if self.queue.is_empty() {
                return;
            }
        }
    }

    /// The owner was told that the socket is writable again.
    pub(crate) fn writable(&self) {
        if !self.is_blocked() {
            return;
        }
        // Not `try_lock`: whoever holds the lock may be about to find the socket full, as it was before this event.
        let mut output = self.output.lock();
        self.blocked.store(false, Ordering::Relaxed);
        output.drain(&self.queue, &self.blocked);
        drop(output);
        self.flush();
    }

    fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Whether everything pushed so far is in the socket.
    pub(crate) fn is_flushed(&self) -> bool {
        self.queue.depth_bytes() == 0
    }

    /// Ends the sending direction after what was sent, or both directions.
    pub(crate) fn shutdown(&self, how: std::net::Shutdown) {
        if let Some(stream) = &self.output.lock().stream {
            // The peer may have closed already: then there is nothing to tell it.
            let _ = stream.shutdown(how);
        }
    }

    /// Lets go of the socket and of everything that waits for it. Nothing is sent afterwards.
    pub(crate) fn close(&self) {
        let mut output = self.output.lock();
        output.stream = None;
        output.abandon(&self.queue);
        self.queue.close();
    }

    /// Gives back buffers that nothing is in.
    pub(crate) fn shrink(&self) {
        if let Some(mut output) = self.output.try_lock()
            && output.chunk.bytes.is_empty()
        {
            output.chunk.bytes = Vec::new();
            self.queue.shrink();
        }
    }
}

impl<S: Stream> Output<S> {
    fn is_idle(&self) -> bool {
        self.stream.is_some() && self.chunk.bytes.is_empty()
    }

    /// Sends the chunk, then what the queue has, until either the queue is empty or the socket full.
    fn drain(&mut self, queue: &Queue, blocked: &AtomicBool) {
        while self.stream.is_some() && !blocked.load(Ordering::Relaxed) {
            if self.chunk.bytes.is_empty() && !queue.take(&mut self.chunk) {
                return;
            }
            let chunk = std::mem::take(&mut self.chunk.bytes);
            let sent = self.send(&chunk[self.sent..], blocked);
            self.chunk.bytes = chunk;
            self.sent += sent;
            if self.sent == self.chunk.bytes.len() {
                queue.sent(sent, self.chunk.messages);
                self.reset();
            } else {
                queue.sent(sent, 0);
            }
        }
    }

    /// Sends a prefix of `bytes` and says how long it was. A broken connection takes everything: its owner is told by
    /// the host, and until then nobody shall wait for it.
    fn send(&self, bytes: &[u8], blocked: &AtomicBool) -> usize {
        let Some(stream) = &self.stream else { return bytes.len() };
        let mut sent = 0;
        while sent < bytes.len() {
            match stream.send(&bytes[sent..]) {
                Ok(count) if count == bytes.len() - sent => return bytes.len(),
                // Short: the socket is full, and the host will say when it no longer is.
                Ok(count) => {
                    sent += count;
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return bytes.len(),
            }
        }
        blocked.store(true, Ordering::Relaxed);
        sent
    }

    fn reset(&mut self) {
        self.sent = 0;
        self.chunk.messages = 0;
        self.chunk.bytes.clear();
        self.chunk.bytes.shrink_to(KEPT_BYTES);
    }

    fn abandon(&mut self, queue: &Queue) {
        queue.sent(self.chunk.bytes.len() - self.sent, self.chunk.messages);
        self.chunk = Chunk::default();
        self.sent = 0;
    }
}

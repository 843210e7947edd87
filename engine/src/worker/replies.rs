//! The replies of one worker's connections: pushed when a connection has been read or, if its packets have changed what the store
//! keeps, held until the store has committed the changes.
//!
//! ```text
//!          nothing to commit
//!  read ----------------------------------------------------------------> outboxes
//!    |                     end of a turn            committed, in order       ^
//!    '------> collected --------------> [ group ] ----------------------------'
//!                                           |
//!                                           '-- failed: dropped, the connections end
//! ```
//!
//! So a client whose messages nobody keeps does not wait for the disk. A connection with replies that are held gets no later ones before
//! them. The packets of a connection that has just got a kept session are in its outbox already, CONNACK first. They wait there, and the
//! end of the hold is among the replies.

use std::collections::VecDeque;
use std::sync::Arc;

use wisp_wire::packet_len;

use crate::delivery::outbox::{ConnectionId, Outbox};
use crate::ops::dispatch::Dispatcher;
use crate::state::shared::Shared;
use crate::store::{CommitState, Ticket};

/// The replies of one worker.
#[derive(Debug, Default)]
pub(super) struct Replies {
    collected: Collected,
    /// Not committed yet, in the order of their turns.
    groups: VecDeque<(Ticket, Collected)>,
}

/// Replies to several connections, one after the other.
#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// The replies to one connection, from the end of the previous span.
#[derive(Debug)]
struct Span {
    outbox: Arc<Outbox>,
    end: usize,
    /// They are the last ones to the connection.
    is_final: bool,
    /// The packets in the outbox are held until then.
    ends_hold: bool,
}

/// The state of the replies to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Held,
    Released,
    Failed,
}

impl Replies {
    /// The buffer to which a connection appends its replies.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.collected.bytes
    }

    /// Pushes the bytes appended since the last call to `outbox`.
    pub(super) fn push(&mut self, outbox: &Arc<Outbox>, is_final: bool, dispatcher: &mut Dispatcher) {
        let Collected { bytes, spans } = &mut self.collected;
        let start = spans.last().map_or(0, |span| span.end);
        if !is_final && bytes.len() == start {
            return;
        }
        dispatcher.counts().packets_sent += packet_count(&bytes[start..]);
        push(&bytes[start..], outbox, is_final, dispatcher);
        bytes.truncate(start);
    }

    /// Collects the bytes appended since the last call until everything so far is committed. False if there are none to collect.
    pub(super) fn hold(&mut self, outbox: &Arc<Outbox>, is_final: bool, dispatcher: &mut Dispatcher) -> bool {
        let Collected { bytes, spans } = &mut self.collected;
        let start = spans.last().map_or(0, |span| span.end);
        if !is_final && bytes.len() == start {
            return false;
        }
        dispatcher.counts().packets_sent += packet_count(&bytes[start..]);
        spans.push(Span { outbox: Arc::clone(outbox), end: bytes.len(), is_final, ends_hold: false });
        true
    }

    /// Ends the hold of an outbox when everything so far is committed.
    pub(super) fn end_hold_later(&mut self, outbox: &Arc<Outbox>) {
        let Collected { bytes, spans } = &mut self.collected;
        spans.push(Span { outbox: Arc::clone(outbox), end: bytes.len(), is_final: false, ends_hold: true });
    }

    /// Whether replies wait for the store.
    pub(super) fn are_held(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Commits the replies that were collected in this turn, and pushes the committed ones to their outboxes. Calls `report` if they
    /// are held, and when they are released or failed, each time for each call that has collected some.
    pub(super) fn flush(
        &mut self,
        worker: usize,
        shared: &Shared,
        dispatcher: &mut Dispatcher,
        report: &mut dyn FnMut(ConnectionId, Outcome),
    ) {
        if !self.collected.spans.is_empty() {
            let recorder = shared.journal.recorder(worker);
            let ticket = recorder.commit();
            if self.groups.is_empty() && recorder.state(ticket) == CommitState::Committed {
                self.collected.report(Outcome::Released, report);
                self.collected.push(dispatcher);
                return;
            }
            self.collected.report(Outcome::Held, report);
            self.groups.push_back((ticket, std::mem::take(&mut self.collected)));
        }
        while let Some((ticket, _)) = self.groups.front() {
            let state = shared.journal.recorder(worker).state(*ticket);
            if state == CommitState::Pending {
                break;
            }
            let Some((_, mut group)) = self.groups.pop_front() else { break };
            if state == CommitState::Committed {
                group.report(Outcome::Released, report);
                group.push(dispatcher);
            } else {
                group.report(Outcome::Failed, report);
            }
        }
    }
}

impl Collected {
    fn push(&mut self, dispatcher: &mut Dispatcher) {
        let mut start = 0;
        for Span { outbox, end, is_final, ends_hold } in self.spans.drain(..) {
            if ends_hold {
                outbox.end_hold();
            }
            push(&self.bytes[start..end], &outbox, is_final, dispatcher);
            start = end;
        }
        self.bytes.clear();
    }

    fn report(&self, outcome: Outcome, report: &mut dyn FnMut(ConnectionId, Outcome)) {
        self.spans.iter().for_each(|span| report(span.outbox.connection(), outcome));
    }
}

/// The number of packets in `bytes`, which has whole ones.
fn packet_count(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(&len) = bytes.get(1) {
        // Nearly all replies are short.
        let short = (len < 0x80).then_some(2 + usize::from(len));
        let len = short.or_else(|| packet_len(bytes, u32::MAX).ok().flatten()).unwrap_or(bytes.len());
        bytes = bytes.get(len..).unwrap_or_default();
        count += 1;
    }
    count
}

fn push(packets: &[u8], outbox: &Arc<Outbox>, is_final: bool, dispatcher: &mut Dispatcher) {
    if is_final {
        outbox.push_final(packets);
    } else {
        outbox.push([packets].into_iter(), packets.len(), 0);
    }
    dispatcher.mark_for_flush(outbox);
}

#[cfg(test)]
mod tests {
    use super::packet_count;

    #[test]
    fn packets_of_any_length_are_counted() {
        let long = [&[0x90, 0xc9, 1][..], &[0; 201]].concat();
        let packets = [&[0x40, 2, 0, 1][..], &long, &[0xd0, 0], &[0x40, 3, 0, 1, 0x87]];
        assert_eq!((0..=4).map(|count| packet_count(&packets[..count].concat())).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}

//! Steps 5 and 6 of a message's way for one worker: a PUBLISH in, its place in the batch out, for each receiver.
//!
//! A message is staged for all its receivers or for none. If one of them has no room the message is handed back, with
//! the receiver to wait for; the caller stops reading that sender and comes back with the same bytes.

use std::sync::Arc;

use wisp_wire::{ProtocolVersion, Publish, QoS};

use crate::batch::{Batch, Piece, Source};
use crate::core::{Core, StatsSnapshot};
use crate::limits::StallPolicy;
use crate::queue::{Queue, WireFormat};
use crate::router::{Route, RouteCache, Target, TopicTooLarge};

impl From<ProtocolVersion> for WireFormat {
    fn from(version: ProtocolVersion) -> Self {
        if version.is_v5() { Self::V5 } else { Self::V3 }
    }
}

impl WireFormat {
    fn version(self) -> ProtocolVersion {
        match self {
            Self::V3 => ProtocolVersion::Mqtt311,
            Self::V5 => ProtocolVersion::Mqtt5,
        }
    }
}

/// A PUBLISH as it was received, where it lies and who sent it.
#[derive(Debug)]
pub struct Received<'a> {
    /// The packet.
    pub publish: Publish<'a>,
    /// Its encoding.
    pub raw: &'a [u8],
    /// Where in the worker's scratch buffer the encoding lies, if it does and stays there until the batch is pushed.
    pub in_scratch: Option<usize>,
    /// How it is written.
    pub format: WireFormat,
    /// The sender's own queue.
    pub sender: &'a Arc<Queue>,
}

impl Received<'_> {
    /// Whether the target is the sender and does not want what it sent itself.
    fn is_own(&self, target: &Target) -> bool {
        target.no_local && target.queue.index() == self.sender.index()
    }
}

/// What became of a PUBLISH.
#[derive(Debug)]
pub enum Routed {
    /// It is staged for everyone who wants it, or nobody does.
    Done,
    /// This receiver has no room. Nothing was staged.
    Blocked(Arc<Queue>),
}

/// One worker's way into the core for messages.
#[derive(Debug, Default)]
pub struct Publisher {
    cache: RouteCache,
    batch: Batch,
    counts: StatsSnapshot,
}

impl Publisher {
    /// Stages `received` for everyone who wants it.
    pub fn publish(&mut self, core: &Core, received: &Received<'_>, now_ms: u64) -> Result<Routed, TopicTooLarge> {
        let Some(topic) = received.publish.topic else {
            debug_assert!(false, "the session resolves topic aliases or refuses them");
            return Ok(Routed::Done);
        };
        let route = self.cache.lookup(&core.router, topic, &core.limits)?;
        if let Some(blocked) = blocked_by(route, &self.batch, received, now_ms) {
            return Ok(Routed::Blocked(Arc::clone(blocked)));
        }
        self.counts.messages_received += 1;
        let mut forms = Forms::new(received);
        for target in route {
            let queue = &target.queue;
            if received.is_own(target) || queue.is_closed() {
                continue;
            }
            let piece = forms.piece_for(queue.receiver().format, &mut self.batch);
            let fits = piece.is_some_and(|piece| piece.len <= queue.receiver().packet_bytes_max as usize);
            match piece {
                Some(piece) if fits && !queue.is_stuck(now_ms) => {
                    self.batch.stage(queue, piece);
                    self.counts.messages_delivered += 1;
                }
                _ => {
                    queue.count_dropped(1);
                    self.counts.messages_dropped += 1;
                    if fits && core.limits.stall_policy == StallPolicy::Disconnect {
                        // Whoever flushes the receiver closes it.
                        self.batch.touch(queue);
                    }
                }
            }
        }
        Ok(Routed::Done)
    }

    /// The messages staged so far and the receivers touched.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Adds what this worker counted since the last call to the shared counts.
    pub fn settle(&mut self, core: &Core) {
        core.stats.add(std::mem::take(&mut self.counts));
    }

    /// Lets go of what is remembered of receivers that are gone.
    pub fn forget_stale_routes(&mut self, core: &Core) {
        self.cache.forget_if_stale(&core.router);
    }
}

/// The first receiver to wait for. Those that are stuck are not waited for.
fn blocked_by<'r>(route: &'r Route, batch: &Batch, received: &Received<'_>, now_ms: u64) -> Option<&'r Arc<Queue>> {
    let len = received.raw.len();
    let blocked = route.iter().find(|target| {
        let (bytes, messages) = batch.staged_for(&target.queue);
        // Asking a queue for room starts its clock, so one that is not to get the message is not asked.
        !received.is_own(target)
            && !target.queue.has_room(bytes + len, messages + 1, now_ms)
            && !target.queue.is_stuck(now_ms)
    });
    blocked.map(|target| &target.queue)
}

/// A message in each wire format it is wanted in, written at most once for each.
struct Forms<'a> {
    received: &'a Received<'a>,
    by_format: [Option<Piece>; 2],
}

/// The first byte of a PUBLISH at QoS 0 without DUP and RETAIN: it can be forwarded as it is.
const PLAIN_PUBLISH: u8 = 0x30;

impl<'a> Forms<'a> {
    fn new(received: &'a Received<'a>) -> Self {
        Self { received, by_format: [None; 2] }
    }

    /// None if the message cannot be written in this format: it would be longer than a packet can be.
    fn piece_for(&mut self, format: WireFormat, batch: &mut Batch) -> Option<Piece> {
        if self.by_format[format as usize].is_none() {
            self.by_format[format as usize] = self.write(format, batch);
        }
        self.by_format[format as usize]
    }

    fn write(&self, format: WireFormat, batch: &mut Batch) -> Option<Piece> {
        let received = self.received;
        if received.format != format || received.raw[0] != PLAIN_PUBLISH {
            let forwarded =
                Publish { dup: false, qos: QoS::AtMostOnce, retain: false, packet_id: None, ..received.publish };
            return batch.translate(|out| forwarded.encode(format.version(), out)).ok();
        }
        match received.in_scratch {
            Some(start) => Some(Piece { source: Source::Scratch, start, len: received.raw.len() }),
            None => Some(batch.copy(received.raw)),
        }
    }
}

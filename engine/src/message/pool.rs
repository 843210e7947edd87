//! Messages that are done with, kept by each thread for the next ones. They come back in another order, and often on another
//! thread, than they were made, which is what allocators are slowest at.

use std::cell::RefCell;
use std::sync::Arc;

use wisp_wire::QoS;

use super::{Message, NEVER};
use crate::budget::Budget;

/// Sizes are rounded up to a multiple of this.
const STEP_BYTES: usize = 128;

/// Longer messages are not kept: copying them takes more than allocating.
const KEPT_BYTES_MAX: usize = if cfg!(loom) { 0 } else { 4096 };

/// Most bytes that one thread keeps.
const POOL_BYTES_MAX: usize = 64 * 1024 * 1024;

const SIZES: usize = KEPT_BYTES_MAX / STEP_BYTES + 1;

struct Pool {
    /// By capacity in steps.
    by_size: [Kept; SIZES],
    bytes: usize,
}

struct Kept {
    messages: Vec<Arc<Message>>,
    /// The fewest there were since the pool was last trimmed.
    fewest: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool { by_size: [const { Kept { messages: Vec::new(), fewest: 0 } }; SIZES], bytes: 0 })
    };
}

/// An empty message with room for `len` bytes, and no other share.
pub(super) fn take(len: usize, budget: &Arc<Budget>) -> Arc<Message> {
    let step = len.div_ceil(STEP_BYTES);
    let kept = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        let kept = pool.by_size.get_mut(step)?;
        let message = kept.messages.pop()?;
        kept.fewest = kept.fewest.min(kept.messages.len());
        pool.bytes -= step * STEP_BYTES;
        Some(message)
    });
    if let Ok(Some(mut message)) = kept {
        if let Some(message) = Arc::get_mut(&mut message) {
            message.bytes.clear();
            if !Arc::ptr_eq(&message.budget, budget) {
                message.budget = Arc::clone(budget);
            }
        }
        return message;
    }
    let capacity = if len <= KEPT_BYTES_MAX { step * STEP_BYTES } else { len };
    Arc::new(Message {
        bytes: Vec::with_capacity(capacity),
        topic_len: 0,
        properties_len: 0,
        qos: QoS::AtMostOnce,
        retain: false,
        expires_at_ms: NEVER,
        charged: 0,
        budget: Arc::clone(budget),
    })
}

/// Lets go of a share, and keeps the message for another one if it was the last.
pub(super) fn give(mut message: Arc<Message>) {
    let Some(last) = Arc::get_mut(&mut message) else { return };
    let capacity = last.bytes.capacity();
    if capacity > KEPT_BYTES_MAX || !capacity.is_multiple_of(STEP_BYTES) {
        return;
    }
    last.let_go();
    // A thread that ends has no pool any more.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.bytes + capacity <= POOL_BYTES_MAX {
            pool.bytes += capacity;
            pool.by_size[capacity / STEP_BYTES].messages.push(message);
        }
    });
}

/// Frees what was of no use since the last call.
pub(crate) fn trim() {
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        for step in 0..SIZES {
            let kept = &mut pool.by_size[step];
            let unused = kept.fewest;
            // Those at the front have lain there longest.
            kept.messages.drain(..unused);
            if kept.messages.is_empty() {
                kept.messages = Vec::new();
            }
            kept.fewest = kept.messages.len();
            pool.bytes -= unused * step * STEP_BYTES;
        }
    });
}

//! Memory of dropped messages, kept by each thread for the next ones. Messages are dropped in another order, and often
//! on another thread, than they were made, which is the slowest case for an allocator.

use std::cell::RefCell;
use std::hint::black_box;

use triomphe::{Arc, UniqueArc};

use super::memory::{Header, Memory};
use crate::base::limits::POOL_BYTES_MAX;

/// Sizes are rounded up to a multiple of this.
const STEP_BYTES: usize = 128;

/// Longer messages are not kept: copying them takes more than allocating.
const KEPT_BYTES_MAX: usize = if cfg!(loom) { 0 } else { 4096 };

const SIZES: usize = KEPT_BYTES_MAX / STEP_BYTES + 1;

/// The content of new memory. Copying it takes a fraction of writing it byte by byte.
static ZEROS: [u8; KEPT_BYTES_MAX] = [0; KEPT_BYTES_MAX];

struct Pool {
    /// By size in steps.
    by_size: [Kept; SIZES],
    bytes: usize,
    bytes_max: usize,
}

struct Kept {
    free: Vec<UniqueArc<Memory>>,
    /// The lowest number of free pieces since the pool was last trimmed.
    fewest: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool {
            by_size: [const { Kept { free: Vec::new(), fewest: 0 } }; SIZES],
            bytes: 0,
            bytes_max: POOL_BYTES_MAX,
        })
    };
}

/// Has the processor load memory that is written soon and that its caches have lost. It loads several lines at a time, and
/// would write them one after the other.
fn load(memory: &Memory) {
    const LINE_BYTES: usize = 64;
    black_box(memory.slice.iter().step_by(LINE_BYTES).fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
}

/// At least `len` bytes without another share, with any content.
pub(super) fn take(len: usize) -> UniqueArc<Memory> {
    let step = len.div_ceil(STEP_BYTES);
    let kept = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        let kept = pool.by_size.get_mut(step)?;
        let memory = kept.free.pop()?;
        kept.fewest = kept.fewest.min(kept.free.len());
        // In a module its instructions take longer than the loads that it overlaps.
        if !cfg!(target_family = "wasm") {
            kept.free.last().inspect(|next| load(next));
        }
        pool.bytes -= step * STEP_BYTES;
        Some(memory)
    });
    if let Ok(Some(memory)) = kept {
        return memory;
    }
    let memory = match ZEROS.get(..step * STEP_BYTES) {
        Some(zeros) => Arc::from_header_and_slice(Header::UNUSED, zeros),
        None => Arc::from_header_and_iter(Header::UNUSED, std::iter::repeat_n(0, len)),
    };
    Arc::try_unique(memory).unwrap_or_else(|_| unreachable!("it was just made"))
}

/// Drops a share, and keeps the memory for another message if the share was the last.
pub(super) fn give(memory: Arc<Memory>) {
    let len = memory.slice.len();
    if len > KEPT_BYTES_MAX || !len.is_multiple_of(STEP_BYTES) {
        return;
    }
    let Ok(memory) = Arc::try_unique(memory) else { return };
    // The thread's pool is gone while the thread ends.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.bytes + len <= pool.bytes_max {
            pool.bytes += len;
            pool.by_size[len / STEP_BYTES].free.push(memory);
        }
    });
}

/// Whether this thread keeps no memory.
pub(crate) fn is_empty() -> bool {
    POOL.try_with(|pool| pool.borrow().bytes == 0).unwrap_or(true)
}

/// Frees the memory that was not needed since the last call. From now on the thread keeps at most `bytes_max`.
pub(crate) fn trim(bytes_max: usize) {
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        pool.bytes_max = bytes_max;
        for step in 0..SIZES {
            let kept = &mut pool.by_size[step];
            let unused = kept.fewest;
            // The memory at the front has been unused for longest.
            kept.free.drain(..unused);
            if kept.free.is_empty() {
                kept.free = Vec::new();
            }
            kept.fewest = kept.free.len();
            pool.bytes -= unused * step * STEP_BYTES;
        }
    });
}

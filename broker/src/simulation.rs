//! One simulated run with a second implementation of each door: a transport that splits and delays bytes, a policy that answers late,
//! refuses or never answers, and a store that commits late.
//!
//! The drivers of production are turned by hand in one thread, under virtual time; everything random follows from a seed.
//!
//! ```text
//!  client.rs <-- transport.rs --> drivers --> policy.rs, store.rs
//!      |                                          |
//!      '--------------> ledger.rs <---------------'   what was promised, and what came of it
//! ```

mod client;
mod ledger;
mod policy;
mod run;
mod store;
pub(crate) mod transport;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Random numbers that follow from a seed (splitmix64).
#[derive(Clone, Debug)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `times`.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }

    /// Another sequence.
    fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// A test that panics with a lock held has failed already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The broker with its worker loops, on a network in memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod delivery;
mod lifecycle;
mod memory;
mod options;
mod pace;
mod pressure;
mod sessions;
mod support;
#[cfg(feature = "tls")]
mod tls;

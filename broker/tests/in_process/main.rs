//! Clients in the process, with clients over real sockets on the other side.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ends;
mod exchange;
mod pressure;
mod sessions;
mod support;

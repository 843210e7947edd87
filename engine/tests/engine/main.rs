//! The engine by its public face: sessions, publisher and queues, with time as an argument and no I/O.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod connecting;
mod events;
mod hostile;
mod model;
mod states;
mod subscribing;
mod support;
mod wills;

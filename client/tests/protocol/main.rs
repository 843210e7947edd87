//! The protocol state without sockets: time is a number that the tests choose.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod deadlines;
mod lives;
mod packets;
mod support;

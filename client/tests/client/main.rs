//! The client against a broker that follows a script.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod calls;
mod common;
mod delivery;

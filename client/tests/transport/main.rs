//! The client over TLS and WebSocket, against a server made of rustls and tungstenite, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod certificates;
mod messages;
mod refusals;
mod server;

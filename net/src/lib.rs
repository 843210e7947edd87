//! Sockets and readiness: steps 1 and 10 of a message's path (ARCHITECTURE.md).
//!
//! A worker waits on its [`Poller`], which turns socket events into [`Event`]s with the [`Token`] of a
//! connection. The worker reads the connection's bytes with [`Stream::recv`], and the broker's encoded
//! packets leave through [`Stream::send`]. Below this crate is the host (the operating system or a
//! WebAssembly runtime), above it the worker loop. [`SysHost`] is the host that this program was
//! compiled for; [`memory::MemoryHost`] is a network inside the process, for tests.
//!
//! # The contract
//!
//! **Only [`Poller::wait`] blocks.** Listeners and streams are non-blocking from the start.
//!
//! **Readiness is edge-triggered** on every host, for each direction of a stream separately:
//!
//! ```text
//!                    add                              event(readable)
//!                     |                            +---------------------+
//!                     v                            |                     v
//!    +--------------------------------+            |          +----------------------+
//!    | armed: an event is certain as  |------------+          | spent: the stream    |
//!    | soon as the direction is ready |                       | counts as ready      |
//!    +--------------------------------+                       +----------------------+
//!                     ^                                                  |
//!                     +--------------------------------------------------+
//!                       recv: WouldBlock, or fewer bytes than the buffer holds
//!                       send: WouldBlock, or fewer bytes than were given
//! ```
//!
//! - Registering arms both directions: a stream that is already ready gives an event, so a fresh one is
//!   reported writable. It also counts as ready, so the caller may try it without waiting.
//! - After an event the caller must try: until a `recv` is short or would block, no further readable
//!   event is promised, and likewise for `send`. A caller that stops early, to be fair to other
//!   streams, has to remember the stream itself.
//! - Spurious events are allowed. Hang-ups and errors are reported as readable and writable; the next
//!   call returns them.
//! - A listener is reported as readable; accept until `WouldBlock`.
//! - The owner of a poller may see an event before `add` has returned on the registering thread.
//!   Register under the lock that the owner takes to look the token up, or store the connection first.
//! - Call [`Registrar::remove`] before dropping a stream. Events returned earlier may still name its
//!   token; a generation in the token tells them apart.
//!
//! # Differences between hosts
//!
//! [`Capabilities`] has them as data.
//!
//! | | native | WASIX | WASI preview 1 (Wasmtime) | WasmEdge | WASI 0.2 (Wasmtime) | memory |
//! |---|---|---|---|---|---|---|
//! | threads | yes | yes | yes | no | no | yes |
//! | opens listeners | yes | yes | no: it inherits fd 3 and up | yes | yes | yes |
//! | opens connections | yes | yes | no | yes | yes | yes |
//! | peer's address | yes | yes | no | yes | yes | yes |
//! | nodelay | yes | yes | no | no | no | no need |
//! | wakes a blocked wait | yes | yes | no | no | no | yes |
//! | best `recv` size | 256 KiB | 1 MiB | 64 KiB | 256 KiB | 64 KiB | 64 KiB |
//!
//! - WASI preview 1: the guest cannot learn the address of its listeners, accepted connections keep
//!   Nagle's algorithm, and a wait notices other threads' registrations and arming only at its next
//!   tick, after 5 ms at most.
//! - WasmEdge: connects to IPv4 addresses only. Waiting for room to send to a half-closed peer costs a
//!   thousand wake-ups a second.
//! - WASI 0.2: the host sends up to 64 KiB of a stream in the background. A stream that is dropped meanwhile
//!   stays open until they are sent or the peer closes it.
//! - WASIX: the host's backlog is 128. A wait without a limit is cheaper than one with a limit, for
//!   which the host starts a task.
//!
//! # Testing a host
//!
//! `cargo test -p wisp-net` tests the native and the in-memory host. The same conformance suite tests
//! any other host through its build of the example `echo_server`; the example `host_check` checks from
//! inside the promises that no socket shows:
//!
//! ```text
//! wasm-targets/build --package wisp-net --example echo_server wasix
//! wasm-targets/aot --name echo_server wasix
//! WISP_MODULE=echo_server WISP_NET_ECHO_CMD="$PWD/wasm-targets/wasmer/run 127.0.0.1:{port} --workers {workers} --mode {mode}" \
//!     cargo test -p wisp-net --test conformance sockets
//! WISP_MODULE=host_check wasm-targets/wasmer/run 127.0.0.1:1883
//! ```
//!
//! A host without threads gets `--workers 1`.

mod host;
pub mod memory;
mod sys;

pub use host::{Capabilities, Event, Host, Listener, Poller, Registrar, Signal, Stream, Token};
pub use sys::{SysHost, SysListener, SysPoller, SysRegistrar, SysStream, spawn_thread};

//! Sockets and readiness: steps 1 and 10 of a message's way.
//!
//! A worker waits on its [`Poller`], which turns what happens to sockets into [`Event`]s with the
//! [`Token`] of a connection; it reads the bytes with [`Stream::recv`], and the bytes that the broker
//! has encoded leave by [`Stream::send`]. Before this crate is the host (the operating system or a
//! WebAssembly runtime), after it the worker loop. [`SysHost`] is the host this program was compiled
//! for; [`memory::MemoryHost`] is a network inside the process, for tests.
//!
//! # The contract
//!
//! **Nothing blocks** but [`Poller::wait`]. Listeners and streams are non-blocking from the start.
//!
//! **Readiness is edge-triggered**, on every host, each direction of a stream by itself:
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
//! - Registering arms both directions: a stream that is ready by then gives an event, so a fresh one
//!   is reported writable. It also counts as ready, so trying without waiting is right too.
//! - After an event the caller owes the attempt: until a `recv` is short or would block, no further
//!   readable event is promised, and likewise for `send`. A caller that stops early, to be fair to
//!   others, has to remember the stream itself.
//! - Spurious events are allowed. Hang-ups and errors come as readable and writable; the next call
//!   tells which.
//! - A listener is reported as readable; accept until `WouldBlock`.
//! - The owner of a poller may see an event before the thread that registered the stream has gone on.
//!   Register under the lock by which the owner looks the token up, or store first what it looks up.
//! - Call [`Registrar::remove`] before dropping a stream. Events given out before that may still name
//!   its token; a generation in the token tells them apart.
//!
//! # What hosts cannot do
//!
//! [`Capabilities`] says it as data.
//!
//! | | native | WASIX | WASI preview 1 (Wasmtime) | WasmEdge | memory |
//! |---|---|---|---|---|---|
//! | threads | yes | yes | yes | no | yes |
//! | opens listeners | yes | yes | no: fd 3 and up are handed in | yes | yes |
//! | connects | yes | yes | no | yes | yes |
//! | peer's address | yes | yes | no | yes | yes |
//! | nodelay | yes | yes | no | no | no need |
//! | wakes a blocked wait | yes | yes | no | no | yes |
//! | best size of a recv | 256 KiB | 1 MiB | 64 KiB | 256 KiB | 64 KiB |

//! - WASI preview 1: which address is listened on is unknown to the guest, accepted connections keep
//!   Nagle's algorithm, and a wait notices what other threads arm or register only at its next tick,
//!   5 ms later at most.
//! - WasmEdge: connects to IPv4 only. A half-closed peer that only room to send is wanted from costs a
//!   thousand wake-ups a second.
//! - WASIX: the host's backlog is 128. A wait without a limit is cheaper than one with, for which the
//!   host starts a task.
//!
//! # Trying a host
//!
//! `cargo test -p wisp-net` drives the native and the in-memory host. The same conformance suite drives
//! any other through its build of the example `echo_server`, and the example `host_check` checks from
//! the inside what cannot be seen from a socket:
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

pub use host::{Capabilities, Event, Host, Listener, Poller, Registrar, Stream, Token};
pub use sys::{SysHost, SysListener, SysPoller, SysRegistrar, SysStream};

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

mod host;
pub mod memory;
mod sys;

pub use host::{Capabilities, Event, Host, Listener, Poller, Registrar, Stream, Token};
pub use sys::{SysHost, SysListener, SysPoller, SysRegistrar, SysStream};

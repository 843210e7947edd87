//! The host that this program is compiled for. This is the only place that asks for it.
//!
//! Native is any Unix. A WebAssembly build names its runtime with `--cfg wisp_host="..."` in RUSTFLAGS,
//! since one target serves several runtimes with different imports. Each host's module defines the same
//! five types: `SysHost`, `SysListener`, `SysStream`, `SysPoller`, `SysRegistrar`.
//!
//! | host | its file | shared files |
//! |---|---|---|
//! | native | native.rs | hangup.rs, malloc.rs |
//! | WASIX | wasix.rs | hangup.rs, wasi.rs |
//! | WASI preview 1 | wasip1.rs | oneoff.rs, armed.rs, sift.rs, poll.rs, wasi.rs |
//! | WasmEdge | wasmedge.rs | oneoff.rs, armed.rs, sift.rs, poll.rs, wasi.rs |
//! | WASI 0.2 | wasip2.rs | armed.rs |
//!
//! threads.rs is of all of them.

#[cfg(unix)]
#[path = "native.rs"]
mod imp;

#[cfg(wisp_host = "wasix")]
#[path = "wasix.rs"]
#[allow(unsafe_code, reason = "imports of the host")]
mod imp;

#[cfg(wisp_host = "wasip1")]
#[path = "wasip1.rs"]
#[allow(unsafe_code, reason = "imports of the host")]
mod imp;

#[cfg(wisp_host = "wasmedge")]
#[path = "wasmedge.rs"]
#[allow(unsafe_code, reason = "imports of the host")]
mod imp;

#[cfg(wisp_host = "wasip2")]
#[path = "wasip2.rs"]
mod imp;

#[cfg(unix)]
#[allow(unsafe_code, reason = "a call into the C library")]
mod malloc;

#[cfg(unix)]
#[allow(unsafe_code, reason = "a descriptor becomes a socket")]
mod activation;

#[cfg(any(unix, wisp_host = "wasix"))]
mod hangup;

#[cfg(any(wisp_host = "wasip1", wisp_host = "wasmedge", wisp_host = "wasip2"))]
mod armed;

#[cfg(any(wisp_host = "wasip1", wisp_host = "wasmedge"))]
mod oneoff;

// Also natively, for its tests.
#[cfg(any(test, wisp_host = "wasip1", wisp_host = "wasmedge"))]
mod sift;

#[cfg(any(wisp_host = "wasip1", wisp_host = "wasmedge"))]
#[allow(unsafe_code, reason = "imports of the host")]
mod poll;

#[cfg(any(wisp_host = "wasix", wisp_host = "wasip1", wisp_host = "wasmedge"))]
#[allow(unsafe_code, reason = "imports of the host")]
mod wasi;

#[cfg(not(any(unix, wisp_host = "wasix", wisp_host = "wasip1", wisp_host = "wasmedge", wisp_host = "wasip2")))]
compile_error!(
    "no host for this target: a wasm build needs --cfg wisp_host=\"wasix\", \"wasip1\", \"wasmedge\" or \"wasip2\""
);

mod threads;

pub use imp::{SysHost, SysListener, SysPoller, SysRegistrar, SysStream};
pub use threads::spawn_thread;

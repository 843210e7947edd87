//! The host this program is compiled for: the one place that asks which it is.
//!
//! Native is any Unix. A WebAssembly build names its runtime by `--cfg wisp_host="..."` in RUSTFLAGS,
//! since one target serves several runtimes whose imports differ. Each host's file has the same five
//! types: `SysHost`, `SysListener`, `SysStream`, `SysPoller`, `SysRegistrar`.

#[cfg(unix)]
#[path = "native.rs"]
mod imp;

#[cfg(not(unix))]
compile_error!("no host for this target");

pub use imp::{SysHost, SysListener, SysPoller, SysRegistrar, SysStream};

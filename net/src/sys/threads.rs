//! Threads beside the workers, for work that may take long. A cargo feature or `cfg(target_feature = "atomics")` could not tell
//! the hosts apart: the latter is never set with a stable compiler.

use std::io;
use std::thread::JoinHandle;

/// Starts a thread that runs `run`, if the host [has threads](crate::Capabilities::threads).
///
/// On other hosts `run` is not compiled into the module, nor are the imports that it would need.
///
/// # Errors
/// If the host gives no thread.
#[cfg(any(unix, wisp_host = "wasix", wisp_host = "wasip1"))]
pub fn spawn_thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Starts no thread: this host has none.
///
/// # Errors
/// Always.
#[cfg(not(any(unix, wisp_host = "wasix", wisp_host = "wasip1")))]
pub fn spawn_thread(_: &str, _: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Err(io::ErrorKind::Unsupported.into())
}

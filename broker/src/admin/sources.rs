//! Where the pages have their values from.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use wisp_engine::Shared;

use crate::listener_rows::ListenerRow;

/// The host that the broker is compiled for.
pub(super) const HOST: &str = if cfg!(wisp_host = "wasix") {
    "wasix"
} else if cfg!(wisp_host = "wasip1") {
    "wasip1"
} else if cfg!(wisp_host = "wasmedge") {
    "wasmedge"
} else if cfg!(wisp_host = "wasip2") {
    "wasip2"
} else {
    "native"
};

/// Tells the memory of the process, where the host does.
pub(super) type MemoryBytes = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// The engine, the process and the running broker.
pub(super) struct Sources {
    pub(super) engine: Arc<Shared>,
    pub(super) memory_bytes: MemoryBytes,
    pub(super) started: Instant,
    /// Set when the broker is complete.
    running: OnceLock<Weak<dyn Running>>,
}

/// The running broker as its pages see it.
pub(crate) trait Running: Send + Sync {
    /// The listeners as they are now.
    fn listeners(&self) -> Vec<ListenerRow>;

    /// Writes to the log that a request was refused.
    fn log_refused(&self, reason: &'static str);
}

impl Sources {
    pub(super) fn new(engine: &Arc<Shared>, memory_bytes: MemoryBytes) -> Self {
        Self { engine: Arc::clone(engine), memory_bytes, started: Instant::now(), running: OnceLock::new() }
    }

    pub(super) fn set_running(&self, running: Weak<dyn Running>) {
        let set = self.running.set(running);
        debug_assert!(set.is_ok(), "pages belong to one broker");
    }

    /// The running broker, unless it is not complete yet or has ended.
    pub(super) fn running(&self) -> Option<Arc<dyn Running>> {
        self.running.get()?.upgrade()
    }

    /// The listeners as they are now.
    pub(super) fn listeners(&self) -> Vec<ListenerRow> {
        self.running().map(|running| running.listeners()).unwrap_or_default()
    }
}

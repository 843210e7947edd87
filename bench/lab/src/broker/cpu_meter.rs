//! The processor time that a broker uses while messages are under way.

use std::sync::{Mutex, PoisonError};

use super::running::Running;
use super::usage::Usage;
use wisp_loadgen::{Progress, Watch};

/// Watches a run and reads the broker's processor time twice: when all clients are connected and subscribed, and when the last
/// message has arrived and nothing is closed yet. Connecting and disconnecting are therefore not in the difference.
pub struct CpuMeter<'a> {
    watch: &'a dyn Watch,
    broker: Option<&'a Running>,
    begun: Mutex<Option<Usage>>,
    ended: Mutex<Option<Usage>>,
}

impl<'a> CpuMeter<'a> {
    /// A meter for one run. `watch` is told of the run as well. Without a broker, which then was not started here, the meter
    /// knows nothing.
    pub fn new(watch: &'a dyn Watch, broker: Option<&'a Running>) -> Self {
        Self { watch, broker, begun: Mutex::default(), ended: Mutex::default() }
    }

    /// Seconds of processor time of all the broker's threads, a runtime's included; None before the run has ended, and on a
    /// system that does not count it.
    pub fn cpu_s(&self) -> Option<f64> {
        let cpu_s = |usage: &Mutex<Option<Usage>>| {
            usage.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|usage| usage.cpu_s)
        };
        Some((cpu_s(&self.ended)? - cpu_s(&self.begun)?).max(0.0))
    }

    fn read_into(&self, usage: &Mutex<Option<Usage>>) {
        *usage.lock().unwrap_or_else(PoisonError::into_inner) = self.broker.and_then(Running::usage);
    }
}

impl Watch for CpuMeter<'_> {
    fn begins(&self) {
        self.read_into(&self.begun);
    }

    fn ends(&self) {
        self.read_into(&self.ended);
    }

    fn progress(&self, progress: Progress) {
        self.watch.progress(progress);
    }

    fn is_interrupted(&self) -> bool {
        self.watch.is_interrupted()
    }
}

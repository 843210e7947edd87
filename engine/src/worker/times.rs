//! How long turns take. The driver measures some of them, since it has the clock.

use std::time::Duration;

use super::Worker;

impl Worker {
    /// The messages that this worker has received since the start.
    pub fn messages_received(&self) -> u64 {
        self.outputs.dispatcher.messages_received()
    }

    /// Notes that a turn in which `messages` were received took so long. It stands for `turns` turns.
    pub fn note_turn(&mut self, took: Duration, messages: u64, turns: u32) {
        let dispatcher = &mut self.outputs.dispatcher;
        let busy_us = took.saturating_mul(turns).as_micros();
        dispatcher.counts().worker_busy_us += u64::try_from(busy_us).unwrap_or(u64::MAX);
        if messages > 0 {
            self.outputs.shared.message_times.add(took, messages);
        }
    }
}

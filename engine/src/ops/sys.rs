//! The topics of `$SYS`: what the broker does, as messages. Names and payloads are mosquitto's; the broker's own metrics are
//! below `$SYS/broker/wisp/`.
//!
//! ```text
//! counters, gauges --snapshot--> values and load averages as text --changed ones--> retained, and to subscribers
//! ```

use wisp_wire::TopicName;

use crate::metrics::{METRICS, StatsSnapshot};
use crate::ops::dispatch::Dispatcher;
use crate::state::registry::Registry;
use crate::state::shared::{Shared, SysOptions};

/// Messages that wait in the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Waiting {
    /// At QoS 1 and 2 for clients, connected or away.
    messages: u64,
    /// PUBLISH packets that sockets have not taken.
    packets: u64,
    /// Bytes that sockets have not taken.
    packet_bytes: u64,
}

/// The values at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Snapshot {
    stats: StatsSnapshot,
    waiting: Waiting,
    /// Messages in topic queues.
    queued: u64,
    heap_highest: u64,
}

impl Snapshot {
    /// The bytes that the broker counts. The allocator and the system need more.
    fn heap(&self) -> u64 {
        let stats = &self.stats;
        stats.buffered_bytes + stats.stored_bytes + stats.retained_bytes + stats.subscription_bytes
    }

    fn retained(&self) -> u64 {
        self.stats.retained + TOPICS as u64
    }

    fn stored(&self) -> u64 {
        self.retained() + self.waiting.messages + self.queued
    }

    fn stored_bytes(&self) -> u64 {
        self.stats.stored_bytes + self.stats.retained_bytes
    }

    fn away(&self) -> u64 {
        self.stats.sessions.saturating_sub(self.stats.sessions_connected)
    }
}

/// A topic below `$SYS/broker/`, and its value.
type Value = (&'static str, fn(&Snapshot) -> u64);

const VALUES: [Value; 27] = [
    ("bytes/received", |now| now.stats.bytes_received),
    ("bytes/sent", |now| now.stats.bytes_sent),
    ("messages/received", |now| now.stats.packets_received),
    ("messages/sent", |now| now.stats.packets_sent),
    ("messages/stored", Snapshot::stored),
    ("store/messages/count", Snapshot::stored),
    ("store/messages/bytes", Snapshot::stored_bytes),
    ("retained messages/count", Snapshot::retained),
    ("subscriptions/count", |now| now.stats.subscriptions),
    ("shared_subscriptions/count", |now| now.stats.shared_subscriptions),
    ("clients/total", |now| now.stats.sessions),
    ("clients/connected", |now| now.stats.sessions_connected),
    ("clients/active", |now| now.stats.sessions_connected),
    ("clients/disconnected", Snapshot::away),
    ("clients/inactive", Snapshot::away),
    ("clients/maximum", |now| now.stats.sessions_highest),
    ("clients/expired", |now| now.stats.sessions_expired),
    ("publish/messages/received", |now| now.stats.messages_received),
    ("publish/messages/sent", |now| now.stats.publishes_sent),
    ("publish/messages/dropped", |now| now.stats.messages_dropped),
    ("publish/bytes/received", |now| now.stats.payload_bytes_received),
    ("publish/bytes/sent", |now| now.stats.payload_bytes_sent),
    ("heap/current", Snapshot::heap),
    ("heap/maximum", |now| now.heap_highest),
    ("connections/socket/count", |now| sockets(&now.stats)),
    ("packet/out/count", |now| now.waiting.packets),
    ("packet/out/bytes", |now| now.waiting.packet_bytes),
];

/// A group of topics below `$SYS/broker/load/`, and the counter whose growth a minute they show.
type Load = (&'static str, fn(&StatsSnapshot) -> u64);

const LOADS: [Load; 9] = [
    ("messages/received", |stats| stats.packets_received),
    ("messages/sent", |stats| stats.packets_sent),
    ("publish/received", |stats| stats.messages_received),
    ("publish/sent", |stats| stats.publishes_sent),
    ("publish/dropped", |stats| stats.messages_dropped),
    ("bytes/received", |stats| stats.bytes_received),
    ("bytes/sent", |stats| stats.bytes_sent),
    ("sockets", sockets),
    ("connections", |stats| stats.connects_received),
];

/// The minutes over which a load is averaged.
const MINUTES: [u32; 3] = [1, 5, 15];

/// All topics. Besides the tables there are the version and the uptime.
const TOPICS: usize = 2 + VALUES.len() + LOADS.len() * MINUTES.len() + METRICS.len();

fn sockets(stats: &StatsSnapshot) -> u64 {
    stats.connections_accepted + stats.connections_refused
}

/// The state of the topics of `$SYS`.
#[derive(Debug)]
pub(crate) struct Sys {
    interval_ms: u64,
    unix_ms: u64,
    next_ms: u64,
    updated_ms: u64,
    /// The counters at the last update.
    before: StatsSnapshot,
    loads: [[f64; MINUTES.len()]; LOADS.len()],
    heap_highest: u64,
    /// The last payload of each topic.
    payloads: Vec<Box<str>>,
    /// Of the last complete survey of all sessions, and of the one under way.
    waiting: Waiting,
    counted: Waiting,
    next_part: usize,
}

impl Sys {
    /// The first update is due at once. `None` if there are no such topics.
    pub(crate) fn new(options: SysOptions) -> Option<Self> {
        let SysOptions { interval_s, unix_ms } = options;
        (interval_s > 0).then(|| Self {
            interval_ms: u64::from(interval_s) * 1000,
            unix_ms,
            next_ms: 0,
            updated_ms: 0,
            before: StatsSnapshot::default(),
            loads: [[0.0; MINUTES.len()]; LOADS.len()],
            heap_highest: 0,
            payloads: vec![Box::default(); TOPICS],
            waiting: Waiting::default(),
            counted: Waiting::default(),
            next_part: 0,
        })
    }

    /// Whether the next update is due.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.next_ms
    }

    /// Publishes the values that have changed since the last update.
    pub(crate) fn publish(&mut self, shared: &Shared, dispatcher: &mut Dispatcher, now_ms: u64) {
        let (waiting, queued) = (self.waiting, shared.queues.queued_messages());
        let mut now = Snapshot { stats: shared.stats(), waiting, queued, heap_highest: 0 };
        self.heap_highest = self.heap_highest.max(now.heap());
        now.heap_highest = self.heap_highest;
        self.update(&now, now_ms, |topic, payload| {
            if let Ok(topic) = TopicName::new(topic) {
                dispatcher.publish_own(shared, topic, payload.as_bytes(), now_ms);
            }
        });
    }

    /// Calls `publish` with the topic and the payload of each value that has changed.
    fn update(&mut self, now: &Snapshot, now_ms: u64, mut publish: impl FnMut(&str, &str)) {
        self.update_loads(&now.stats, now_ms);
        let unix_ms = self.unix_ms + now_ms;
        self.next_ms = now_ms + self.interval_ms - unix_ms % self.interval_ms;
        let loads = &self.loads;
        let payloads = &mut self.payloads;
        let mut next = 0;
        let mut set = |topic: std::fmt::Arguments<'_>, payload: String| {
            if *payloads[next] != *payload {
                publish(&format!("$SYS/broker/{topic}"), &payload);
                payloads[next] = payload.into();
            }
            next += 1;
        };
        set(format_args!("version"), format!("wisp version {}", env!("CARGO_PKG_VERSION")));
        set(format_args!("uptime"), format!("{} seconds", now_ms / 1000));
        for (name, value) in VALUES {
            set(format_args!("{name}"), value(now).to_string());
        }
        for ((name, _), averages) in LOADS.iter().zip(loads) {
            for (minutes, average) in MINUTES.iter().zip(averages) {
                set(format_args!("load/{name}/{minutes}min"), format!("{average:.2}"));
            }
        }
        for metric in METRICS {
            set(format_args!("wisp/{}", metric.name), (metric.value)(&now.stats).to_string());
        }
    }

    /// Averages the growth of the counters since the last update, exponentially.
    fn update_loads(&mut self, stats: &StatsSnapshot, now_ms: u64) {
        let passed_s = now_ms.saturating_sub(self.updated_ms) as f64 / 1000.0;
        if passed_s > 0.0 {
            for ((_, counter), averages) in LOADS.iter().zip(&mut self.loads) {
                let grown = counter(stats).saturating_sub(counter(&self.before));
                let a_minute = grown as f64 * 60.0 / passed_s;
                for (minutes, average) in MINUTES.iter().zip(averages) {
                    let kept = (-passed_s / (60.0 * f64::from(*minutes))).exp();
                    *average = a_minute + kept * (*average - a_minute);
                }
            }
            (self.updated_ms, self.before) = (now_ms, *stats);
        }
    }

    /// Counts the messages that wait, in a part of the sessions: with very many of them, counting all at once would hold
    /// connecting clients up. Called several times a second.
    pub(crate) fn survey(&mut self, shared: &Shared) {
        if self.next_part == 0 && shared.budget.used_bytes() == 0 && shared.stored.used_bytes() == 0 {
            self.waiting = Waiting::default();
            return;
        }
        let counted = &mut self.counted;
        shared.registry.for_each_in(self.next_part, |session| {
            counted.messages += session.capacity().depth_messages() as u64;
            if let Some(outbox) = session.outbox() {
                counted.packets += outbox.capacity().depth_messages() as u64;
                counted.packet_bytes += outbox.depth_bytes() as u64;
            }
        });
        self.next_part = (self.next_part + 1) % Registry::PARTS;
        if self.next_part == 0 {
            self.waiting = std::mem::take(&mut self.counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn updated(sys: &mut Sys, stats: StatsSnapshot, now_ms: u64) -> BTreeMap<String, String> {
        let mut published = BTreeMap::new();
        sys.update(&Snapshot { stats, ..Snapshot::default() }, now_ms, |topic, payload| {
            let before = published.insert(topic.trim_start_matches("$SYS/broker/").to_owned(), payload.to_owned());
            assert_eq!(before, None, "{topic}");
        });
        published
    }

    fn sys(interval_s: u16, unix_ms: u64) -> Sys {
        Sys::new(SysOptions { interval_s, unix_ms }).unwrap()
    }

    #[test]
    fn the_first_update_has_all_topics_and_later_ones_what_has_changed() {
        let mut sys = sys(10, 0);
        let stats = StatsSnapshot { sessions: 1, sessions_connected: 1, ..StatsSnapshot::default() };
        let first = updated(&mut sys, stats, 0);
        assert_eq!((first.len(), &first["uptime"][..], &first["clients/total"][..]), (TOPICS, "0 seconds", "1"));
        assert_eq!((&first["load/bytes/sent/15min"][..], &first["wisp/sessions"][..]), ("0.00", "1"));
        let stats = StatsSnapshot { sessions: 2, ..stats };
        let names: Vec<String> = updated(&mut sys, stats, 10_000).into_keys().collect();
        assert_eq!(names, ["clients/disconnected", "clients/inactive", "clients/total", "uptime", "wisp/sessions"]);
    }

    #[test]
    fn loads_are_exponential_averages_for_a_minute() {
        let mut sys = sys(1, 0);
        updated(&mut sys, StatsSnapshot::default(), 0);
        // 148 packets in the first second, as mosquitto shows them.
        let stats = StatsSnapshot { packets_received: 148, ..StatsSnapshot::default() };
        let second = updated(&mut sys, stats, 1_000);
        assert_eq!(second["load/messages/received/1min"], "146.77");
        assert_eq!(second["load/messages/received/5min"], "29.55");
        // Without traffic they sink to nothing, and each step is announced.
        let mut last = second["load/messages/received/1min"].clone();
        for second in 2..=600_u64 {
            if let Some(load) = updated(&mut sys, stats, second * 2_000).remove("load/messages/received/1min") {
                assert!(load.parse::<f64>().unwrap() < last.parse().unwrap(), "{load} after {last}");
                last = load;
            }
        }
        assert_eq!(last, "0.00");
    }

    #[test]
    fn updates_come_at_multiples_of_the_interval_in_unix_time() {
        let mut sys = sys(10, 1_234_567);
        assert!(sys.is_due(0));
        updated(&mut sys, StatsSnapshot::default(), 0);
        assert_eq!(sys.next_ms, 1_240_000 - 1_234_567);
        updated(&mut sys, StatsSnapshot::default(), 5_700);
        assert_eq!(sys.next_ms, 1_250_000 - 1_234_567);
        assert!(Sys::new(SysOptions::default()).is_none());
    }
}

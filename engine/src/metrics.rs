//! The one table of counters and gauges. Each row has a name, a unit and a meaning; `Shared::stats` fills the values in, and log,
//! `$SYS` and exporters read the rows.

use crate::base::sync::{AtomicU64, Ordering};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, as in [`StatsSnapshot`].
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: MetricKind,
    /// The unit of its value.
    pub unit: &'static str,
    /// Its meaning.
    pub help: &'static str,
    /// Its value in a snapshot.
    pub value: fn(&StatsSnapshot) -> u64,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A count since the start.
    Counter,
    /// A value of this moment.
    Gauge,
}

macro_rules! metrics {
    (
        counters { $( $counter:ident, $counter_unit:literal, $counter_help:literal; )+ }
        gauges { $( $gauge:ident, $gauge_unit:literal, $gauge_help:literal; )+ }
    ) => {
        /// All counters and gauges at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct StatsSnapshot {
            $( #[doc = $counter_help] pub $counter: u64, )+
            $( #[doc = $gauge_help] pub $gauge: u64, )+
        }

        /// The counters. Each worker adds its own once a batch.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $( $counter: AtomicU64, )+
        }

        impl Counters {
            /// Adds to the counters.
            pub(crate) fn add(&self, more: StatsSnapshot) {
                $( if more.$counter > 0 {
                    self.$counter.fetch_add(more.$counter, Ordering::Relaxed);
                } )+
            }

            /// The counters now. The gauges are zero.
            pub(crate) fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $( $counter: self.$counter.load(Ordering::Relaxed), )+ ..StatsSnapshot::default() }
            }
        }

        /// All metrics, counters first.
        pub const METRICS: &[Metric] = &[
            $( Metric {
                name: stringify!($counter),
                kind: MetricKind::Counter,
                unit: $counter_unit,
                help: $counter_help,
                value: |stats| stats.$counter,
            }, )+
            $( Metric {
                name: stringify!($gauge),
                kind: MetricKind::Gauge,
                unit: $gauge_unit,
                help: $gauge_help,
                value: |stats| stats.$gauge,
            }, )+
        ];
    };
}

metrics! {
    counters {
        messages_received, "messages", "PUBLISH packets accepted from senders.";
        messages_delivered, "messages", "PUBLISH packets handed to receivers, one for each receiver.";
        messages_dropped, "messages",
            "Messages that a subscribed receiver did not get: it was stuck, or accepts only shorter packets.";
        retained_refused, "messages",
            "Messages that were delivered but not retained, because the limit on retained messages is reached.";
        connections_refused, "connections",
            "Connections closed at once because there are as many as allowed, in all or on their listener.";
        connects_denied, "connections", "CONNECTs that the policy has refused.";
        publishes_denied, "messages", "PUBLISH packets and wills that the policy has denied.";
        subscribes_denied, "filters", "Filters of SUBSCRIBE packets that the policy has denied.";
        deliveries_denied, "messages",
            "Messages that a subscribed client did not get because it may not read their topics, one for each client.";
        connections_rejected, "connections",
            "Connections ended because their TLS or WebSocket handshake or framing was wrong.";
    }
    gauges {
        sessions, "sessions", "Sessions of connected clients and of clients that are away.";
        sessions_kept, "sessions", "Sessions that outlive their connections.";
        retained, "messages", "Retained messages.";
        buffered_bytes, "bytes", "Bytes in all queues of connections and input buffers.";
        stored_bytes, "bytes",
            "Bytes of stored messages: in topic queues, waiting for clients, and unacknowledged.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_a_name_and_a_value_of_its_own() {
        let counters = Counters::default();
        let counts = StatsSnapshot { messages_received: 1, messages_dropped: 2, ..StatsSnapshot::default() };
        counters.add(counts);
        counters.add(counts);
        let stats = StatsSnapshot { sessions: 7, ..counters.snapshot() };
        let shown = |name| METRICS.iter().find(|metric| metric.name == name).map(|metric| (metric.value)(&stats));
        assert_eq!(
            (shown("messages_received"), shown("messages_dropped"), shown("sessions")),
            (Some(2), Some(4), Some(7))
        );
        let names: std::collections::BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
    }
}

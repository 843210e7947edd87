//! The one table of counters and gauges. Each row has a name, a unit and a meaning; `Shared::stats` fills the values in, and log,
//! `$SYS` and exporters read the rows.

pub(crate) mod histogram;

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

        /// The counters of one worker, or of what happens outside the workers.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $( $counter: AtomicU64, )+
        }

        impl Counters {
            /// Adds to the counters, from any thread.
            pub(crate) fn add(&self, more: StatsSnapshot) {
                $( if more.$counter > 0 {
                    self.$counter.fetch_add(more.$counter, Ordering::Relaxed);
                } )+
            }

            /// Moves counts to the counters of one worker. Only this worker changes them, so no operation has to be atomic
            /// as a whole, and no other core's cache has the line.
            pub(crate) fn take_from(&self, counts: &mut StatsSnapshot) {
                $( if counts.$counter > 0 {
                    let sum = self.$counter.load(Ordering::Relaxed) + std::mem::take(&mut counts.$counter);
                    self.$counter.store(sum, Ordering::Relaxed);
                } )+
            }

            /// The messages that the worker has received.
            pub(crate) fn messages_received(&self) -> u64 {
                self.messages_received.load(Ordering::Relaxed)
            }

            /// Adds the counters to those of `stats`.
            pub(crate) fn add_to(&self, stats: &mut StatsSnapshot) {
                $( stats.$counter += self.$counter.load(Ordering::Relaxed); )+
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
        bytes_received, "bytes", "Bytes of MQTT received, without those of TLS and WebSocket.";
        bytes_sent, "bytes", "Bytes of MQTT sent, without those of TLS and WebSocket.";
        packets_received, "packets", "MQTT packets of all types received.";
        packets_sent, "packets", "MQTT packets of all types sent.";
        messages_received, "messages", "PUBLISH packets accepted from senders.";
        messages_delivered, "messages", "PUBLISH packets handed to receivers, one for each receiver.";
        payload_bytes_received, "bytes", "Bytes of the payloads of accepted PUBLISH packets.";
        publishes_sent, "packets", "PUBLISH packets sent to clients, with retained messages and repeated packets.";
        payload_bytes_sent, "bytes", "Bytes of the payloads of these packets.";
        messages_dropped, "messages",
            "Messages that a subscribed receiver did not get: it was stuck, or accepts only shorter packets.";
        retained_refused, "messages",
            "Messages that were delivered but not retained, because the limit on retained messages is reached.";
        connections_accepted, "connections", "Connections opened, without refused ones.";
        connections_refused, "connections",
            "Connections closed at once because there are as many as allowed, in all or on their listener.";
        connects_received, "packets", "CONNECT packets received.";
        connects_denied, "connections", "CONNECTs that the policy has refused.";
        sessions_expired, "sessions", "Sessions that ended because their clients were away too long.";
        publishes_denied, "messages",
            "PUBLISH packets and wills that were denied: by the policy, or because only the broker publishes there.";
        subscribes_denied, "filters", "Filters of SUBSCRIBE packets that the policy has denied.";
        deliveries_denied, "messages",
            "Messages that a subscribed client did not get because it may not read their topics, one for each client.";
        connections_rejected, "connections",
            "Connections ended because their TLS or WebSocket handshake or framing was wrong.";
        messages_purged, "messages", "Messages that an operator removed from topic queues and sessions.";
        admin_requests_refused, "requests",
            "Requests to the admin listener that were refused: without the token, or from a page of another site.";
        worker_busy_us, "microseconds",
            "Time that all workers were busy, estimated from one turn in sixteen.";
        objects_dropped, "objects",
            "Stored objects dropped at the start, because their session or message was missing or there was no room.";
        store_writes, "writes", "Writes to the data folder.";
        store_written_bytes, "bytes", "Bytes written to the data folder.";
        store_syncs, "syncs", "Syncs of the data folder.";
        store_write_failures, "writes", "Writes to the data folder that failed and are tried again.";
        store_holds, "holds", "Times that a sender was held back because the data folder took no more.";
        store_refusals, "messages",
            "Messages refused, or dropped at QoS 0, because the data folder took no more for too long.";
    }
    gauges {
        workers, "workers", "Workers.";
        sessions, "sessions", "Sessions of connected clients and of clients that are away.";
        sessions_connected, "sessions", "Sessions of connected clients.";
        sessions_kept, "sessions", "Sessions that outlive their connections.";
        sessions_highest, "sessions", "Most sessions at a time since the start.";
        subscriptions, "subscriptions", "Subscriptions, without shared ones.";
        shared_subscriptions, "subscriptions", "Subscriptions to shared groups and topic queues.";
        subscription_bytes, "bytes", "Bytes of all subscriptions, by an estimate.";
        retained, "messages", "Retained messages, without the broker's own.";
        retained_bytes, "bytes", "Bytes of these messages.";
        buffered_bytes, "bytes", "Bytes in all queues of connections and input buffers.";
        stored_bytes, "bytes",
            "Bytes of stored messages: in topic queues, waiting for clients, and unacknowledged.";
        store_objects, "objects", "Objects in the data folder: sessions, subscriptions, messages and others.";
        store_live_bytes, "bytes", "Bytes of these objects.";
        store_disk_bytes, "bytes", "Bytes in the data folder.";
        store_pending_bytes, "bytes", "Bytes that wait to be written to the data folder.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_each_row() {
        let document = include_str!("../../docs/monitoring.md");
        for Metric { name, kind, unit, help, .. } in METRICS {
            let kind = if *kind == MetricKind::Counter { "counter" } else { "gauge" };
            let row = format!("| `{name}` | {kind} | {unit} | {help} |");
            assert!(document.contains(&row), "docs/monitoring.md has not got the row\n{row}");
        }
    }

    #[test]
    fn each_row_has_a_name_and_a_value_of_its_own() {
        let (counters, worker) = (Counters::default(), Counters::default());
        let mut counts = StatsSnapshot { messages_received: 1, messages_dropped: 2, ..StatsSnapshot::default() };
        counters.add(counts);
        worker.take_from(&mut counts);
        assert_eq!(counts, StatsSnapshot::default());
        worker.take_from(&mut counts);
        let mut stats = StatsSnapshot { sessions: 7, ..StatsSnapshot::default() };
        [counters, worker].iter().for_each(|counters| counters.add_to(&mut stats));
        let shown = |name| METRICS.iter().find(|metric| metric.name == name).map(|metric| (metric.value)(&stats));
        assert_eq!(
            (shown("messages_received"), shown("messages_dropped"), shown("sessions")),
            (Some(2), Some(4), Some(7))
        );
        let names: std::collections::BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
    }
}

//! The measures of each kind: record fields that are no settings, in the order of columns, with their labels.

use crate::kind::Kind::{self, Compute, Connections, Latency, Start, Throughput, Transfer};

const MESSAGES: &[Kind] = &[Throughput, Latency];
const LOAD: &[Kind] = &[Throughput, Latency, Connections];
const BROKERS: &[Kind] = &[Throughput, Latency, Connections, Start];

/// A measure, its kinds and its label; None if the field's name with spaces for `_` is the label.
pub(crate) const MEASURES: &[(&str, &[Kind], Option<&str>)] = &[
    ("sent", MESSAGES, None),
    ("expected", MESSAGES, None),
    ("received", MESSAGES, None),
    ("lost", MESSAGES, None),
    ("not_sent", MESSAGES, Some("never sent")),
    ("duplicated", MESSAGES, None),
    ("out_of_order", MESSAGES, None),
    ("corrupt", MESSAGES, None),
    ("foreign", MESSAGES, None),
    ("error", &Kind::ALL, None),
    ("first_faults", MESSAGES, None),
    ("seconds", &[Throughput, Latency, Connections, Transfer, Compute], Some("time")),
    ("messages_per_s", &[Throughput, Latency, Transfer, Start], Some("messages")),
    ("sent_per_s", MESSAGES, Some("messages sent")),
    ("megabytes_per_s", &[Throughput, Latency, Transfer], Some("payload")),
    ("connections_per_s", &[Connections], None),
    ("connection_bytes", &[Connections], Some("memory for each connection")),
    ("latency_p50_ns", LOAD, Some("median latency")),
    ("latency_p90_ns", LOAD, None),
    ("latency_p99_ns", LOAD, None),
    ("latency_p999_ns", LOAD, None),
    ("latency_p9999_ns", LOAD, None),
    ("latency_max_ns", LOAD, Some("largest latency")),
    ("latency_mean_ns", LOAD, Some("mean latency")),
    ("is_rate_reached", MESSAGES, None),
    ("generator_cpu_s", MESSAGES, Some("generator's processor time")),
    ("generator_busy", MESSAGES, Some("generator's busiest thread")),
    ("generator_waiting", MESSAGES, Some("generator's wait for processors")),
    ("is_generator_saturated", MESSAGES, None),
    ("processors_busy", MESSAGES, Some("processors used by broker and generator")),
    ("loadgen_version", MESSAGES, None),
    ("broker_version", LOAD, None),
    ("startup_ms", BROKERS, Some("start-up time")),
    ("broker_cpu_s", BROKERS, Some("broker's processor time")),
    ("broker_rss_bytes", LOAD, Some("broker's memory")),
    ("broker_peak_rss_bytes", LOAD, Some("broker's peak memory")),
    ("broker_threads", BROKERS, Some("broker's threads")),
    ("startup_cpu_s", &[Start], Some("processor time of the start")),
    ("idle_rss_bytes", &[Start], Some("memory when idle")),
    ("idle_pss_bytes", &[Start], None),
    ("idle_anonymous_bytes", &[Start], None),
    ("loaded_peak_rss_bytes", &[Start], Some("peak memory under load")),
    ("installed_bytes", &[Start], Some("size of the files")),
    ("compiled_bytes", &[Start], Some("size of the compiled module")),
    ("compiled_file_bytes", &[Start], None),
    ("module_bytes", &[Start], None),
    ("module_file_bytes", &[Start], None),
    ("runtime_bytes", &[Start], None),
    ("runtime_file_bytes", &[Start], None),
    ("program_bytes", &[Start], None),
    ("program_file_bytes", &[Start], None),
    ("libraries_bytes", &[Start], None),
    ("libraries_file_bytes", &[Start], None),
    ("receive_per_s", &[Transfer], Some("messages received")),
    ("send_per_s", &[Transfer], Some("messages sent")),
    ("receive_s", &[Transfer], None),
    ("send_s", &[Transfer], None),
    ("calls", &[Transfer], None),
    ("receive_calls", &[Transfer], None),
    ("send_calls", &[Transfer], None),
    ("waits", &[Transfer], None),
    ("time_per_call_us", &[Transfer], None),
    ("numbers", &[Compute], None),
    ("time_per_number_ns", &[Compute], None),
    ("wall_s", &[Compute], Some("time in all")),
    ("start_s", &[Compute], None),
    ("compute_s", &[Compute], Some("time computing")),
    ("read_s", &[Compute], None),
    ("write_s", &[Compute], None),
    ("io_s", &[Compute], Some("time reading and writing")),
    ("cpu_s", &[Compute], Some("processor time")),
    ("peak_rss_bytes", &[Compute], Some("peak memory")),
    ("taken_at", &Kind::ALL, None),
];

/// Distributions: the prefix of their fields, their kinds and their label.
pub(crate) const DISTRIBUTIONS: [(&str, &[Kind], &str); 3] =
    [("latency_", LOAD, "latency"), ("ack_", MESSAGES, "time to acknowledgement"), ("send_lag_", MESSAGES, "send lag")];

/// How the fields of a distribution end.
const OF_DISTRIBUTIONS: [&str; 9] =
    ["count", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns", "mean_ns", LIST];

/// How the field ends that has a distribution as a list of `[percentile, nanoseconds]`.
const LIST: &str = "ns_percentiles";

impl Kind {
    /// The fields of all measures of this kind; not every sample has each.
    pub fn measures(self) -> impl Iterator<Item = String> {
        let is_of = move |kinds: &[Kind]| kinds.contains(&self);
        let single = MEASURES.iter().filter(move |measure| is_of(measure.1)).map(|measure| measure.0.to_owned());
        let of_distribution = |start: &'static str| OF_DISTRIBUTIONS.map(|end| format!("{start}{end}"));
        let distributions = DISTRIBUTIONS.iter().filter(move |distribution| is_of(distribution.1));
        // Some of them have words, and a place, of their own.
        single.chain(
            distributions
                .flat_map(move |distribution| of_distribution(distribution.0))
                .filter(|name| MEASURES.iter().all(|measure| measure.0 != name)),
        )
    }
}

/// Whether a field has a distribution as a list, which is drawn as percentiles and not otherwise.
#[must_use]
pub(crate) fn is_list(field: &str) -> bool {
    field.ends_with(LIST)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn measures_are_named_once_for_each_kind() {
        for kind in Kind::ALL {
            let names: Vec<_> = kind.measures().collect();
            assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "{kind:?}");
        }
        let of = |kind: Kind, name: &str| kind.measures().any(|measure| measure == name);
        assert!(
            of(Latency, "send_lag_p99_ns") && of(Latency, "ack_ns_percentiles") && of(Connections, "latency_max_ns")
        );
        assert!(!of(Connections, "ack_p50_ns") && !of(Transfer, "lost") && of(Transfer, "messages_per_s"));
    }
}

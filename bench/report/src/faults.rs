//! Samples that are no good figures, and why.

use crate::folder::{self, ERROR, FAULTS, Record};

use super::labels::counted;

/// Whether a sample failed or lost messages. Its figures are then left out.
#[must_use]
pub(crate) fn is_faulty(record: &Record) -> bool {
    folder::fault(record).is_some()
}

/// Whether messages did not come through at the rate at which they were to be sent.
#[must_use]
pub(crate) fn is_overrun(record: &Record) -> bool {
    record.get("is_rate_reached").and_then(serde_json::Value::as_bool) == Some(false)
}

/// Whether a sample ended before it could be told whether the generator was its limit. Where the system tells nothing of threads,
/// nothing is known of them at all.
#[must_use]
pub(crate) fn is_too_short(record: &Record) -> bool {
    let is_number = |field: &str| record.get(field).is_some_and(serde_json::Value::is_number);
    is_number("generator_busy") && record.get("is_generator_saturated").is_some_and(serde_json::Value::is_null)
}

fn error(record: &Record) -> Option<&str> {
    record.get(ERROR).and_then(serde_json::Value::as_str)
}

fn count(record: &Record, field: &str) -> u64 {
    record.get(field).and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// The faults of samples with the same settings, in one line; empty if there are none.
#[must_use]
pub(crate) fn told(records: &[&Record]) -> String {
    let mut parts = Vec::new();
    for (field, word) in FAULTS {
        let messages: u64 = records.iter().map(|record| count(record, field)).sum();
        if messages > 0 {
            parts.push(format!("{} {word}", counted(messages as usize, "message", "messages")));
        }
    }
    let mut errors: Vec<_> = records.iter().filter_map(|record| error(record)).collect();
    errors.sort_unstable();
    errors.dedup();
    parts.extend(errors.into_iter().map(str::to_owned));
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(value: serde_json::Value) -> Record {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_sample_is_faulty_if_it_failed_or_messages_went_astray() {
        assert!(!is_faulty(&record(json!({ "lost": 0, "error": null, "corrupt": null }))));
        for fault in
            [json!({ "lost": 1 }), json!({ "error": "died" }), json!({ "out_of_order": 2 }), json!({ "duplicated": 1 })]
        {
            assert!(is_faulty(&record(fault)));
        }
    }

    #[test]
    fn faults_are_told_once() {
        let records = [
            record(json!({ "lost": 1000, "error": null })),
            record(json!({ "lost": 234, "not_sent": 5000, "corrupt": 1, "error": "the broker died" })),
            record(json!({ "error": "the broker died" })),
        ];
        let records: Vec<_> = records.iter().collect();
        assert_eq!(
            told(&records),
            "1,234 messages lost; 5,000 messages never sent; 1 message corrupt; the broker died"
        );
        assert_eq!(told(&[]), "");
    }
}

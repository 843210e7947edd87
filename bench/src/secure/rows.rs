//! The ratios that are measured, with their targets; from them follow the subjects.

use wisp_lab::broker::{Broker, Transport};

use super::case::SecureCase;
use super::sample::{Sample, Subject, Work};

/// A ratio: how many times as good the first subject is as the second.
pub(super) struct Row {
    pub(super) case: SecureCase,
    pub(super) title: &'static str,
    pub(super) first: Subject,
    pub(super) second: Subject,
    pub(super) value: fn(&Sample) -> Option<f64>,
    /// At least this; None for a row that only explains another.
    pub(super) target: Option<f64>,
}

/// Work for each second of processor time.
fn efficiency(sample: &Sample) -> Option<f64> {
    (sample.cpu_us_each > 0.0).then(|| 1e6 / sample.cpu_us_each)
}

/// Connections in a byte of memory.
fn thrift(sample: &Sample) -> Option<f64> {
    sample.bytes_each.filter(|bytes| *bytes > 0.0).map(|bytes| 1.0 / bytes)
}

/// All rows, in the order of the table.
pub(super) fn all() -> Vec<Row> {
    use SecureCase::{Handshakes, Memory, Rules, Tls, TlsMosquitto, Wasmer, Websocket};
    use Transport::{SecureWebSocket, Tcp, Tls as OverTls, WebSocket};
    use Work::{FullHandshakes, Messages, MessagesWithRules, MessagesWithoutRules, ResumedHandshakes};
    let native = |transport, work| Subject::new(Broker::Native, transport, work);
    let mosquitto = |transport, work| Subject::new(Broker::Mosquitto, transport, work);
    let wasmer = |transport| Subject::new(Broker::Wasmer, transport, Messages);
    let row = |case, title, first, second, target| Row { case, title, first, second, value: efficiency, target };
    let (plain, tls) = (native(Tcp, Messages), native(OverTls, Messages));
    let (full, resumed) = (native(OverTls, FullHandshakes), native(OverTls, ResumedHandshakes));
    let (their_full, their_resumed) = (mosquitto(OverTls, FullHandshakes), mosquitto(OverTls, ResumedHandshakes));
    vec![
        row(Tls, "TLS / plain", tls.clone(), plain.clone(), Some(0.5)),
        row(TlsMosquitto, "TLS / mosquitto over TLS", tls.clone(), mosquitto(OverTls, Messages), Some(6.0)),
        row(TlsMosquitto, "plain / mosquitto plain", plain.clone(), mosquitto(Tcp, Messages), None),
        row(Websocket, "WebSocket / plain", native(WebSocket, Messages), plain.clone(), Some(0.75)),
        row(Websocket, "WebSocket over TLS / plain", native(SecureWebSocket, Messages), plain.clone(), None),
        row(
            Rules,
            "with 1,000 access rules / without",
            native(Tcp, MessagesWithRules),
            native(Tcp, MessagesWithoutRules),
            Some(0.95),
        ),
        row(Handshakes, "full handshakes / mosquitto's", full.clone(), their_full.clone(), Some(1.5)),
        row(Handshakes, "resumed handshakes / mosquitto's full ones", resumed.clone(), their_full.clone(), Some(3.0)),
        row(Handshakes, "resumed handshakes / mosquitto's resumed ones", resumed, their_resumed, None),
        Row {
            value: thrift,
            ..row(Memory, "idle TLS connections in the same memory / mosquitto", full, their_full, Some(3.0))
        },
        row(Wasmer, "under Wasmer: TLS / native TLS", wasmer(OverTls), tls, Some(0.2)),
        row(Wasmer, "under Wasmer: plain / native plain", wasmer(Tcp), plain, None),
    ]
}

/// The rows of some cases, or of all if none is named, that need no other broker.
pub(super) fn of(cases: &[SecureCase], brokers: &[Broker]) -> Vec<Row> {
    let is_wanted = |row: &Row| {
        (cases.is_empty() || cases.contains(&row.case))
            && [&row.first, &row.second].iter().all(|subject| brokers.contains(&subject.broker))
    };
    all().into_iter().filter(is_wanted).collect()
}

/// The subjects of some rows, those together that are measured together, each once.
pub(super) fn subjects(rows: &[Row]) -> Vec<Vec<Subject>> {
    let mut all: Vec<Vec<Subject>> = Vec::new();
    for subject in rows.iter().flat_map(|row| [&row.first, &row.second]) {
        let together = subject.together();
        if !all.contains(&together) {
            all.push(together);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_case_has_its_rows_and_a_missing_broker_takes_its_rows_away() {
        let everything = [Broker::Native, Broker::Wasmer, Broker::Mosquitto];
        assert_eq!(of(&[], &everything).len(), all().len());
        for case in SecureCase::value_variants() {
            let rows = of(&[*case], &everything);
            assert!(rows.iter().any(|row| row.target.is_some()), "{case:?} has a target");
            assert!(rows.iter().all(|row| row.case == *case));
        }
        let titles = |brokers: &[Broker]| of(&[], brokers).iter().map(|row| row.title).collect::<Vec<_>>();
        let alone = titles(&[Broker::Native]);
        assert!(alone.contains(&"TLS / plain") && alone.iter().all(|title| !title.contains("mosquitto")), "{alone:?}");
        assert!(alone.iter().all(|title| !title.contains("Wasmer")), "{alone:?}");
    }

    #[test]
    fn each_subject_is_measured_once_and_those_with_and_without_rules_in_turns() {
        let measured = subjects(&all());
        let pairs: Vec<_> = measured.iter().filter(|together| together.len() == 2).collect();
        assert_eq!(pairs.len(), 1);
        assert_eq!(
            pairs[0].iter().map(|subject| subject.work).collect::<Vec<_>>(),
            [Work::MessagesWithRules, Work::MessagesWithoutRules]
        );
        let mut flat = measured.concat();
        let before = flat.len();
        flat.dedup();
        assert_eq!(flat.len(), before);
        for row in all() {
            assert!(flat.contains(&row.first) && flat.contains(&row.second), "{}", row.title);
        }
    }
}

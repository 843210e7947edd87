//! The ratios that are measured, with their targets; from them follow the subjects.

use wisp_lab::broker::Broker;

use super::case::DurableCase;
use super::sample::Sample;
use super::subject::{Store, Subject, Work};

/// Where a ratio should be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// The row only explains another.
    None,
}

impl Target {
    /// How the table writes it, and whether a ratio is there.
    pub(super) fn judged(self, ratio: f64) -> Option<(String, bool)> {
        match self {
            Self::AtLeast(bound) => Some((format!("at least {bound}"), ratio >= bound)),
            Self::AtMost(bound) => Some((format!("at most {bound}"), ratio <= bound)),
            Self::None => None,
        }
    }
}

/// A figure: of one subject, or the ratio of two within a repetition.
pub(super) struct Row {
    pub(super) case: DurableCase,
    pub(super) title: &'static str,
    pub(super) first: Subject,
    pub(super) second: Option<Subject>,
    pub(super) value: fn(&Sample) -> Option<f64>,
    pub(super) target: Target,
}

fn rate(sample: &Sample) -> Option<f64> {
    Some(sample.per_s).filter(|per_s| *per_s > 0.0)
}

/// Messages in a second of the broker's processor time.
fn efficiency(sample: &Sample) -> Option<f64> {
    sample.cpu_us_each.filter(|us| *us > 0.0).map(|us| 1e6 / us)
}

/// The time of a message by that of a sync of the disk just before and after.
fn syncs(sample: &Sample) -> Option<f64> {
    Some(sample.p50_us? / sample.disk_p50_us?)
}

fn written(sample: &Sample) -> Option<f64> {
    sample.written_by_payload
}

/// All rows, in the order of the table.
pub(super) fn all() -> Vec<Row> {
    use DurableCase::{Away, Forwarding, OneInFlight, Queue, Unkept, Wasmer, Written};
    use Store::{Durable, Memory, SyncedEach};
    let subject = |broker, store, work| Subject { broker, store, work };
    let native = |store, work| subject(Broker::Native, store, work);
    let row = |case, title, first, second, target| Row { case, title, first, second, value: rate, target };
    let (away, queue) = (native(Durable, Work::Away), native(Durable, Work::Queue));
    let jetstream = |store, work| Some(subject(Broker::NatsServer, store, work));
    let mosquitto = Some(subject(Broker::Mosquitto, Durable, Work::Away));
    let in_flight = native(Durable, Work::OneInFlight);
    vec![
        row(
            Away,
            "to kept sessions that are away / JetStream, its default",
            away.clone(),
            jetstream(Durable, Work::Away),
            Target::AtLeast(1.5),
        ),
        row(
            Away,
            "the same / JetStream with sync_interval: always",
            away.clone(),
            jetstream(SyncedEach, Work::Away),
            Target::None,
        ),
        row(Away, "the same / mosquitto with persistence", away.clone(), mosquitto, Target::AtLeast(5.0)),
        row(Away, "the same / Wisp, memory only", away.clone(), Some(native(Memory, Work::Away)), Target::None),
        row(
            Forwarding,
            "to connected kept sessions / memory only",
            native(Durable, Work::Forwarding),
            Some(native(Memory, Work::Forwarding)),
            Target::AtLeast(0.6),
        ),
        row(
            Queue,
            "topic queue / JetStream work queue",
            queue.clone(),
            jetstream(Durable, Work::Queue),
            Target::AtLeast(2.0),
        ),
        row(Queue, "the same / memory only", queue.clone(), Some(native(Memory, Work::Queue)), Target::None),
        Row {
            value: syncs,
            ..row(OneInFlight, "one in flight: p50 / sync of the disk", in_flight, None, Target::AtMost(2.0))
        },
        row(
            Wasmer,
            "Wasmer with synchronous writes / native",
            subject(Broker::Wasmer, Durable, Work::Away),
            Some(away),
            Target::AtLeast(0.5),
        ),
        Row {
            value: efficiency,
            ..row(
                Unkept,
                "QoS 0, clean sessions: with a data folder / without",
                native(Durable, Work::Unkept),
                Some(native(Memory, Work::Unkept)),
                Target::AtLeast(0.98),
            )
        },
        Row {
            value: written,
            ..row(Written, "bytes to disk / payload, topic queue drained as it fills", queue, None, Target::AtMost(1.3))
        },
    ]
}

/// The rows of some cases, or of all if none is named, that need no other broker.
pub(super) fn of(cases: &[DurableCase], brokers: &[Broker]) -> Vec<Row> {
    let is_wanted = |row: &Row| {
        (cases.is_empty() || cases.contains(&row.case))
            && [Some(&row.first), row.second.as_ref()]
                .into_iter()
                .flatten()
                .all(|subject| brokers.contains(&subject.broker))
    };
    all().into_iter().filter(is_wanted).collect()
}

/// The subjects of some rows, those together that are measured together, each once.
pub(super) fn subjects(rows: &[Row]) -> Vec<Vec<Subject>> {
    let mut all: Vec<Vec<Subject>> = Vec::new();
    for subject in rows.iter().flat_map(|row| [Some(&row.first), row.second.as_ref()]).flatten() {
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
        let everything = [Broker::Native, Broker::Wasmer, Broker::Mosquitto, Broker::NatsServer];
        assert_eq!(of(&[], &everything).len(), all().len());
        for case in DurableCase::value_variants() {
            let rows = of(&[*case], &everything);
            assert!(rows.iter().any(|row| row.target != Target::None), "{case:?} has a target");
            assert!(rows.iter().all(|row| row.case == *case));
        }
        let alone: Vec<_> = of(&[], &[Broker::Native]).iter().map(|row| row.title).collect();
        assert!(alone.contains(&"to connected kept sessions / memory only"), "{alone:?}");
        assert!(
            !alone.iter().any(|title| ["JetStream", "mosquitto", "Wasmer"].iter().any(|name| title.contains(name)))
        );
    }

    #[test]
    fn a_bound_is_reached_by_the_figure_on_it() {
        assert_eq!(Target::AtLeast(2.0).judged(2.0), Some(("at least 2".to_owned(), true)));
        assert_eq!(Target::AtLeast(2.0).judged(1.99), Some(("at least 2".to_owned(), false)));
        assert_eq!(Target::AtMost(1.3).judged(1.31), Some(("at most 1.3".to_owned(), false)));
        assert_eq!(Target::None.judged(1.0), None);
    }

    #[test]
    fn each_subject_is_measured_once_and_those_at_qos_0_in_turns() {
        let measured = subjects(&all());
        let pairs: Vec<_> = measured.iter().filter(|together| together.len() == 2).collect();
        assert_eq!(pairs.len(), 1);
        assert!(pairs[0].iter().all(|subject| subject.work == Work::Unkept));
        let flat = measured.concat();
        for (index, subject) in flat.iter().enumerate() {
            assert!(!flat[..index].contains(subject), "{subject:?} is measured twice");
        }
        for row in all() {
            assert!(
                flat.contains(&row.first) && row.second.iter().all(|second| flat.contains(second)),
                "{}",
                row.title
            );
        }
    }

    #[test]
    fn a_repetition_has_all_subjects_in_an_order_of_its_own() {
        let measured = subjects(&all());
        let orders: Vec<_> = (1..=5).map(|repetition| Subject::shuffled(&measured, repetition)).collect();
        assert!(orders.iter().any(|order| *order != orders[0]));
        assert!(
            orders.iter().all(|order| order.len() == measured.len() && measured.iter().all(|one| order.contains(one)))
        );
    }
}

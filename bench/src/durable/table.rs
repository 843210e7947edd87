//! The figures with their targets, and the page.

use std::fmt::Write;

use wisp_lab::versions::Facts;
use wisp_report::statistics::median;
use wisp_report::table::Table;

use super::rows::Row;
use super::sample::Sample;

/// Figures are judged where a sync of the disk takes no longer.
const SYNC_US_MAX: f64 = 500.0;

/// The median over the repetitions of the figure, or of the ratio within each; None if no repetition has it.
fn figure(samples: &[Sample], row: &Row) -> Option<f64> {
    let last = samples.iter().map(|sample| sample.repetition).max()?;
    let of = |repetition| {
        let value = |subject| {
            let is_it = |sample: &&Sample| sample.is_of(subject) && sample.repetition == repetition;
            samples.iter().find(is_it).and_then(row.value)
        };
        let first = value(&row.first)?;
        row.second.as_ref().map_or(Some(first), |second| Some(first / value(second)?))
    };
    median(&(1..=last).filter_map(of).collect::<Vec<_>>())
}

fn titles<const COUNT: usize>(titles: [&str; COUNT]) -> [String; COUNT] {
    titles.map(str::to_owned)
}

/// The table of figures, the time of a sync, and the table of medians.
pub(super) fn text(rows: &[Row], samples: &[Sample], sync_us: f64) -> String {
    let mut figures = Table::new(titles(["1 KB, QoS 1, window 1000, sync always", "figure", "target", "result"]));
    for row in rows {
        let Some(figure) = figure(samples, row) else { continue };
        let judged = row.target.judged(figure);
        let result = match &judged {
            Some(_) if sync_us > SYNC_US_MAX => "not judged",
            Some((_, true)) => "reached",
            Some((_, false)) => "missed",
            None => "",
        };
        let target = judged.as_ref().map(|(target, _)| target.clone()).unwrap_or_default();
        figures.push([row.title.to_owned(), format!("{figure:.2}"), target, result.to_owned()]);
    }
    let slow = if sync_us > SYNC_US_MAX { ", too much to judge the figures" } else { "" };
    format!(
        "{figures}\nA sync of the disk takes {:.3} ms (fdatasync after 1 KB){slow}.\n\n{}",
        sync_us / 1e3,
        medians(samples)
    )
}

fn medians(samples: &[Sample]) -> Table {
    let mut table = Table::new(titles([
        "broker",
        "work",
        "messages a second",
        "us of processor each",
        "p50, us",
        "bytes to disk / payload",
    ]));
    let mut seen = Vec::new();
    for sample in samples {
        let name = (sample.title(), sample.work);
        if seen.contains(&name) {
            continue;
        }
        let of = |value: fn(&Sample) -> Option<f64>| {
            let same = samples.iter().filter(|one| (one.title(), one.work) == name);
            median(&same.filter_map(value).collect::<Vec<_>>())
        };
        let two_digits = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
        table.push([
            name.0.clone(),
            sample.work.to_string(),
            of(|sample| Some(sample.per_s)).map(|rate| format!("{rate:.0}")).unwrap_or_default(),
            two_digits(of(|sample| sample.cpu_us_each)),
            of(|sample| sample.p50_us).map(|us| format!("{us:.0}")).unwrap_or_default(),
            two_digits(of(|sample| sample.written_by_payload)),
        ]);
        seen.push(name);
    }
    table
}

/// The page of the results' folder.
pub(super) fn page(text: &str, repetitions: u32, facts: &Facts, date: &str) -> String {
    let mut page = format!(
        "# Durable messages, {date}\n\n\
         `make bench-durable`; medians of {repetitions} repetitions, in each of which all subjects were measured in another order, each\n\
         with a broker and a data folder of its own on the same disk. A ratio is the median of the ratios within each repetition. Wisp\n\
         synchronises before it acknowledges; mosquitto and JetStream have their defaults, which do not, unless a row says otherwise.\n\
         Broker and generator share the processors. At QoS 0 two brokers are measured in slices that alternate, by processor time.\n\n"
    );
    page.push_str(text);
    page.push('\n');
    for (name, value) in facts.machine.iter().chain(&facts.versions) {
        let _ = writeln!(page, "- {name}: {value}");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::rows;
    use crate::durable::subject::{Store, Subject, Work};
    use wisp_lab::broker::Broker;

    fn sample(broker: Broker, store: Store, work: Work, repetition: u32, per_s: f64) -> Sample {
        let (p50_us, disk_p50_us) = (Some(300.0), Some(200.0));
        Sample {
            broker,
            store,
            work,
            repetition,
            messages: 10,
            per_s,
            cpu_us_each: Some(1e6 / per_s),
            p50_us,
            disk_p50_us,
            written_by_payload: Some(1.4),
        }
    }

    #[test]
    fn figures_compare_within_repetitions_and_meet_their_targets() {
        let (durable, memory) = (Store::Durable, Store::Memory);
        let samples = [
            sample(Broker::Native, durable, Work::Away, 1, 100.0),
            sample(Broker::Mosquitto, durable, Work::Away, 1, 10.0),
            // The machine is slower in the second repetition.
            sample(Broker::Native, durable, Work::Away, 2, 40.0),
            sample(Broker::Mosquitto, durable, Work::Away, 2, 10.0),
            sample(Broker::Native, durable, Work::Away, 3, 70.0),
            sample(Broker::Mosquitto, durable, Work::Away, 3, 10.0),
            sample(Broker::Native, durable, Work::Unkept, 1, 97.0),
            sample(Broker::Native, memory, Work::Unkept, 1, 100.0),
            sample(Broker::Native, durable, Work::OneInFlight, 1, 1.0),
            sample(Broker::Native, durable, Work::Queue, 1, 1.0),
        ];
        let text_of = |sync_us| text(&rows::all(), &samples, sync_us);
        let fast = text_of(200.0);
        let line = |title: &str| fast.lines().find(|line| line.contains(title)).unwrap_or_else(|| panic!("{fast}"));
        for (title, figure, result) in [
            ("mosquitto with persistence", "7.00", "reached"),
            ("with a data folder / without", "0.97", "missed"),
            ("one in flight", "1.50", "reached"),
            ("bytes to disk / payload, ", "1.40", "missed"),
        ] {
            assert!(line(title).contains(figure) && line(title).contains(result), "{fast}");
        }
        assert!(!fast.contains("Wasmer"), "there is no row without samples: {fast}");
        assert!(fast.contains("0.200 ms"), "{fast}");
        let slow = text_of(501.0);
        assert!(slow.contains("not judged") && !slow.contains("reached") && !slow.contains("missed"), "{slow}");
    }

    #[test]
    fn samples_know_their_subject() {
        let one = sample(Broker::Native, Store::Durable, Work::Away, 1, 1.0);
        let subject = Subject { broker: Broker::Native, store: Store::Durable, work: Work::Away };
        assert!(one.is_of(&subject) && !one.is_of(&Subject { store: Store::Memory, ..subject }));
        assert_eq!(one.title(), "native, durable");
    }
}

//! The ratios with their targets, and the page.

use std::fmt::Write;

use wisp_lab::broker::{Broker, Transport};
use wisp_lab::versions::Facts;
use wisp_report::statistics::median;
use wisp_report::table::Table;

use crate::secure::sample::{Sample, Subject, Work};

/// A ratio: how many times as good the first subject is as the second.
struct Row {
    title: String,
    first: Subject,
    second: Subject,
    value: fn(&Sample) -> Option<f64>,
    /// At least this.
    target: f64,
}

/// Work for each second of processor time.
fn efficiency(sample: &Sample) -> Option<f64> {
    (sample.cpu_us_each > 0.0).then(|| 1e6 / sample.cpu_us_each)
}

/// Connections in a byte of memory.
fn thrift(sample: &Sample) -> Option<f64> {
    sample.bytes_each.filter(|bytes| *bytes > 0.0).map(|bytes| 1.0 / bytes)
}

fn rows() -> Vec<Row> {
    let native = |transport, work| Subject::new(Broker::Native, transport, work);
    let mosquitto = |transport, work| Subject::new(Broker::Mosquitto, transport, work);
    let (tcp, tls) = (Transport::Tcp, Transport::Tls);
    let (messages, full, resumed) = (Work::Messages, Work::FullHandshakes, Work::ResumedHandshakes);
    let row = |title: &str, first, second, value, target| Row { title: title.to_owned(), first, second, value, target };
    vec![
        row("TLS / plain", native(tls, messages), native(tcp, messages), efficiency, 0.5),
        row("TLS / mosquitto over TLS", native(tls, messages), mosquitto(tls, messages), efficiency, 6.0),
        row("WebSocket / plain", native(Transport::WebSocket, messages), native(tcp, messages), efficiency, 0.75),
        row("full handshakes / mosquitto's", native(tls, full), mosquitto(tls, full), efficiency, 1.5),
        row("resumed handshakes / mosquitto's full ones", native(tls, resumed), mosquitto(tls, full), efficiency, 3.0),
        row(
            "idle TLS connections in the same memory / mosquitto",
            native(tls, full),
            mosquitto(tls, full),
            thrift,
            3.0,
        ),
    ]
}

/// The median of the ratios within each repetition; None if no repetition has both.
fn ratio(samples: &[Sample], row: &Row) -> Option<f64> {
    let of = |subject: &Subject, repetition| {
        let sample = samples.iter().find(|sample| sample.is_of(subject) && sample.repetition == repetition);
        sample.and_then(row.value)
    };
    let last = samples.iter().map(|sample| sample.repetition).max()?;
    let ratios: Vec<_> =
        (1..=last).filter_map(|repetition| Some(of(&row.first, repetition)? / of(&row.second, repetition)?)).collect();
    median(&ratios)
}

fn titles<const COUNT: usize>(titles: [&str; COUNT]) -> [String; COUNT] {
    titles.map(str::to_owned)
}

/// The table of ratios, and the one of medians.
pub(super) fn text(samples: &[Sample]) -> String {
    let mut ratios = Table::new(titles(["for each second of the broker's processors", "ratio", "target", "result"]));
    for row in rows() {
        let Some(ratio) = ratio(samples, &row) else { continue };
        let verdict = if ratio >= row.target { "reached" } else { "missed" };
        ratios.push([row.title, format!("{ratio:.2}"), format!("at least {}", row.target), verdict.to_owned()]);
    }
    let mut medians =
        Table::new(titles(["broker", "transport", "work", "us of processor each", "a second", "bytes of memory each"]));
    let mut seen: Vec<Subject> = Vec::new();
    for sample in samples {
        let subject = Subject::new(sample.broker.clone(), sample.transport, sample.work);
        if seen.contains(&subject) {
            continue;
        }
        let all: Vec<_> = samples.iter().filter(|sample| sample.is_of(&subject)).collect();
        let middle = |value: fn(&Sample) -> f64| {
            median(&all.iter().map(|sample| value(sample)).collect::<Vec<_>>()).unwrap_or_default()
        };
        let bytes: Vec<_> = all.iter().filter_map(|sample| sample.bytes_each).collect();
        medians.push([
            sample.broker.title().to_owned(),
            sample.transport.to_string(),
            match sample.work {
                Work::Messages => "messages of 1 KB, (10,10), QoS 0",
                Work::FullHandshakes => "connections, full handshakes",
                Work::ResumedHandshakes => "connections, resumed handshakes",
            }
            .to_owned(),
            format!("{:.2}", middle(|sample| sample.cpu_us_each)),
            format!("{:.0}", middle(|sample| sample.per_s)),
            median(&bytes).map(|bytes| format!("{bytes:.0}")).unwrap_or_default(),
        ]);
        seen.push(subject);
    }
    format!("{ratios}\n{medians}")
}

/// The page of the results' folder.
pub(super) fn page(text: &str, samples: &[Sample], facts: &Facts, date: &str) -> String {
    let repetitions = samples.iter().map(|sample| sample.repetition).max().unwrap_or_default();
    let mut page = format!("# TLS and WebSocket, {date}\n\n");
    let _ =
        writeln!(page, "`make bench-secure`; medians of {repetitions} repetitions, in each of which all subjects were");
    let _ = writeln!(
        page,
        "measured in another order, each with a broker of its own. A ratio is the median of the ratios within"
    );
    let _ = writeln!(
        page,
        "each repetition. Rates are of broker and generator on the same processors, with the generator's own TLS.\n"
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

    fn sample(subject: &Subject, repetition: u32, cpu_us_each: f64, bytes_each: Option<f64>) -> Sample {
        let Subject { broker, transport, work } = subject.clone();
        let (workers, count, per_s) = (None, 1000, 10.0);
        Sample { broker, transport, work, repetition, workers, count, per_s, cpu_us_each, bytes_each }
    }

    #[test]
    fn ratios_compare_within_repetitions_and_meet_their_targets() {
        let plain = Subject::new(Broker::Native, Transport::Tcp, Work::Messages);
        let tls = Subject::new(Broker::Native, Transport::Tls, Work::Messages);
        let (ours, theirs) = [Broker::Native, Broker::Mosquitto]
            .map(|broker| Subject::new(broker, Transport::Tls, Work::FullHandshakes))
            .into();
        let samples = [
            sample(&plain, 1, 1.0, None),
            sample(&tls, 1, 2.5, None),
            // The machine is slower in the second repetition.
            sample(&plain, 2, 3.0, None),
            sample(&tls, 2, 5.0, None),
            sample(&plain, 3, 1.0, None),
            sample(&tls, 3, 1.25, None),
            sample(&ours, 1, 100.0, Some(10_000.0)),
            sample(&theirs, 1, 140.0, Some(40_000.0)),
        ];
        let text = text(&samples);
        let line = |title: &str| text.lines().find(|line| line.contains(title)).unwrap_or_else(|| panic!("{text}"));
        assert!(line("TLS / plain").contains("0.60") && line("TLS / plain").contains("reached"), "{text}");
        assert!(line("full handshakes / mosquitto's").contains("1.40"), "{text}");
        assert!(line("full handshakes / mosquitto's").contains("missed"), "{text}");
        assert!(line("idle TLS connections").contains("4.00"), "{text}");
        assert!(!text.contains("WebSocket / plain"), "there is no row without samples: {text}");
    }
}

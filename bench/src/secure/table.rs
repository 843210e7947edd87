//! The ratios with their targets, and the page.

use std::fmt::Write;

use wisp_lab::broker::{Broker, Transport};
use wisp_lab::versions::Facts;
use wisp_report::statistics::median;
use wisp_report::table::Table;

use super::rows::{self, Row};
use super::sample::{Sample, Subject, Work};

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
    for row in rows::all() {
        let Some(ratio) = ratio(samples, &row) else { continue };
        let verdict = row.target.map(|target| if ratio >= target { "reached" } else { "missed" });
        ratios.push([
            row.title.to_owned(),
            format!("{ratio:.2}"),
            row.target.map(|target| format!("at least {target}")).unwrap_or_default(),
            verdict.unwrap_or_default().to_owned(),
        ]);
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
                Work::MessagesWithRules => "the same with 1,000 rules, in turns",
                Work::MessagesWithoutRules => "the same without, in turns",
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
    let note = wasmer_note(samples).unwrap_or_default();
    format!("{ratios}{note}\n{medians}")
}

/// What makes TLS under Wasmer slower than natively: how much of a message's time is encryption. None without all samples.
fn wasmer_note(samples: &[Sample]) -> Option<String> {
    let us = |broker: Broker, transport| {
        let subject = Subject::new(broker, transport, Work::Messages);
        let times: Vec<_> =
            samples.iter().filter(|sample| sample.is_of(&subject)).map(|sample| sample.cpu_us_each).collect();
        median(&times)
    };
    let (tls, plain) = (us(Broker::Wasmer, Transport::Tls)?, us(Broker::Wasmer, Transport::Tcp)?);
    let (native_tls, native_plain) = (us(Broker::Native, Transport::Tls)?, us(Broker::Native, Transport::Tcp)?);
    Some(format!(
        "\nUnder Wasmer TLS adds {:.2} us to the {plain:.2} us of a message, natively {:.2} us to {native_plain:.2} us. The module \
         encrypts\nwith ChaCha20-Poly1305 in portable code; the native program has AES-GCM by the processor's own instructions.\n",
        tls - plain,
        native_tls - native_plain,
    ))
}

/// The page of the results' folder.
pub(super) fn page(text: &str, samples: &[Sample], facts: &Facts, date: &str) -> String {
    let repetitions = samples.iter().map(|sample| sample.repetition).max().unwrap_or_default();
    let mut page = format!("# TLS, WebSocket and access rules, {date}\n\n");
    let _ =
        writeln!(page, "`make bench-secure`; medians of {repetitions} repetitions, in each of which all subjects were");
    let _ = writeln!(
        page,
        "measured in another order, each with a broker of its own. A ratio is the median of the ratios within"
    );
    let _ = writeln!(
        page,
        "each repetition. Rates are of broker and generator on the same processors, with the generator's own TLS."
    );
    let _ = writeln!(page, "With and without access rules two brokers are measured in slices that alternate.\n");
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

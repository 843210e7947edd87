//! Tables of medians with their targets, from records.

use std::fmt::Write;

use wisp_lab::versions::Facts;
use wisp_report::statistics::median;
use wisp_report::table::{Table, thousands};

use crate::case::{Case, Figure, Section, Target};
use crate::cases::CASES;
use crate::peers::Peer;
use crate::record::Record;
use crate::subject::Kind;

pub(crate) const FILE: &str = "summary.md";

const INTRODUCTION: &str = "Each case attacks a broker that was started for it. The figures are medians over the repetitions; \
                            every run is a line of [results.jsonl](results.jsonl).";

/// The cases with their questions and targets.
pub(crate) fn list() -> String {
    let mut text = String::new();
    for case in CASES {
        let _ = writeln!(text, "{}\n    {}", case.name, case.question);
        for figure in case.figures {
            let _ = writeln!(text, "    {}: {}", figure.title, target(figure.target));
        }
    }
    text
}

/// One run in a line.
pub(crate) fn line(record: &Record) -> String {
    let figures = record.outcome.figures.iter().map(|(name, value)| format!("{name} {}", number(*value)));
    let figures = record.failure.clone().unwrap_or_else(|| figures.collect::<Vec<_>>().join(", "));
    format!("{} {}, {:.0} s: {figures}", record.case, record.broker, record.wall_s)
}

/// The page of a folder.
pub(crate) fn page(records: &[Record], facts: &Facts) -> String {
    let mut text = format!("# Isolation\n\n{INTRODUCTION}\n\n{}", tables(records));
    let mut versions: Vec<_> = records.iter().map(|record| (&record.broker, &record.version)).collect();
    versions.sort();
    versions.dedup();
    text += "\n## Versions\n\n";
    for (broker, version) in versions {
        let _ = writeln!(text, "- {broker}: {version}");
    }
    text += "\n## Machine\n\n";
    for (name, value) in &facts.machine {
        let _ = writeln!(text, "- {name}: {value}");
    }
    text
}

/// A table for each section of which there are records.
pub(crate) fn tables(records: &[Record]) -> String {
    let brokers: Vec<_> =
        Kind::ALL.into_iter().filter(|kind| records.iter().any(|record| record.broker == kind.name())).collect();
    let mut text = String::new();
    for section in Section::ALL {
        let is_here = |case: &&Case| case.section == section && records.iter().any(|record| record.case == case.name);
        let cases: Vec<_> = CASES.iter().filter(is_here).collect();
        if cases.is_empty() {
            continue;
        }
        let titles = ["case", "figure", "target"].into_iter().chain(brokers.iter().map(Kind::name)).chain(["verdict"]);
        let mut table = Table::new(titles.map(str::to_owned));
        for case in &cases {
            for figure in case.figures {
                table.push(row(case, figure, &brokers, records));
            }
        }
        let _ = writeln!(text, "## {}\n\n{table}", section.title());
        for case in &cases {
            let _ = writeln!(text, "- `{}`: {}", case.name, case.question);
        }
        text.push('\n');
    }
    text += &failures(records);
    text
}

fn row(case: &Case, figure: &Figure, brokers: &[Kind], records: &[Record]) -> Vec<String> {
    let value = |kind: &Kind| value_of(case, figure, kind, records);
    let cells = brokers.iter().map(|kind| value(kind).map_or_else(|| "-".to_owned(), number));
    let verdict = verdicts(case, figure, brokers, records);
    [case.name.to_owned(), figure.title.to_owned(), target(figure.target)]
        .into_iter()
        .chain(cells)
        .chain([verdict])
        .collect()
}

/// The median over the runs of a broker that have the figure.
fn value_of(case: &Case, figure: &Figure, kind: &Kind, records: &[Record]) -> Option<f64> {
    let values: Vec<_> =
        runs(case, kind, records).filter_map(|record| record.outcome.figures.get(figure.name).copied()).collect();
    median(&values)
}

fn runs<'a>(case: &Case, kind: &Kind, records: &'a [Record]) -> impl Iterator<Item = &'a Record> {
    records.iter().filter(move |record| record.case == case.name && record.broker == kind.name())
}

/// Whether each host of Wisp meets the target; one word if they agree.
fn verdicts(case: &Case, figure: &Figure, brokers: &[Kind], records: &[Record]) -> String {
    if figure.target == Target::None {
        return String::new();
    }
    let hosts: Vec<_> = brokers.iter().filter(|kind| matches!(kind, Kind::Wisp(_))).collect();
    let of_hosts: Vec<_> = hosts.iter().map(|host| verdict(case, figure, host, records)).collect();
    match of_hosts.split_first() {
        None => "not measured".to_owned(),
        Some((first, rest)) if rest.iter().all(|other| other == first) => (*first).to_owned(),
        Some(_) => {
            let named = hosts.iter().zip(&of_hosts).map(|(host, verdict)| format!("{}: {verdict}", host.name()));
            named.collect::<Vec<_>>().join(", ")
        }
    }
}

fn verdict(case: &Case, figure: &Figure, host: &Kind, records: &[Record]) -> &'static str {
    // A broker that a run ends, or that ends a run's clients, has not held its target.
    if runs(case, host, records).any(|record| record.failure.is_some()) {
        return "not met";
    }
    let Some(value) = value_of(case, figure, host, records) else { return "not measured" };
    let mosquitto = || value_of(case, figure, &Kind::Peer(Peer::Mosquitto), records);
    let is_met = match figure.target {
        Target::AtMost(bound) => Some(value <= bound),
        Target::AtLeast(bound) => Some(value >= bound),
        Target::AtMostMosquitto(factor) => mosquitto().map(|other| value <= factor * other),
        Target::None => None,
    };
    match is_met {
        Some(true) => "met",
        Some(false) => "not met",
        None => "not measured",
    }
}

/// Runs without figures.
fn failures(records: &[Record]) -> String {
    let mut lines: Vec<_> = records
        .iter()
        .filter_map(|record| Some(format!("- `{}`, {}: {}", record.case, record.broker, record.failure.as_ref()?)))
        .collect();
    lines.dedup();
    if lines.is_empty() { String::new() } else { format!("Runs without figures:\n\n{}\n", lines.join("\n")) }
}

fn target(target: Target) -> String {
    match target {
        Target::AtMost(bound) => format!("at most {}", number(bound)),
        Target::AtLeast(bound) => format!("at least {}", number(bound)),
        Target::AtMostMosquitto(factor) => format!("at most {} of mosquitto's", number(factor)),
        Target::None => String::new(),
    }
}

/// A figure with three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => thousands(value),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    fn case_with(wanted: impl Fn(Target) -> bool) -> (&'static Case, &'static Figure) {
        let found =
            CASES.iter().find_map(|case| Some((case, case.figures.iter().find(|figure| wanted(figure.target))?)));
        found.expect("there is a case with such a target")
    }

    #[test]
    fn a_target_is_met_by_the_median() {
        let (case, figure) = case_with(|target| matches!(target, Target::AtMost(_)));
        let Target::AtMost(bound) = figure.target else { unreachable!("it was looked for") };
        let of = |values: &[f64]| -> Vec<_> {
            values.iter().map(|value| record(case.name, "wisp", figure.name, *value)).collect()
        };
        let wisp = [Kind::ALL[0].clone()];
        assert_eq!(verdicts(case, figure, &wisp, &of(&[bound, bound, bound + 9.0])), "met");
        assert_eq!(verdicts(case, figure, &wisp, &of(&[bound, bound + 1.0, bound + 9.0])), "not met");
        assert_eq!(verdicts(case, figure, &wisp, &[]), "not measured");
        let mut failed = of(&[bound, bound, bound]);
        failed[1].failure = Some("it died".to_owned());
        assert_eq!(verdicts(case, figure, &wisp, &failed), "not met");
        assert!(tables(&failed).contains("it died"));
    }

    #[test]
    fn a_target_by_mosquitto_needs_its_figure() {
        let (case, figure) = case_with(|target| matches!(target, Target::AtMostMosquitto(_)));
        let Target::AtMostMosquitto(factor) = figure.target else { unreachable!("it was looked for") };
        let wisp = [Kind::ALL[0].clone()];
        let mut records = vec![record(case.name, "wisp", figure.name, 10.0 * factor)];
        assert_eq!(verdicts(case, figure, &wisp, &records), "not measured");
        records.push(record(case.name, "mosquitto", figure.name, 10.0));
        assert_eq!(verdicts(case, figure, &wisp, &records), "met");
        records[1].outcome.figures.insert(figure.name.to_owned(), 9.0);
        assert_eq!(verdicts(case, figure, &wisp, &records), "not met");
    }

    #[test]
    fn hosts_that_differ_are_named() {
        let (case, figure) = case_with(|target| matches!(target, Target::AtMost(_)));
        let Target::AtMost(bound) = figure.target else { unreachable!("it was looked for") };
        let records =
            [record(case.name, "wisp", figure.name, bound), record(case.name, "wasmer", figure.name, bound + 1.0)];
        let hosts = [Kind::ALL[0].clone(), Kind::ALL[1].clone()];
        assert_eq!(verdicts(case, figure, &hosts, &records), "wisp: met, wasmer: not met");
        let page = page(&records, &Facts::default());
        assert!(page.contains(case.question) && page.contains("wisp: met") && page.contains("1.2.3"), "{page}");
    }

    #[test]
    fn figures_have_three_digits() {
        let texts = [0.01234, 1.234, 12.34, 123_456.7, 5.0].map(number);
        assert_eq!(texts, ["0.012", "1.23", "12.3", "123,457", "5"]);
    }
}

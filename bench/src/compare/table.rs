//! The result of a comparison in words: a line for each pair, the table, the page and the status.

use std::fmt::Write;

use super::paired::{PAIRS_MAX, Paired, SPREAD_MAX, Verdict};
use super::sample::Sample;
use wisp_lab::versions::Facts;
use wisp_report::statistics::has_quartiles;
use wisp_report::table::{Table, thousands};

/// The status if a median is above the bound, which is also that of lost messages.
const ABOVE: u8 = 1;
/// The status if a comparison is not resolved.
const NOT_RESOLVED: u8 = 3;

/// One comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// The compared case.
    pub title: String,
    /// The unit of the values.
    pub unit: &'static str,
    /// The values, of which less is better.
    pub values: Paired,
    /// Messages a second, where there are any.
    pub rate: Option<Paired>,
    /// The result; None where the values are shown for information.
    pub verdict: Option<Verdict>,
}

impl Line {
    /// A comparison without values.
    #[must_use]
    pub fn new(title: String, unit: &'static str) -> Self {
        Self { title, unit, values: Paired::default(), rate: None, verdict: None }
    }
}

/// The line printed after each pair.
pub(super) fn progress(title: &str, cpu_ns: &Paired, this: &Sample, other: &Sample) -> String {
    let ratio = this.cpu_ns_per_message() / other.cpu_ns_per_message();
    let median = cpu_ns.ratios().map(|ratios| format!(", median {:.3}", ratios.median)).unwrap_or_default();
    format!(
        "{title} pair {:>2}: {:>6} / {:>6} ns a message = {ratio:.3}{median}; {} / {} msg/s",
        cpu_ns.count(),
        thousands(this.cpu_ns_per_message()),
        thousands(other.cpu_ns_per_message()),
        thousands(this.messages_per_s()),
        thousands(other.messages_per_s()),
    )
}

/// The table, with the verdict on all lines below it.
#[must_use]
pub fn text(lines: &[Line]) -> String {
    let titles = ["this / other", "pairs", "this", "other", "unit", "ratio", "quartiles", "msg/s, ratio", "result"];
    let mut table = Table::new(titles.map(str::to_owned));
    for line in lines {
        let (this, other) = line.values.medians().unwrap_or((f64::NAN, f64::NAN));
        let ratios = line.values.ratios();
        let quartiles = ratios.map(|ratios| {
            let (low, high) = ratios.range();
            let few = if has_quartiles(ratios.count) { "" } else { " (all)" };
            format!("{low:.3} to {high:.3}{few}")
        });
        let rate = line.rate.as_ref().and_then(|rate| {
            let (this, _) = rate.medians()?;
            Some(format!("{}, {:.3}", thousands(this), rate.ratios()?.median))
        });
        table.push([
            line.title.clone(),
            line.values.count().to_string(),
            thousands(this),
            thousands(other),
            line.unit.to_owned(),
            ratios.map(|ratios| format!("{:.3}", ratios.median)).unwrap_or_default(),
            quartiles.unwrap_or_default(),
            rate.unwrap_or_default(),
            line.verdict.map(word).unwrap_or_default().to_owned(),
        ]);
    }
    let mut text = table.to_string();
    if let Some(mean) = mean_ratio(lines) {
        write!(text, "\nGeometric mean of the resolved ratios: {mean:.3}.").expect("texts can be written to");
    }
    let count = |wanted: Verdict| lines.iter().filter(|line| line.verdict == Some(wanted)).count();
    let judged = lines.iter().filter(|line| line.verdict.is_some()).count();
    write!(text, "\n{} of {judged} within the bound", count(Verdict::Within)).expect("texts can be written to");
    for (verdict, words) in [(Verdict::Above, "above it"), (Verdict::NotResolved, "not resolved")] {
        if count(verdict) > 0 {
            write!(text, ", {} {words}", count(verdict)).expect("texts can be written to");
        }
    }
    text + ".\n"
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Within => "within",
        Verdict::Above => "ABOVE",
        Verdict::NotResolved => "not resolved",
        Verdict::MorePairs => "unfinished",
    }
}

/// The geometric mean of the medians of all resolved comparisons.
fn mean_ratio(lines: &[Line]) -> Option<f64> {
    let is_resolved = |line: &&Line| matches!(line.verdict, Some(Verdict::Within | Verdict::Above));
    let logarithms: Vec<f64> =
        lines.iter().filter(is_resolved).filter_map(|line| Some(line.values.ratios()?.median.ln())).collect();
    (!logarithms.is_empty()).then(|| (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp())
}

/// The page for a folder of results.
#[must_use]
pub fn page(title: &str, text: &str, facts: &Facts, date: &str) -> String {
    let mut page = format!(
        "# {title}: two builds compared, {date}\n\n\
         This build and the other one were measured in pairs, alternating, by the same generator. A ratio is this build's value divided by \
         the other's within a pair; the table has the median and the quartiles of the ratios. A comparison is resolved when both quartiles are within {:.0} % of the median, and given up after \
         {PAIRS_MAX} pairs. Every sample: [results.jsonl](results.jsonl).\n\n{text}",
        SPREAD_MAX * 100.0
    );
    for (title, facts) in [("Versions", &facts.versions), ("Machine", &facts.machine)] {
        write!(page, "\n## {title}\n\n").expect("texts can be written to");
        for (name, value) in facts {
            writeln!(page, "- {name}: {value}").expect("texts can be written to");
        }
    }
    page
}

/// The status to end with.
#[must_use]
pub fn status(lines: &[Line]) -> u8 {
    let has = |wanted: Verdict| lines.iter().any(|line| line.verdict == Some(wanted));
    if has(Verdict::Above) {
        ABOVE
    } else if has(Verdict::NotResolved) {
        NOT_RESOLVED
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(title: &str, ratios: &[f64], verdict: Option<Verdict>) -> Line {
        let (mut values, mut rate) = (Paired::default(), Paired::default());
        for ratio in ratios {
            values.push(1000.0 * ratio, 1000.0);
            rate.push(2e6, 1e6);
        }
        Line { title: title.to_owned(), unit: "ns a message", values, rate: Some(rate), verdict }
    }

    #[test]
    fn the_table_has_medians_quartiles_and_results() {
        let lines = [
            line("native QoS 0 (1,1)", &[0.98, 0.99, 1.0, 1.01, 1.02], Some(Verdict::Within)),
            line("native QoS 1 (1,1)", &[1.1, 1.1, 1.1], Some(Verdict::Above)),
            Line { rate: None, unit: "bytes", ..line("idle", &[0.5], None) },
        ];
        let expected = "\
| this / other       | pairs |  this | other |         unit | ratio |            quartiles |     msg/s, ratio | result |
|--------------------|------:|------:|------:|-------------:|------:|---------------------:|-----------------:|-------:|
| native QoS 0 (1,1) |     5 | 1,000 | 1,000 | ns a message | 1.000 |       0.990 to 1.010 | 2,000,000, 2.000 | within |
| native QoS 1 (1,1) |     3 | 1,100 | 1,000 | ns a message | 1.100 | 1.100 to 1.100 (all) | 2,000,000, 2.000 |  ABOVE |
| idle               |     1 |   500 | 1,000 |        bytes | 0.500 | 0.500 to 0.500 (all) |                  |        |

Geometric mean of the resolved ratios: 1.049.
1 of 2 within the bound, 1 above it.
";
        assert_eq!(text(&lines), expected);
    }

    #[test]
    fn the_status_tells_the_worst_result() {
        let of = |verdicts: &[Verdict]| {
            status(&verdicts.iter().map(|verdict| line("", &[1.0], Some(*verdict))).collect::<Vec<_>>())
        };
        assert_eq!(of(&[Verdict::Within, Verdict::Within]), 0);
        assert_eq!(of(&[Verdict::Within, Verdict::NotResolved]), 3);
        assert_eq!(of(&[Verdict::NotResolved, Verdict::Above]), 1);
        assert_eq!(status(&[line("", &[2.0], None)]), 0);
    }

    #[test]
    fn a_comparison_that_is_not_resolved_is_told_as_that() {
        let text = text(&[line("a", &[0.5, 1.0, 1.5], Some(Verdict::NotResolved))]);
        assert!(
            text.contains("| not resolved |") && text.contains("0 of 1 within the bound, 1 not resolved."),
            "{text}"
        );
        assert!(!text.contains("Geometric"), "{text}");
    }

    #[test]
    fn the_page_has_the_table_and_the_machine() {
        let facts = Facts { machine: vec![("memory", "1 GiB".to_owned())], versions: vec![("wisp", "1".to_owned())] };
        let page = page("Forwarding", "| table |\n", &facts, "2026-01-31");
        for part in ["2026-01-31", "| table |", "within 3 %", "- memory: 1 GiB", "- wisp: 1"] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}

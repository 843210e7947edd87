//! What is said about the samples: the tables for the terminal, and the page with all that they depend on.

use std::fmt::Write;

use crate::broker::{Broker, MOSQUITTO_SETTINGS};
use crate::goals::{GOALS, Goal};
use crate::machine::Facts;
use crate::plan::{Plan, Point, SIZE_BYTES};
use crate::statistics::{Sample, median, rates, ratio};
use crate::table::{Table, thousands};

/// The tables, with a line about the goals.
#[must_use]
pub fn tables(plan: &Plan, samples: &[Sample]) -> String {
    let times = plan.repetitions;
    let mut text = format!("Messages per second, median of {times}:\n\n{}\n", rate_table(plan, samples, &middle));
    if times > 1 {
        let ranges = rate_table(plan, samples, &range);
        write!(text, "Lowest and highest:\n\n{ranges}\n").expect("texts can be written to");
    }
    if let Some(ratios) = ratio_table(plan, samples) {
        write!(text, "How many times as fast, median of the ratios within each repetition:\n\n{ratios}")
            .expect("texts can be written to");
        let (reached, set) = goals_reached(plan, samples);
        if set > 0 {
            write!(text, "\n{reached} of {set} goals reached.\n").expect("texts can be written to");
        }
    }
    text
}

/// The whole page.
#[must_use]
pub fn page(plan: &Plan, samples: &[Sample], facts: &Facts, date: &str) -> String {
    let list =
        |facts: &[(&str, String)]| facts.iter().map(|(name, value)| format!("- {name}: {value}\n")).collect::<String>();
    let Plan { messages, repetitions, .. } = plan;
    let mut text = format!(
        "# Forwarding at QoS 0, {date}\n\n\
         {} messages of {SIZE_BYTES} bytes from senders to receivers over loopback, the load generator on the same machine, \
         (senders, receivers) as in the heads of the columns. Each message goes to one receiver, which checks that \
         all come once and in order; they did, in every sample.\n\n{}\n\
         ## How\n\n```\n{}\n```\n\n\
         {repetitions} repetitions; in each, all brokers take turns at a point before the next point comes, every time in \
         another order. Each sample has a broker of its own, which first forwards {} messages unmeasured. Every sample with \
         its settings: [results.jsonl](results.jsonl).\n\n",
        thousands(*messages as f64),
        tables(plan, samples),
        plan.command(),
        thousands(plan.warm_up_messages() as f64),
    );
    for &broker in &plan.brokers {
        writeln!(text, "- {}", how(broker, plan.workers)).expect("texts can be written to");
    }
    write!(text, "\n## Versions\n\n{}\n## Machine\n\n{}", list(&facts.versions), list(&facts.machine))
        .expect("texts can be written to");
    text
}

/// How a broker was run.
fn how(broker: Broker, workers: usize) -> String {
    let title = broker.title();
    match (broker.workers(workers), broker.wasm_host()) {
        (None, _) => {
            let settings = MOSQUITTO_SETTINGS.map(|line| format!("`{line}`")).join(", ");
            format!("{title}: one thread, which is all it has, and set so that it drops nothing: {settings}")
        }
        (Some(workers), None) => format!("{title}: `wisp-broker --workers {workers}`"),
        (Some(workers), Some(_)) => {
            format!("{title}: `wasm-targets/{broker}/run ... --workers {workers}`, the module compiled ahead of time")
        }
    }
}

fn titles(first: &str, points: &[Point]) -> Table {
    Table::new([first.to_owned()].into_iter().chain(points.iter().map(|point| point.title())))
}

fn rate_table(plan: &Plan, samples: &[Sample], cell: &dyn Fn(&[f64]) -> String) -> Table {
    let mut table = titles("broker", &plan.points);
    for &broker in &plan.brokers {
        let cells = plan.points.iter().map(|&point| cell(&rates(samples, broker, point)));
        table.push([broker.title().to_owned()].into_iter().chain(cells));
    }
    table
}

fn middle(rates: &[f64]) -> String {
    median(rates).map(thousands).unwrap_or_default()
}

fn range(rates: &[f64]) -> String {
    let lowest = rates.iter().copied().min_by(f64::total_cmp);
    let highest = rates.iter().copied().max_by(f64::total_cmp);
    let range = lowest.zip(highest).map(|(low, high)| format!("{} to {}", thousands(low), thousands(high)));
    range.unwrap_or_default()
}

/// None when no two brokers that a goal is about were measured.
fn ratio_table(plan: &Plan, samples: &[Sample]) -> Option<Table> {
    let goals: Vec<_> = goals_of(plan).collect();
    if goals.is_empty() {
        return None;
    }
    let mut table = titles("compared", &plan.points);
    for goal in goals {
        let cells = plan.points.iter().map(|&point| ratio_cell(goal, point, samples));
        table.push([goal.title()].into_iter().chain(cells));
    }
    Some(table)
}

fn ratio_cell(goal: &Goal, point: Point, samples: &[Sample]) -> String {
    let Some(ratio) = ratio(samples, goal.broker, goal.base, point) else {
        return String::new();
    };
    // Ratios between builds of Wisp are below one.
    let digits = if goal.base == Broker::Mosquitto { 1 } else { 2 };
    match goal.at(point) {
        None => format!("{ratio:.digits$}"),
        Some(at_least) => {
            let verdict = if ratio >= at_least { "reached" } else { "MISSED" };
            format!("{ratio:.digits$} (goal {at_least:.digits$}: {verdict})")
        }
    }
}

fn goals_of(plan: &Plan) -> impl Iterator<Item = &'static Goal> {
    GOALS.iter().filter(|goal| plan.brokers.contains(&goal.broker) && plan.brokers.contains(&goal.base))
}

/// How many goals were reached, and how many there are for what was measured.
fn goals_reached(plan: &Plan, samples: &[Sample]) -> (usize, usize) {
    let (mut reached, mut set) = (0, 0);
    for goal in goals_of(plan) {
        for &point in &plan.points {
            if let (Some(at_least), Some(ratio)) = (goal.at(point), ratio(samples, goal.broker, goal.base, point)) {
                set += 1;
                reached += usize::from(ratio >= at_least);
            }
        }
    }
    (reached, set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::tests::{POINT, sample};

    fn measured(native: f64, point: Point) -> (Plan, Vec<Sample>) {
        let plan = Plan {
            brokers: vec![Broker::Native, Broker::Mosquitto],
            points: vec![point],
            messages: 1000,
            repetitions: 2,
            workers: 2,
        };
        let samples =
            [(Broker::Native, 1, native), (Broker::Mosquitto, 1, 100_000.0), (Broker::Native, 2, 2.0 * native)]
                .into_iter()
                .chain([(Broker::Mosquitto, 2, 200_000.0)])
                .map(|(broker, repetition, rate)| {
                    let mut sample = sample(broker, repetition, rate);
                    (sample.report.senders, sample.report.receivers) = (point.senders, point.receivers);
                    sample
                });
        (plan, samples.collect())
    }

    #[test]
    fn tables_have_medians_ranges_and_goals() {
        let (plan, samples) = measured(900_000.0, Point::new(1, 1));
        let expected = "\
Messages per second, median of 2:

| broker    |     (1,1) |
|-----------|----------:|
| native    | 1,350,000 |
| mosquitto |   150,000 |

Lowest and highest:

| broker    |                (1,1) |
|-----------|---------------------:|
| native    | 900,000 to 1,800,000 |
| mosquitto |   100,000 to 200,000 |

How many times as fast, median of the ratios within each repetition:

| compared           |                   (1,1) |
|--------------------|------------------------:|
| native / mosquitto | 9.0 (goal 9.0: reached) |

1 of 1 goals reached.
";
        assert_eq!(tables(&plan, &samples), expected);
    }

    #[test]
    fn a_missed_goal_is_said_loudly() {
        let (plan, samples) = measured(899_000.0, Point::new(1, 1));
        let text = tables(&plan, &samples);
        assert!(text.contains("(goal 9.0: MISSED)") && text.contains("0 of 1 goals"), "{text}");
    }

    #[test]
    fn points_without_goals_have_ratios_alone() {
        let (plan, samples) = measured(250_000.0, POINT);
        let text = tables(&plan, &samples);
        assert!(text.contains(" 2.5 |") && !text.contains("goal"), "{text}");
    }

    #[test]
    fn without_a_base_there_are_no_ratios() {
        let (mut plan, mut samples) = measured(1.0, POINT);
        plan.brokers.pop();
        samples.retain(|sample| sample.broker == Broker::Native);
        let text = tables(&plan, &samples);
        assert!(!text.contains("goal") && !text.contains("mosquitto"), "{text}");
    }

    #[test]
    fn the_page_says_what_the_figures_depend_on() {
        let (plan, samples) = measured(900_000.0, POINT);
        let facts = Facts { machine: vec![("memory", "1 GiB".to_owned())], versions: vec![("wisp", "1".to_owned())] };
        let page = page(&plan, &samples, &facts, "2026-01-31");
        for part in ["2026-01-31", "- memory: 1 GiB", "- wisp: 1", "max_queued_messages 0", "--workers 2", "3x5"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("Wasm"), "{page}");
    }
}

//! The summary of the samples: tables for the terminal, and the page with all circumstances.

use std::fmt::Write;

use crate::baseline::Baseline;
use crate::goals::{GOALS, Goal, OF_RECORDED};
use crate::plan::{Case, Plan, Point, SIZE_BYTES};
use crate::statistics::{Rate, Sample, rates_of, ratio};
use wisp_lab::broker::{Broker, MOSQUITTO_SETTINGS, RUMQTTD_SETTINGS};
use wisp_lab::versions::Facts;
use wisp_report::statistics::median;
use wisp_report::table::{Table, thousands};

/// The content of the tables.
struct Figures<'a> {
    plan: &'a Plan,
    rates: Vec<Rate>,
    baseline: Option<&'a Baseline>,
}

/// The tables of each QoS, with a line about the goals.
#[must_use]
pub fn tables(plan: &Plan, samples: &[Sample], baseline: Option<&Baseline>) -> String {
    let figures = Figures { plan, rates: samples.iter().map(Sample::rate).collect(), baseline };
    let mut tally = Tally::default();
    let mut text = String::new();
    for &qos in &plan.qos {
        text += &figures.of_level(qos, &mut tally);
    }
    let Tally { reached, set } = tally;
    if set > 0 {
        writeln!(text, "{reached} of {set} goals reached.").expect("texts can be written to");
    }
    text
}

/// The whole page.
#[must_use]
pub fn page(plan: &Plan, samples: &[Sample], baseline: Option<&Baseline>, facts: &Facts, date: &str) -> String {
    let list =
        |facts: &[(&str, String)]| facts.iter().map(|(name, value)| format!("- {name}: {value}\n")).collect::<String>();
    let mut text = format!(
        "# Forwarding, {date}\n\n\
         Messages of {SIZE_BYTES} bytes from senders to receivers over loopback, the load generator on the same machine, \
         (senders, receivers) as in the heads of the columns. Each message goes to one receiver, which checks that \
         all come once and in order; they did, in every sample. At QoS 1 and 2 each sender has at most {} messages that are \
         not acknowledged, and everybody acknowledges at once.\n\n{}\n\n\
         ## How\n\n```\n{}\n```\n\n\
         {} repetitions; in each, all brokers take turns at a point before the next point comes, every time in \
         another order. Each sample has a broker of its own, which first forwards a twentieth as many messages unmeasured. \
         Every sample with its settings: [results.jsonl](results.jsonl).\n\n",
        thousands(plan.window.into()),
        tables(plan, samples, baseline).trim_end(),
        plan.command(),
        plan.repetitions,
    );
    for broker in &plan.brokers {
        writeln!(text, "- {}", how(broker, plan.workers)).expect("texts can be written to");
    }
    write!(text, "\n## Versions\n\n{}\n## Machine\n\n{}", list(&facts.versions), list(&facts.machine))
        .expect("texts can be written to");
    text
}

/// How a broker was run.
fn how(broker: &Broker, workers: usize) -> String {
    let title = broker.title();
    match (broker.workers(workers), broker.wasm_host()) {
        (None, _) if *broker == Broker::Rumqttd => {
            let settings = RUMQTTD_SETTINGS.map(|(key, value)| format!("`{key} = {value}`")).join(", ");
            format!(
                "{title}: with as many threads as it starts, and set so that its log holds more than a sample, since what the \
                 log cannot hold is dropped: {settings}"
            )
        }
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

/// Goals reached, and goals set for the measured cases.
#[derive(Default)]
struct Tally {
    reached: usize,
    set: usize,
}

impl Tally {
    /// A ratio as a cell says it, with its goal if there is one, which is counted.
    fn cell(&mut self, ratio: Option<f64>, at_least: Option<f64>, digits: usize) -> String {
        let Some(ratio) = ratio else {
            return String::new();
        };
        let Some(at_least) = at_least else {
            return format!("{ratio:.digits$}");
        };
        let is_reached = ratio >= at_least;
        self.set += 1;
        self.reached += usize::from(is_reached);
        let verdict = if is_reached { "reached" } else { "MISSED" };
        format!("{ratio:.digits$} (goal {at_least:.digits$}: {verdict})")
    }
}

impl Figures<'_> {
    /// The tables of a QoS.
    fn of_level(&self, qos: u8, tally: &mut Tally) -> String {
        let (messages, times) = (thousands(self.plan.messages(qos) as f64), self.plan.repetitions);
        let mut text = format!(
            "## QoS {qos}\n\n{messages} messages. Messages per second, median of {times}:\n\n{}\n",
            self.rate_table(qos, &middle)
        );
        let mut add = |title: &str, table: Table| {
            write!(text, "{title}:\n\n{table}\n").expect("texts can be written to");
        };
        if times > 1 {
            add("Lowest and highest", self.rate_table(qos, &range));
        }
        if let Some(ratios) = self.ratio_table(qos, tally) {
            add("How many times as fast, median of the ratios within each repetition", ratios);
        }
        if let Some((name, kept)) = self.kept_table(qos, tally) {
            add(&format!("How many times as fast as mosquitto, as a share of the same in {name}"), kept);
        }
        text
    }

    fn table(&self, first: &str) -> Table {
        let points = self.plan.points.iter().map(|point| point.title());
        Table::new([first.to_owned()].into_iter().chain(points))
    }

    fn rate_table(&self, qos: u8, cell: &dyn Fn(&[f64]) -> String) -> Table {
        let mut table = self.table("broker");
        for broker in self.plan.brokers_at(qos) {
            let cell = |&point: &Point| cell(&rates_of(&self.rates, &broker, Case { qos, point }));
            table.push([broker.title().to_owned()].into_iter().chain(self.plan.points.iter().map(cell)));
        }
        table
    }

    /// None when no two brokers that a goal is about were measured.
    fn ratio_table(&self, qos: u8, tally: &mut Tally) -> Option<Table> {
        let measured = self.plan.brokers_at(qos);
        let is_of = |goal: &&Goal| goal.qos == qos && measured.contains(&goal.broker) && measured.contains(&goal.base);
        let goals: Vec<_> = GOALS.iter().filter(is_of).collect();
        if goals.is_empty() {
            return None;
        }
        let mut table = self.table("compared");
        for goal in goals {
            // Ratios between builds of Wisp are below one.
            let digits = if goal.base.is_wisp() { 2 } else { 1 };
            let cell = |&point: &Point| {
                let ratio = ratio(&self.rates, &goal.broker, &goal.base, Case { qos, point });
                tally.cell(ratio, goal.at(point), digits)
            };
            table.push([goal.title()].into_iter().chain(self.plan.points.iter().map(cell)));
        }
        Some(table)
    }

    /// The share that is left of the recorded ratios to mosquitto, with the name of their run. Recorded ratios are of
    /// QoS 0. None if none of them was measured again.
    fn kept_table(&self, qos: u8, tally: &mut Tally) -> Option<(&str, Table)> {
        let baseline = self.baseline.filter(|_| qos == 0)?;
        let kept = |broker: &Broker, point| {
            let case = Case { qos, point };
            Some(ratio(&self.rates, broker, &Broker::Mosquitto, case)? / baseline.ratio(broker, case)?)
        };
        let mut table = self.table("broker");
        let mut is_empty = true;
        for broker in self.plan.brokers_at(qos).into_iter().filter(Broker::is_wisp) {
            let kept: Vec<_> = self.plan.points.iter().map(|&point| kept(&broker, point)).collect();
            if kept.iter().any(Option::is_some) {
                is_empty = false;
                let cells = kept.into_iter().map(|kept| tally.cell(kept, Some(OF_RECORDED), 2));
                table.push([broker.title().to_owned()].into_iter().chain(cells));
            }
        }
        (!is_empty).then_some((baseline.name.as_str(), table))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::tests::recorded;
    use crate::statistics::tests::{CASE, sample};

    const ONE: Case = Case { qos: 0, point: Point::new(1, 1) };

    fn measured(native: f64, case: Case) -> (Plan, Vec<Sample>) {
        let plan = Plan {
            brokers: vec![Broker::Native, Broker::Mosquitto],
            qos: vec![case.qos],
            points: vec![case.point],
            count: Some(1000),
            window: 7,
            repetitions: 2,
            workers: 2,
        };
        let samples =
            [(Broker::Native, 1, native), (Broker::Mosquitto, 1, 100_000.0), (Broker::Native, 2, 2.0 * native)]
                .into_iter()
                .chain([(Broker::Mosquitto, 2, 200_000.0)])
                .map(|(broker, repetition, rate)| {
                    let mut sample = sample(broker, repetition, rate);
                    (sample.report.senders, sample.report.receivers) = (case.point.senders, case.point.receivers);
                    sample.report.qos = case.qos;
                    sample
                });
        (plan, samples.collect())
    }

    #[test]
    fn tables_have_medians_ranges_and_goals() {
        let (plan, samples) = measured(900_000.0, ONE);
        let baseline = recorded(Broker::Native, ONE, 12.0);
        let expected = "\
## QoS 0

1,000 messages. Messages per second, median of 2:

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

How many times as fast as mosquitto, as a share of the same in 2026-01-01-smoke:

| broker |                    (1,1) |
|--------|-------------------------:|
| native | 0.75 (goal 0.90: MISSED) |

1 of 2 goals reached.
";
        assert_eq!(tables(&plan, &samples, Some(&baseline)), expected);
    }

    #[test]
    fn a_missed_goal_is_said_loudly() {
        let (plan, samples) = measured(899_000.0, ONE);
        let text = tables(&plan, &samples, None);
        assert!(text.contains("(goal 9.0: MISSED)") && text.contains("0 of 1 goals"), "{text}");
    }

    #[test]
    fn each_level_has_its_own_goals() {
        let case = Case { qos: 1, ..ONE };
        let (plan, samples) = measured(950_000.0, case);
        let baseline = recorded(Broker::Native, case, 12.0);
        let text = tables(&plan, &samples, Some(&baseline));
        assert!(text.contains("## QoS 1\n") && text.contains("9.5 (goal 10.0: MISSED)"), "{text}");
        assert!(!text.contains(&baseline.name), "what was recorded at QoS 1 sets no goal: {text}");
        let plan = Plan { qos: vec![0, 1], ..plan };
        let text = tables(&plan, &samples, None);
        assert!(text.contains("## QoS 0\n") && text.contains("0 of 1 goals"), "{text}");
    }

    #[test]
    fn points_without_goals_have_ratios_alone() {
        let (plan, samples) = measured(250_000.0, CASE);
        let text = tables(&plan, &samples, None);
        assert!(text.contains(" 2.5 |") && !text.contains("goal"), "{text}");
    }

    #[test]
    fn without_a_base_there_are_no_ratios() {
        let (mut plan, mut samples) = measured(1.0, ONE);
        plan.brokers.pop();
        samples.retain(|sample| sample.broker == Broker::Native);
        let text = tables(&plan, &samples, Some(&recorded(Broker::Native, ONE, 12.0)));
        assert!(!text.contains("goal") && !text.contains("mosquitto"), "{text}");
    }

    #[test]
    fn the_page_says_what_the_figures_depend_on() {
        let (mut plan, samples) = measured(900_000.0, CASE);
        plan.brokers.push(Broker::Rumqttd);
        let facts = Facts { machine: vec![("memory", "1 GiB".to_owned())], versions: vec![("wisp", "1".to_owned())] };
        let page = page(&plan, &samples, None, &facts, "2026-01-31");
        for part in ["2026-01-31", "- memory: 1 GiB", "- wisp: 1", "max_queued_messages 0", "--workers 2", "3x5"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        for part in ["max_segment_count = 10", "at most 7 messages", "--qos 1 --points 3x5 --count 1000 --window 7"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("Wasm"), "{page}");
    }
}

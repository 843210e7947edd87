//! `plans`: the measurements that can be taken.

use std::fmt::Write;
use std::process::ExitCode;

use crate::args::Plans;
use crate::commands::terminal::print;
use wisp_lab::failure::Failure;
use wisp_lab::machine;
use wisp_lab::plan::{Changes, Plan, Setting, Value, builtin};
use wisp_report::table::{Table, thousands};

/// The mark of plans that this program does not run.
const OF_BENCH: &str = "*";

pub(super) fn run(options: &Plans) -> Result<ExitCode, Failure> {
    let changes = Changes { is_quick: options.quick, ..Changes::none(machine::processors()) };
    let find = |name: &str| Plan::find(name, &changes);
    match &options.name {
        Some(name) => print(&explained(&find(name)?))?,
        None => {
            let plans = builtin::PLANS.iter().map(|(name, _)| find(name)).collect::<Result<Vec<_>, _>>()?;
            print(listed(&plans).trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(plans: &[Plan]) -> String {
    let mut table = Table::new(["plan", "samples", "minutes, about", "measures"].map(str::to_owned));
    for plan in plans {
        let minutes = format!("{:.0}", (plan.estimated_s() / 60.0).ceil());
        let mark = if plan.kind.is_of_load() { "" } else { OF_BENCH };
        table.push([format!("{}{mark}", plan.name), thousands(plan.samples() as f64), minutes, plan.title.clone()]);
    }
    format!("{table}{OF_BENCH} is run by wisp-bench: wisp-bench experiment NAME\n")
}

fn explained(plan: &Plan) -> String {
    let mut text = format!("{} ({}): {}\n\n{}\n", plan.name, plan.kind.name(), plan.title, plan.about);
    let mut line = |line: String| writeln!(text, "{line}").expect("texts can be written to");
    if !plan.kind.is_of_load() {
        line(format!("\nRun by wisp-bench: wisp-bench experiment {}", plan.name));
    }
    let minutes = (plan.estimated_s() / 60.0).ceil();
    line(format!(
        "\n{} points, {} times each, {} samples in all, about {minutes:.0} min; for all of them:",
        plan.points.len(),
        plan.repetitions,
        plan.samples()
    ));
    let first = &plan.points[0];
    let is_common =
        |setting: Setting, value: &Value| plan.points.iter().all(|point| point.value(setting) == Some(value));
    for (setting, value) in first.values().filter(|(setting, value)| is_common(*setting, value)) {
        line(format!("  {setting} = {value}"));
    }
    line("Points:".to_owned());
    for point in &plan.points {
        line(format!("  {}", point.title()));
    }
    if !plan.figures.is_empty() {
        line("Figures:".to_owned());
    }
    for figure in &plan.figures {
        line(format!("  {}: {}", figure.name, figure.title));
    }
    text.trim_end().to_owned()
}

//! The meaning of a chart's values, in words.

use crate::chart::Chart;
use crate::figure::Better;
use crate::{labels, plot, units};

/// The meaning of a chart's values, in words.
pub(crate) fn measured(chart: &Chart<'_>) -> String {
    let field = labels::of_field(&chart.figure.y);
    if chart.unit == units::Unit::Ratio {
        return format!("{field}, {}", plot::base_text(chart));
    }
    labels::of_axis(&chart.figure.y, chart.unit)
}

/// The meaning of the mark of the best value.
pub(crate) fn best_text(chart: &Chart<'_>) -> String {
    let which = match chart.figure.better {
        Better::More => "largest",
        Better::Less => "smallest",
        // Nothing is marked.
        Better::None => return String::new(),
    };
    let but = if chart.points().any(|point| point.left_out > 0) { " that are without †" } else { "" };
    format!("{which} median of those compared{but}")
}

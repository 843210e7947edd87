//! The figures of a plan that names none.

use std::collections::BTreeMap;

use serde_json::json;

use crate::plan::point::differing;
use crate::plan::{Kind, Point};
use wisp_report::figure::{Better, Figure, Kind as Drawn};

/// One figure of the main measure over the setting that differs: a curve if the values are numbers, else bars. None for
/// kinds that are measured by other programs, which choose their own.
pub fn figures(kind: Kind, points: &[Point]) -> Vec<Figure> {
    if !kind.is_of_load() {
        return Vec::new();
    }
    // In records these were measured, or follow from others.
    let is_measured = |name: &&str| ["messages", "seconds", "warm_up_messages"].contains(name);
    let differing: Vec<_> = differing(points).into_iter().filter(|(name, _)| !is_measured(name)).collect();
    let is_numeric = |name: &str| points.iter().all(|point| point.number(name).is_some());
    // Of several numbers, the one with the most values.
    let x = differing.iter().filter(|(name, _)| is_numeric(name)).max_by_key(|(_, count)| *count);
    let lines = differing.iter().map(|(name, _)| *name).filter(|name| Some(*name) != x.map(|(x, _)| *x));
    // Bars have the brokers along their axis.
    let lines: Vec<_> = lines.filter(|name| x.is_some() || *name != "broker").map(str::to_owned).collect();
    let (y, title, better) = match kind {
        Kind::Latency => ("latency_p99_ns", "Within which 99 of 100 messages arrive", Better::Less),
        Kind::Connections => ("connections_per_s", "Connections taken in a second", Better::More),
        _ => ("messages_per_s", "Messages in a second", Better::More),
    };
    let of_kind = BTreeMap::from([("kind".to_owned(), json!(kind.name()))]);
    let usual = Figure {
        name: y.trim_end_matches("_ns").replace('_', "-"),
        title: title.to_owned(),
        kind: if x.is_some() { Drawn::Curve } else { Drawn::Bars },
        x: x.map_or("broker", |(x, _)| *x).to_owned(),
        y: y.to_owned(),
        lines: if x.is_some() && lines.is_empty() { vec!["broker".to_owned()] } else { lines },
        panels: None,
        only: of_kind.clone(),
        ratio_to: BTreeMap::new(),
        x_log: x.is_some_and(|(x, _)| is_wide(points, x)),
        y_log: kind == Kind::Latency,
        better,
        note: None,
    };
    if kind != Kind::Latency {
        return vec![usual];
    }
    let rate =
        if points.iter().any(|point| point.get("load_percent").is_some()) { "load_percent" } else { "rate_per_s" };
    let percentiles = Figure {
        name: "latency".to_owned(),
        title: "How long messages take".to_owned(),
        kind: Drawn::Percentiles,
        x: "percentile".to_owned(),
        y: "latency_ns_percentiles".to_owned(),
        lines: vec!["broker".to_owned()],
        panels: Some(rate.to_owned()),
        x_log: false,
        ..usual.clone()
    };
    vec![percentiles, usual]
}

/// Whether the values span a range for which a logarithmic axis helps.
fn is_wide(points: &[Point], name: &str) -> bool {
    let values: Vec<_> = points.iter().filter_map(|point| point.number(name)).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    least > 0.0 && most / least >= 100.0
}

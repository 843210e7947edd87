//! The figures of a plan that names none.

use std::collections::BTreeMap;

use serde_json::json;

use crate::plan::point::{Point, differing};
use crate::plan::setting::Setting;
use wisp_report::figure::{Better, Figure, Kind as Drawn};
use wisp_report::folder::KIND;
use wisp_report::kind::Kind;

/// One figure of the main measure over the setting that differs: a curve if the values are numbers, else bars. None for
/// kinds that are measured by other programs, which choose their own.
pub fn figures(kind: Kind, points: &[Point]) -> Vec<Figure> {
    if !kind.is_of_load() {
        return Vec::new();
    }
    // In records these were measured, or follow from others.
    let is_measured = |setting| matches!(setting, Setting::Messages | Setting::Seconds | Setting::WarmUpMessages);
    let mut differing: Vec<_> = differing(points).into_iter().filter(|(setting, _)| !is_measured(*setting)).collect();
    differing.sort_by_key(|(setting, _)| setting.name());
    let is_numeric = |setting| points.iter().all(|point| number(point, setting).is_some());
    // Of several numbers, the one with the most values.
    let x = differing.iter().filter(|(setting, _)| is_numeric(*setting)).max_by_key(|(_, count)| *count);
    let x = x.map(|(setting, _)| *setting);
    let lines = differing.iter().map(|(setting, _)| *setting).filter(|setting| Some(*setting) != x);
    // Bars have the brokers along their axis.
    let lines = lines.filter(|setting| x.is_some() || *setting != Setting::Broker);
    let lines: Vec<_> = lines.map(|setting| setting.name().to_owned()).collect();
    let (y, title, better) = match kind {
        Kind::Latency => ("latency_p99_ns", "Within which 99 of 100 messages arrive", Better::Less),
        Kind::Connections => ("connections_per_s", "Connections taken in a second", Better::More),
        _ => ("messages_per_s", "Messages in a second", Better::More),
    };
    let of_kind = BTreeMap::from([(KIND.to_owned(), json!(kind.name()))]);
    let usual = Figure {
        name: y.trim_end_matches("_ns").replace('_', "-"),
        title: title.to_owned(),
        kind: if x.is_some() { Drawn::Curve } else { Drawn::Bars },
        x: x.unwrap_or(Setting::Broker).name().to_owned(),
        y: y.to_owned(),
        lines: if x.is_some() && lines.is_empty() { vec!["broker".to_owned()] } else { lines },
        panels: None,
        only: of_kind.clone(),
        ratio_to: BTreeMap::new(),
        x_log: x.is_some_and(|x| is_wide(points, x)),
        y_log: kind == Kind::Latency,
        better,
        note: None,
    };
    if kind != Kind::Latency {
        return vec![usual];
    }
    let has_shares = points.iter().any(|point| point.value(Setting::LoadPercent).is_some());
    let rate = if has_shares { Setting::LoadPercent } else { Setting::RatePerS };
    let percentiles = Figure {
        name: "latency".to_owned(),
        title: "How long messages take".to_owned(),
        kind: Drawn::Percentiles,
        x: "percentile".to_owned(),
        y: "latency_ns_percentiles".to_owned(),
        lines: vec!["broker".to_owned()],
        panels: Some(rate.name().to_owned()),
        x_log: false,
        ..usual.clone()
    };
    vec![percentiles, usual]
}

/// Whether the values span a range for which a logarithmic axis helps.
fn is_wide(points: &[Point], setting: Setting) -> bool {
    let values: Vec<_> = points.iter().filter_map(|point| number(point, setting)).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    least > 0.0 && most / least >= 100.0
}

fn number(point: &Point, setting: Setting) -> Option<f64> {
    point.value(setting)?.number()
}

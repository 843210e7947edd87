//! A figure to draw of a plan's records, as plans write it and folders keep it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::measures::is_list;

/// A plot, and the table of the same values. Fields are record fields.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The name of its file, in letters, digits and `-`.
    pub name: String,
    /// The title, in one line.
    pub title: String,
    /// How it is drawn.
    #[serde(default)]
    pub kind: Kind,
    /// The field along the horizontal axis; for bars the field that names groups of them, or several with commas between, as
    /// in `senders,receivers`. A curve along a field that is not of numbers is drawn as bars.
    pub x: String,
    /// The field that was measured.
    pub y: String,
    /// The fields that tell lines, or the bars of a group, apart.
    #[serde(default)]
    pub lines: Vec<String>,
    /// The field that tells panels apart, drawn below each other with the same axes; none for one panel.
    #[serde(default)]
    pub panels: Option<String>,
    /// Only records with these values are drawn; a list means any of its values.
    #[serde(default, rename = "where")]
    pub only: BTreeMap<String, Value>,
    /// Values are divided by the value of the records with these settings instead: by the one of the same repetition if
    /// the settings name a broker or host, as in `{ broker = "native" }`; otherwise by the median over all repetitions,
    /// as in `{ senders = 1 }`.
    #[serde(default)]
    pub ratio_to: BTreeMap<String, Value>,
    /// Whether a logarithmic axis helps.
    #[serde(default)]
    pub x_log: bool,
    /// Whether a logarithmic axis helps.
    #[serde(default)]
    pub y_log: bool,
    /// Which value is the best one in a table.
    #[serde(default)]
    pub better: Better,
    /// A remark below the title.
    #[serde(default)]
    pub note: Option<String>,
}

/// Why a figure cannot be drawn, with the key that is wrong.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum FigureError {
    /// The name has other characters.
    #[error("name: {0:?} is not made of letters, digits and -")]
    Name(String),
    /// Percentiles are not drawn as ratios.
    #[error("ratio_to: percentiles have none")]
    RatioOfPercentiles,
    /// The field is no list of percentiles.
    #[error("y: {0:?} has no percentiles (as latency_ns_percentiles has)")]
    NoPercentiles(String),
    /// The field is a list of percentiles.
    #[error("y: {0:?} is drawn as percentiles only (kind)")]
    OnlyPercentiles(String),
}

impl Figure {
    /// Checks that it can be drawn.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn check(&self) -> Result<(), FigureError> {
        if !is_name(&self.name) {
            return Err(FigureError::Name(self.name.clone()));
        }
        if self.kind == Kind::Percentiles && !self.ratio_to.is_empty() {
            return Err(FigureError::RatioOfPercentiles);
        }
        match (self.kind == Kind::Percentiles, is_list(&self.y)) {
            (true, false) => Err(FigureError::NoPercentiles(self.y.clone())),
            (false, true) => Err(FigureError::OnlyPercentiles(self.y.clone())),
            _ => Ok(()),
        }
    }

    /// The fields of records that it is drawn of, each with the key that names it.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        // The horizontal axis of percentiles has percentiles, whatever `x` says.
        let x = if self.kind == Kind::Percentiles { None } else { Some(&self.x) };
        let x = x.into_iter().flat_map(|x| x.split(',')).map(|field| ("x", field.trim()));
        let lines = self.lines.iter().map(|field| ("lines", field.as_str()));
        let panels = self.panels.iter().map(|field| ("panels", field.as_str()));
        let only = self.only.keys().map(|field| ("where", field.as_str()));
        let ratio_to = self.ratio_to.keys().map(|field| ("ratio_to", field.as_str()));
        x.chain([("y", self.y.as_str())]).chain(lines).chain(panels).chain(only).chain(ratio_to)
    }
}

/// Whether something can be called this in names of files and in records.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'-')
}

/// How something is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Medians along a numeric axis, joined by lines, with how far their samples reach: from the first to the third quartile, or
    /// from the least to the greatest of fewer than five.
    #[default]
    Curve,
    /// A bar for each median, with the same lines; a marker where the axis is logarithmic.
    Bars,
    /// The percentiles of a latency, of the records' lists of `[percentile, nanoseconds]`; the horizontal axis counts nines.
    Percentiles,
}

/// Which value is the best one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// The largest.
    #[default]
    More,
    /// The smallest.
    Less,
    /// None: the values are of things that are not alike, such as latencies at different rates.
    None,
}

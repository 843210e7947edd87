//! Colours, markers and dashes: the same for a broker in all figures.
//!
//! The colours were chosen by a search for seven that stay apart for eyes without red or green receptors, each with a contrast of
//! at least 3 to the paper, for light and dark paper. Nothing is told by colour alone: markers differ, and lines are labelled.

use std::fmt::Write as _;

use super::labels;

/// How many colours and markers there are.
pub(crate) const SLOTS: usize = 10;
/// How many kinds of lines there are.
const DASHES: [&str; 5] = ["", "7 4", "2 3", "9 3 2 3", "14 4"];
/// The opacity of bars, where lines would have dashes.
const FILLS: [&str; 5] = ["1", "0.5", "0.15", "0.75", "0.3"];

/// How a line or a bar looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Style {
    /// Its colour and marker; [`SLOTS`] for that of text.
    pub(crate) slot: usize,
    /// Distinguishes series of the same colour.
    pub(crate) variant: usize,
}

impl Style {
    /// The style of a broker. An unknown name gets one of the remaining colours, always the same.
    pub(crate) fn of_broker(name: &str) -> Self {
        let known = labels::BROKERS.iter().position(|(known, _)| *known == name);
        // FNV-1a: the same everywhere and always, which the standard library's hashes do not promise.
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let others = SLOTS - labels::BROKERS.len();
        Self { slot: known.unwrap_or(labels::BROKERS.len() + hash as usize % others), variant: 0 }
    }

    /// The dashes of a line; empty for none.
    pub(crate) fn dashes(self) -> &'static str {
        DASHES[self.variant % DASHES.len()]
    }

    /// How opaque a bar is.
    pub(crate) fn fill(self) -> &'static str {
        FILLS[self.variant % FILLS.len()]
    }

    /// The corners of its marker around 0, 0, about 4 from it; none for a circle.
    pub(crate) fn marker(self) -> &'static [(f64, f64)] {
        match self.slot % SLOTS {
            0 => &[],
            1 => &[(-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)],
            2 => &[(0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)],
            3 => &[(0.0, -4.8), (4.6, 3.4), (-4.6, 3.4)],
            4 => &[(0.0, 4.8), (4.6, -3.4), (-4.6, -3.4)],
            5 => &[
                (-1.6, -4.8),
                (1.6, -4.8),
                (1.6, -1.6),
                (4.8, -1.6),
                (4.8, 1.6),
                (1.6, 1.6),
                (1.6, 4.8),
                (-1.6, 4.8),
                (-1.6, 1.6),
                (-4.8, 1.6),
                (-4.8, -1.6),
                (-1.6, -1.6),
            ],
            6 => &[
                (0.0, -5.4),
                (1.4, -1.9),
                (5.1, -1.7),
                (2.2, 0.7),
                (3.2, 4.4),
                (0.0, 2.3),
                (-3.2, 4.4),
                (-2.2, 0.7),
                (-5.1, -1.7),
                (-1.4, -1.9),
            ],
            7 => &[(4.8, 0.0), (-3.4, 4.6), (-3.4, -4.6)],
            8 => &[(-4.8, 0.0), (3.4, 4.6), (3.4, -4.6)],
            _ => &[(0.0, -4.8), (4.6, -1.5), (2.8, 3.9), (-2.8, 3.9), (-4.6, -1.5)],
        }
    }
}

/// The colours of figures on one kind of paper.
pub(crate) struct Scheme {
    /// The paper.
    pub(crate) paper: &'static str,
    /// Text.
    pub(crate) ink: &'static str,
    /// Text that is less important, and axes.
    pub(crate) muted: &'static str,
    /// Lines that guide the eye.
    pub(crate) grid: &'static str,
    /// The colours of series.
    pub(crate) slots: [&'static str; SLOTS],
}

/// On light paper.
pub(crate) const LIGHT: Scheme = Scheme {
    paper: "#FFFFFF",
    ink: "#1B1F24",
    muted: "#57606A",
    grid: "#E3E6EA",
    slots: [
        "#3E91E4", "#753C00", "#318779", "#831071", "#222222", "#A59621", "#6133CB", "#B3261E", "#5F6B7A", "#2E6B12",
    ],
};

/// On dark paper.
pub(crate) const DARK: Scheme = Scheme {
    paper: "#15171C",
    ink: "#E8EAED",
    muted: "#A3ABB5",
    grid: "#2C3038",
    slots: [
        "#5288F1", "#B44F08", "#70B581", "#9E4788", "#F2F2F2", "#FAEC4D", "#C5B7FD", "#FF8A80", "#9AA3AF", "#B7D98B",
    ],
};

/// The style of plots, for both kinds of paper. Paper to print on is light.
pub(crate) fn style() -> String {
    let mut css = String::from(include_str!("plot.css"));
    colours(&mut css, &LIGHT);
    css.push_str("@media screen and (prefers-color-scheme: dark) {\n");
    colours(&mut css, &DARK);
    css.push_str("}\n");
    css
}

fn colours(css: &mut String, scheme: &Scheme) {
    let Scheme { paper, ink, muted, grid, slots } = scheme;
    let _ = writeln!(css, ".plot text {{ fill: {ink}; }} .plot .paper, .plot .hollow {{ fill: {paper}; }}");
    let _ = writeln!(css, ".plot .muted {{ fill: {muted}; }} .plot .axis, .plot .leader {{ stroke: {muted}; }}");
    let _ = writeln!(css, ".plot .grid {{ stroke: {grid}; }} .plot .mark {{ stroke: {paper}; }}");
    for (slot, colour) in slots.iter().enumerate() {
        let _ = write!(css, ".plot .k{slot} {{ color: {colour}; }} ");
    }
    let _ = writeln!(css, ".plot .k{SLOTS} {{ color: {muted}; }}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of the three parts of a colour, which begins at this letter, as linear light.
    fn part(colour: &str, from: usize) -> f64 {
        let part = f64::from(u8::from_str_radix(&colour[from..from + 2], 16).unwrap()) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    }

    /// Relative luminance as WCAG 2 defines it.
    fn luminance(colour: &str) -> f64 {
        0.2126 * part(colour, 1) + 0.7152 * part(colour, 3) + 0.0722 * part(colour, 5)
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn everything_stands_out_from_the_paper() {
        for scheme in [LIGHT, DARK] {
            for colour in scheme.slots {
                assert!(contrast(colour, scheme.paper) >= 3.0, "{colour} on {}", scheme.paper);
            }
            for text in [scheme.ink, scheme.muted] {
                assert!(contrast(text, scheme.paper) >= 4.5, "{text} on {}", scheme.paper);
            }
        }
    }

    /// The parts of linear light that eyes without red or green receptors see, after Machado, Oliveira and Fernandes (2009);
    /// the first is for eyes that have all.
    const SIGHTS: [[[f64; 3]; 3]; 3] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ];

    fn times(matrix: [[f64; 3]; 3], vector: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row.iter().zip(vector).map(|(one, other)| one * other).sum())
    }

    /// A colour in OKLab, in which distances are about as large as they seem.
    fn seen(colour: &str, sight: [[f64; 3]; 3]) -> [f64; 3] {
        let light = times(sight, [1, 3, 5].map(|from| part(colour, from))).map(|part| part.clamp(0.0, 1.0));
        let cones = [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ];
        let lab = [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ];
        times(lab, times(cones, light).map(f64::cbrt))
    }

    #[test]
    fn brokers_stay_apart_for_all_eyes() {
        for scheme in [LIGHT, DARK] {
            let colours = &scheme.slots[..labels::BROKERS.len()];
            for (index, one) in colours.iter().enumerate() {
                for (other, sight) in colours[..index].iter().flat_map(|other| SIGHTS.map(|sight| (other, sight))) {
                    let parts = seen(one, sight).into_iter().zip(seen(other, sight));
                    let distance = parts.map(|(one, other)| (one - other).powi(2)).sum::<f64>().sqrt();
                    // Five times the smallest difference that is visible between adjacent areas.
                    assert!(distance > 0.1, "{one} and {other}: {distance}");
                }
            }
        }
    }

    #[test]
    fn brokers_look_different_and_always_the_same() {
        let slots: Vec<_> = labels::BROKERS.iter().map(|(name, _)| Style::of_broker(name).slot).collect();
        assert_eq!(slots, [0, 1, 2, 3, 4, 5, 6]);
        for (name, slot) in [("emqx", 8), ("sink", 8)] {
            assert_eq!(Style::of_broker(name).slot, slot, "{name}");
        }
    }
}

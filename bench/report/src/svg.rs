//! Writing SVG: elements one to a line, so that two versions of a plot can be compared.

use std::fmt::Write as _;

/// A drawing being written.
pub(crate) struct Svg {
    text: String,
}

/// On which side of its place a text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// Begins a drawing of this size. `id` is unique in the page; `style` is None where the page has it.
    pub(crate) fn new(id: &str, size: (f64, f64), title: &str, description: &str, style: Option<&str>) -> Self {
        let (width, height) = (number(size.0), number(size.1));
        let id = escape(id);
        // HTML knows the name space; its style says how wide plots are at least, so that text stays readable.
        let form = match style {
            Some(_) => "xmlns=\"http://www.w3.org/2000/svg\"".to_owned(),
            None => format!("style=\"min-width: {}px\"", number(size.0 * 0.84)),
        };
        let mut text = format!(
            "<svg {form} class=\"plot\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n"
        );
        let _ = writeln!(text, "<title id=\"{id}-title\">{}</title>", escape(title));
        let _ = writeln!(text, "<desc id=\"{id}-desc\">{}</desc>", escape(description));
        if let Some(style) = style {
            let _ = writeln!(text, "<style>\n{style}</style>");
            let _ = writeln!(text, "<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>");
        }
        Self { text }
    }

    /// Begins a group of elements with these classes.
    pub(crate) fn open(&mut self, class: &str) {
        let _ = writeln!(self.text, "<g class=\"{class}\">");
    }

    /// Ends the group.
    pub(crate) fn close(&mut self) {
        self.text.push_str("</g>\n");
    }

    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(number);
        let _ = writeln!(self.text, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
    }

    /// A line through points.
    pub(crate) fn path(&mut self, class: &str, points: &[(f64, f64)], dashes: &str) {
        let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        let _ = writeln!(self.text, "<polyline class=\"{class}\"{dashes} points=\"{}\"/>", list(points));
    }

    /// An area, its opacity, and the text shown when pointed at.
    pub(crate) fn polygon(&mut self, class: &str, points: &[(f64, f64)], fill: &str, hint: &str) {
        let (fill, points, hint) = (opacity(fill), list(points), titled(hint));
        let _ = writeln!(self.text, "<polygon class=\"{class}\"{fill} points=\"{points}\">{hint}</polygon>");
    }

    /// A circle, its opacity, and the text shown when pointed at.
    pub(crate) fn circle(&mut self, class: &str, at: (f64, f64), radius: f64, fill: &str, hint: &str) {
        let [x, y, radius] = [at.0, at.1, radius].map(number);
        let (fill, hint) = (opacity(fill), titled(hint));
        let _ =
            writeln!(self.text, "<circle class=\"{class}\"{fill} cx=\"{x}\" cy=\"{y}\" r=\"{radius}\">{hint}</circle>");
    }

    /// A box from its upper left to its lower right corner, and the text shown when pointed at.
    pub(crate) fn rect(&mut self, class: &str, from: (f64, f64), to: (f64, f64), fill: &str, hint: &str) {
        let [x, y, width, height] = [from.0, from.1, (to.0 - from.0).max(0.0), (to.1 - from.1).max(0.0)].map(number);
        let (fill, hint) = (opacity(fill), titled(hint));
        let _ = writeln!(
            self.text,
            "<rect class=\"{class}\"{fill} x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\">{hint}</rect>"
        );
    }

    pub(crate) fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        self.turned_text(class, at, anchor, 0.0, text);
    }

    /// A text rotated around its place.
    pub(crate) fn turned_text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, degrees: f64, text: &str) {
        let [x, y] = [at.0, at.1].map(number);
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let turn =
            if degrees == 0.0 { String::new() } else { format!(" transform=\"rotate({} {x} {y})\"", number(degrees)) };
        let text = escape(text);
        let _ = writeln!(self.text, "<text{class} x=\"{x}\" y=\"{y}\"{anchor}{turn}>{text}</text>");
    }

    /// The whole drawing.
    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

fn opacity(fill: &str) -> String {
    if fill == "1" { String::new() } else { format!(" fill-opacity=\"{fill}\"") }
}

fn titled(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("<title>{}</title>", escape(hint)) }
}

fn list(points: &[(f64, f64)]) -> String {
    let points: Vec<_> = points.iter().map(|point| format!("{},{}", number(point.0), number(point.1))).collect();
    points.join(" ")
}

/// A coordinate, to a tenth.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text as it is written within XML and HTML, also within quotes. Characters that XML does not have are left out.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(letter),
            '\u{fffe}' | '\u{ffff}' => {}
            _ if letter.is_control() => {}
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// How wide a text is at 13 pixels, on the safe side: fonts differ.
#[must_use]
pub(crate) fn text_width(text: &str) -> f64 {
    let width = |letter: char| match letter {
        'i' | 'j' | 'l' | '.' | ',' | '\'' | '|' | ':' | ';' | '!' => 4.0,
        ' ' | 't' | 'f' | 'r' | '(' | ')' | '-' | '1' => 5.8,
        'm' | 'w' | 'M' | 'W' | '%' | '×' => 12.5,
        letter if letter.is_uppercase() => 9.4,
        _ => 8.2,
    };
    text.chars().map(width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_a_text() {
        assert_eq!(escape("a<b>&\"c'\u{0}\u{1b}\u{ffff}é"), "a&lt;b&gt;&amp;&quot;c&#39;é");
        let mut svg = Svg::new("x\"y", (10.0, 20.0), "</title><script>", "&", None);
        svg.text("", (1.0, 2.0), Anchor::End, "</text>");
        svg.circle("mark", (1.04, -0.01), 4.0, "1", "<b>");
        let text = svg.finish();
        assert!(!text.contains("<script>") && !text.contains("</text></text>") && !text.contains("<b>"), "{text}");
        assert!(text.contains("cx=\"1\" cy=\"0\""), "{text}");
    }
}

//! Tables that read well both in a terminal and as Markdown.

use std::fmt;

/// A table; the first column is text, the others are figures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column titles and no rows.
    pub fn new(titles: impl IntoIterator<Item = String>) -> Self {
        Self { rows: vec![titles.into_iter().collect()] }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has not as many cells as there are titles.
    pub fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<_> = cells.into_iter().collect();
        assert_eq!(row.len(), self.rows[0].len(), "a row has a cell in each column");
        self.rows.push(row);
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        // A Markdown rule needs three characters.
        (0..self.rows[0].len()).map(|column| width(column).max(3)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 { write!(f, "| {cell:<width$} |")? } else { write!(f, " {cell:>width$} |")? }
            }
            writeln!(f)?;
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    // The colon tells Markdown to align right.
                    let rule = "-".repeat(*width);
                    if column == 0 { write!(f, "|-{rule}-|")? } else { write!(f, "-{rule}:|")? }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// A whole number with a comma for each thousand.
#[must_use]
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["broker", "(1,1)"].map(str::to_owned));
        table.push(["x", "1,234,567"].map(str::to_owned));
        table.push(["mosquitto", "1"].map(str::to_owned));
        let expected = "\
| broker    |     (1,1) |
|-----------|----------:|
| x         | 1,234,567 |
| mosquitto |         1 |
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn thousands_are_marked() {
        for (value, text) in [
            (0.0, "0"),
            (999.4, "999"),
            (999.6, "1,000"),
            (12_345.0, "12,345"),
            (123_456.0, "123,456"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(thousands(value), text);
        }
    }
}

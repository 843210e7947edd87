//! The names of files, and of what a page links to.

/// The page's name.
pub const PAGE_FILE: &str = "report.html";
/// The table's name.
pub const TABLE_FILE: &str = "results.csv";

/// The name of a figure's file.
pub(crate) fn plot_file(plan: &str, figure: &str) -> String {
    format!("{plan}-{figure}.svg")
}

/// The identifier of a figure within a page.
pub(crate) fn id(plan: &str, figure: &str) -> String {
    format!("{plan}-{figure}")
}

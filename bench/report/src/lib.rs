//! Draws the records of a folder: a table of all samples, plots, and a page with both.
//!
//! ```text
//!   folder ---> chart ------------> plot ---> svg    a file each, and in the page
//!   records     medians, ranges        \
//!               of each figure          `---> grid ---> page, terminal
//! ```
//!
//! Samples with faults are left out of medians, and the page says so.

mod axis;
mod captions;
mod chart;
mod csv;
mod faults;
pub mod figure;
pub mod folder;
mod grid;
pub mod kind;
mod label_positions;
mod labels;
pub mod measures;
mod names;
mod page;
mod plot;
pub mod statistics;
mod svg;
pub mod table;
mod theme;
pub mod time;
pub mod units;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::figure::{Figure, FigureError, is_name};
use crate::folder::{Record, Run, of_plan};

use captions::{best_text, measured};
pub use csv::CsvError;
use grid::Grid;
pub use names::{PAGE_FILE, TABLE_FILE};
use names::{id, plot_file};

/// The written files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The page.
    pub page: PathBuf,
    /// All files, the page last.
    pub files: Vec<PathBuf>,
    /// How many samples there are.
    pub samples: usize,
    /// How many of them have faults and are in no figure.
    pub faulty: usize,
}

/// Why a folder cannot be drawn. Shown in one line.
#[derive(thiserror::Error, Debug)]
pub enum ReportError {
    /// The folder has no readable records.
    #[error("cannot read the results in {}: {cause}", .folder.display())]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        #[source]
        cause: io::Error,
    },
    /// A plan of the folder has a name with other characters.
    #[error("cannot draw {}: plan \"{}\": a name has letters, digits and -", .folder.display(), .plan.escape_debug())]
    PlanName {
        /// The folder.
        folder: PathBuf,
        /// The name.
        plan: String,
    },
    /// A figure is impossible.
    #[error("cannot draw {}: figure \"{}\" of plan \"{plan}\"{fault}", .folder.display(), .figure.escape_debug())]
    Figure {
        /// The folder.
        folder: PathBuf,
        /// The plan.
        plan: String,
        /// The figure.
        figure: String,
        /// The reason.
        #[source]
        fault: FigureFault,
    },
    /// The records cannot be written as a table.
    #[error("cannot write {TABLE_FILE}: {0}")]
    Table(#[from] csv::CsvError),
    /// A file cannot be written.
    #[error("cannot write {}: {cause}", .file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
}

/// What is wrong with a figure of a folder.
#[derive(thiserror::Error, Debug)]
pub enum FigureFault {
    /// It cannot be drawn.
    #[error(", {0}")]
    Key(#[from] FigureError),
    /// Another one has its name.
    #[error(": there are two with this name")]
    SameName,
}

/// Draws the records of a folder, into the folder: `results.csv`, a plot `PLAN-FIGURE.svg` for each figure that has
/// values, and `report.html`.
///
/// # Errors
/// If the folder has no readable records, asks for impossible figures, or cannot be written.
pub fn write(folder: &Path) -> Result<Written, ReportError> {
    let unreadable = |cause| ReportError::Unreadable { folder: folder.to_owned(), cause };
    let run = folder::read_run(folder).map_err(unreadable)?;
    let records = folder::read_records(folder).map_err(unreadable)?;
    check(folder, &run)?;

    let mut files = Vec::new();
    let mut put = |name: &str, content: &[u8]| {
        let file = folder.join(name);
        match fs::write(&file, content) {
            Ok(()) => files.push(file),
            Err(cause) => return Err(ReportError::Unwritable { file, cause }),
        }
        Ok(())
    };
    put(TABLE_FILE, &csv::of_records(&records)?)?;
    for plan in &run.plans {
        let of_plan = of_plan(&records, &plan.name);
        for figure in &plan.figures {
            let file = plot_file(&plan.name, &figure.name);
            let chart = chart::chart(figure, &of_plan);
            if let Some(drawing) = plot::draw(&chart, &id(&plan.name, &figure.name), plot::Form::File) {
                put(&file, drawing.as_bytes())?;
            }
        }
    }
    put(PAGE_FILE, page::page(&run, &records).as_bytes())?;
    let faulty = records.iter().filter(|record| faults::is_faulty(record)).count();
    Ok(Written { page: folder.join(PAGE_FILE), files, samples: records.len(), faulty })
}

/// The medians of each figure as tables, for the end of a run.
#[must_use]
pub fn terminal_table(records: &[Record], figures: &[Figure]) -> String {
    let records: Vec<&Record> = records.iter().collect();
    let mut text = String::new();
    for figure in figures {
        let chart = chart::chart(figure, &records);
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{}: {}", figure.title, measured(&chart));
        if chart.points().next().is_none() {
            text.push_str("no samples\n");
            continue;
        }
        let grid = Grid::of(&chart);
        let (table, has_ranges) = grid.terminal();
        text.push_str(&table);
        let samples = chart.samples_text(if has_ranges { "in brackets" } else { "" });
        if !samples.is_empty() {
            let _ = writeln!(text, "{samples}");
        }
        if grid.has_best() {
            let _ = writeln!(text, "{} {}", grid::BEST, best_text(&chart));
        }
        for note in &chart.notes {
            let _ = writeln!(text, "{note}");
        }
    }
    text
}

/// Checks that all figures can be drawn.
fn check(folder: &Path, run: &Run) -> Result<(), ReportError> {
    let mut names = BTreeSet::new();
    for plan in &run.plans {
        if !is_name(&plan.name) {
            return Err(ReportError::PlanName { folder: folder.to_owned(), plan: plan.name.clone() });
        }
        for figure in &plan.figures {
            let fault = match figure.check() {
                Err(error) => FigureFault::from(error),
                Ok(()) if !names.insert(plot_file(&plan.name, &figure.name)) => FigureFault::SameName,
                Ok(()) => continue,
            };
            let (plan, figure) = (plan.name.clone(), figure.name.clone());
            return Err(ReportError::Figure { folder: folder.to_owned(), plan, figure, fault });
        }
    }
    Ok(())
}

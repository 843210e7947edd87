//! The directives of a mosquitto.conf and of the files that it includes, with their lines, as mosquitto 2.1 reads them.

use std::fs;
use std::path::{Path, PathBuf};

/// The longest file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The file and the line: `FILE:LINE`.
    pub(super) place: String,
    pub(super) name: String,
    /// The text behind the name; empty if there is none.
    pub(super) value: String,
    /// It begins a file, or follows the included files: a listener from before is not meant.
    pub(super) begins: bool,
}

/// All directives in order, with the included files in the place of `include_dir`.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    let mut begins = true;
    for line in read_one(path)? {
        if line.name != "include_dir" {
            lines.push(Line { begins, ..line });
            begins = false;
            continue;
        }
        for file in files_of(&line)? {
            for (number, included) in read_one(&file)?.into_iter().enumerate() {
                if included.name == "include_dir" {
                    return Err(format!("{}: include_dir in an included file", included.place));
                }
                lines.push(Line { begins: number == 0, ..included });
            }
        }
        begins = true;
    }
    Ok(lines)
}

/// The folders that a file includes and that cannot be opened, as in a sandbox that was not granted them yet. None if the file
/// itself cannot be read: that is an error where it is needed.
pub(crate) fn closed_folders(path: &Path) -> Vec<String> {
    let included =
        read_one(path).into_iter().flatten().filter(|line| line.name == "include_dir").map(|line| line.value);
    included.filter(|folder| fs::read_dir(folder).is_err()).collect()
}

fn read_one(path: &Path) -> Result<Vec<Line>, String> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{shown} is longer than {FILE_BYTES_MAX} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown}: not UTF-8"))?;
    // Only blanks separate a name from its value, and only # in the first column begins a comment.
    let directive = |(index, line): (usize, &str)| {
        let text = line.trim_end().trim_start_matches(' ');
        if line.starts_with('#') || text.is_empty() {
            return None;
        }
        let (name, value) = text.split_once(' ').unwrap_or((text, ""));
        let (name, value) = (name.to_owned(), value.trim_start_matches(' ').to_owned());
        Some(Line { place: format!("{shown}:{}", index + 1), name, value, begins: false })
    };
    Ok(text.lines().enumerate().filter_map(directive).collect())
}

/// The files of a folder whose names end in `.conf`, by name without regard to case.
fn files_of(line: &Line) -> Result<Vec<PathBuf>, String> {
    let cannot = |error: std::io::Error| format!("{}: cannot read the folder {}: {error}", line.place, line.value);
    let mut files = Vec::new();
    for entry in fs::read_dir(&line.value).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().map_err(cannot).is_ok_and(|kind| !kind.is_dir());
        if is_file && name.len() > ".conf".len() && name.ends_with(".conf") {
            files.push((name.to_lowercase(), entry.path()));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

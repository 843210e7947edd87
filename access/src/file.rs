//! Faults and notes about lines of a file.

use std::fmt;

/// Why a file is refused. `Display` is `LINE: reason`, to put behind the file's name and a colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The line, from 1.
    pub line: usize,
    /// The fault, and a way out.
    pub text: String,
}

/// A line that is read, and that the operator should know about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The line, from 1.
    pub line: usize,
    /// The reason.
    pub text: String,
}

impl FileError {
    pub(crate) fn new(line: usize, text: impl Into<String>) -> Self {
        Self { line, text: text.into() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

impl std::error::Error for FileError {}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

/// The lines of a file with their numbers, without white space at their ends. Line ends may be of either kind.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, Result<&str, FileError>)> {
    text.split(|byte| *byte == b'\n').enumerate().map(|(index, line)| {
        let line = line.trim_ascii_end();
        (index + 1, str::from_utf8(line).map_err(|_| FileError::new(index + 1, "not UTF-8")))
    })
}

/// A text for a message: control characters escaped, and cut to a bounded length.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text.chars().take(CHARS_MAX).collect::<String>().escape_debug().to_string();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one_and_trimmed_at_their_ends() {
        let found: Vec<_> = lines(b"a \r\n\n b\xff\nc").collect();
        assert_eq!(found[0], (1, Ok("a")));
        assert_eq!(found[1], (2, Ok("")));
        assert_eq!(found[2], (3, Err(FileError::new(3, "not UTF-8"))));
        assert_eq!(found[3], (4, Ok("c")));
    }

    #[test]
    fn a_text_of_any_length_is_shown_in_a_short_line() {
        assert_eq!(shown("a\tb"), "a\\tb");
        assert!(shown(&"x".repeat(10_000)).len() < 100);
    }
}

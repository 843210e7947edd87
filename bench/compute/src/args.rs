//! The command line. Read by hand: a library for it would be most of a module that runtimes have to compile.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

/// The form of the command line.
pub const USAGE: &str = "usage: wisp-compute random --count COUNT | sort --file FILE --out FILE";

/// The work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// Make random numbers.
    Random {
        /// How many.
        count: u64,
    },
    /// Sort a file of numbers.
    Sort {
        /// Where they are.
        file: PathBuf,
        /// Where they go.
        out: PathBuf,
    },
}

/// Why arguments are none. Shown in one line, with the form of the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArgumentsError {
    /// The words are others, or in another order.
    Usage,
    /// The number of random numbers is none.
    Count(String),
}

impl fmt::Display for ArgumentsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage => f.write_str(USAGE),
            Self::Count(count) => write!(f, "--count cannot be {count}; {USAGE}"),
        }
    }
}

impl Error for ArgumentsError {}

impl Work {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// The mistake, in one line.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self, ArgumentsError> {
        let words: Vec<String> = words.collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["random", "--count", count] => match count.parse() {
                Ok(count) => Ok(Self::Random { count }),
                Err(_) => Err(ArgumentsError::Count(count.to_owned())),
            },
            ["sort", "--file", file, "--out", out] => Ok(Self::Sort { file: file.into(), out: out.into() }),
            _ => Err(ArgumentsError::Usage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Work, ArgumentsError> {
        Work::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn both_kinds_of_work_are_understood() {
        assert_eq!(parse("random --count 7"), Ok(Work::Random { count: 7 }));
        assert_eq!(parse("sort --file a --out b"), Ok(Work::Sort { file: "a".into(), out: "b".into() }));
    }

    #[test]
    fn anything_else_is_answered_by_how_it_is_used() {
        for line in ["", "random", "random --count", "random --count x", "random --count -1", "sort --file a", "dance"]
        {
            assert!(parse(line).unwrap_err().to_string().contains(USAGE), "{line}");
        }
    }
}

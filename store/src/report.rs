//! Damage, as values.

use std::fmt::{self, Display, Formatter};

/// A place in a store that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The offset.
    pub offset: u64,
    /// The bytes that cannot be read, if they have an end.
    pub bytes: u64,
    /// The damage.
    pub what: &'static str,
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: offset {}", self.file, self.offset)?;
        if self.bytes > 0 {
            write!(f, ", {} bytes", self.bytes)?;
        }
        write!(f, ": {}", self.what)
    }
}

//! How a plan is run.

use std::path::PathBuf;

/// How a plan is run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The program's name, which its messages begin with.
    pub program: &'static str,
    /// Where the records go.
    pub folder: PathBuf,
    /// Whether samples that the folder has are not taken again. Without, a folder with records of the plan is refused.
    pub is_resumed: bool,
    /// The seed of the order; by default the recorded one, or a new one.
    pub seed: Option<u64>,
    /// The command that runs it again.
    pub command: String,
}

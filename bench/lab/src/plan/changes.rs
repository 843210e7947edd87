//! What the command line changes in a plan.

use crate::plan::combinations::WrittenSettings;

/// Changes to a plan's text.
#[derive(Clone, PartialEq, Debug)]
pub struct Changes {
    /// Whether the plan's quick settings hold.
    pub is_quick: bool,
    /// Repetitions, if others than the plan's.
    pub repetitions: Option<u32>,
    /// Settings in place of the plan's.
    pub settings: WrittenSettings,
    /// The machine's processors, on which ranges may depend.
    pub processors: usize,
}

impl Changes {
    /// No changes, on a machine with this number of processors.
    #[must_use]
    pub fn none(processors: usize) -> Self {
        Self { is_quick: false, repetitions: None, settings: WrittenSettings::new(), processors }
    }
}

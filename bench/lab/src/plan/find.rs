//! Where plans come from: built in, a file, or the settings of a command line.

use wisp_report::kind::Kind;

use crate::plan::builtin;
use crate::plan::changes::Changes;
use crate::plan::combinations::WrittenSettings;
use crate::plan::error::{Mistake, PlanError};
use crate::plan::measurements::Plan;
use crate::plan::source;

impl Plan {
    /// A built-in plan by its name, or one in a file by its path.
    ///
    /// # Errors
    /// When it is not there or wrong.
    pub fn find(name_or_path: &str, changes: &Changes) -> Result<Self, PlanError> {
        if let Some((_, text)) = builtin::PLANS.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(name_or_path, text, changes);
        }
        match std::fs::read_to_string(name_or_path) {
            Ok(text) => Self::parse(name_or_path, &text, changes),
            Err(cause) if name_or_path.contains(['/', '.']) => {
                Err(PlanError::Unreadable { file: name_or_path.to_owned(), cause })
            }
            Err(_) => {
                let known = builtin::PLANS.map(|(name, _)| name).join(", ");
                Err(PlanError::Unknown { name: name_or_path.to_owned(), known })
            }
        }
    }

    /// Reads a plan. `origin` is the name of the text in errors: its file.
    ///
    /// # Errors
    /// The first mistake, with the origin and the key.
    pub fn parse(origin: &str, text: &str, changes: &Changes) -> Result<Self, PlanError> {
        source::read(text)
            .and_then(|source| source.plan(changes))
            .map_err(|mistake| PlanError::Wrong { origin: origin.to_owned(), mistake: Box::new(mistake) })
    }

    /// A plan that is written nowhere but on the command line: one case, without figures.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn of_settings(
        (name, title): (&str, &str),
        kind: Kind,
        repetitions: u32,
        settings: &WrittenSettings,
        processors: usize,
    ) -> Result<Self, PlanError> {
        source::Source::new((name, title), kind, repetitions, settings.clone())
            .plan(&Changes::none(processors))
            .map_err(|mistake| match mistake {
                Mistake::Setting(cause) | Mistake::CaseSetting { cause, .. } => PlanError::Settings(cause),
                mistake => PlanError::Wrong { origin: name.to_owned(), mistake: Box::new(mistake) },
            })
    }
}

//! The effective configuration: defaults, then the file, then the environment, then the flags. Each layer overrides the
//! one before. Every value is checked, also where a later layer overrides it.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use crate::args::Args;
use crate::file::ConfigFile;
use crate::queues::{self, QueueEntry};
use crate::settings::{SETTINGS, Section, Settings};

/// The variable for `--config`.
const CONFIG_VARIABLE: &str = "WISP_CONFIG";

/// The settings, each with its origin.
pub(crate) struct Effective {
    pub(crate) settings: Settings,
    /// In the order of [`SETTINGS`].
    sources: Vec<Source>,
    /// The entries of the file for the queues in the settings, in their order.
    queues: Vec<QueueEntry>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Default,
    File { line: usize },
    Environment,
    Flag,
}

impl Effective {
    /// Reads all layers. The error is one line for the operator.
    pub(crate) fn resolve(args: &Args, environment: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        // An empty variable counts as unset, since some environments cannot remove a variable.
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let path = args.config.clone().or_else(|| environment(CONFIG_VARIABLE).map(PathBuf::from));
        let file = path.as_deref().map(ConfigFile::read).transpose()?;
        Self::from_layers(file.as_ref(), environment, &args.flags)
    }

    fn from_layers(
        file: Option<&ConfigFile>,
        environment: impl Fn(&str) -> Option<OsString>,
        flags: &[Option<Vec<String>>],
    ) -> Result<Self, String> {
        let sources = vec![Source::Default; SETTINGS.len()];
        let mut effective = Self { settings: Settings::default(), sources, queues: Vec::new() };
        if let Some(file) = file {
            let contents = file.contents()?;
            effective.queues = contents.queues;
            for entry in contents.entries {
                let line = entry.line;
                effective.set(entry.index, &entry.values, Source::File { line }).map_err(|error| {
                    let words = entry.values.join(", ");
                    let words = if SETTINGS[entry.index].is_list() { format!("[{words}]") } else { words };
                    file.locate(line, &format!("{} = {}: {error}", SETTINGS[entry.index].name, words.escape_debug()))
                })?;
            }
        }
        for (index, setting) in SETTINGS.iter().enumerate() {
            let variable = setting.variable();
            let Some(value) = environment(&variable) else { continue };
            let text = value.into_string().map_err(|_| format!("{variable}: not UTF-8"))?;
            let values: Vec<String> = if setting.is_list() {
                text.split(',').map(|part| part.trim().to_owned()).collect()
            } else {
                vec![text.clone()]
            };
            effective
                .set(index, &values, Source::Environment)
                .map_err(|error| format!("{variable}={}: {error}", text.escape_debug()))?;
        }
        for (index, values) in flags.iter().enumerate() {
            if let Some(values) = values {
                let name = SETTINGS[index].name;
                effective.set(index, values, Source::Flag).map_err(|error| format!("--{name}: {error}"))?;
            }
        }
        if let Some(file) = file {
            // Last, because the limits of all layers are the defaults of a queue.
            let settings = &mut effective.settings;
            settings.queues = queues::resolve(&effective.queues, &settings.limits)
                .map_err(|(line, error)| file.locate(line, &error))?;
        }
        Ok(effective)
    }

    fn set(&mut self, index: usize, values: &[String], source: Source) -> Result<(), String> {
        SETTINGS[index].set(&mut self.settings, values)?;
        self.sources[index] = source;
        Ok(())
    }

    /// The configuration as a file that yields the same configuration.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = Section::Top;
        for (setting, source) in SETTINGS.iter().zip(&self.sources) {
            if setting.section != section {
                section = setting.section;
                text.push_str("\n[limits]\n");
            }
            let value = setting.show(&self.settings);
            let source = match source {
                Source::Default => "default".to_owned(),
                Source::File { line } => format!("file, line {line}"),
                Source::Environment => setting.variable(),
                Source::Flag => format!("--{}", setting.name),
            };
            writeln!(text, "{} = {value} # {source}", setting.name).expect("a string takes all that is written");
        }
        let queues = self.queues.iter().zip(&self.settings.queues);
        queues.for_each(|(entry, settings)| text.push_str(&entry.show(settings)));
        text
    }
}

#[cfg(test)]
mod tests;

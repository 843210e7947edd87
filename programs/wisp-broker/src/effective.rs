//! The effective configuration: defaults, then the file, then the environment, then the flags. Each layer overrides the
//! one before. Every value is checked, also where a later layer overrides it.

use std::ffi::OsString;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use wisp_broker::{Access, Config, ConfigBuilder, Limits, ListenerConfig, Tls};

use crate::args::Args;
use crate::file::ConfigFile;
use crate::listeners::ListenerSettings;
use crate::settings::{Kind, SETTINGS, Section, Setting, Settings};
use crate::tables::Table;
use crate::{listeners, mosquitto, queues};

/// The keys that take effect when the configuration is read again.
const RELOADED: [&str; 5] = ["password-file", "acl-file", "allow-anonymous", "check-files-s", "admin-token-file"];

/// The variable for `--config`.
const CONFIG_VARIABLE: &str = "WISP_CONFIG";

/// The settings, each with its origin.
#[derive(Clone)]
pub(crate) struct Effective {
    pub(crate) settings: Settings,
    /// In the order of [`SETTINGS`].
    sources: Vec<Source>,
    /// The tables of the file for the queues in the settings, in their order.
    queues: Vec<Table>,
    /// The tables of the file for the listeners in the settings, in their order.
    listeners: Vec<Table>,
    /// The name of the file, if there is one.
    file: Option<String>,
    /// Directives of a mosquitto.conf that have no effect.
    pub(crate) notes: Vec<String>,
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
        if let Some(path) = &args.mosquitto_config {
            let converted = mosquitto::convert(path)?;
            let file = ConfigFile { name: format!("{} as TOML", path.display()), text: converted.toml };
            let effective = Self::from_layers(Some(&file), environment, &args.flags)?;
            return Ok(Self { notes: converted.notes, ..effective });
        }
        let path = args.config.clone().or_else(|| environment(CONFIG_VARIABLE).map(PathBuf::from));
        let file = path.as_deref().map(ConfigFile::read).transpose()?;
        Self::from_layers(file.as_ref(), environment, &args.flags)
    }

    /// Reads all layers again. `None` if the file was standard input, which cannot be read twice.
    pub(crate) fn resolve_again(
        args: &Args,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, String> {
        let path = args.config.clone().or_else(|| environment(CONFIG_VARIABLE).map(PathBuf::from));
        let is_standard_input = args.mosquitto_config.is_none() && path.is_some_and(|path| path.as_os_str() == "-");
        (!is_standard_input).then(|| Self::resolve(args, environment)).transpose()
    }

    /// The keys and tables that differ, besides the ones that a reload takes up.
    pub(crate) fn differences(&self, other: &Self) -> Vec<&'static str> {
        let is_fixed = |setting: &&Setting| {
            let is_live = matches!(setting.kind, Kind::Number(limit) if limit.is_live());
            !is_live && !RELOADED.contains(&setting.name)
        };
        let differs = |setting: &&Setting| setting.show(&self.settings) != setting.show(&other.settings);
        let settings = SETTINGS.iter().filter(is_fixed).filter(differs).map(|setting| setting.name);
        let queues = (self.settings.queues != other.settings.queues).then_some("[[queue]]");
        let (old, new) = (&self.settings.listeners, &other.settings.listeners);
        let is_same = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.can_become(new));
        let listeners = (!is_same).then_some("[[listener]]");
        settings.chain(queues).chain(listeners).collect()
    }

    /// The settings of all layers. Limits that no layer has follow from the memory that the layers allow.
    fn from_layers(
        file: Option<&ConfigFile>,
        environment: impl Fn(&str) -> Option<OsString>,
        flags: &[Option<Vec<String>>],
    ) -> Result<Self, String> {
        let effective = Self::over(Settings::default(), file, &environment, flags)?;
        let limits = Limits::for_memory(effective.settings.limits.memory_bytes_max);
        Self::over(Settings { limits, ..Settings::default() }, file, &environment, flags)
    }

    fn over(
        settings: Settings,
        file: Option<&ConfigFile>,
        environment: impl Fn(&str) -> Option<OsString>,
        flags: &[Option<Vec<String>>],
    ) -> Result<Self, String> {
        let sources = vec![Source::Default; SETTINGS.len()];
        let mut effective = Self {
            settings,
            sources,
            queues: Vec::new(),
            listeners: Vec::new(),
            file: file.map(|file| file.name.clone()),
            notes: Vec::new(),
        };
        if let Some(file) = file {
            let contents = file.contents()?;
            effective.queues = contents.queues;
            effective.listeners = contents.listeners;
            for entry in contents.entries {
                let line = entry.line;
                effective.set(entry.index, &entry.values, Source::File { line }).map_err(|error| {
                    let words = entry.values.join(", ");
                    let words = if SETTINGS[entry.index].is_list() { format!("[{words}]") } else { words };
                    file.locate(line, &format!("{} = {}: {error}", SETTINGS[entry.index].name, words.escape_debug()))
                })?;
            }
        }
        effective.add_environment(environment)?;
        for (index, values) in flags.iter().enumerate() {
            if let Some(values) = values {
                let name = SETTINGS[index].name;
                effective.set(index, values, Source::Flag).map_err(|error| format!("--{name}: {error}"))?;
            }
        }
        effective.add_tables()?;
        Ok(effective)
    }

    fn add_environment(&mut self, environment: impl Fn(&str) -> Option<OsString>) -> Result<(), String> {
        for (index, setting) in SETTINGS.iter().enumerate() {
            let variable = setting.variable();
            let Some(value) = environment(&variable) else { continue };
            let text = value.into_string().map_err(|_| format!("{variable}: not UTF-8"))?;
            let values: Vec<String> = if setting.is_list() {
                text.split(',').map(|part| part.trim().to_owned()).collect()
            } else {
                vec![text.clone()]
            };
            self.set(index, &values, Source::Environment)
                .map_err(|error| format!("{variable}={}: {error}", text.escape_debug()))?;
        }
        Ok(())
    }

    /// Adds the tables of the file. Last, because the limits of all layers are the defaults of a queue.
    fn add_tables(&mut self) -> Result<(), String> {
        let queues = queues::resolve(&self.queues, &self.settings.limits);
        self.settings.queues = queues.map_err(|(line, error)| self.locate(line, &error))?;
        let listeners = listeners::resolve(&self.listeners);
        self.settings.listeners = listeners.map_err(|(line, error)| self.locate(line, &error))?;
        let is_listen = |setting: &Setting| setting.is_list();
        let listen = SETTINGS.iter().position(is_listen).map(|index| self.sources[index]);
        match listen {
            Some(Source::Default) if !self.listeners.is_empty() => self.settings.listen.clear(),
            Some(Source::File { line }) if self.listeners.is_empty() && self.settings.listen.is_empty() => {
                return Err(self.locate(line, "listen = []: at least one address is needed, or a table [[listener]]"));
            }
            _ => {}
        }
        Ok(())
    }

    /// An error message about a line of the file.
    fn locate(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.file.as_deref().unwrap_or_default())
    }

    /// All addresses to listen on, in the order of the listeners, each with the number of its table. Looks names up.
    pub(crate) fn addresses(&self) -> Result<Vec<(SocketAddr, Option<usize>)>, String> {
        let mut all = Vec::new();
        for address in &self.settings.listen {
            let found = address.resolve().map_err(|error| format!("listen = {address}: {error}"))?;
            all.extend(found.into_iter().map(|address| (address, None)));
        }
        for (index, (table, listener)) in self.listeners.iter().zip(&self.settings.listeners).enumerate() {
            let found = listener.address.resolve().map_err(|error| {
                let line = table.line_of(&listeners::KEYS, "address");
                self.locate(line, &format!("address = {}: {error}", listener.address))
            })?;
            all.extend(found.into_iter().map(|address| (address, Some(index))));
        }
        Ok(all)
    }

    /// Reads the files of users and rules, if clients are to be checked.
    pub(crate) fn load_access(&self, threads: bool) -> Result<Option<Arc<Access>>, String> {
        let options = self.settings.access_options();
        let is_needed = options.is_needed() || self.settings.listeners.iter().any(ListenerSettings::refuses_anonymous);
        is_needed.then(|| Access::load(options, threads)).transpose().map_err(|error| error.to_string())
    }

    /// The TLS of each table of a listener that has it. Reads the files of certificates.
    pub(crate) fn load_tls(&self) -> Result<Vec<Option<Arc<Tls>>>, String> {
        let load = |(table, listener): (&Table, &ListenerSettings)| {
            let tls = listener.tls().map(Tls::load).transpose();
            tls.map_err(|error| self.locate(table.line, &error.to_string()))
        };
        self.listeners.iter().zip(&self.settings.listeners).map(load).collect()
    }

    /// The settings that each table of a listener gets from the tables that were read again. A table that differs by more than a
    /// reload can take up keeps its own.
    pub(crate) fn listeners_from<'a>(&'a self, new: &'a Self) -> Vec<&'a ListenerSettings> {
        let (old, new) = (&self.settings.listeners, &new.settings.listeners);
        let taken = |(index, old): (usize, &'a ListenerSettings)| {
            new.get(index).filter(|new| old.can_become(new)).unwrap_or(old)
        };
        old.iter().enumerate().map(taken).collect()
    }

    /// The configuration of the library.
    pub(crate) fn config(
        &self,
        addresses: &[(SocketAddr, Option<usize>)],
        access: Option<&Arc<Access>>,
        tls: &[Option<Arc<Tls>>],
    ) -> Result<Config, String> {
        let builder = self.settings.builder().admin_token(self.admin_token()?);
        let mut builder = access.into_iter().fold(builder, ConfigBuilder::access);
        for &(address, table) in addresses {
            let config = match table {
                Some(index) => self.settings.listeners[index].config(address, tls[index].as_ref()),
                None => ListenerConfig::new(address),
            };
            builder = builder.listener(config);
        }
        builder.build().map_err(|error| error.to_string())
    }

    /// The token of the admin listener: the text of its file without the end of the line.
    pub(crate) fn admin_token(&self) -> Result<Option<Box<str>>, String> {
        let Some(file) = self.settings.admin_token_file.as_deref() else { return Ok(None) };
        let text = std::fs::read_to_string(file).map_err(|error| format!("admin-token-file = {file}: {error}"))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).into()))
    }

    /// What a launcher of a sandbox has to hand in, a line each. Before that come the folders that a mosquitto.conf includes:
    /// without them it cannot be read.
    pub(crate) fn needs(&self) -> Result<String, String> {
        let addresses = self.addresses()?.into_iter().map(|(address, _)| address).chain(self.settings.admin);
        let listeners = addresses.map(|address| format!("listener {address}\n"));
        let workers = self.settings.workers.map(|count| format!("workers {count}\n"));
        let Settings { password_file, acl_file, admin_token_file, .. } = &self.settings;
        let users = [password_file, acl_file, admin_token_file].into_iter().flatten().map(|file| &**file);
        let files = users.chain(self.settings.listeners.iter().flat_map(ListenerSettings::files));
        let data = self.settings.data_dir.iter().map(|folder| format!("data {folder}\n"));
        Ok(listeners.chain(workers).chain(files.map(|file| format!("file {file}\n"))).chain(data).collect())
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
        for (table, queue) in self.queues.iter().zip(&self.settings.queues) {
            text.push_str(&table.show("queue", &queues::KEYS, queue));
        }
        for (table, listener) in self.listeners.iter().zip(&self.settings.listeners) {
            text.push_str(&table.show("listener", &listeners::KEYS, listener));
        }
        text
    }
}

#[cfg(test)]
mod tests;

//! The command that starts each broker. The process it makes is the broker, or becomes it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::files::{unwritable, write_configuration};
use super::kinds::{Broker, Mode};
use super::options::StartOptions;
use super::running::last_lines;
use super::settings::{self, WISP_FLAGS};
use super::shell_words::{split, with_address};
use super::transport::Entrance;
use crate::failure::Failure;
use crate::paths;

impl Broker {
    /// The command that starts it on an address; `folder` is for its configuration.
    pub(super) fn command(
        &self,
        address: SocketAddr,
        entrance: Option<&Entrance>,
        options: &StartOptions,
        folder: &Path,
    ) -> Result<Command, Failure> {
        self.check_mode(options.mode)?;
        self.check_settings(&options.settings)?;
        let configured = |mut lines: Vec<String>| {
            lines.extend_from_slice(&options.settings);
            write_configuration(folder, &(lines.join("\n") + "\n"))
        };
        let arguments = options.arguments.iter().map(|word| with_address(word, address));
        if let Some(entrance) = entrance.filter(|_| *self == Self::Wasmer) {
            let configuration = write_configuration(folder, &entrance.wisp(address))?;
            return self.launcher_command(&configuration, options, arguments.collect());
        }
        if self.wasm_host().is_some() {
            return self.runtime_command(address, options, arguments.collect());
        }
        let mut command = match self {
            Self::Mosquitto => {
                let mut command = Command::new(options.build.peer().map_or_else(paths::mosquitto, Ok)?);
                let listeners = entrance.map(Entrance::mosquitto).unwrap_or_default();
                command.arg("-c").arg(configured([settings::mosquitto(address), listeners].concat())?);
                command
            }
            Self::NatsServer => {
                let mut command = Command::new(options.build.peer().map_or_else(paths::nats_server, Ok)?);
                command.arg("-c").arg(configured(settings::nats(address))?);
                command
            }
            Self::Rumqttd => {
                let mut command = Command::new(paths::rumqttd()?);
                // It takes configurations of several forms, and tells them by their names.
                let file = configured(settings::rumqttd(address))?;
                let named = file.with_extension("toml");
                std::fs::rename(&file, &named).map_err(|error| unwritable(&error))?;
                command.args(["-q", "-c"]).arg(named);
                command
            }
            Self::Sink => {
                let mut command = Command::new(paths::generator()?);
                command.arg("sink").arg("--listen").arg(address.to_string());
                command
            }
            Self::Command(line) => {
                let mut words =
                    split(line).map_err(Failure::setup)?.into_iter().map(|word| with_address(&word, address));
                let mut command = Command::new(words.next().unwrap_or_default());
                command.args(words);
                command
            }
            _ => {
                let mut command = Command::new(options.build.program()?);
                match entrance {
                    Some(entrance) => {
                        let configuration = write_configuration(folder, &entrance.wisp(address))?;
                        command.arg("--config").arg(configuration)
                    }
                    None => command.arg("--listen").arg(address.to_string()),
                };
                command.args(self.wisp_flags(options.workers));
                command
            }
        };
        command.args(arguments);
        Ok(command)
    }

    fn check_mode(&self, mode: Option<Mode>) -> Result<(), Failure> {
        let Some(mode) = mode.filter(|mode| !self.modes().contains(mode)) else { return Ok(()) };
        let modes = self.modes().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let has = if modes.is_empty() { "no runtime's modes".to_owned() } else { format!("these: {modes}") };
        Err(Failure::Setup(format!("{} has no mode {mode}: it has {has}", self.name())))
    }

    fn check_settings(&self, settings: &[String]) -> Result<(), Failure> {
        if settings.is_empty() || matches!(self, Self::Mosquitto | Self::NatsServer | Self::Rumqttd) {
            return Ok(());
        }
        let name = self.name();
        Err(Failure::Setup(format!("{name} is told nothing in a file: give it arguments instead of settings")))
    }

    fn wisp_flags(&self, workers: usize) -> Vec<String> {
        let words = WISP_FLAGS.iter().flat_map(|flag| flag.split(' ')).map(str::to_owned);
        let workers =
            self.workers(workers).into_iter().flat_map(|workers| ["--workers".to_owned(), workers.to_string()]);
        words.chain(workers).collect()
    }

    fn launcher(&self, options: &StartOptions) -> Result<PathBuf, Failure> {
        Ok(options.build.checkout()?.join("wasm-targets").join(self.name()).join("run"))
    }

    /// The launcher itself, which becomes the runtime: it hands in a configuration, as a printed command cannot.
    fn launcher_command(
        &self,
        configuration: &Path,
        options: &StartOptions,
        arguments: Vec<String>,
    ) -> Result<Command, Failure> {
        let mut command = Command::new(self.launcher(options)?);
        command
            .args(["--mode", options.mode.unwrap_or_default().name(), "--", "--config"])
            .arg(configuration)
            .args(self.wisp_flags(options.workers))
            .args(arguments);
        Ok(command)
    }

    /// The runtime's own command, which the scripts of wasm-targets know. They look things up, which takes longer than some
    /// runtimes start; so they are asked for it, and it is run from here.
    fn runtime_command(
        &self,
        address: SocketAddr,
        options: &StartOptions,
        arguments: Vec<String>,
    ) -> Result<Command, Failure> {
        let script = self.launcher(options)?;
        let mode = options.mode.unwrap_or_default();
        let mut ask = Command::new(&script);
        ask.args(["--print", "--mode", mode.name(), &address.to_string()])
            .args(self.wisp_flags(options.workers))
            .args(arguments);
        let told = ask
            .output()
            .map_err(|error| Failure::Setup(format!("cannot start {self} ({}): {error}", script.display())))?;
        if !told.status.success() {
            let words = String::from_utf8_lossy(&told.stderr);
            let words = last_lines(&words).unwrap_or_else(|| "it said nothing".to_owned());
            return Err(Failure::Setup(format!("cannot start {self}: {words}")));
        }
        let mut words =
            told.stdout.split(|&byte| byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect::<Vec<_>>();
        // Each word is ended, so that the last one is followed by nothing.
        words.pop();
        let mut words = words.into_iter();
        let program = words
            .next()
            .ok_or_else(|| Failure::Setup(format!("{} does not say how to start {self}", script.display())))?;
        let mut command = Command::new(program);
        command.args(words);
        Ok(command)
    }
}

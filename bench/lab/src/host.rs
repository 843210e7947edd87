//! The hosts that programs are measured on without a broker: this machine, and the WebAssembly runtimes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::failure::Failure;
use crate::paths;

/// A host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Host {
    /// This machine, without a runtime.
    Native,
    /// Wasmer.
    Wasmer,
    /// Wasmtime.
    Wasmtime,
    /// WasmEdge.
    WasmEdge,
}

/// The runtime of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Runtime {
    /// The program to start.
    pub program: PathBuf,
    /// Its version, as in 1.2.3.
    pub version: String,
}

/// When a module becomes code of this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostMode {
    /// Before it starts, as native programs are.
    Aot,
    /// When it starts, by the same compiler.
    Jit,
    /// When it starts, by a compiler that takes less time and makes slower code.
    Baseline,
    /// Never.
    Interpreted,
}

impl Host {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Native, Self::Wasmer, Self::Wasmtime, Self::WasmEdge];

    /// The name as plans and records write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Wasmer => "wasmer",
            Self::Wasmtime => "wasmtime",
            Self::WasmEdge => "wasmedge",
        }
    }

    /// The name as people write it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Wasmer => "Wasmer",
            Self::Wasmtime => "Wasmtime",
            Self::WasmEdge => "WasmEdge",
        }
    }

    /// Its runtime's program and version, which the scripts know; None natively.
    ///
    /// # Errors
    /// When the runtime is not there.
    pub fn runtime(self) -> Result<Option<Runtime>, Failure> {
        if self == Self::Native {
            return Ok(None);
        }
        let script = r#"source "$0/lib.sh" && runtime=$(find_runtime "$(host_name "$1")") && runtime_version "$runtime" && echo "$runtime""#;
        let found = Command::new("bash").args(["-c", script]).arg(scripts()).arg(self.name()).output().ok();
        let text = found.filter(|found| found.status.success()).and_then(|found| String::from_utf8(found.stdout).ok());
        let lines = text.as_deref().and_then(|text| text.trim_end().split_once('\n'));
        let runtime = lines.map(|(version, program)| Runtime { program: program.into(), version: version.to_owned() });
        runtime.map(Some).ok_or_else(|| self.missing())
    }

    /// That its runtime is not there.
    #[must_use]
    pub fn missing(self) -> Failure {
        Failure::Setup(format!("there is no {self} that fits: wasm-targets/runtimes {self} installs it"))
    }
}

/// The folder with the scripts that build and run modules.
#[must_use]
pub fn scripts() -> PathBuf {
    paths::repository().join("wasm-targets")
}

/// A program's plain module, which is the same for every host, compiled where the mode wants it so.
///
/// # Errors
/// When it was not built, or was built anew since it was compiled.
pub fn plain_module(program: &str, host: Host, mode: HostMode) -> Result<PathBuf, Failure> {
    module(program, host, mode)
}

/// A program's module for a host, compiled ahead of time. Nobody needs it by its name, since scripts start it.
///
/// # Errors
/// As [`plain_module`].
pub fn compiled_module(program: &str, host: Host) -> Result<PathBuf, Failure> {
    let made_for = match host {
        Host::Wasmer => "wasix",
        Host::Wasmtime => "wasip1",
        Host::Native | Host::WasmEdge => "wasmedge",
    };
    module(&format!("{program}-{made_for}"), host, HostMode::Aot)
}

fn module(name: &str, host: Host, mode: HostMode) -> Result<PathBuf, Failure> {
    let file = |ending: &str| paths::repository().join("target").join("wasm").join(format!("{name}{ending}"));
    let module = file(".wasm");
    let file = match (mode, host) {
        (HostMode::Aot, Host::Wasmer) => file(".wasmu"),
        (HostMode::Aot, Host::Wasmtime) => file(".cwasm"),
        (HostMode::Aot, Host::WasmEdge) => file(".so"),
        _ => module.clone(),
    };
    let changed = |file: &Path| file.metadata().and_then(|metadata| metadata.modified()).ok();
    if changed(&file).is_some() && changed(&file) >= changed(&module) {
        return Ok(file);
    }
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Err(Failure::Setup(format!("{name} is missing or older than its module: make experiment-modules")))
}

impl HostMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Aot, Self::Jit, Self::Baseline, Self::Interpreted];

    /// The name as plans and records write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aot => "aot",
            Self::Jit => "jit",
            Self::Baseline => "baseline",
            Self::Interpreted => "interpreted",
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for HostMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no host, or no mode of a host, has.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{name} is none of {known}")]
pub struct UnknownName {
    /// The name.
    name: String,
    /// The names there are.
    known: String,
}

impl FromStr for Host {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName { name: text.to_owned(), known: Self::ALL.map(Self::name).join(", ") };
        Self::ALL.into_iter().find(|host| host.name() == text).ok_or_else(unknown)
    }
}

impl FromStr for HostMode {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName { name: text.to_owned(), known: Self::ALL.map(Self::name).join(", ") };
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_are_written() {
        for host in Host::ALL {
            assert_eq!(host.to_string().parse(), Ok(host));
        }
        for mode in HostMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("other".parse::<Host>().unwrap_err().to_string().contains("wasmtime"));
        assert!("other".parse::<HostMode>().unwrap_err().to_string().contains("aot"));
    }
}

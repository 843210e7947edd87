//! The hosts that programs are measured on without a broker: this machine, and the WebAssembly runtimes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use wisp_lab::failure::Failure;
use wisp_lab::paths;

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
pub enum Mode {
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
pub fn plain_module(program: &str, host: Host, mode: Mode) -> Result<PathBuf, Failure> {
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
    module(&format!("{program}-{made_for}"), host, Mode::Aot)
}

fn module(name: &str, host: Host, mode: Mode) -> Result<PathBuf, Failure> {
    let file = |ending: &str| paths::repository().join("target").join("wasm").join(format!("{name}{ending}"));
    let module = file(".wasm");
    let file = match (mode, host) {
        (Mode::Aot, Host::Wasmer) => file(".wasmu"),
        (Mode::Aot, Host::Wasmtime) => file(".cwasm"),
        (Mode::Aot, Host::WasmEdge) => file(".so"),
        _ => module.clone(),
    };
    let changed = |file: &Path| file.metadata().and_then(|metadata| metadata.modified()).ok();
    if changed(&file).is_some() && changed(&file) >= changed(&module) {
        return Ok(file);
    }
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Err(Failure::Setup(format!("{name} is missing or older than its module: make experiment-modules")))
}

impl Mode {
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

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|host| host.name() == text).ok_or_else(|| format!("{text} is none of {}", known()))
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| format!("{text} is none of {}", known()))
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
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("other".parse::<Host>().unwrap_err().contains("wasmtime"));
        assert!("other".parse::<Mode>().unwrap_err().contains("aot"));
    }
}

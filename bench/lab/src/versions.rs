//! The versions of everything that runs in a measurement, and the facts that a report says about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wisp_loadgen::crc32;

use crate::broker::Broker;
use crate::failure::Failure;
use crate::machine;
use crate::paths;

/// The word for a value that cannot be found out.
pub(crate) const UNKNOWN: &str = "unknown";
/// The name of the sources among versions.
pub(crate) const SOURCES: &str = "wisp";

/// Names and values, in the order they are listed. They have no host names and no paths.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Facts {
    /// The machine.
    pub machine: Vec<(&'static str, String)>,
    /// The versions.
    pub versions: Vec<(&'static str, String)>,
}

impl Facts {
    /// Looks around.
    #[must_use]
    pub fn gather(brokers: &[Broker]) -> Self {
        let mut versions = vec![(SOURCES, sources_version())];
        for broker in brokers {
            versions.extend(versions_of(broker));
        }
        let machine = vec![
            ("processor", machine::processor_model().unwrap_or_else(unknown)),
            ("processors", machine::processors().to_string()),
            ("memory", machine::memory().unwrap_or_else(unknown)),
            ("kernel", output("uname", &["-srm"]).unwrap_or_else(unknown)),
        ];
        Self { machine, versions }
    }
}

fn unknown() -> String {
    UNKNOWN.to_owned()
}

/// The version of a broker, in one line.
#[must_use]
pub fn version_of(broker: &Broker) -> String {
    match broker {
        Broker::Native => format!("{}, {}", sources_version(), content(broker)),
        Broker::Wasmer | Broker::Wasmtime | Broker::WasmEdge => {
            let (title, runtime) = (broker.title(), runtime_version(broker));
            format!("{}, {} under {title} {runtime}", sources_version(), content(broker))
        }
        Broker::Mosquitto => installed_version(paths::mosquitto(), &["-h"]),
        Broker::NatsServer => installed_version(paths::nats_server(), &["--version"]),
        Broker::Rumqttd => paths::RUMQTTD_VERSION.to_owned(),
        Broker::Sink => env!("CARGO_PKG_VERSION").to_owned(),
        // A program that is not known may do anything with an argument that it does not know.
        Broker::Command(_) => unknown(),
    }
}

fn versions_of(broker: &Broker) -> Vec<(&'static str, String)> {
    match broker {
        Broker::Native => {
            vec![("native program", content(broker)), ("rustc of the native program", compiler(broker))]
        }
        Broker::Wasmer => of_module("Wasmer", ["module for Wasmer", "rustc of the module for Wasmer"], broker),
        Broker::Wasmtime => of_module("Wasmtime", ["module for Wasmtime", "rustc of the module for Wasmtime"], broker),
        Broker::WasmEdge => of_module("WasmEdge", ["module for WasmEdge", "rustc of the module for WasmEdge"], broker),
        Broker::Mosquitto => vec![("mosquitto", version_of(broker))],
        Broker::NatsServer => vec![("nats-server", version_of(broker))],
        Broker::Rumqttd => {
            vec![("rumqttd", format!("{}, built with the newest dependencies that fit", version_of(broker)))]
        }
        Broker::Sink => vec![("program of the sink", content(broker))],
        // It is unknown.
        Broker::Command(_) => Vec::new(),
    }
}

fn of_module(
    runtime: &'static str,
    [module, rustc]: [&'static str; 2],
    broker: &Broker,
) -> Vec<(&'static str, String)> {
    vec![(runtime, runtime_version(broker)), (module, content(broker)), (rustc, compiler(broker))]
}

/// The version of a runtime; the scripts know which one they take.
fn runtime_version(broker: &Broker) -> String {
    let script = r#"source "$0/lib.sh" && runtime_version "$(find_runtime "$1")""#;
    let scripts = paths::repository().join("wasm-targets");
    let version = scripts
        .to_str()
        .zip(broker.wasm_host())
        .and_then(|(scripts, host)| output("bash", &["-c", script, scripts, host]));
    version.unwrap_or_else(unknown)
}

/// The compiler that built Wisp as a program or a module.
fn compiler(broker: &Broker) -> String {
    built(broker).and_then(|file| compiler_of_file(&file)).unwrap_or_else(unknown)
}

/// A checksum of Wisp's program or module, which identifies a build even if the sources have changed since.
fn content(broker: &Broker) -> String {
    built(broker).and_then(|file| content_of_file(&file)).unwrap_or_else(unknown)
}

/// Wisp as a program or a module, or the generator, which is the sink.
fn built(broker: &Broker) -> Option<PathBuf> {
    if *broker == Broker::Sink {
        return paths::generator().ok();
    }
    broker.wasm_host().map_or_else(
        || paths::native_program("wisp-broker").ok(),
        |host| Some(paths::repository().join(format!("target/wasm/wisp-broker-{host}.wasm"))),
    )
}

fn installed_version(program: Result<PathBuf, Failure>, ask: &[&str]) -> String {
    program.map_or_else(|_| unknown(), |program| version_of_program(&program, ask))
}

/// The version that a program prints when asked.
#[must_use]
pub fn version_of_program(program: &Path, ask: &[&str]) -> String {
    let words = program.to_str().and_then(|program| output_whatever(program, ask));
    words.as_deref().and_then(find_version).unwrap_or_else(unknown)
}

/// The version and the commit of the sources; the programs may have been built from others.
fn sources_version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match commit_of(&paths::repository()) {
        Some((commit, true)) => format!("{version}, commit {commit}, clean"),
        Some((commit, false)) => format!("{version}, commit {commit}, with changes that are not committed"),
        None => format!("{version}, commit {}", unknown()),
    }
}

/// The commit that sources are of, and whether they are as committed. Results that grow while they are taken are no change.
fn commit_of(repository: &Path) -> Option<(String, bool)> {
    let git = |arguments: &[&str]| output("git", &[&["-C", repository.to_str()?], arguments].concat());
    let commit = git(&["describe", "--always"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs/results"])?;
    Some((commit, changes.is_empty()))
}

/// The compiler that the file of a program or module names, if there is one.
#[must_use]
pub fn compiler_of_file(file: &Path) -> Option<String> {
    compiler_of(&fs::read(file).ok()?)
}

/// A checksum of a file's content, as in `CRC-32 cbf43926`.
#[must_use]
pub fn content_of_file(file: &Path) -> Option<String> {
    Some(format!("CRC-32 {:08x}", crc32(&fs::read(file).ok()?)))
}

/// The compiler that a program or module names: programs in a section of comments, as in `rustc version 1.95.0 (...)`,
/// modules in their list of producers, as the texts `rustc` and `1.95.0 (...)`, each after a byte with its length.
fn compiler_of(program: &[u8]) -> Option<String> {
    let after = |mark: &[u8]| {
        let at = program.windows(mark.len()).position(|window| window == mark)?;
        Some(&program[at + mark.len()..])
    };
    let text = if program.starts_with(b"\0asm") {
        let (&length, rest) = after(b"\x05rustc")?.split_first()?;
        rest.get(..length.into())?
    } else {
        after(b"rustc version ")?.split(|&byte| byte == 0).next()?
    };
    let text = String::from_utf8(text.to_vec()).ok()?;
    text.starts_with(|first: char| first.is_ascii_digit()).then_some(text)
}

/// The first thing in a text that looks like a version, as in 2.0.11.
fn find_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        let parts: Vec<_> = word.split('.').collect();
        parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
    };
    text.split_whitespace().map(|word| word.strip_prefix('v').unwrap_or(word)).find(is_version).map(str::to_owned)
}

/// The output of a command that succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(program).args(arguments).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// The output of a command with any status: mosquitto ends its help with 3.
fn output_whatever(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_found_in_programs_and_modules() {
        let native = b"\x7fELF...GCC: 12\0rustc version 1.95.0 (5980 2026-04-14)\0Linker: x";
        assert_eq!(compiler_of(native).as_deref(), Some("1.95.0 (5980 2026-04-14)"));
        let module = b"\0asm.../rustc/5980/library...processed-by\x01\x05rustc\x061.95.0and more";
        assert_eq!(compiler_of(module).as_deref(), Some("1.95.0"));
        for none in [&b""[..], b"\0asm", b"\0asm\x05rustc", b"\0asm\x05rustc\xff1.95.0", b"\x7fELF"] {
            assert_eq!(compiler_of(none), None);
        }
    }

    #[test]
    fn a_content_is_told_by_a_file_and_not_by_its_name() {
        let scratch = paths::Scratch::new().unwrap();
        let file = scratch.file("program");
        assert_eq!(content_of_file(&file), None);
        fs::write(&file, "123456789").unwrap();
        assert_eq!(content_of_file(&file).as_deref(), Some("CRC-32 cbf43926"));
        fs::write(&file, "").unwrap();
        assert_eq!(content_of_file(&file).as_deref(), Some("CRC-32 00000000"));
    }

    #[test]
    fn a_change_of_results_is_no_change_of_sources() {
        let scratch = paths::Scratch::new().unwrap();
        let repository = scratch.file("repository");
        fs::create_dir_all(repository.join("docs/results")).unwrap();
        let write = |file: &str, text: &str| fs::write(repository.join(file), text).unwrap();
        let settings = ["user.name=n", "user.email=e", "commit.gpgsign=false"].map(|setting| ["-c", setting]).concat();
        let git = |arguments: &[&str]| {
            output("git", &[&["-C", repository.to_str().unwrap()], &settings[..], arguments].concat()).unwrap()
        };
        write("source", "1");
        write("docs/results/result", "1");
        git(&["init", "--quiet"]);
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message", "m"]);
        let commit = git(&["rev-parse", "--short", "HEAD"]);
        write("docs/results/result", "2");
        assert_eq!(commit_of(&repository), Some((commit.clone(), true)));
        write("source", "2");
        assert_eq!(commit_of(&repository), Some((commit, false)));
    }

    #[test]
    fn versions_are_found_in_help() {
        let help = "mosquitto version 2.0.11\n\nmosquitto is an MQTT v5.0/v3.1.1/v3.1 broker.";
        assert_eq!(find_version(help).as_deref(), Some("2.0.11"));
        assert_eq!(find_version("nats-server: v2.9.10").as_deref(), Some("2.9.10"));
        assert_eq!(find_version("no 1.2 and 1.2.x"), None);
    }
}

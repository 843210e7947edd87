//! The cost of having a broker: the time until it answers, memory when idle and under load, and files.
//!
//! ```text
//!   process started ---> answers ---> its memory is still ---> forwards ---> killed
//!                  startup_ms      idle_*_bytes        loaded_peak_rss_bytes
//! ```
//!
//! Files that were read before are in memory when it starts, as on a machine where it was started before: nothing is dropped
//! from there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use wisp_lab::broker::{Broker, Mode, Running, StartOptions};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::machine;
use wisp_lab::measured::Measured;
use wisp_lab::paths::{self, Scratch};
use wisp_lab::plan;
use wisp_lab::proc;

use crate::footprint::Size;
use crate::loadgen::{self, Load};
use crate::plan::{Case, Point as Spread};
use crate::resident::Resident;

/// How long memory has to stay the same before it counts as that of an idle broker.
const STILL_FOR: Duration = Duration::from_millis(500);

/// Messages that a broker forwards, and from and to how many, unless a plan says otherwise.
const MESSAGES: u64 = 100_000;
const SPREAD: Spread = Spread::new(10, 10);

/// Looks whether the broker is there.
///
/// # Errors
/// When it is not.
pub fn look_for(settings: &plan::Start, scratch: &Scratch) -> Result<(), Failure> {
    let start = Start::of(settings);
    paths::native_program("wisp-loadgen")?;
    start.broker.look_for(&start.options(), scratch)
}

/// Takes one sample.
///
/// # Errors
/// As [`Start::take`].
pub fn take(settings: &plan::Start, scratch: &Scratch, interrupt: &Interrupt) -> Result<Measured, Failure> {
    Start::of(settings).take(scratch, interrupt).map(|figures| Measured::of(&figures))
}

/// The settings of a measurement, with its defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// The broker.
    pub broker: Broker,
    /// How a runtime runs it; none for its usual way.
    pub mode: Option<Mode>,
    /// Workers of brokers that have such a setting.
    pub workers: usize,
    /// Messages of 1 KB that it forwards, while its memory is watched.
    pub messages: u64,
    /// From and to how many.
    pub spread: Spread,
}

/// The measurements, under the names that records have.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Figures {
    /// The broker's workers, if it has such a setting.
    workers: Option<usize>,
    startup_ms: f64,
    startup_cpu_s: f64,
    idle_rss_bytes: u64,
    idle_pss_bytes: u64,
    idle_anonymous_bytes: u64,
    broker_threads: Option<u32>,
    loaded_peak_rss_bytes: Option<u64>,
    broker_cpu_s: Option<f64>,
    messages_per_s: f64,
    #[serde(flatten)]
    files: Files,
}

/// The sizes of the files that a broker runs from: those that are loaded, and those on disk.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
struct Files {
    installed_bytes: u64,
    #[serde(flatten)]
    parts: Parts,
}

/// The parts of the files of a broker.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(untagged)]
enum Parts {
    Native {
        program_bytes: u64,
        program_file_bytes: u64,
        libraries_bytes: u64,
        libraries_file_bytes: u64,
    },
    Module {
        module_bytes: u64,
        module_file_bytes: u64,
        #[serde(flatten)]
        compiled: Option<Compiled>,
        runtime_bytes: u64,
        runtime_file_bytes: u64,
    },
}

/// The file of a module that was compiled ahead of time.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
struct Compiled {
    compiled_bytes: u64,
    compiled_file_bytes: u64,
}

impl Start {
    /// The settings of a plan, with defaults for the others.
    #[must_use]
    pub fn of(settings: &plan::Start) -> Self {
        let plan::Start { broker, mode, workers, messages, senders, receivers } = settings.clone();
        Self {
            // Native programs are compiled before they start, too.
            mode: mode.filter(|mode| *mode != Mode::Aot || !broker.modes().is_empty()),
            broker,
            workers: workers.map_or_else(machine::processors, |workers| workers as usize),
            messages: messages.unwrap_or(MESSAGES),
            spread: Spread::new(senders.unwrap_or(SPREAD.senders), receivers.unwrap_or(SPREAD.receivers)),
        }
    }

    fn options(&self) -> StartOptions {
        StartOptions { mode: self.mode, ..StartOptions::with_workers(self.workers) }
    }

    /// Starts the broker once, measures it, and stops it.
    ///
    /// # Errors
    /// When something is missing, or the system tells nothing of processes, as only Linux does; when a message is lost;
    /// when interrupted.
    pub fn take(&self, scratch: &Scratch, interrupt: &Interrupt) -> Result<Figures, Failure> {
        let running = self.broker.start(&self.options(), scratch, interrupt)?;
        let usage = running.usage().ok_or_else(|| Failure::Setup("only Linux tells what a process uses".to_owned()))?;
        let idle = Resident::settled_for(STILL_FOR, running.process(), interrupt)?;
        let threads = running.usage().map(|usage| usage.threads);
        let files = self.files(&running)?;
        let startup_ms = running.startup().as_secs_f64() * 1e3;
        proc::forget_peak(running.process()).map_err(|error| untold(running.process(), &error))?;
        let case = Case { qos: 0, point: self.spread };
        let load = Load { case, window: 1, messages: self.messages };
        let report = loadgen::drive(&running.url(), &load, interrupt);
        let loaded = running.usage();
        let stopped = running.stop();
        let report = report.map_err(|failure| self.blame(failure, stopped.as_ref().err()))?;
        stopped?;
        Ok(Figures {
            workers: self.broker.workers(self.workers),
            startup_ms,
            startup_cpu_s: usage.cpu_s,
            idle_rss_bytes: idle.rss_bytes,
            idle_pss_bytes: idle.pss_bytes,
            idle_anonymous_bytes: idle.anonymous_bytes,
            broker_threads: threads,
            loaded_peak_rss_bytes: loaded.map(|loaded| loaded.peak_rss_bytes),
            broker_cpu_s: loaded.map(|loaded| loaded.cpu_s - usage.cpu_s),
            messages_per_s: report.messages_per_s,
            files,
        })
    }

    /// The sizes of the files that it runs from.
    fn files(&self, running: &Running) -> Result<Files, Failure> {
        let process = running.process();
        let files = proc::code_files(process).map_err(|error| untold(process, &error))?;
        let Some(host) = self.broker.wasm_host() else {
            let program = proc::program(process).map_err(|error| untold(process, &error))?;
            let libraries = Size::of_all(files.iter().filter(|file| **file != program))?;
            let program = Size::of(&program)?;
            let parts = Parts::Native {
                program_bytes: program.loaded_bytes,
                program_file_bytes: program.file_bytes,
                libraries_bytes: libraries.loaded_bytes,
                libraries_file_bytes: libraries.file_bytes,
            };
            return Ok(Files { installed_bytes: program.loaded_bytes + libraries.loaded_bytes, parts });
        };
        let modules = paths::repository().join("target").join("wasm");
        let file = modules.join(format!("wisp-broker-{host}.wasm"));
        let module = Size::of(&file)?;
        let compiled = match self.mode.unwrap_or_default() {
            Mode::Aot => Some(whole(Size::of(&compiled(&self.broker, &file))?)),
            Mode::Jit | Mode::Interpreted => None,
        };
        // The code of a compiled module may be mapped as well, under its path without links.
        let modules = modules.canonicalize().unwrap_or(modules);
        let runtime = Size::of_all(files.iter().filter(|file| !file.starts_with(&modules)))?;
        let code_bytes = compiled.map_or(module.loaded_bytes, |compiled| compiled.loaded_bytes);
        let compiled =
            compiled.map(|size| Compiled { compiled_bytes: size.loaded_bytes, compiled_file_bytes: size.file_bytes });
        let parts = Parts::Module {
            module_bytes: module.loaded_bytes,
            module_file_bytes: module.file_bytes,
            compiled,
            runtime_bytes: runtime.loaded_bytes,
            runtime_file_bytes: runtime.file_bytes,
        };
        Ok(Files { installed_bytes: runtime.loaded_bytes + code_bytes, parts })
    }

    fn blame(&self, failure: Failure, death: Option<&Failure>) -> Failure {
        let Failure::Broken(what) = failure else { return failure };
        let death = death.map(|death| format!("; {death}")).unwrap_or_default();
        let mode = self.mode.map(|mode| format!(" ({mode})")).unwrap_or_default();
        Failure::Broken(format!("{}{mode}: {what}{death}", self.broker.name()))
    }
}

/// Some runtimes have compiled modules in the form of programs, but need all of them.
fn whole(size: Size) -> Size {
    Size { loaded_bytes: size.file_bytes, ..size }
}

/// The compiled file of a module.
fn compiled(broker: &Broker, module: &Path) -> PathBuf {
    match broker {
        Broker::Wasmer => module.with_extension("wasmu"),
        Broker::Wasmtime => module.with_extension("cwasm"),
        _ => module.with_extension("so"),
    }
}

/// The system does not tell something of a process.
fn untold(process: u32, error: &io::Error) -> Failure {
    Failure::Setup(format!("the system does not tell what process {process} uses: {error}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use wisp_lab::plan::Kind;
    use wisp_lab::process::{kill, spawn};

    use super::*;

    #[test]
    fn what_a_plan_leaves_open_has_defaults() {
        let of = |broker, mode, messages, senders| {
            Start::of(&plan::Start { broker, mode, workers: Some(3), messages, senders, receivers: None })
        };
        let start = of(Broker::WasmEdge, Some(Mode::Interpreted), None, None);
        assert_eq!((start.broker, start.mode, start.workers), (Broker::WasmEdge, Some(Mode::Interpreted), 3));
        assert_eq!((start.messages, start.spread), (MESSAGES, SPREAD));
        let start = of(Broker::Native, Some(Mode::Aot), Some(7), Some(2));
        assert_eq!((start.mode, start.messages, start.spread), (None, 7, Spread::new(2, 10)));
        assert_eq!(of(Broker::Wasmer, Some(Mode::Aot), None, None).mode, Some(Mode::Aot));
    }

    #[test]
    fn figures_may_be_of_all_that_is_recorded() {
        let parts = Parts::Module {
            module_bytes: 1,
            module_file_bytes: 2,
            compiled: Some(Compiled { compiled_bytes: 3, compiled_file_bytes: 4 }),
            runtime_bytes: 5,
            runtime_file_bytes: 6,
        };
        let native =
            Parts::Native { program_bytes: 1, program_file_bytes: 2, libraries_bytes: 3, libraries_file_bytes: 4 };
        for parts in [parts, native] {
            let figures = Figures {
                workers: Some(1),
                startup_ms: 1.0,
                startup_cpu_s: 1.0,
                idle_rss_bytes: 1,
                idle_pss_bytes: 1,
                idle_anonymous_bytes: 1,
                broker_threads: Some(1),
                loaded_peak_rss_bytes: Some(1),
                broker_cpu_s: Some(1.0),
                messages_per_s: 1.0,
                files: Files { installed_bytes: 8, parts },
            };
            let measured = Measured::of(&figures);
            let is_known = |name: &str| name == "workers" || Kind::Start.measures().any(|known| known == name);
            let unknown: Vec<_> = measured.fields().keys().filter(|name| !is_known(name)).collect();
            assert!(unknown.is_empty() && measured.fields().len() > 14, "{measured}");
        }
    }

    #[test]
    fn compiled_modules_have_the_names_that_the_scripts_give_them() {
        for (broker, expected) in [
            (Broker::Wasmer, "/a/m-wasix.wasmu"),
            (Broker::Wasmtime, "/a/m-wasip1.cwasm"),
            (Broker::WasmEdge, "/a/m-wasmedge.so"),
        ] {
            let host = broker.wasm_host().unwrap();
            let module = PathBuf::from(format!("/a/m-{host}.wasm"));
            assert_eq!(compiled(&broker, &module), Path::new(expected));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_peak_is_forgotten() {
        // Takes 64 MiB, lets them go, says so, and waits.
        let script = "x = bytearray(1 << 26); del x; print(flush=True); import time; time.sleep(600)";
        let mut child =
            spawn(Command::new("python3").args(["-c", script]).stdout(std::process::Stdio::piped())).unwrap();
        let mut said = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut said).unwrap();
        let peak = |child: u32| wisp_lab::broker::Usage::of_group(child).unwrap().peak_rss_bytes;
        let before = peak(child.id());
        proc::forget_peak(child.id()).unwrap();
        let after = peak(child.id());
        kill(&mut child);
        assert!(before >= 1 << 26 && after < before - (1 << 25), "{before} {after}");
    }
}

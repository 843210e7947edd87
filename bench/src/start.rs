//! What it costs to have a broker: the time until it answers, memory when it does nothing and when it works, and files.
//!
//! ```text
//!   process started ---> answers ---> its memory is still ---> forwards ---> killed
//!                  startup_ms      idle_*_bytes        loaded_peak_rss_bytes
//! ```
//!
//! Files that were read before are in memory when it starts, as on a machine where it was started before: nothing is dropped
//! from there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use wisp_loadgen::broker::{Broker, Mode, Running, StartOptions};
use wisp_loadgen::failure::{Failure, Interrupt};
use wisp_loadgen::folder::Record;
use wisp_loadgen::places::{self, Scratch};

use crate::footprint::{Size, files_of};
use crate::loadgen::{self, Load};
use crate::plan::{Case, Point};
use crate::resident::Resident;

/// How long memory has to stay the same before it counts as that of an idle broker.
const STILL_FOR: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Who.
    pub broker: Broker,
    /// How a runtime runs it; none for its usual way.
    pub mode: Option<Mode>,
    /// Workers of brokers that have such a setting.
    pub workers: usize,
    /// Messages of 1 KB that it forwards, while its memory is watched.
    pub messages: u64,
    /// From and to how many.
    pub point: Point,
}

impl Start {
    /// Starts the broker once, measures it, and stops it.
    ///
    /// # Errors
    /// When something is missing, or the system tells nothing of processes, as only Linux does; when a message is lost;
    /// when interrupted.
    pub fn take(&self, scratch: &Scratch, interrupt: &Interrupt) -> Result<Record, Failure> {
        let options = StartOptions { mode: self.mode, ..StartOptions::with_workers(self.workers) };
        let running = self.broker.start(&options, scratch, interrupt)?;
        let usage =
            running.usage().ok_or_else(|| Failure::Missing("only Linux tells what a process uses".to_owned()))?;
        let idle = Resident::settled_for(STILL_FOR, running.process(), interrupt)?;
        let threads = running.usage().map(|usage| usage.threads);
        let mut record = self.files(&running)?;
        forget_peak(running.process())?;
        let case = Case { qos: 0, point: self.point };
        let load = Load { case, window: 1, messages: self.messages };
        let report = loadgen::drive(&running.url(), &load, interrupt);
        let loaded = running.usage();
        let stopped = running.stop();
        let report = report.map_err(|failure| self.blame(failure, stopped.as_ref().err()))?;
        stopped?;
        let measured = json!({
            "startup_cpu_s": usage.cpu_s,
            "idle_rss_bytes": idle.rss_bytes,
            "idle_pss_bytes": idle.pss_bytes,
            "idle_anonymous_bytes": idle.anonymous_bytes,
            "broker_threads": threads,
            "loaded_peak_rss_bytes": loaded.map(|loaded| loaded.peak_rss_bytes),
            "broker_cpu_s": loaded.map(|loaded| loaded.cpu_s - usage.cpu_s),
            "messages_per_s": report.messages_per_s,
        });
        record.extend(measured.as_object().cloned().unwrap_or_default());
        Ok(record)
    }

    /// The sizes of the files that it runs from.
    fn files(&self, running: &Running) -> Result<Record, Failure> {
        let mut sizes = Record::new();
        let mut put = |name: &str, size: Size| {
            sizes.insert(format!("{name}_bytes"), size.loaded_bytes.into());
            sizes.insert(format!("{name}_file_bytes"), size.file_bytes.into());
            size.loaded_bytes
        };
        let files = files_of(running.process())?;
        let total = if let Some(host) = self.broker.wasm_host() {
            let modules = places::repository().join("target").join("wasm");
            let module = modules.join(format!("wisp-broker-{host}.wasm"));
            let module_bytes = put("module", Size::of(&module)?);
            let code_bytes = match self.mode.unwrap_or_default() {
                Mode::Aot => put("compiled", whole(Size::of(&compiled(&self.broker, &module))?)),
                Mode::Jit | Mode::Interpreted => module_bytes,
            };
            // The code of a compiled module may be mapped as well, under its path without links.
            let modules = modules.canonicalize().unwrap_or(modules);
            put("runtime", Size::of_all(files.iter().filter(|file| !file.starts_with(&modules)))?) + code_bytes
        } else {
            let program = fs::read_link(format!("/proc/{}/exe", running.process()))
                .map_err(|error| Failure::Missing(format!("cannot tell which program {} is: {error}", self.broker)))?;
            put("program", Size::of(&program)?)
                + put("libraries", Size::of_all(files.iter().filter(|file| **file != program))?)
        };
        sizes.insert("startup_ms".to_owned(), (running.startup().as_secs_f64() * 1e3).into());
        sizes.insert("installed_bytes".to_owned(), total.into());
        Ok(sizes)
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

/// What a runtime's compiler makes of a module.
fn compiled(broker: &Broker, module: &Path) -> PathBuf {
    match broker {
        Broker::Wasmer => module.with_extension("wasmu"),
        Broker::Wasmtime => module.with_extension("cwasm"),
        _ => module.with_file_name(format!("{}-aot.wasm", module.file_stem().unwrap_or_default().display())),
    }
}

/// Lets the count of the most memory that a process ever had begin anew.
fn forget_peak(process: u32) -> Result<(), Failure> {
    let file = format!("/proc/{process}/clear_refs");
    fs::write(&file, "5").map_err(|error| Failure::Missing(format!("cannot write to {file}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use wisp_loadgen::broker::{kill, spawn};

    use super::*;

    #[test]
    fn compiled_modules_have_the_names_that_the_scripts_give_them() {
        for (broker, expected) in [
            (Broker::Wasmer, "/a/m-wasix.wasmu"),
            (Broker::Wasmtime, "/a/m-wasip1.cwasm"),
            (Broker::WasmEdge, "/a/m-wasmedge-aot.wasm"),
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
        let peak = |child: u32| wisp_loadgen::broker::Usage::of_group(child).unwrap().peak_rss_bytes;
        let before = peak(child.id());
        forget_peak(child.id()).unwrap();
        let after = peak(child.id());
        kill(&mut child);
        assert!(before >= 1 << 26 && after < before - (1 << 25), "{before} {after}");
    }
}

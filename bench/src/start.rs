//! The cost of having a broker: the time until it answers, memory when idle and under load, and files.
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

use wisp_lab::broker::{Broker, Mode, Running, StartOptions};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::machine;
use wisp_lab::paths::{self, Scratch};
use wisp_lab::plan::Point;
use wisp_report::folder::Record;

use crate::footprint::{Size, files_of};
use crate::loadgen::{self, Load};
use crate::plan::{Case, Point as Spread};
use crate::point::only;
use crate::resident::Resident;

/// How long memory has to stay the same before it counts as that of an idle broker.
const STILL_FOR: Duration = Duration::from_millis(500);

/// Messages that a broker forwards, and from and to how many, unless a plan says otherwise.
const MESSAGES: u64 = 100_000;
/// The largest number that a setting may be.
const NUMBER_MAX: u64 = u32::MAX as u64;
const SPREAD: Spread = Spread::new(10, 10);

/// Looks whether a point's broker is there.
///
/// # Errors
/// When it is not, or the point says something that is none of this kind.
pub fn look_for(point: &Point, scratch: &Scratch) -> Result<(), Failure> {
    let start = Start::of(point)?;
    paths::native_program("wisp-loadgen")?;
    start.broker.look_for(&start.options(), scratch)
}

/// Takes one sample of a point.
///
/// # Errors
/// As [`Start::take`], and when the point says something that is none of this kind.
pub fn take(point: &Point, scratch: &Scratch, interrupt: &Interrupt) -> Result<Record, Failure> {
    let measured = Start::of(point)?.take(scratch, interrupt)?;
    let mut record = point.record();
    record.extend(measured);
    Ok(record)
}

/// The settings of a measurement.
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

impl Start {
    /// The settings of a point: `broker`, and optionally `mode`, `workers`, `messages`, `senders` and `receivers`.
    ///
    /// # Errors
    /// If it has another one, in one line.
    pub fn of(point: &Point) -> Result<Self, Failure> {
        only(point, &["broker", "mode", "workers", "messages", "senders", "receivers"])?;
        let text = |name| point.text(name).ok_or_else(|| Failure::Setup(format!("{name}: it has to be set, to text")));
        let wrong = |name: &'static str| move |error: String| Failure::Setup(format!("{name}: {error}"));
        let number = |name, usual: u64| match (point.get(name), point.whole(name)) {
            (None, _) => Ok(usual),
            (_, Some(number @ 1..=NUMBER_MAX)) => Ok(number),
            (Some(value), _) => Err(Failure::Setup(format!("{name}: {value} is no whole number above 0"))),
        };
        let broker: Broker = text("broker")?.parse().map_err(wrong("broker"))?;
        let mode = point.get("mode").map(|_| text("mode")?.parse::<Mode>().map_err(wrong("mode"))).transpose()?;
        Ok(Self {
            // Native programs are compiled before they start, too.
            mode: mode.filter(|mode| *mode != Mode::Aot || !broker.modes().is_empty()),
            broker,
            workers: number("workers", machine::processors() as u64)? as usize,
            messages: number("messages", MESSAGES)?,
            spread: Spread::new(
                number("senders", SPREAD.senders.into())? as u32,
                number("receivers", SPREAD.receivers.into())? as u32,
            ),
        })
    }

    fn options(&self) -> StartOptions {
        StartOptions { mode: self.mode, ..StartOptions::with_workers(self.workers) }
    }

    /// Starts the broker once, measures it, and stops it.
    ///
    /// # Errors
    /// When something is missing, or the system tells nothing of processes, as only Linux does; when a message is lost;
    /// when interrupted.
    pub fn take(&self, scratch: &Scratch, interrupt: &Interrupt) -> Result<Record, Failure> {
        let running = self.broker.start(&self.options(), scratch, interrupt)?;
        let usage = running.usage().ok_or_else(|| Failure::Setup("only Linux tells what a process uses".to_owned()))?;
        let idle = Resident::settled_for(STILL_FOR, running.process(), interrupt)?;
        let threads = running.usage().map(|usage| usage.threads);
        let mut record = self.files(&running)?;
        forget_peak(running.process())?;
        let case = Case { qos: 0, point: self.spread };
        let load = Load { case, window: 1, messages: self.messages };
        let report = loadgen::drive(&running.url(), &load, interrupt);
        let loaded = running.usage();
        let stopped = running.stop();
        let report = report.map_err(|failure| self.blame(failure, stopped.as_ref().err()))?;
        stopped?;
        let measured = json!({
            "workers": self.broker.workers(self.workers),
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
            let modules = paths::repository().join("target").join("wasm");
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
                .map_err(|error| Failure::Setup(format!("cannot tell which program {} is: {error}", self.broker)))?;
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

/// The compiled file of a module.
fn compiled(broker: &Broker, module: &Path) -> PathBuf {
    match broker {
        Broker::Wasmer => module.with_extension("wasmu"),
        Broker::Wasmtime => module.with_extension("cwasm"),
        _ => module.with_extension("so"),
    }
}

/// Lets the count of the most memory that a process ever had begin anew.
fn forget_peak(process: u32) -> Result<(), Failure> {
    let file = format!("/proc/{process}/clear_refs");
    fs::write(&file, "5").map_err(|error| Failure::Setup(format!("cannot write to {file}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use wisp_lab::plan::Kind;
    use wisp_lab::process::{kill, spawn};

    use super::*;

    fn start_of(settings: serde_json::Value) -> Result<Start, Failure> {
        Start::of(&Point::new(Kind::Start, serde_json::from_value(settings).unwrap()))
    }

    #[test]
    fn a_point_says_who_and_how() {
        let start = start_of(json!({"broker": "wasmedge", "mode": "interpreted", "workers": 3})).unwrap();
        assert_eq!((start.broker, start.mode, start.workers), (Broker::WasmEdge, Some(Mode::Interpreted), 3));
        assert_eq!((start.messages, start.spread), (MESSAGES, SPREAD));
        let start = start_of(json!({"broker": "native", "mode": "aot", "messages": 7, "senders": 2})).unwrap();
        assert_eq!((start.mode, start.messages, start.spread), (None, 7, Spread::new(2, 10)));
        assert_eq!(start_of(json!({"broker": "wasmer", "mode": "aot"})).unwrap().mode, Some(Mode::Aot));
    }

    #[test]
    fn a_point_that_says_something_else_is_refused() {
        for (settings, part) in [
            (json!({}), "broker: it has to be set"),
            (json!({"broker": "other"}), "broker: there is no broker"),
            (json!({"broker": "wasmer", "mode": 1}), "mode: it has to be set, to text"),
            (json!({"broker": "wasmer", "mode": "slow"}), "mode: slow is no mode"),
            (json!({"broker": "native", "messages": 0}), "messages: 0 is no"),
            (json!({"broker": "native", "senders": 4294967296_u64}), "senders: 4294967296 is no"),
            (json!({"broker": "native", "qos": 1}), "qos: no setting of start"),
        ] {
            let failure = start_of(settings).unwrap_err();
            assert!(matches!(&failure, Failure::Setup(why) if why.contains(part)), "{failure}");
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
        forget_peak(child.id()).unwrap();
        let after = peak(child.id());
        kill(&mut child);
        assert!(before >= 1 << 26 && after < before - (1 << 25), "{before} {after}");
    }
}

//! Work without sockets, on each host and in each of its modes: random numbers, and files that are sorted.

mod numbers;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::host::{Host, HostMode, Runtime, plain_module};
use wisp_lab::measured::Measured;
use wisp_lab::paths::{self, Scratch};
use wisp_lab::plan::{Compute as Settings, Work};

use crate::program::{Finished, Program};
use numbers::Contents;

/// The program, natively and as a module.
pub const PROGRAM: &str = "wisp-compute";
/// The folder in which modules find their files.
const GUEST_FOLDER: &str = "/data";
/// The file that they write.
const SORTED: &str = "sorted";
/// How long the work may take. An interpreter takes its time.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs the program, and keeps the expected results.
#[derive(Default, Debug)]
pub struct Compute {
    runtimes: BTreeMap<Host, Runtime>,
    /// The files that were made, by their length.
    files: BTreeMap<u64, Contents>,
    /// The sums of random numbers, by their count.
    sums: BTreeMap<u64, u64>,
}

/// The program's report about random numbers.
#[derive(Deserialize, Debug)]
struct Made {
    sum: u64,
    compute_s: f64,
}

/// The program's report about a file.
#[derive(Deserialize, Debug)]
struct Sorted {
    numbers: u64,
    read_s: f64,
    compute_s: f64,
    write_s: f64,
}

/// The measurements, under the names that records have. The start is the time that the program's own clock did not see.
#[derive(Serialize, Debug)]
struct Figures {
    numbers: u64,
    seconds: f64,
    read_s: f64,
    compute_s: f64,
    write_s: f64,
    io_s: f64,
    time_per_number_ns: f64,
    wall_s: f64,
    start_s: f64,
    cpu_s: f64,
    peak_rss_bytes: Option<u64>,
}

impl Compute {
    /// Work on hosts with these runtimes.
    #[must_use]
    pub fn new(runtimes: BTreeMap<Host, Runtime>) -> Self {
        Self { runtimes, ..Self::default() }
    }

    /// Looks whether the program is there for a sample.
    ///
    /// # Errors
    /// When it is not, or the host has no such mode.
    pub fn look_for(&self, settings: &Settings) -> Result<(), Failure> {
        self.command(settings.host, settings.mode, PathBuf::new()).map(drop)
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// When something is missing, the result is wrong, or the run was interrupted.
    pub fn take(&mut self, settings: &Settings, scratch: &Scratch, interrupt: &Interrupt) -> Result<Measured, Failure> {
        let Settings { host, mode, work } = *settings;
        let folder = scratch.file("data");
        fs::create_dir_all(&folder).map_err(unwritable)?;
        let mut command = self.command(host, mode, folder.clone())?;
        let inside = if host == Host::Native { folder.clone() } else { GUEST_FOLDER.into() };
        match work {
            Work::Random { count } => command.args(["random", "--count", &count.to_string()]),
            Work::Sort { file_bytes: bytes } => {
                if let Entry::Vacant(place) = self.files.entry(bytes) {
                    place.insert(numbers::write_random(&folder.join(file_of(bytes)), bytes).map_err(unwritable)?);
                }
                command.args(["sort", "--file"]).arg(inside.join(file_of(bytes))).arg("--out").arg(inside.join(SORTED))
            }
        };
        let name = format!("{PROGRAM} on {host} ({mode})");
        let program = Program::start(&name, &mut command, scratch)?;
        let finished = program.finish(Instant::now() + PATIENCE, interrupt)?;
        let figures = match work {
            Work::Random { count } => self.random(count, &name, &finished)?,
            Work::Sort { file_bytes } => self.sort(file_bytes, &folder.join(SORTED), &name, &finished)?,
        };
        Ok(Measured::of(&figures))
    }

    /// The program on a host, with a folder that it may use; the arguments for its work follow.
    fn command(&self, host: Host, mode: HostMode, folder: PathBuf) -> Result<Command, Failure> {
        let options: &[&str] = match (host, mode) {
            (Host::Native, HostMode::Aot) => return Ok(Command::new(paths::native_program(PROGRAM)?)),
            (Host::Wasmer, HostMode::Aot) => &["run"],
            (Host::Wasmer, HostMode::Jit) => &["run", "--disable-cache"],
            (Host::Wasmtime, HostMode::Aot) => &["run", "--allow-precompiled"],
            (Host::Wasmtime, HostMode::Jit) => &["run", "-C", "cache=n"],
            (Host::Wasmtime, HostMode::Baseline) => &["run", "-C", "cache=n,compiler=winch"],
            (Host::Wasmtime, HostMode::Interpreted) => &["run", "-C", "cache=n", "--target", "pulley64"],
            (Host::WasmEdge, HostMode::Aot) => &[],
            (Host::WasmEdge, HostMode::Jit) => &["--enable-jit"],
            (Host::WasmEdge, HostMode::Interpreted) => &["--force-interpreter"],
            _ => return Err(Failure::Setup(format!("mode: {host} has no {mode}"))),
        };
        let runtime = self.runtimes.get(&host).ok_or_else(|| host.missing())?;
        let module = plain_module(PROGRAM, host, mode)?;
        let folder = folder.display();
        let mut command = Command::new(&runtime.program);
        command.args(options);
        match host {
            Host::Wasmer => command.arg("--volume").arg(format!("{folder}:{GUEST_FOLDER}")),
            Host::Wasmtime => command.arg("--dir").arg(format!("{folder}::{GUEST_FOLDER}")),
            _ => command.arg("--dir").arg(format!("{GUEST_FOLDER}:{folder}")),
        };
        command.arg(module);
        if host == Host::Wasmer {
            command.arg("--");
        }
        Ok(command)
    }

    fn random(&mut self, count: u64, name: &str, finished: &Finished) -> Result<Figures, Failure> {
        let Made { sum, compute_s } = finished.read(name)?;
        let expected = *self.sums.entry(count).or_insert_with(|| wisp_compute::make_random(count).sum);
        if sum != expected {
            return Err(Failure::Broken(format!("{name} made other numbers: their sum is {sum}, not {expected}")));
        }
        Ok(figures(count, [0.0, compute_s, 0.0], finished))
    }

    fn sort(&self, bytes: u64, sorted: &Path, name: &str, finished: &Finished) -> Result<Figures, Failure> {
        let Sorted { numbers, read_s, compute_s, write_s } = finished.read(name)?;
        let contents = numbers::read_sorted(sorted);
        // So that the next one cannot pass with it.
        drop(fs::remove_file(sorted));
        let contents = contents.map_err(|error| Failure::Broken(format!("{name} did not sort the file: {error}")))?;
        if self.files.get(&bytes) != Some(&contents) {
            return Err(Failure::Broken(format!("{name} lost numbers of the file, or made others")));
        }
        Ok(figures(numbers, [read_s, compute_s, write_s], finished))
    }
}

/// The name of the file with `bytes` bytes.
fn file_of(bytes: u64) -> String {
    format!("numbers-{bytes}")
}

fn unwritable(error: io::Error) -> Failure {
    Failure::Setup(format!("cannot write into the folder for temporary files: {error}"))
}

/// The figures of either work.
fn figures(numbers: u64, [read_s, compute_s, write_s]: [f64; 3], finished: &Finished) -> Figures {
    let seconds = read_s + compute_s + write_s;
    Figures {
        numbers,
        seconds,
        read_s,
        compute_s,
        write_s,
        io_s: read_s + write_s,
        time_per_number_ns: compute_s * 1e9 / numbers.max(1) as f64,
        wall_s: finished.wall_s,
        start_s: (finished.wall_s - seconds).max(0.0),
        cpu_s: finished.cpu_s,
        peak_rss_bytes: finished.peak_rss_bytes,
    }
}

#[cfg(test)]
mod tests {
    use wisp_lab::plan::Kind;

    use super::*;

    #[test]
    fn figures_may_be_of_all_that_is_recorded() {
        let finished = Finished { output: String::new(), wall_s: 2.0, cpu_s: 1.0, peak_rss_bytes: None };
        let figures = figures(10, [0.25, 1.0, 0.25], &finished);
        assert!((figures.io_s - 0.5).abs() < 1e-9 && (figures.start_s - 0.5).abs() < 1e-9, "{figures:?}");
        let measured = Measured::of(&figures);
        let is_known = |name: &str| Kind::Compute.measures().any(|known| known == name);
        let unknown: Vec<_> = measured.fields().keys().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

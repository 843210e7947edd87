//! Plans without a load: Wisp's own programs on each host, and starts of brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use wisp_lab::versions::{self, Facts};

use wisp_lab::broker::Broker;
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::host::{self, Host, HostMode};
use wisp_lab::machine;
use wisp_lab::measured::Measured;
use wisp_lab::paths::{self, Scratch};
use wisp_lab::plan::{Changes, Kind, Plan, Point, Settings};
use wisp_lab::sweep::{self, Sampler, Watch};

use crate::args::Experiment;
use crate::compute::{self, Compute};
use crate::{PROGRAM, start, transfer};

/// Runs a plan, shows the results, and returns the status to end with.
///
/// # Errors
/// If there is no such plan, it is for another program, something is missing, or the results cannot be written.
pub fn run(options: &Experiment) -> Result<u8, Failure> {
    let system = |error: io::Error| Failure::Setup(format!("cannot prepare the run: {error}"));
    let changes = Changes {
        is_quick: options.quick,
        repetitions: options.place.repetitions,
        ..Changes::none(machine::processors())
    };
    let plan = Plan::find(&options.plan, &changes)?;
    let interrupt = Interrupt::on_signals(PROGRAM).map_err(system)?;
    let mut programs = Programs::new(plan.kind, &interrupt).map_err(system)?;
    let settings = sweep::Options {
        program: PROGRAM,
        folder: options.place.folder(&plan.name),
        is_resumed: options.place.resume,
        seed: options.place.seed,
        command: sweep::command(PROGRAM),
    };
    let outcome = sweep::run(&plan, &settings, &mut programs, &interrupt)?;
    sweep::present(&plan, &settings, &outcome)?;
    Ok(outcome.status())
}

/// Takes the samples.
struct Programs {
    kind: Kind,
    scratch: Scratch,
    interrupt: Interrupt,
    versions: BTreeMap<String, String>,
    compute: Compute,
}

impl Programs {
    fn new(kind: Kind, interrupt: &Interrupt) -> io::Result<Self> {
        let (versions, compute) = (BTreeMap::new(), Compute::default());
        Ok(Self { kind, scratch: Scratch::new()?, interrupt: interrupt.clone(), versions, compute })
    }

    /// The compilers of the measured program's builds.
    fn compilers(&self) -> BTreeMap<String, String> {
        let (program, module) = match self.kind {
            Kind::Transfer => (transfer::PROGRAM, host::compiled_module(transfer::PROGRAM, Host::WasmEdge)),
            _ => (compute::PROGRAM, host::plain_module(compute::PROGRAM, Host::WasmEdge, HostMode::Jit)),
        };
        let native = paths::native_program(program);
        [(format!("rustc of the native {program}"), native), (format!("rustc of the modules of {program}"), module)]
            .into_iter()
            .filter_map(|(name, file)| Some((name, versions::compiler_of_file(&file.ok()?)?)))
            .collect()
    }

    /// The checksums of the measured program's builds, by host.
    fn contents(&self, hosts: &BTreeSet<Host>) -> BTreeMap<String, String> {
        let program = if self.kind == Kind::Transfer { transfer::PROGRAM } else { compute::PROGRAM };
        let built = |host| match (host, self.kind) {
            (Host::Native, _) => paths::native_program(program),
            (_, Kind::Transfer) => host::compiled_module(program, host),
            _ => host::plain_module(program, host, HostMode::Jit),
        };
        let content = |host| versions::content_of_file(&built(host).ok()?);
        hosts.iter().filter_map(|host| Some((format!("{program} on {host}"), content(*host)?))).collect()
    }

    /// Looks for the runtimes of a plan. Returns the missing ones.
    fn find_runtimes(&mut self, plan: &Plan) -> BTreeSet<String> {
        let mut missing = BTreeSet::new();
        let mut runtimes = BTreeMap::new();
        let hosts: BTreeSet<Host> = plan.points.iter().filter_map(|point| host_of(point.settings())).collect();
        self.versions.extend(self.contents(&hosts));
        for host in hosts {
            match host.runtime() {
                Ok(runtime) => runtimes.extend(runtime.map(|runtime| (host, runtime))),
                Err(failure) => drop(missing.insert(failure.to_string())),
            }
        }
        self.versions.extend(runtimes.iter().map(|(host, runtime)| (host.title().to_owned(), runtime.version.clone())));
        self.versions.extend(self.compilers());
        self.compute = Compute::new(runtimes);
        missing
    }

    fn look_for(&self, point: &Point) -> Result<(), Failure> {
        match point.settings() {
            Settings::Transfer(settings) => transfer::look_for(settings),
            Settings::Compute(settings) => self.compute.look_for(settings),
            Settings::Start(settings) => start::look_for(settings, &self.scratch),
            Settings::Throughput(_) | Settings::Latency(_) | Settings::Connections(_) => {
                Err(not_measured_here(point.kind()))
            }
        }
    }
}

/// The host of a sample that has no broker.
fn host_of(settings: &Settings) -> Option<Host> {
    match settings {
        Settings::Transfer(transfer) => Some(transfer.host),
        Settings::Compute(compute) => Some(compute.host),
        Settings::Throughput(_) | Settings::Latency(_) | Settings::Connections(_) | Settings::Start(_) => None,
    }
}

fn not_measured_here(kind: Kind) -> Failure {
    Failure::Setup(format!("plans of the kind {} are run by wisp-loadgen", kind.name()))
}

impl Sampler for Programs {
    fn prepare(&mut self, plan: &Plan, interrupt: &Interrupt) -> Result<(), Failure> {
        let started = |point: &Point| match point.settings() {
            Settings::Start(start) => Some((start.broker.to_string(), start.broker.clone())),
            _ => None,
        };
        let brokers: BTreeMap<String, Broker> = plan.points.iter().filter_map(started).collect();
        let brokers: Vec<Broker> = brokers.into_values().collect();
        self.versions =
            Facts::gather(&brokers).versions.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut missing = match self.kind {
            Kind::Transfer | Kind::Compute => self.find_runtimes(plan),
            _ => BTreeSet::new(),
        };
        for point in &plan.points {
            match self.look_for(point) {
                Err(Failure::Setup(what)) => drop(missing.insert(what)),
                other => other?,
            }
        }
        interrupt.check()?;
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::Setup(missing.into_iter().collect::<Vec<_>>().join(&format!("\n{PROGRAM}: "))))
    }

    fn sample(&mut self, point: &Point, _: u32, _: &dyn Watch) -> Result<Measured, Failure> {
        match point.settings() {
            Settings::Transfer(settings) => transfer::take(settings, &self.scratch, &self.interrupt),
            Settings::Start(settings) => start::take(settings, &self.scratch, &self.interrupt),
            Settings::Compute(settings) => self.compute.take(settings, &self.scratch, &self.interrupt),
            Settings::Throughput(_) | Settings::Latency(_) | Settings::Connections(_) => {
                Err(not_measured_here(point.kind()))
            }
        }
    }

    fn versions(&self) -> BTreeMap<String, String> {
        self.versions.clone()
    }
}

//! Runs cases against brokers and keeps the records.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use wisp_lab::broker::{Broker, Build};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::paths::{self, Scratch};
use wisp_lab::versions::{self, Facts, content_of_file};
use wisp_loadgen::allow_descriptors;
use wisp_report::time;

use crate::args::{Arguments, PROGRAM};
use crate::case::{Attack, Case, Outcome};
use crate::load::Clock;
use crate::peers::Program;
use crate::record::{self, Record};
use crate::subject::{Kind, Subject};
use crate::summary;

/// Descriptors of the largest case, here and in the broker.
const DESCRIPTORS: u64 = 19_500;

/// A broker that is there.
enum Candidate {
    Wisp { kind: Kind, broker: Broker, version: String },
    Peer(Program),
}

/// Runs the cases that the command line names.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.list {
        print!("{}", summary::list());
        return Ok(());
    }
    let system = |error: io::Error| Failure::Setup(format!("cannot prepare the run: {error}"));
    let interrupt = Interrupt::on_signals(PROGRAM).map_err(system)?;
    allow_descriptors(DESCRIPTORS).map_err(Failure::setup)?;
    let session = Session {
        arguments,
        build: arguments.program.clone().map_or(Build::Own, Build::Program),
        scratch: Scratch::new().map_err(system)?,
        out: folder(arguments),
        interrupt,
    };
    let candidates = session.candidates();
    let mut records = Vec::new();
    let ended = session.run_all(&candidates, &mut records);
    session.summarize(records)?;
    ended
}

/// Where results go; nowhere if only a part was run and no folder was named.
fn folder(arguments: &Arguments) -> Option<PathBuf> {
    let usual = || paths::repository().join("docs").join("results").join(format!("{}-isolation", time::today()));
    arguments.out.clone().or_else(|| arguments.is_usual().then(usual))
}

struct Session<'a> {
    arguments: &'a Arguments,
    build: Build,
    scratch: Scratch,
    out: Option<PathBuf>,
    interrupt: Interrupt,
}

impl Session<'_> {
    /// The wanted brokers that are installed; of each missing peer there is a line.
    fn candidates(&self) -> Vec<Candidate> {
        let find = |kind: &Kind| match kind {
            Kind::Wisp(broker) => {
                let content = self.arguments.program.as_deref().map(content_of_file);
                let version = content.map_or_else(
                    || versions::version_of(broker),
                    |content| content.unwrap_or_else(|| "unknown".to_owned()),
                );
                Some(Candidate::Wisp { kind: kind.clone(), broker: broker.clone(), version })
            }
            Kind::Peer(peer) => {
                let program = peer.find();
                if program.is_none() {
                    eprintln!("{PROGRAM}: no {} here: bench/isolation/peers installs it", peer.name());
                }
                program.map(Candidate::Peer)
            }
        };
        self.arguments.brokers.iter().filter_map(find).collect()
    }

    fn run_all(&self, candidates: &[Candidate], records: &mut Vec<Record>) -> Result<(), Failure> {
        for case in self.arguments.cases() {
            for repetition in 0..self.arguments.repetitions() as usize {
                // Another broker is first each time.
                let first = repetition % candidates.len().max(1);
                for candidate in candidates[first..].iter().chain(&candidates[..first]) {
                    if candidate.kind().can_run(&case.setup) {
                        records.push(self.run_one(case, candidate)?);
                    }
                }
            }
        }
        Ok(())
    }

    fn run_one(&self, case: &Case, candidate: &Candidate) -> Result<Record, Failure> {
        self.interrupt.check()?;
        let taken_at = time::now();
        let subject = match candidate {
            Candidate::Wisp { broker, .. } => {
                Subject::wisp(broker, &self.build, &case.setup, &self.scratch, &self.interrupt)
            }
            Candidate::Peer(program) => Subject::peer(program, &case.setup, &self.scratch, &self.interrupt),
        }?;
        let begun = Instant::now();
        let ended = (case.run)(&Attack {
            subject: &subject,
            is_quick: self.arguments.quick,
            seconds: self.arguments.seconds(),
            clock: Clock::start(),
        });
        self.interrupt.check()?;
        let (outcome, failure) = match ended {
            Ok(outcome) => (outcome, None),
            Err(error) => (Outcome::default(), Some(subject.has_died().unwrap_or_else(|| error.to_string()))),
        };
        let record = Record {
            case: case.name.to_owned(),
            broker: candidate.kind().name().to_owned(),
            version: candidate.version().to_owned(),
            taken_at,
            wall_s: begun.elapsed().as_secs_f64(),
            seconds: self.arguments.seconds(),
            is_quick: self.arguments.quick,
            outcome,
            failure,
        };
        println!("{}", summary::line(&record));
        if let Some(folder) = &self.out {
            record::append(folder, &record).map_err(|error| unwritable(folder, &error))?;
        }
        Ok(record)
    }

    /// Prints the tables, and writes them beside the records.
    fn summarize(&self, records: Vec<Record>) -> Result<(), Failure> {
        let Some(folder) = &self.out else {
            println!("\n{}", summary::tables(&records));
            println!("Not written, since the run is not the usual one: --out DIR says where to.");
            return Ok(());
        };
        let records = record::read(folder).map_err(|error| unwritable(folder, &error))?;
        println!("\n{}", summary::tables(&records));
        let page = summary::page(&records, &Facts::gather(&[Broker::Native]));
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(folder.join(summary::FILE), page))
            .map_err(|error| unwritable(folder, &error))?;
        println!("Written to {}", folder.display());
        Ok(())
    }
}

impl Candidate {
    fn kind(&self) -> Kind {
        match self {
            Self::Wisp { kind, .. } => kind.clone(),
            Self::Peer(program) => Kind::Peer(program.peer),
        }
    }

    fn version(&self) -> &str {
        match self {
            Self::Wisp { version, .. } => version,
            Self::Peer(program) => &program.version,
        }
    }
}

fn unwritable(folder: &std::path::Path, error: &io::Error) -> Failure {
    Failure::Setup(format!("cannot keep results in {}: {error}", folder.display()))
}

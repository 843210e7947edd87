//! Compares two builds of Wisp: this one and another one.
//!
//! ```text
//!   for each host, QoS and point, until the ratios agree:
//!     this build  ---> broker --.
//!     other build ---> broker --+--> slices in turn ---> a pair ---> paired ---> table, status
//! ```
//!
//! This program drives both brokers itself, so that one generator serves both. The measure is the broker's processor time
//! for each message, because other work on the machine changes it less than a rate.

pub mod paired;
mod sample;
pub mod table;

use std::io;
use wisp_lab::versions::Facts;
use wisp_report::time;

use crate::PROGRAM;
use crate::args::{Against, Smoke};
use crate::plan::{self, Case, Plan};
use crate::results;
use crate::smoke::warn_if_busy;
use paired::{Paired, Verdict};
use sample::{Driver, Slice};
use table::Line;
use wisp_lab::broker::{Broker, Build, StartOptions};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::machine;
use wisp_lab::paths::Scratch;

/// The levels of QoS that are compared unless the command line names others.
const QOS: [u8; 2] = [0, 1];

/// A host, with this build and the other one.
type Subject = (Broker, [Build; 2]);

/// Compares the forwarding of two builds and gives the status to end with.
///
/// # Errors
/// If something is missing, a broker loses messages, or the run is interrupted.
pub fn forwarding(options: &Smoke) -> Result<u8, Failure> {
    let system = |error: io::Error| Failure::Setup(format!("cannot prepare the run: {error}"));
    let interrupt = Interrupt::on_signals(PROGRAM).map_err(system)?;
    let subjects = subjects(&options.brokers, &options.against)?;
    let mut plan = options.plan(machine::processors());
    plan.brokers = subjects.iter().map(|(broker, _)| broker.clone()).collect();
    if options.qos.is_empty() {
        plan.qos = QOS.to_vec();
    }
    let comparison =
        Comparison { plan, subjects, against: &options.against, scratch: Scratch::new().map_err(system)?, interrupt };
    comparison.look_around()?;
    warn_if_busy();
    let (lines, samples) = comparison.run()?;
    let text = table::text(&lines);
    println!("\n{text}");
    if let Some(folder) = &options.out {
        let date = time::today();
        let page = table::page("Forwarding", &text, &Facts::gather(&comparison.plan.brokers), &date);
        results::write(folder, &samples, &page)
            .map_err(|error| Failure::Setup(format!("cannot write into {}: {error}", folder.display())))?;
        println!("Written to {}", folder.display());
    }
    Ok(table::status(&lines))
}

/// The hosts to compare: the named ones, or all that have another build.
fn subjects(named: &[Broker], against: &Against) -> Result<Vec<Subject>, Failure> {
    let known = plan::BROKERS.iter().filter(|broker| named.is_empty() || named.contains(broker));
    let mut subjects = Vec::new();
    for broker in known {
        match against.builds(broker) {
            Some(builds) => subjects.push((broker.clone(), builds)),
            None if named.is_empty() => {}
            None if broker.is_wisp() => {
                return Err(Failure::Setup(format!("there is no other build for {broker}: give --against-root DIR")));
            }
            None => return Err(Failure::Setup(format!("{broker} is no build of Wisp"))),
        }
    }
    Ok(subjects)
}

struct Comparison<'a> {
    plan: Plan,
    subjects: Vec<Subject>,
    against: &'a Against,
    scratch: Scratch,
    interrupt: Interrupt,
}

impl Comparison<'_> {
    /// Starts each broker once, so that everything that is missing is known before anything is measured.
    fn look_around(&self) -> Result<(), Failure> {
        for (broker, builds) in &self.subjects {
            for build in builds {
                let options = StartOptions { build: build.clone(), ..StartOptions::with_workers(self.plan.workers) };
                broker.start(&options, &self.scratch, &self.interrupt)?.stop()?;
            }
        }
        Ok(())
    }

    fn run(&self) -> Result<(Vec<Line>, Vec<Slice>), Failure> {
        let (mut lines, mut samples) = (Vec::new(), Vec::new());
        for (subject, &qos) in
            self.subjects.iter().flat_map(|subject| self.plan.qos.iter().map(move |qos| (subject, qos)))
        {
            for &point in &self.plan.points {
                lines.push(self.compare(subject, Case { qos, point }, &mut samples)?);
            }
        }
        Ok((lines, samples))
    }

    /// Takes pairs of samples until their ratios agree.
    fn compare(&self, (broker, builds): &Subject, case: Case, samples: &mut Vec<Slice>) -> Result<Line, Failure> {
        let driver = Driver { plan: &self.plan, scratch: &self.scratch, interrupt: &self.interrupt };
        let (pairs_min, ratio_max) = (self.against.pairs.into(), self.against.ratio_max);
        let (mut cpu_ns, mut rate) = (Paired::default(), Paired::default());
        let title = format!("{} QoS {} {}", broker.title(), case.qos, case.point.title());
        loop {
            let verdict = cpu_ns.verdict(pairs_min, ratio_max);
            if verdict != Verdict::MorePairs {
                return Ok(Line {
                    title,
                    unit: "ns a message",
                    values: cpu_ns,
                    rate: Some(rate),
                    verdict: Some(verdict),
                });
            }
            let pair = cpu_ns.count() + 1;
            let [this, other] = driver.pair(broker, builds, case, pair)?;
            cpu_ns.push(this.cpu_ns_per_message(), other.cpu_ns_per_message());
            rate.push(this.messages_per_s(), other.messages_per_s());
            println!("{}", table::progress(&title, &cpu_ns, &this, &other));
            samples.extend(this.0.into_iter().chain(other.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, Command};
    use clap::Parser;

    fn against(arguments: &str) -> Against {
        let all = ["wisp-bench", "smoke"].into_iter().chain(arguments.split(' '));
        match Arguments::try_parse_from(all).unwrap().command {
            Command::Smoke(options) => options.against,
            _ => unreachable!("it begins with smoke"),
        }
    }

    #[test]
    fn hosts_with_another_build_are_compared() {
        let native = subjects(&[], &against("--against /a/wisp-broker")).unwrap();
        assert_eq!(native, [(Broker::Native, [Build::Own, Build::Program("/a/wisp-broker".into())])]);
        let all = subjects(&[], &against("--against-root /a")).unwrap();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|(broker, [this, other])| {
            broker.is_wisp() && *this == Build::Own && *other == Build::Checkout("/a".into())
        }));
        let both = against("--against-root /a --against /b --this /c");
        let native = subjects(&[Broker::Native], &both).unwrap();
        assert_eq!(native, [(Broker::Native, [Build::Program("/c".into()), Build::Program("/b".into())])]);
    }

    #[test]
    fn a_named_host_without_another_build_is_refused() {
        let error = subjects(&[Broker::Wasmer], &against("--against /a")).unwrap_err();
        assert!(error.to_string().contains("--against-root"), "{error}");
        let error = subjects(&[Broker::Mosquitto], &against("--against-root /a")).unwrap_err();
        assert!(error.to_string().contains("mosquitto is no build"), "{error}");
    }
}

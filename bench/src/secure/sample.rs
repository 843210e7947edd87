//! The subjects, and one sample of one.

use std::fmt::{self, Write};
use std::fs;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use wisp_client::{ProtocolVersion, ServerUrl};
use wisp_lab::broker::{Broker, Build, Running, StartOptions, Transport, Usage};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::machine;
use wisp_lab::paths::Scratch;
use wisp_loadgen::{Connections, Stopped, local_address};

use crate::alternate::{Cost, costs, uncounted};
use crate::args::Secure;
use crate::loadgen::drive_here;
use crate::plan::{Case, Point};

/// 1 KB at QoS 0 from ten senders to ten receivers.
const CASE: Case = Case { qos: 0, point: Point::new(10, 10) };
const WINDOW: u16 = 1000;
/// The share of a sample's messages that warms the broker up.
const WARM_UP_SHARE: u64 = 10;
/// Messages of a sample in turns, by those of a usual one: it has to show a difference of some percent.
const IN_TURNS_LENGTH: u64 = 4;
const RULES: usize = 1000;
/// Connections that warm the broker up; few, since their memory serves the measured ones.
const WARM_UP_CONNECTIONS: u64 = 5;
/// After this time a broker's memory shows the cost of its connections.
const SETTLE: Duration = Duration::from_millis(300);
/// The longest time that one connection may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The work that is measured.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Work {
    /// Forwarding messages.
    Messages,
    /// The same, with a file of access rules.
    MessagesWithRules,
    /// The same without, in turns with the one before.
    MessagesWithoutRules,
    /// Connections that each make a full handshake.
    FullHandshakes,
    /// Connections that resume the session of an earlier one.
    ResumedHandshakes,
}

/// A broker, its transport and its work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Subject {
    pub(super) broker: Broker,
    pub(super) transport: Transport,
    pub(super) work: Work,
}

impl Subject {
    pub(super) fn new(broker: Broker, transport: Transport, work: Work) -> Self {
        Self { broker, transport, work }
    }

    /// What is started for one sample: this subject alone, or both of a pair that is measured in turns.
    pub(super) fn together(&self) -> Vec<Self> {
        let pair = [Work::MessagesWithRules, Work::MessagesWithoutRules];
        if pair.contains(&self.work) {
            return pair.map(|work| Self { work, ..self.clone() }).to_vec();
        }
        vec![self.clone()]
    }

    /// Subjects in another order for each repetition, so that other work on the machine does not always disturb the same one.
    pub(super) fn shuffled(subjects: &[Vec<Self>], repetition: u32) -> Vec<Vec<Self>> {
        let mut shuffled = subjects.to_vec();
        fastrand::Rng::with_seed(u64::from(repetition)).shuffle(&mut shuffled);
        shuffled
    }
}

/// A measurement with its settings. As JSON, one line.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(super) struct Sample {
    pub(super) broker: Broker,
    #[serde(serialize_with = "name_of")]
    pub(super) transport: Transport,
    pub(super) work: Work,
    /// Counted from 1.
    pub(super) repetition: u32,
    /// The broker's workers.
    pub(super) workers: Option<usize>,
    /// Messages received, or connections opened.
    pub(super) count: u64,
    /// The same in a second.
    pub(super) per_s: f64,
    /// Processor time of all the broker's threads, a runtime's included, for each.
    pub(super) cpu_us_each: f64,
    /// Growth of the broker's resident memory for each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_each: Option<f64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn name_of<S: serde::Serializer>(transport: &Transport, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(transport.name())
}

impl Sample {
    pub(super) fn is_of(&self, subject: &Subject) -> bool {
        self.broker == subject.broker && self.transport == subject.transport && self.work == subject.work
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.work {
            Work::Messages => "messages",
            Work::MessagesWithRules => "1,000 rules",
            Work::MessagesWithoutRules => "no rules",
            Work::FullHandshakes => "full handshakes",
            Work::ResumedHandshakes => "resumed handshakes",
        };
        let (broker, transport) = (self.broker.title(), self.transport);
        write!(
            f,
            "{broker:<10} {transport:<14} {what:<18} {:>9.0} a second, {:.2} us each",
            self.per_s, self.cpu_us_each
        )?;
        self.bytes_each.map_or(Ok(()), |bytes| write!(f, ", {bytes:.0} bytes of memory each"))
    }
}

/// Takes samples.
pub(super) struct Driver<'a> {
    pub(super) options: &'a Secure,
    pub(super) scratch: &'a Scratch,
    pub(super) interrupt: &'a Interrupt,
}

impl Driver<'_> {
    /// Measures subjects that belong together: one with a broker for this sample alone, or two in turns.
    pub(super) fn samples(&self, together: &[Subject], repetition: u32) -> Result<Vec<Sample>, Failure> {
        let running = together.iter().map(|subject| self.start(subject)).collect::<Result<Vec<_>, _>>()?;
        let measured = match (together, running.as_slice()) {
            ([subject], [running]) => self.alone(subject.work, running).map(|measured| vec![measured]),
            (_, [first, second]) => self.in_turns([first, second], repetition),
            _ => unreachable!("subjects are measured alone or in pairs"),
        };
        let measured = measured.map_err(|failure| match failure {
            Failure::Broken(what) => {
                let Subject { broker, transport, .. } = &together[0];
                Failure::Broken(format!("{broker} over {transport}: {what}"))
            }
            other => other,
        })?;
        running.into_iter().try_for_each(Running::stop)?;
        let sample = |(subject, measured): (&Subject, Measured)| {
            let Subject { broker, transport, work } = subject.clone();
            let Measured { count, per_s, cpu_s, bytes_each } = measured;
            let workers = broker.workers(machine::processors());
            let cpu_us_each = cpu_s * 1e6 / count as f64;
            Sample { broker, transport, work, repetition, workers, count, per_s, cpu_us_each, bytes_each }
        };
        Ok(together.iter().zip(measured).map(sample).collect())
    }

    fn start(&self, subject: &Subject) -> Result<Running, Failure> {
        let mut options =
            StartOptions { transport: subject.transport, ..StartOptions::with_workers(machine::processors()) };
        if subject.broker == Broker::Mosquitto {
            options.build = Build::Program(self.options.mosquitto()?);
            if matches!(subject.work, Work::FullHandshakes | Work::ResumedHandshakes) {
                // Else each connection waits 40 ms for a delayed acknowledgement.
                options.settings.push("set_tcp_nodelay true".to_owned());
            }
        }
        if subject.work == Work::MessagesWithRules {
            let file = self.scratch.file("rules");
            fs::write(&file, access_rules())
                .map_err(|error| Failure::Setup(format!("cannot write the rules: {error}")))?;
            let file = file.display().to_string();
            options.arguments = ["--acl-file", &file, "--allow-anonymous", "true"].map(str::to_owned).to_vec();
        }
        subject.broker.start(&options, self.scratch, self.interrupt)
    }

    fn alone(&self, work: Work, running: &Running) -> Result<Measured, Failure> {
        match work {
            Work::FullHandshakes => self.connections(running, true),
            Work::ResumedHandshakes => self.connections(running, false),
            Work::Messages | Work::MessagesWithRules | Work::MessagesWithoutRules => self.messages(running),
        }
    }

    fn in_turns(&self, running: [&Running; 2], repetition: u32) -> Result<Vec<Measured>, Failure> {
        let messages = self.options.count * IN_TURNS_LENGTH;
        let costs = costs(running, repetition as usize, messages, self.interrupt)?;
        let measured = costs.map(|Cost { messages, seconds, cpu_s }| Measured {
            count: messages,
            per_s: messages as f64 / seconds,
            cpu_s,
            bytes_each: None,
        });
        Ok(Vec::from(measured))
    }

    fn messages(&self, running: &Running) -> Result<Measured, Failure> {
        let drive = |messages| drive_here(running, CASE, WINDOW, messages, self.interrupt);
        drive((self.options.count / WARM_UP_SHARE).max(1))?;
        let (report, cpu_s) = drive(self.options.count)?;
        let cpu_s = cpu_s.ok_or_else(uncounted)?;
        Ok(Measured { count: report.received, per_s: report.messages_per_s, cpu_s, bytes_each: None })
    }

    fn connections(&self, running: &Running, full: bool) -> Result<Measured, Failure> {
        let url: ServerUrl = running.url().parse().map_err(Failure::setup)?;
        let target = running.url().parse().map_err(Failure::setup)?;
        let mut tls = running.tls();
        tls.full_handshakes = full;
        let connections = Connections {
            address: local_address(&target).map_err(|error| Failure::Broken(error.to_string()))?,
            transport: wisp_client::Transport::of(&url, &tls).map_err(|error| Failure::Setup(error.to_string()))?,
            url,
            version: ProtocolVersion::Mqtt311,
            count: WARM_UP_CONNECTIONS,
            rate_per_s: None,
            timeout: TIMEOUT,
        };
        let open = |count| connections_of(&connections, count).open(self.interrupt).map_err(stopped);
        let warm = open(WARM_UP_CONNECTIONS)?;
        warm.disconnect();
        thread::sleep(SETTLE);
        let before = usage(running)?;
        let mut opened = open(self.options.connections)?;
        if let Some(error) = opened.error.take() {
            return Err(Failure::Broken(error));
        }
        thread::sleep(SETTLE);
        let after = usage(running)?;
        let (count, seconds) = (opened.connected, opened.seconds);
        opened.disconnect();
        let grown = after.rss_bytes.saturating_sub(before.rss_bytes);
        Ok(Measured {
            count,
            per_s: count as f64 / seconds,
            cpu_s: after.cpu_s - before.cpu_s,
            bytes_each: Some(grown as f64 / count as f64),
        })
    }
}

/// The same connections, but this many.
fn connections_of(connections: &Connections, count: u64) -> Connections {
    Connections { count, ..connections.clone() }
}

fn stopped(stopped: Stopped) -> Failure {
    stopped.into()
}

fn usage(running: &Running) -> Result<Usage, Failure> {
    running.usage().ok_or_else(uncounted)
}

/// A file of mosquitto's format with 1,000 rules for every client: topics, some with wildcards, and patterns with the client's
/// identifier. Only the last one allows the topics that the generator uses.
fn access_rules() -> String {
    let mut text = String::new();
    for number in 1..RULES {
        let _ = match number % 4 {
            0 => writeln!(text, "pattern readwrite devices/%c/{number}/#"),
            1 => writeln!(text, "topic readwrite sites/+/rooms/{number}/state"),
            2 => writeln!(text, "topic read sites/{number}/#"),
            _ => writeln!(text, "topic write sites/{number}/log"),
        };
    }
    text + "topic readwrite loadgen/#\n"
}

struct Measured {
    count: u64,
    per_s: f64,
    cpu_s: f64,
    bytes_each: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_a_thousand_rules_and_the_last_is_for_the_generator() {
        let rules = access_rules();
        let lines: Vec<_> = rules.lines().collect();
        assert_eq!((lines.len(), lines.last().copied()), (1000, Some("topic readwrite loadgen/#")));
        assert!(lines[..999].iter().all(|line| !line.contains("loadgen")));
    }
}

//! One sample of a subject.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use wisp_lab::broker::{Broker, Running};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::paths::Scratch;
use wisp_lab::proc;
use wisp_loadgen::Pattern;

use super::away::{SENDERS, WINDOW};
use super::subject::{Store, Subject, Work};
use super::{away, brokers, disk, jetstream};
use crate::alternate::{Cost, costs};
use crate::args::Durable;
use crate::loadgen::{base_config, drive_config};
use crate::plan::SIZE_BYTES;

/// The share of a sample's messages that warms a broker up.
const WARM_UP_SHARE: u64 = 20;

/// A measurement with its settings. As JSON, one line.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(super) struct Sample {
    pub(super) broker: Broker,
    pub(super) store: Store,
    pub(super) work: Work,
    /// Counted from 1.
    pub(super) repetition: u32,
    pub(super) messages: u64,
    /// Received in a second; acknowledged, where nobody receives.
    pub(super) per_s: f64,
    /// Processor time of all the broker's threads, a runtime's included, for each message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_us_each: Option<f64>,
    /// The median of the times from a message to its acknowledgement, one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p50_us: Option<f64>,
    /// The median of the times of a sync of the disk, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disk_p50_us: Option<f64>,
    /// Bytes that the broker gave to the disk, by bytes of payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) written_by_payload: Option<f64>,
}

impl Sample {
    fn of(subject: &Subject, repetition: u32, messages: u64, per_s: f64) -> Self {
        let Subject { broker, store, work } = subject.clone();
        Self {
            broker,
            store,
            work,
            repetition,
            messages,
            per_s,
            cpu_us_each: None,
            p50_us: None,
            disk_p50_us: None,
            written_by_payload: None,
        }
    }

    pub(super) fn is_of(&self, subject: &Subject) -> bool {
        self.broker == subject.broker && self.store == subject.store && self.work == subject.work
    }

    /// The broker with its storage, in words.
    pub(super) fn title(&self) -> String {
        let broker = self.broker.title();
        match (&self.broker, self.store) {
            (Broker::NatsServer, Store::SyncedEach) => "JetStream, sync always".to_owned(),
            (Broker::NatsServer, _) => "JetStream".to_owned(),
            (Broker::Mosquitto, _) => "mosquitto, persistence".to_owned(),
            (_, Store::Memory) => format!("{broker}, memory only"),
            _ => format!("{broker}, durable"),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<24} {:<20} {:>9.0} a second", self.title(), self.work, self.per_s)?;
        if let Some(us) = self.cpu_us_each {
            write!(f, ", {us:.2} us of processor each")?;
        }
        if let Some((p50, disk)) = self.p50_us.zip(self.disk_p50_us) {
            write!(f, ", p50 {p50:.0} us, sync of the disk {disk:.0} us")?;
        }
        self.written_by_payload.map_or(Ok(()), |written| write!(f, ", {written:.2} bytes to disk for one of payload"))
    }
}

/// Takes samples.
pub(super) struct Driver<'a> {
    pub(super) options: &'a Durable,
    /// On the disk under test.
    pub(super) scratch: &'a Scratch,
    pub(super) interrupt: &'a Interrupt,
}

impl Driver<'_> {
    /// Measures subjects that belong together, with brokers for these samples alone.
    pub(super) fn samples(&self, together: &[Subject], repetition: u32) -> Result<Vec<Sample>, Failure> {
        let folders: Vec<PathBuf> =
            (0..together.len()).map(|number| self.scratch.file(&format!("data-{number}"))).collect();
        let start = |(subject, folder): (&Subject, &PathBuf)| {
            brokers::start(subject, folder, self.options, self.scratch, self.interrupt)
        };
        let running = together.iter().zip(&folders).map(start).collect::<Result<Vec<_>, _>>()?;
        let measured = match (together, running.as_slice()) {
            ([subject], [running]) => self.alone(subject, running, repetition).map(|sample| vec![sample]),
            (_, [durable, memory]) => self.in_turns(together, [durable, memory], repetition),
            _ => unreachable!("subjects are measured alone or in pairs"),
        };
        let measured = measured.map_err(|failure| match failure {
            Failure::Broken(what) => Failure::Broken(format!("{}, {}: {what}", together[0].broker, together[0].work)),
            other => other,
        })?;
        running.into_iter().try_for_each(Running::stop)?;
        for folder in folders.iter().filter(|folder| folder.exists()) {
            std::fs::remove_dir_all(folder)
                .map_err(|error| Failure::Setup(format!("cannot remove {}: {error}", folder.display())))?;
        }
        Ok(measured)
    }

    fn count(&self, subject: &Subject) -> u64 {
        // Each of the senders sends the same number to each of the topics.
        let tens = u64::from(SENDERS * SENDERS);
        self.options.count.unwrap_or_else(|| subject.messages()).div_ceil(tens) * tens
    }

    fn alone(&self, subject: &Subject, running: &Running, repetition: u32) -> Result<Sample, Failure> {
        let count = self.count(subject);
        if subject.broker == Broker::NatsServer {
            let address = running.address();
            let done = match subject.work {
                Work::Queue => jetstream::queue(address, count, self.interrupt)?,
                _ => jetstream::store(address, count, self.interrupt)?,
            };
            return Ok(Sample::of(subject, repetition, done.messages, done.messages as f64 / done.seconds));
        }
        match subject.work {
            Work::OneInFlight => self.one_in_flight(subject, running, repetition),
            Work::Away => {
                let warm_up = self.count_of(count);
                let done = away::fill(running, warm_up, count, self.interrupt)?;
                Ok(Sample { cpu_us_each: done.cpu_us_each, ..Sample::of(subject, repetition, count, done.per_s) })
            }
            Work::Forwarding | Work::Queue | Work::Unkept => self.received(subject, running, count, repetition),
        }
    }

    /// Messages of a warm-up.
    fn count_of(&self, count: u64) -> u64 {
        let tens = u64::from(SENDERS * SENDERS);
        (count / WARM_UP_SHARE).div_ceil(tens) * tens
    }

    /// Messages to receivers.
    fn received(&self, subject: &Subject, running: &Running, count: u64, repetition: u32) -> Result<Sample, Failure> {
        let is_queue = subject.work == Work::Queue;
        let config = |messages| {
            Ok::<_, Failure>(wisp_loadgen::Config {
                qos: wisp_client::QoS::AtLeastOnce,
                window: WINDOW,
                senders: SENDERS,
                receivers: SENDERS,
                kept_sessions: !is_queue,
                pattern: if is_queue { Pattern::Queue } else { Pattern::OneToOne },
                messages,
                ..base_config(running)?
            })
        };
        drive_config(running, &config(self.count_of(count))?, self.interrupt)?;
        let before = proc::written_bytes(running.process()).ok();
        let (report, cpu_s) = drive_config(running, &config(count)?, self.interrupt)?;
        let written = proc::written_bytes(running.process()).ok().zip(before).map(|(after, before)| after - before);
        let payload = (report.received * SIZE_BYTES as u64) as f64;
        Ok(Sample {
            cpu_us_each: cpu_s.map(|cpu_s| cpu_s * 1e6 / report.received as f64),
            written_by_payload: written
                .filter(|_| is_queue && subject.store != Store::Memory)
                .map(|bytes| bytes as f64 / payload),
            ..Sample::of(subject, repetition, report.received, report.messages_per_s)
        })
    }

    fn one_in_flight(&self, subject: &Subject, running: &Running, repetition: u32) -> Result<Sample, Failure> {
        let folder = self.scratch.file("");
        let before = disk::sync_p50_us(&folder)?;
        let count = self.count(subject);
        let done = away::one_by_one(running, count, self.interrupt)?;
        let after = disk::sync_p50_us(&folder)?;
        Ok(Sample {
            p50_us: Some(done.p50_us),
            disk_p50_us: Some(f64::midpoint(before, after)),
            ..Sample::of(subject, repetition, count, done.per_s)
        })
    }

    /// Both of a pair in alternating slices.
    fn in_turns(&self, together: &[Subject], running: [&Running; 2], repetition: u32) -> Result<Vec<Sample>, Failure> {
        let costs = costs(running, repetition as usize, self.count(&together[0]), self.interrupt)?;
        let sample = |(subject, Cost { messages, seconds, cpu_s }): (&Subject, Cost)| Sample {
            cpu_us_each: Some(cpu_s * 1e6 / messages as f64),
            ..Sample::of(subject, repetition, messages, messages as f64 / seconds)
        };
        Ok(together.iter().zip(costs).map(sample).collect())
    }
}

//! Jobs of a topic queue, or of a shared subscription where the broker has no queues, between a slow and a quick worker.

use std::io;
use std::time::{Duration, Instant};

use wisp_wire::{Packet, PacketId, PubAck, QoS};

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Acks, Client, Options, encode_publish};
use crate::load::Receivers;
use crate::setup::{Peers, Setup};

const JOBS: u64 = 100;
const JOB_BYTES: usize = 200;
const QUEUE: &str = "$queue/jobs";
const SHARED: &str = "$share/workers/jobs";
const SHARED_TOPIC: &str = "jobs";
/// The quick worker comes when the slow one has had all the time it needs to take every job.
const QUICK_JOINS_AFTER: Duration = Duration::from_millis(500);
const TIME: Duration = Duration::from_secs(5);
/// The slow worker takes so long for a job.
const SLOW_JOB: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(20);

pub(super) const CASE: Case = Case {
    name: "queue-slow-worker",
    section: Section::Receivers,
    question: "A worker of MQTT 3.1.1 that takes half a second for a job subscribes to a topic queue (for mosquitto a shared \
               subscription), 100 jobs come, then a quick worker: how many of the jobs does the quick one get within 5 s?",
    figures: &[
        Figure { name: "quick_jobs", title: "jobs of the quick worker, of 100", target: Target::AtLeast(80.0) },
        Figure { name: "held_jobs", title: "jobs held by the slow worker", target: Target::None },
    ],
    setup: Setup { peers: Peers::Mosquitto, ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let address = attack.address();
    let (filter, topic) = if attack.subject.is_wisp() { (QUEUE, QUEUE) } else { (SHARED, SHARED_TOPIC) };
    let mut slow = Client::connect(address, "slow", &Options::default())?;
    slow.subscribe(&[filter], QoS::AtLeastOnce)?;
    let mut publisher = Client::connect(address, "publisher", &Options::default())?;
    for job in 0..JOBS {
        encode_publish(topic, &[1; JOB_BYTES], QoS::AtLeastOnce, job, &mut publisher.output)?;
    }
    publisher.ping()?;
    let mut slow = SlowWorker { client: slow, waiting: Vec::new(), taken: 0, done: 0, last_done: Instant::now() };
    slow.work_for(QUICK_JOINS_AFTER)?;
    let mut quick = Client::connect(address, "quick", &Options::default())?;
    quick.subscribe(&[filter], QoS::AtLeastOnce)?;
    let quick = Receivers::start(vec![quick], attack.clock, Acks::All)?;
    slow.work_for(if attack.is_quick { TIME / 5 } else { TIME })?;
    let outcome = Outcome::default()
        .with("quick_jobs", quick.received() as f64)
        .with("held_jobs", (slow.taken - slow.done) as f64)
        .with("done_jobs", slow.done as f64);
    quick.finish()?;
    Ok(outcome)
}

struct SlowWorker {
    client: Client,
    /// Jobs that it has taken and not acknowledged.
    waiting: Vec<PacketId>,
    taken: u64,
    done: u64,
    last_done: Instant,
}

impl SlowWorker {
    fn work_for(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        self.client.set_read_timeout(STEP)?;
        while Instant::now() < end {
            let (waiting, taken) = (&mut self.waiting, &mut self.taken);
            self.client.receive_messages(Acks::None, |job| {
                waiting.extend(job.packet_id);
                *taken += 1;
            })?;
            if !self.waiting.is_empty() && self.last_done.elapsed() >= SLOW_JOB {
                self.client.send(&Packet::PubAck(PubAck::new(self.waiting.remove(0))))?;
                self.done += 1;
                self.last_done = Instant::now();
            }
        }
        Ok(())
    }
}

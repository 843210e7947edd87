//! A worker that acknowledges its jobs in batches, alone at a topic queue, or at a shared subscription where the broker has no
//! queues.

use std::io;
use std::time::{Duration, Instant};

use wisp_wire::{Packet, PacketId, PubAck, QoS};

use crate::case::{Attack, Case, Figure, Outcome, Section, Target};
use crate::client::{Acks, Client, Options, encode_publish};
use crate::setup::{Peers, Setup};

const JOBS: u64 = 1_000;
const JOB_BYTES: usize = 200;
const BATCH: usize = 100;
const QUEUE: &str = "$queue/jobs";
const SHARED: &str = "$share/workers/jobs";
const SHARED_TOPIC: &str = "jobs";
const TIME: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);

pub(super) const CASE: Case = Case {
    name: "queue-batch-worker",
    section: Section::Receivers,
    question: "A worker of MQTT 3.1.1 is alone at a topic queue (for mosquitto a shared subscription) and acknowledges 1,000 jobs \
               in batches of 100: how long until it has done all?",
    figures: &[
        Figure { name: "done_jobs", title: "jobs done, of 1,000", target: Target::AtLeast(1_000.0) },
        Figure { name: "seconds", title: "seconds until then", target: Target::AtMost(10.0) },
    ],
    setup: Setup { peers: Peers::Mosquitto, mosquitto: &["max_inflight_messages 200"], ..Setup::DEFAULTS },
    run,
};

fn run(attack: &Attack<'_>) -> io::Result<Outcome> {
    let (filter, topic) = if attack.subject.is_wisp() { (QUEUE, QUEUE) } else { (SHARED, SHARED_TOPIC) };
    let mut worker = Client::connect(attack.address(), "worker", &Options::default())?;
    worker.subscribe(&[filter], QoS::AtLeastOnce)?;
    let mut publisher = Client::connect(attack.address(), "publisher", &Options::default())?;
    for job in 0..JOBS {
        encode_publish(topic, &[1; JOB_BYTES], QoS::AtLeastOnce, job, &mut publisher.output)?;
    }
    publisher.ping()?;
    worker.set_read_timeout(STEP)?;
    let (begun, mut done) = (Instant::now(), 0);
    let mut batch: Vec<PacketId> = Vec::new();
    while done < JOBS && begun.elapsed() < TIME {
        worker.receive_messages(Acks::None, |job| batch.extend(job.packet_id))?;
        while batch.len() >= BATCH {
            for id in batch.drain(..BATCH) {
                worker.send(&Packet::PubAck(PubAck::new(id)))?;
                done += 1;
            }
        }
    }
    Ok(Outcome::default().with("done_jobs", done as f64).with("seconds", begun.elapsed().as_secs_f64()))
}

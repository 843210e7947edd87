//! JetStream of nats-server under the same work as the broker: messages that are stored and acknowledged, and a work queue.
//!
//! ```text
//!   10 senders   --- PUB with a reply, 1000 unacknowledged each ---> stream ---> acknowledgement
//!   10 receivers --- ask for messages, acknowledge each ---------------^
//! ```
//!
//! One thread drives all senders, and one all receivers, as the generator does with MQTT.

mod connection;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wisp_lab::failure::{Failure, Interrupt};

use crate::plan::SIZE_BYTES;
use connection::{Connection, wait};

const STREAM: &str = "BENCH";
const CONSUMER: &str = "WORKERS";
/// Connections that send, and connections that receive.
const EACH: usize = 10;
/// Messages of each sender that are not acknowledged.
const WINDOW: u64 = 1000;
/// A sender's output is filled up to this.
const OUTPUT_BYTES: usize = 256 * 1024;
/// Messages that a receiver asks for at once; it asks twice before the first come.
const BATCH: u64 = 500;
const ACK: &[u8] = b"+ACK";
const TICK: Duration = Duration::from_millis(20);
/// How long nothing may move.
const STALL: Duration = Duration::from_secs(30);

/// The messages and the time of a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Done {
    pub(super) messages: u64,
    pub(super) seconds: f64,
}

/// Ten senders to a stream that keeps the messages: one subject for each of ten consumers that are away.
pub(super) fn store(address: SocketAddr, messages: u64, interrupt: &Interrupt) -> Result<Done, Failure> {
    let mut control = open(address, "control")?;
    let created = create_stream(&mut control, "limits").and_then(|()| {
        (0..EACH).try_for_each(|number| {
            create_consumer(&mut control, &format!("AWAY{number}"), &format!("\"filter_subject\":\"bench.{number}\","))
        })
    });
    created.map_err(broken)?;
    let begun = Instant::now();
    send(address, messages, interrupt)?;
    let seconds = begun.elapsed().as_secs_f64();
    expect_stored(&mut control, messages)?;
    Ok(Done { messages, seconds })
}

/// Ten senders to a work queue, and ten receivers that drain it as it fills.
pub(super) fn queue(address: SocketAddr, messages: u64, interrupt: &Interrupt) -> Result<Done, Failure> {
    let mut control = open(address, "control")?;
    create_stream(&mut control, "workqueue")
        .and_then(|()| create_consumer(&mut control, CONSUMER, ""))
        .map_err(broken)?;
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    let ended = thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(address, messages, &is_over, interrupt));
        let sent = send(address, messages, interrupt);
        if sent.is_err() {
            is_over.store(true, Ordering::Relaxed);
        }
        let received = receiving.join().expect("a receiver that panics is a bug");
        sent.and(received)
    })?;
    let seconds = ended.duration_since(begun).as_secs_f64();
    expect_stored(&mut control, 0)?;
    Ok(Done { messages, seconds })
}

fn open(address: SocketAddr, name: &str) -> Result<Connection, Failure> {
    Connection::open(address, name).map_err(broken)
}

fn broken(error: io::Error) -> Failure {
    Failure::Broken(format!("JetStream: {error}"))
}

fn create_stream(control: &mut Connection, retention: &str) -> io::Result<()> {
    let settings = format!(
        "{{\"name\":\"{STREAM}\",\"subjects\":[\"bench.*\"],\"storage\":\"file\",\"retention\":\"{retention}\",\"discard\":\"old\"}}"
    );
    control.request(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &settings).map(drop)
}

fn create_consumer(control: &mut Connection, name: &str, filter: &str) -> io::Result<()> {
    let settings = format!(
        "{{\"stream_name\":\"{STREAM}\",\"config\":{{\"durable_name\":\"{name}\",{filter}\"ack_policy\":\"explicit\",\
         \"deliver_policy\":\"all\",\"max_ack_pending\":10000}}}}"
    );
    control.request(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{name}"), &settings).map(drop)
}

/// Waits until the stream has this number of messages. A work queue deletes a message a moment after its acknowledgement.
fn expect_stored(control: &mut Connection, messages: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + STALL;
    loop {
        let info = control.request(&format!("$JS.API.STREAM.INFO.{STREAM}"), "").map_err(broken)?;
        let stored = info["state"]["messages"].as_u64();
        if stored == Some(messages) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Failure::Broken(format!("JetStream has {stored:?} messages and should have {messages}")));
        }
        thread::sleep(TICK);
    }
}

/// A sender or a receiver.
struct Client {
    connection: Connection,
    /// Messages sent or asked for.
    begun: u64,
    /// Messages acknowledged or received.
    ended: u64,
}

fn clients(address: SocketAddr, name: &str) -> Result<Vec<Client>, Failure> {
    let client = |number| Ok(Client { connection: open(address, &format!("{name}{number}"))?, begun: 0, ended: 0 });
    (0..EACH).map(client).collect()
}

/// Sends all messages and waits for all acknowledgements. Gives the time of the last.
fn send(address: SocketAddr, messages: u64, interrupt: &Interrupt) -> Result<Instant, Failure> {
    let (mut senders, each) = (clients(address, "s")?, messages / EACH as u64);
    let payload = [b'x'; SIZE_BYTES];
    let subjects: Vec<_> = (0..EACH).map(|number| format!("bench.{number}")).collect();
    let mut moved = Moved::new();
    loop {
        for sender in &mut senders {
            let Client { connection, begun, ended } = sender;
            while *begun < each.min(*ended + WINDOW) && connection.unsent() < OUTPUT_BYTES {
                connection.ask(&subjects[*begun as usize % EACH], &payload);
                *begun += 1;
            }
            connection.exchange().map_err(broken)?;
            while let Some(message) = connection.next().map_err(broken)? {
                // An acknowledgement names the stream; a refusal has an error.
                if message.is_status || !message.payload.starts_with(b"{\"stream\"") {
                    let why = String::from_utf8_lossy(message.payload);
                    return Err(Failure::Broken(format!("JetStream refused a message: {why}")));
                }
                *ended += 1;
                moved.note();
            }
        }
        if senders.iter().all(|sender| sender.ended == each) {
            return Ok(Instant::now());
        }
        moved.check(interrupt)?;
        wait_for_one(&mut senders)?;
    }
}

/// Receives all messages and acknowledges each. Gives the time of the last.
fn receive(
    address: SocketAddr,
    messages: u64,
    is_over: &AtomicBool,
    interrupt: &Interrupt,
) -> Result<Instant, Failure> {
    let mut receivers = clients(address, "r")?;
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}");
    let request = format!("{{\"batch\":{BATCH}}}");
    let (mut moved, mut received, mut last) = (Moved::new(), 0, None);
    loop {
        for Client { connection, begun, ended } in &mut receivers {
            while *begun < *ended + 2 * BATCH {
                connection.ask(&subject, request.as_bytes());
                *begun += BATCH;
            }
            connection.exchange().map_err(broken)?;
            while let Some(message) = connection.next().map_err(broken)? {
                if message.is_status || message.payload.len() != SIZE_BYTES {
                    return Err(Failure::Broken("JetStream sent something else than a message".to_owned()));
                }
                let reply = message.reply.to_owned();
                connection.publish(&reply, ACK);
                *ended += 1;
                moved.note();
                received += 1;
                if received == messages {
                    last = Some(Instant::now());
                }
            }
        }
        let is_sent = receivers.iter().all(|receiver| receiver.connection.unsent() == 0);
        if let Some(last) = last.filter(|_| is_sent) {
            return Ok(last);
        }
        if is_over.load(Ordering::Relaxed) {
            return Ok(Instant::now());
        }
        moved.check(interrupt)?;
        wait_for_one(&mut receivers)?;
    }
}

fn wait_for_one(clients: &mut [Client]) -> Result<(), Failure> {
    let mut connections: Vec<_> = clients.iter_mut().map(|client| &mut client.connection).collect();
    wait(&mut connections, TICK).map_err(broken)
}

/// When something moved last.
struct Moved(Instant, bool);

impl Moved {
    fn new() -> Self {
        Self(Instant::now(), false)
    }

    fn note(&mut self) {
        self.1 = true;
    }

    fn check(&mut self, interrupt: &Interrupt) -> Result<(), Failure> {
        interrupt.check()?;
        if std::mem::take(&mut self.1) {
            self.0 = Instant::now();
        }
        if self.0.elapsed() >= STALL {
            return Err(Failure::Broken(format!("JetStream did nothing for {STALL:?}")));
        }
        Ok(())
    }
}

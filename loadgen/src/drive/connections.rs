//! Opens connections to a broker of MQTT, one after the other, and measures how long each takes.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use wisp_client::{ByteStream, Client, ConnectOptions, Error, ProtocolVersion, ServerUrl, Transport, TransportStream};
use wisp_net::SysStream;

use crate::drive::deadline::{InterruptibleHost, Stopped, unless_interrupted};
use crate::drive::latency::Latency;
use crate::drive::protocol::Protocol;
use crate::drive::watch::{Progress, Watch};

/// The longest wait, so that an interrupt is noticed.
const WAIT_MAX: Duration = Duration::from_millis(20);
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// The connections to open.
#[derive(Clone, Debug)]
pub struct Connections {
    /// The broker, with the user and password to log in with.
    pub url: ServerUrl,
    /// Its address.
    pub address: SocketAddr,
    /// The transport to it.
    pub transport: Transport,
    /// The version of MQTT.
    pub version: ProtocolVersion,
    /// The number of connections.
    pub count: u64,
    /// Connections a second; None for one as soon as the one before is open.
    pub rate_per_s: Option<f64>,
    /// The longest time that one may take.
    pub timeout: Duration,
}

/// Open connections.
pub struct Opened {
    /// The number of them.
    pub connected: u64,
    /// The time it took to open all.
    pub seconds: f64,
    /// From the start of the TCP connection, or from when it was due, to CONNACK.
    pub latency: Option<Latency>,
    /// Why there are fewer than were asked for.
    pub error: Option<String>,
    version: ProtocolVersion,
    /// Sockets without their clients: each client has a poller, and so three descriptors more.
    streams: Vec<TransportStream<SysStream>>,
}

impl Connections {
    /// Opens and closes one connection, so that work that the broker does only for the first client is done.
    ///
    /// # Errors
    /// If the broker refuses it; or if interrupted.
    pub fn warm_up(&self, watch: &dyn Watch) -> Result<Result<(), Error>, Stopped> {
        unless_interrupted(
            || watch.is_interrupted(),
            |host| self.connect(host, self.count).and_then(Client::disconnect),
        )
    }

    /// Opens all connections. If the broker refuses one, no more are opened.
    ///
    /// # Errors
    /// If interrupted.
    pub fn open(&self, watch: &dyn Watch) -> Result<Opened, Stopped> {
        unless_interrupted(|| watch.is_interrupted(), |host| self.open_on(host, watch))?
    }

    fn connect(&self, host: &InterruptibleHost, number: u64) -> Result<Client<InterruptibleHost>, Error> {
        let mut options = ConnectOptions::new(self.version).with_user_of(&self.url);
        options.transport = self.transport.clone();
        options.client_id = format!("c{number}");
        // Nothing is pinged. A keep-alive of 0 would say that, but not every broker accepts it.
        options.keep_alive_s = u16::MAX;
        options.connect_timeout = self.timeout;
        Client::connect_on(host, self.address, options)
    }

    fn open_on(&self, host: &InterruptibleHost, watch: &dyn Watch) -> Result<Opened, Stopped> {
        let mut histogram = Histogram::<u64>::new(3).expect("three digits are allowed");
        let (mut streams, mut error) = (Vec::new(), None);
        let begun = Instant::now();
        let mut told = begun;
        for number in 0..self.count {
            // As with messages, a stall delays all connections that are due meanwhile, and counts for each.
            let due =
                self.rate_per_s.map_or_else(Instant::now, |rate| begun + Duration::from_secs_f64(number as f64 / rate));
            wait_until(due, watch);
            if watch.is_interrupted() {
                return Err(Stopped::Interrupted);
            }
            let client = self.connect(host, number);
            let took = due.elapsed();
            match client.and_then(Client::into_parts) {
                Ok(parts) => streams.push(parts.stream),
                Err(refused) => {
                    error = Some(format!("connection {} of {}: {refused}", number + 1, self.count));
                    break;
                }
            }
            histogram.record(took.as_nanos() as u64).expect("the histogram grows");
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                watch.progress(Progress { sent: number + 1, received: number + 1, elapsed: begun.elapsed() });
            }
        }
        Ok(Opened {
            connected: streams.len() as u64,
            seconds: begun.elapsed().as_secs_f64(),
            latency: Latency::of(&histogram),
            error,
            version: self.version,
            streams,
        })
    }
}

impl Opened {
    /// Closes all connections.
    pub fn disconnect(mut self) {
        let goodbye = Protocol::Mqtt(self.version).goodbye().unwrap_or_default();
        for stream in &mut self.streams {
            // The connection is closed either way.
            let _ = stream.write(goodbye);
        }
    }
}

fn wait_until(moment: Instant, watch: &dyn Watch) {
    while !watch.is_interrupted() {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(WAIT_MAX));
    }
}

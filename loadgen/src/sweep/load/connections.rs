//! How fast a broker takes connections, and what an idle one costs it.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Value, json};
use wisp_arguments::parse_version;
use wisp_client::{Client, ConnectOptions};
use wisp_net::{Stream, SysStream};

use crate::drive::deadline::{self, InterruptibleHost};
use crate::drive::latency::Latency;
use crate::drive::protocol::Protocol;
use crate::drive::target::Target;
use crate::drive::watch::{Progress, Watch};
use crate::failure::Failure;
use crate::folder::{self, Record};
use crate::plan::Point;
use crate::sweep::load::subject::{Subject, local_address};

/// What is to be seen of a broker's memory is there after so long: what it does for a connection it does at once.
const SETTLE: Duration = Duration::from_millis(200);
/// No wait lasts longer, so that an interrupt is noticed.
const WAIT_MAX: Duration = Duration::from_millis(20);
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What was measured, with the names that records have.
#[derive(Serialize)]
struct Measured {
    connections_per_s: f64,
    seconds: f64,
    error: Option<String>,
    /// From the beginning of connecting, by TCP, to CONNACK.
    #[serde(flatten, with = "crate::drive::latency::end_to_end")]
    latency: Option<Latency>,
}

/// Connections that were opened, how long each took, and why there are no more.
struct Opened {
    /// Without their clients, each of which has a poller, and so three descriptors more.
    streams: Vec<SysStream>,
    histogram: Histogram<u64>,
    error: Option<String>,
}

/// Opens one connection after the other, each when the one before is there, or when it is due.
fn open(
    count: u64,
    rate_per_s: Option<f64>,
    connect: impl Fn(u64) -> Result<Client<InterruptibleHost>, wisp_client::Error>,
    watch: &dyn Watch,
) -> Result<Opened, Failure> {
    let histogram = Histogram::<u64>::new(3).expect("three digits can be had");
    let mut opened = Opened { streams: Vec::new(), histogram, error: None };
    let begun = Instant::now();
    let mut told = begun;
    for number in 0..count {
        // As with messages, whatever holds one up delays all that are due meanwhile, and counts for each.
        let due = rate_per_s.map_or_else(Instant::now, |rate| begun + Duration::from_secs_f64(number as f64 / rate));
        wait_until(due, watch);
        if watch.is_interrupted() {
            return Err(Failure::Interrupted);
        }
        let client = connect(number);
        let took = due.elapsed();
        match client.and_then(Client::into_parts) {
            Ok(parts) => opened.streams.push(parts.stream),
            Err(error) => {
                opened.error = Some(format!("connection {} of {count}: {error}", number + 1));
                break;
            }
        }
        opened.histogram.record(took.as_nanos() as u64).expect("it grows with what is recorded");
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            watch.progress(Progress { sent: number + 1, received: number + 1, elapsed: begun.elapsed() });
        }
    }
    Ok(opened)
}

/// Opens connections, at a rate if the point has one, and closes them all.
pub(super) fn take(point: &Point, subject: &Subject, version: &str, watch: &dyn Watch) -> Result<Record, Failure> {
    let Target::Mqtt(url) = &subject.target else {
        return Err(Failure::Setup("connections are measured of MQTT brokers only".to_owned()));
    };
    let address = local_address(&subject.target).map_err(Failure::Broken)?;
    let count = point.whole("connections").unwrap_or(1);
    let mqtt_version = parse_version(point.text("mqtt_version").unwrap_or("3.1.1")).map_err(Failure::Setup)?;
    let timeout = Duration::from_secs(point.whole("timeout_s").unwrap_or(60));
    let mut options = ConnectOptions::new(mqtt_version).with_user_of(url);
    // Nothing is pinged. 0 would say that, but not every broker takes it.
    options.keep_alive_s = u16::MAX;
    options.connect_timeout = timeout;
    let connect = |host: &InterruptibleHost, number: u64| {
        let client_id = format!("c{number}");
        Client::connect_on(host, address, ConnectOptions { client_id, ..options.clone() })
    };
    // Whatever the first client of all costs is not a connection's price.
    let is_interrupted = || watch.is_interrupted();
    let first = deadline::unless_interrupted(is_interrupted, |host| connect(host, count).and_then(Client::disconnect))?;
    first.map_err(|error| Failure::Broken(subject.has_died().unwrap_or_else(|| error.to_string())))?;
    thread::sleep(SETTLE);
    let before = subject.usage();
    let begun = Instant::now();
    let rate_per_s = point.number("rate_per_s");
    let opened = deadline::unless_interrupted(is_interrupted, |host| {
        open(count, rate_per_s, |number| connect(host, number), watch)
    })?;
    let Opened { streams, histogram, error } = opened?;
    let seconds = begun.elapsed().as_secs_f64();
    thread::sleep(SETTLE);
    let connected = streams.len() as u64;
    let measured =
        Measured { connections_per_s: connected as f64 / seconds, seconds, error, latency: Latency::of(&histogram) };
    let mut record = point.record();
    if let Ok(Value::Object(measured)) = serde_json::to_value(&measured) {
        record.extend(measured);
    }
    let cpu_s = subject.usage().zip(before).map(|(after, before)| (after.cpu_s - before.cpu_s).max(0.0));
    record.extend(subject.fields(version, cpu_s));
    if let Some((before, after)) = before.zip(subject.usage()).filter(|_| connected > 0) {
        let grown = after.rss_bytes.saturating_sub(before.rss_bytes);
        record.insert("connection_bytes".to_owned(), json!(grown as f64 / connected as f64));
    }
    if let Some(death) = subject.has_died() {
        record.insert(folder::ERROR.to_owned(), Value::from(death));
    }
    let goodbye = Protocol::Mqtt(mqtt_version).goodbye().unwrap_or_default();
    for stream in &streams {
        // It has served its purpose, however it ends.
        let _ = stream.send(goodbye);
    }
    Ok(record)
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

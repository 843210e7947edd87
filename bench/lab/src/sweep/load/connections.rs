//! Samples of connections: how fast a broker takes them, and how much memory an idle one costs it.

use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use wisp_arguments::parse_version;
use wisp_loadgen::drive::connections::Connections;
use wisp_loadgen::drive::latency::Latency;
use wisp_loadgen::drive::preflight::local_address;
use wisp_loadgen::drive::target::Target;
use wisp_loadgen::drive::watch::Watch;
use wisp_report::folder::{self, Record};

use crate::failure::Failure;
use crate::plan::Point;
use crate::sweep::load::subject::Subject;

/// After this time a broker's memory shows the cost of its connections: it does its work for a connection at once.
const SETTLE: Duration = Duration::from_millis(200);

/// The measurements, under the names that records have.
#[derive(Serialize)]
struct Measured {
    connections_per_s: f64,
    seconds: f64,
    error: Option<String>,
    #[serde(flatten, with = "wisp_loadgen::drive::latency::end_to_end")]
    latency: Option<Latency>,
}

/// Opens connections, at a rate if the point has one, and closes them all.
pub(super) fn sample(point: &Point, subject: &Subject, version: &str, watch: &dyn Watch) -> Result<Record, Failure> {
    let connections = connections(point, subject)?;
    let first = connections.warm_up(watch)?;
    first.map_err(|error| Failure::Broken(subject.has_died().unwrap_or_else(|| error.to_string())))?;
    thread::sleep(SETTLE);
    let before = subject.usage();
    let mut opened = connections.open(watch)?;
    thread::sleep(SETTLE);
    let connected = opened.connected as f64;
    let measured = Measured {
        connections_per_s: connected / opened.seconds,
        seconds: opened.seconds,
        error: opened.error.take(),
        latency: opened.latency.take(),
    };
    let mut record = point.record();
    if let Ok(Value::Object(measured)) = serde_json::to_value(&measured) {
        record.extend(measured);
    }
    let cpu_s = subject.usage().zip(before).map(|(after, before)| (after.cpu_s - before.cpu_s).max(0.0));
    record.extend(subject.fields(version, cpu_s));
    if let Some((before, after)) = before.zip(subject.usage()).filter(|_| connected > 0.0) {
        let grown = after.rss_bytes.saturating_sub(before.rss_bytes);
        record.insert("connection_bytes".to_owned(), json!(grown as f64 / connected));
    }
    if let Some(death) = subject.has_died() {
        record.insert(folder::ERROR.to_owned(), Value::from(death));
    }
    opened.disconnect();
    Ok(record)
}

fn connections(point: &Point, subject: &Subject) -> Result<Connections, Failure> {
    let Target::Mqtt(url) = &subject.target else {
        return Err(Failure::Setup("connections are measured of MQTT brokers only".to_owned()));
    };
    Ok(Connections {
        url: url.clone(),
        address: local_address(&subject.target).map_err(|error| Failure::Broken(error.to_string()))?,
        version: parse_version(point.text("mqtt_version").unwrap_or("3.1.1")).map_err(Failure::Setup)?,
        count: point.whole("connections").unwrap_or(1),
        rate_per_s: point.number("rate_per_s"),
        timeout: Duration::from_secs(point.whole("timeout_s").unwrap_or(60)),
    })
}

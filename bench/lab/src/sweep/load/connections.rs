//! Samples of connections: how fast a broker takes them, and how much memory an idle one costs it.

use std::thread;
use std::time::Duration;

use serde::Serialize;
use wisp_client::ProtocolVersion;
use wisp_loadgen::{Connections, Latency, Target, Watch, local_address};

use crate::failure::Failure;
use crate::measured::Measured;
use crate::plan;
use crate::sweep::load::subject::{BrokerFigures, Subject};

/// After this time a broker's memory shows the cost of its connections: it does its work for a connection at once.
const SETTLE: Duration = Duration::from_millis(200);

/// The measurements, under the names that records have.
#[derive(Serialize)]
struct Figures {
    connections_per_s: f64,
    seconds: f64,
    error: Option<String>,
    #[serde(flatten, with = "wisp_loadgen::end_to_end")]
    latency: Option<Latency>,
    #[serde(flatten)]
    broker: BrokerFigures,
    /// Resident memory of the broker for each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_bytes: Option<f64>,
}

/// Opens connections, at a rate if there is one, and closes them all.
pub(super) fn sample(
    settings: &plan::Connections,
    subject: &Subject,
    version: &str,
    watch: &dyn Watch,
) -> Result<Measured, Failure> {
    let connections = connections(settings, subject)?;
    let first = connections.warm_up(watch)?;
    first.map_err(|error| Failure::Broken(subject.has_died().unwrap_or_else(|| error.to_string())))?;
    thread::sleep(SETTLE);
    let before = subject.usage();
    let mut opened = connections.open(watch)?;
    thread::sleep(SETTLE);
    let connected = opened.connected as f64;
    let usage = subject.usage().zip(before);
    let cpu_s = usage.map(|(after, before)| (after.cpu_s - before.cpu_s).max(0.0));
    let grown =
        usage.filter(|_| connected > 0.0).map(|(after, before)| after.rss_bytes.saturating_sub(before.rss_bytes));
    let figures = Figures {
        connections_per_s: connected / opened.seconds,
        seconds: opened.seconds,
        latency: opened.latency.take(),
        broker: subject.figures(version, cpu_s),
        connection_bytes: grown.map(|grown| grown as f64 / connected),
        error: subject.has_died().or_else(|| opened.error.take()),
    };
    opened.disconnect();
    Ok(Measured::of(&figures))
}

fn connections(settings: &plan::Connections, subject: &Subject) -> Result<Connections, Failure> {
    let Target::Mqtt(url) = &subject.target else {
        return Err(Failure::Setup("connections are measured of MQTT brokers only".to_owned()));
    };
    Ok(Connections {
        url: url.clone(),
        address: local_address(&subject.target).map_err(|error| Failure::Broken(error.to_string()))?,
        transport: subject.target.transport(&subject.tls).map_err(|error| Failure::Setup(error.to_string()))?,
        version: settings.broker.mqtt_version.unwrap_or(ProtocolVersion::Mqtt311),
        count: settings.connections,
        rate_per_s: settings.rate_per_s,
        timeout: Duration::from_secs(settings.timeout_s),
    })
}

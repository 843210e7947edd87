//! Sessions that are kept while their clients are away, and the messages for them.

use std::time::{Duration, Instant};

use wisp_client::{Client, ConnectOptions, ProtocolVersion, PublishOptions, QoS, SubscriptionOptions};
use wisp_lab::broker::Running;
use wisp_lab::failure::{Failure, Interrupt};
use wisp_loadgen::Config;
use wisp_report::statistics::median;

use crate::loadgen::{base_config, drive_config};
use crate::plan::SIZE_BYTES;

/// Connections that send, and as many that receive.
pub(super) const SENDERS: u32 = 10;
/// Messages of each sender that are not acknowledged.
pub(super) const WINDOW: u16 = 1000;
/// The first level of the topics.
const PREFIX: &str = "away";
/// The first messages of a sender, which are not measured.
const WARM_UP: u64 = 100;
/// How long a message that should be there may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The result of filling sessions.
pub(super) struct Filled {
    /// Acknowledged in a second.
    pub(super) per_s: f64,
    pub(super) cpu_us_each: Option<f64>,
}

/// Publishes messages for ten kept sessions whose clients are away, then reads one session and counts its messages.
pub(super) fn fill(running: &Running, warm_up: u64, count: u64, interrupt: &Interrupt) -> Result<Filled, Failure> {
    for number in 0..SENDERS {
        let mut client = connect(running, &name(number))?;
        subscribe(&mut client, &topic(number))?;
        client.disconnect().map_err(broken)?;
    }
    let config = |messages| {
        Ok::<_, Failure>(Config {
            qos: QoS::AtLeastOnce,
            window: WINDOW,
            senders: SENDERS,
            receivers: 0,
            topics: Some(SENDERS),
            topic_prefix: Some(PREFIX.to_owned()),
            messages,
            ..base_config(running)?
        })
    };
    drive_config(running, &config(warm_up)?, interrupt)?;
    let (report, cpu_s) = drive_config(running, &config(count)?, interrupt)?;
    let mut client = connect(running, &name(0))?;
    let wanted = (warm_up + count) / u64::from(SENDERS);
    for received in 0..wanted {
        interrupt.check()?;
        if client.recv(TIMEOUT).map_err(broken)?.is_none() {
            let what = format!("a session that was away has {received} of its {wanted} messages");
            return Err(Failure::Broken(what));
        }
    }
    client.disconnect().map_err(broken)?;
    Ok(Filled { per_s: report.messages_per_s, cpu_us_each: cpu_s.map(|cpu_s| cpu_s * 1e6 / count as f64) })
}

/// The result of sending one by one.
pub(super) struct OneByOne {
    pub(super) per_s: f64,
    /// From a message to its acknowledgement.
    pub(super) p50_us: f64,
}

/// Publishes messages for a kept session whose client is away, one in flight at a time.
pub(super) fn one_by_one(running: &Running, count: u64, interrupt: &Interrupt) -> Result<OneByOne, Failure> {
    let mut client = connect(running, &name(0))?;
    subscribe(&mut client, &topic(0))?;
    client.disconnect().map_err(broken)?;
    let mut options = ConnectOptions::new(ProtocolVersion::Mqtt311);
    options.client_id = "sender".to_owned();
    let mut sender = Client::connect(running.address(), options).map_err(broken)?;
    let (topic, payload) = (topic(0), [1; SIZE_BYTES]);
    let mut times = Vec::new();
    for number in 0..WARM_UP + count {
        interrupt.check()?;
        let begun = Instant::now();
        sender.publish_with(&topic, &payload, PublishOptions::new(QoS::AtLeastOnce)).map_err(broken)?;
        if number >= WARM_UP {
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    sender.disconnect().map_err(broken)?;
    let seconds = times.iter().sum::<f64>() / 1e6;
    Ok(OneByOne { per_s: count as f64 / seconds, p50_us: median(&times).unwrap_or_default() })
}

fn name(number: u32) -> String {
    format!("away{number}")
}

fn topic(number: u32) -> String {
    format!("{PREFIX}/{number}")
}

/// A client with a session that is kept.
fn connect(running: &Running, name: &str) -> Result<Client, Failure> {
    let mut options = ConnectOptions::new(ProtocolVersion::Mqtt311);
    options.client_id = name.to_owned();
    options.clean_start = false;
    Client::connect(running.address(), options).map_err(broken)
}

fn subscribe(client: &mut Client, topic: &str) -> Result<(), Failure> {
    let codes = client.subscribe_with(&[(topic, SubscriptionOptions::new(QoS::AtLeastOnce))], None).map_err(broken)?;
    match codes.iter().find(|code| code.is_error()) {
        Some(code) => Err(Failure::Broken(format!("the broker refused a subscription: {code}"))),
        None => Ok(()),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: wisp_client::Error) -> Failure {
    Failure::Broken(format!("a client failed: {error}"))
}

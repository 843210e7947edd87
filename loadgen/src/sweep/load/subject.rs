//! What is driven: a broker that is started for the sample, or one that runs already, on this machine.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::broker::{Broker, Mode, Protocol, Running, StartOptions, Usage};
use crate::drive::deadline;
use crate::drive::nats;
use crate::drive::target::Target;
use crate::failure::{Failure, Interrupt};
use crate::machine;
use crate::paths::Scratch;
use crate::plan::Point;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is to be driven, before it is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Choice {
    /// A broker to be started.
    Start(Broker, StartOptions),
    /// One that runs.
    Running(Target),
}

impl Choice {
    /// What a point's settings say. `url` is the address that the command line gives, with whatever is secret in it.
    ///
    /// # Errors
    /// When it is no broker, in a line.
    pub(crate) fn of(point: &Point, url: Option<&Target>) -> Result<Self, Failure> {
        let name = point.text("broker").unwrap_or_default();
        if is_url(name) {
            let target = match url.filter(|url| url.to_string() == name) {
                Some(url) => url.clone(),
                None => name.parse().map_err(Failure::Setup)?,
            };
            return Ok(Self::Running(target));
        }
        let broker: Broker = name.parse().map_err(Failure::Setup)?;
        let mode: Option<Mode> = point.text("mode").map(str::parse).transpose().map_err(Failure::Setup)?;
        let workers = point.whole("workers").map_or_else(machine::processors, |workers| workers as usize);
        let (arguments, settings) = (point.texts("broker_arguments"), point.texts("broker_settings"));
        let options = StartOptions { workers, mode, arguments, settings, ..StartOptions::default() };
        Ok(Self::Start(broker, options))
    }

    /// Whether it speaks NATS.
    pub(crate) fn is_nats(&self) -> bool {
        match self {
            Self::Start(broker, _) => broker.protocol() == Protocol::Nats,
            Self::Running(target) => matches!(target, Target::Nats(_)),
        }
    }

    /// Starts it, or looks whether it is there.
    ///
    /// # Errors
    /// When it does not answer, or is on another machine.
    pub(crate) fn start(&self, scratch: &Scratch, interrupt: &Interrupt) -> Result<Subject, Failure> {
        match self {
            Self::Start(broker, options) => {
                let running = broker.start(options, scratch, interrupt)?;
                let target = running.url().parse().map_err(Failure::Setup)?;
                Ok(Subject { target, running: Some(running) })
            }
            Self::Running(target) => {
                local_address(target).map_err(Failure::Setup)?;
                Ok(Subject { target: target.clone(), running: None })
            }
        }
    }
}

/// Whether the name of a broker is the address of one that runs.
pub(crate) fn is_url(name: &str) -> bool {
    ["mqtt://", "tcp://", "nats://"].iter().any(|scheme| name.starts_with(scheme))
}

/// The first address of a target that answers.
///
/// # Errors
/// When none does, or it is not this machine's: what others run is not to be loaded by accident.
pub(crate) fn local_address(target: &Target) -> Result<SocketAddr, String> {
    let addresses = target.resolve().map_err(|error| error.to_string())?;
    if let Some(other) = addresses.iter().find(|address| !is_local(address)) {
        return Err(format!("{target} is another machine's address ({}), and only this one is loaded", other.ip()));
    }
    let mut last = String::new();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(address),
            Err(error) => last = error.to_string(),
        }
    }
    Err(format!("cannot connect to {target}: {last}"))
}

fn is_local(address: &SocketAddr) -> bool {
    // The system lets nobody take an address that is not its own.
    address.ip().is_loopback() || UdpSocket::bind((address.ip(), 0)).is_ok()
}

/// A broker that answers.
pub(crate) struct Subject {
    /// Where.
    pub(crate) target: Target,
    /// None if it was not started here.
    running: Option<Running>,
}

impl Subject {
    /// The broker, if it was started here.
    pub(crate) fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// What it has used so far, if that is known.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.running.as_ref()?.usage()
    }

    /// The largest payload that it says it takes, in bytes, if it says it before it is sent one.
    ///
    /// # Errors
    /// When it does not answer, or somebody interrupts before it does.
    pub(crate) fn payload_bytes_max(&self, interrupt: &Interrupt) -> Result<Option<u64>, Failure> {
        let Target::Nats(url) = &self.target else { return Ok(None) };
        let address = local_address(&self.target).map_err(Failure::Setup)?;
        let connection = deadline::unless_interrupted(
            || interrupt.is_set(),
            |host| nats::Connection::open(host, address, url.credentials(), CONNECT_TIMEOUT),
        )?;
        let max_payload = connection.map_err(|error| Failure::Setup(error.to_string()))?.info().max_payload;
        Ok(Some(max_payload).filter(|max| *max > 0))
    }

    /// How it has died, if it has.
    pub(crate) fn has_died(&self) -> Option<String> {
        self.running.as_ref()?.has_died()
    }

    /// What a record says of the broker: what it is, and what it has used, of processors while it was measured.
    pub(crate) fn fields(&self, version: &str, cpu_s: Option<f64>) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        set("protocol", json!(self.target.protocol()));
        let Some(running) = &self.running else { return fields };
        set("broker", json!(running.broker().to_string()));
        set("broker_version", json!(version));
        set("startup_ms", json!(running.startup().as_secs_f64() * 1e3));
        if let Some(after) = running.usage() {
            set("broker_cpu_s", json!(cpu_s));
            set("broker_rss_bytes", json!(after.rss_bytes));
            set("broker_peak_rss_bytes", json!(after.peak_rss_bytes));
            set("broker_threads", json!(after.threads));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_addresses_are_local() {
        for (address, is_own) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("192.0.2.1:1", false),
            ("[2001:db8::1]:1", false),
        ] {
            assert_eq!(is_local(&address.parse().unwrap()), is_own, "{address}");
        }
        let error = local_address(&"mqtt://192.0.2.1:1883".parse().unwrap()).unwrap_err();
        assert!(error.contains("another machine") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn urls_are_told_from_names_and_commands() {
        assert!(is_url("mqtt://h:1") && is_url("nats://h:1"));
        assert!(!is_url("native") && !is_url("broker --at mqtt://{address}"));
    }
}

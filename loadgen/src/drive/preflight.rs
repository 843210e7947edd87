//! Questions to a broker before it is driven: whether it is on this machine, whether it answers, and how much it takes.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use wisp_client::Error;

use crate::drive::deadline::{Stopped, unless_interrupted};
use crate::drive::nats;
use crate::drive::target::Target;
use crate::drive::watch::Watch;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a broker cannot be driven.
#[derive(thiserror::Error, Debug)]
pub enum Unreachable {
    /// The host's name has no address.
    #[error("{0}")]
    Name(Error),
    /// The address belongs to another machine.
    #[error("{target} is another machine's address ({address}), and only this one is loaded")]
    OtherMachine {
        /// The broker.
        target: Box<Target>,
        /// The address of its host.
        address: IpAddr,
    },
    /// Nothing listens there.
    #[error("cannot connect to {target}: {cause}")]
    NoAnswer {
        /// The broker.
        target: Box<Target>,
        /// The last address's error.
        cause: io::Error,
    },
    /// The server refused the connection, or broke its protocol.
    #[error("{0}")]
    Refused(Error),
    /// The caller gave up, or the system has no thread.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The largest payload that a server announces, in bytes. Servers of NATS do so; brokers of MQTT 3.1.1 do not.
///
/// # Errors
/// If it does not answer.
pub fn payload_bytes_max(target: &Target, timeout: Duration, watch: &dyn Watch) -> Result<Option<u64>, Unreachable> {
    let Target::Nats(url) = target else { return Ok(None) };
    let address = local_address(target)?;
    let connection = unless_interrupted(
        || watch.is_interrupted(),
        |host| nats::Connection::open(host, address, url.credentials(), timeout),
    )?;
    let max_payload = connection.map_err(Unreachable::Refused)?.info().max_payload;
    Ok(Some(max_payload).filter(|max| *max > 0))
}

/// The first address of a target that answers. An address of another machine is refused, so that nobody's broker is loaded by
/// accident.
///
/// # Errors
/// If none answers, or one is not this machine's.
pub fn local_address(target: &Target) -> Result<SocketAddr, Unreachable> {
    let addresses = target.resolve().map_err(Unreachable::Name)?;
    if let Some(other) = addresses.iter().find(|address| !is_local(address)) {
        return Err(Unreachable::OtherMachine { target: Box::new(target.clone()), address: other.ip() });
    }
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(address),
            Err(error) => last = Some(error),
        }
    }
    let cause = last.expect("a host that resolves has at least one address");
    Err(Unreachable::NoAnswer { target: Box::new(target.clone()), cause })
}

fn is_local(address: &SocketAddr) -> bool {
    // A socket can be bound to this machine's addresses only.
    address.ip().is_loopback() || UdpSocket::bind((address.ip(), 0)).is_ok()
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
        let error = local_address(&"mqtt://192.0.2.1:1883".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("another machine") && !error.contains('\n'), "{error}");
    }
}

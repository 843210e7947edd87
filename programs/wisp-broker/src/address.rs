//! An address to listen on, as the operator writes it.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// Where to listen. It is shown as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// An IP address with a port.
    Ip(SocketAddr),
    /// The name of a host, and a port.
    Name(String, u16),
    /// A port alone: all addresses of this machine, of both families.
    Port(u16),
}

/// The error for every other text.
const HINT: &str = "not an address and a port, like 127.0.0.1:1883, [::1]:1883 or localhost:1883, nor a port";

/// The longest name of a host.
const NAME_BYTES_MAX: usize = 253;

impl Address {
    /// The addresses to open a listener on: one, or each that a name stands for.
    pub(crate) fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        match self {
            Self::Ip(address) => Ok(vec![*address]),
            Self::Port(port) => Ok(vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port)]),
            Self::Name(name, port) => {
                let found = (name.as_str(), *port).to_socket_addrs().map_err(|error| {
                    format!("no address is known for {name}: {error}; an IP address needs no look-up")
                })?;
                let mut addresses = Vec::new();
                for address in found {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                Ok(addresses)
            }
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        if let Some(port) = port(text) {
            return Ok(Self::Port(port));
        }
        let (name, port) = text.rsplit_once(':').and_then(|(name, text)| Some((name, port(text)?))).ok_or(HINT)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        // Digits and dots alone are an address with a mistake in it.
        let is_address = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if is_address || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name) {
            return Err(HINT.to_owned());
        }
        Ok(Self::Name(name.to_owned(), port))
    }
}

fn port(text: &str) -> Option<u16> {
    // `parse` also takes a sign.
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Port(port) => port.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_was_written() {
        for text in ["127.0.0.1:1883", "[::1]:0", "[::]:8883", "localhost:1883", "broker-1.example.org:65535", "1883"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_hint() {
        let long = format!("{}:1", "a".repeat(NAME_BYTES_MAX + 1));
        for text in [
            "",
            "here",
            ":1883",
            "here:",
            "here:65536",
            "here:+1",
            "65536",
            "-1",
            "300.1.1.1:1883",
            "::1:1883",
            "a b:1",
            &long,
        ] {
            assert_eq!(text.parse::<Address>().unwrap_err(), HINT, "{text}");
        }
    }

    #[test]
    fn a_name_stands_for_its_addresses_and_a_port_for_all() {
        let resolve = |text: &str| text.parse::<Address>().unwrap().resolve();
        assert_eq!(resolve("192.0.2.1:7"), Ok(vec![([192, 0, 2, 1], 7).into()]));
        assert_eq!(resolve("7"), Ok(vec!["[::]:7".parse().unwrap()]));
        let local = resolve("localhost:7").unwrap();
        assert!(!local.is_empty() && local.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
        let error = resolve("no-such-host.invalid:7").unwrap_err();
        assert!(error.starts_with("no address is known for no-such-host.invalid: "), "{error}");
    }
}

//! Addresses of brokers as URLs: `mqtt://user:password@host:1883`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::error::Error;

/// The port of MQTT over plain TCP, as registered with IANA.
const DEFAULT_PORT: u16 = 1883;

/// The address of a broker, with the user to connect as. Exists only if legal.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    scheme: &'static str,
    host: String,
    port: u16,
    username: Option<String>,
    password: Option<String>,
}

impl ServerUrl {
    /// Reads an address of the same form for another protocol than MQTT: `SCHEME://[USER[:PASSWORD]@]HOST[:PORT]`.
    ///
    /// # Errors
    /// When the text is no such address.
    pub fn of_scheme(text: &str, scheme: &'static str, default_port: u16) -> Result<Self, InvalidUrl> {
        Self::parse(text, &[scheme], default_port).map_err(InvalidUrl)
    }

    /// Reads an address with one of these schemes, and shows it with the first.
    fn parse(text: &str, schemes: &[&'static str], default_port: u16) -> Result<Self, String> {
        let usage = format!("use {}://HOST:PORT", schemes[0]);
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if schemes.contains(&scheme) => rest,
            Some((scheme, _)) => return Err(format!("unknown scheme {scheme}://, {usage}")),
            None => return Err(format!("no scheme, {usage}")),
        };
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = split_port(place, default_port)?;
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err(format!("{host:?} is not a host, {usage}"));
        }
        let (username, password) = match user {
            None => (None, None),
            Some(user) => {
                let (name, password) = user.split_once(':').map_or((user, None), |(name, word)| (name, Some(word)));
                (Some(percent_decoded(name)?), password.map(percent_decoded).transpose()?)
            }
        };
        Ok(Self { scheme: schemes[0], host: host.to_owned(), port, username, password })
    }

    /// The user name, if the URL has one.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password, if the URL has one.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The addresses of the host's name, to be tried in this order; never an empty list.
    ///
    /// # Errors
    /// When the name is unknown, or this program's host cannot look names up.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        let unknown = |error: io::Error| Error::Resolve { host: self.host.clone(), cause: error.into() };
        let addresses: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs().map_err(unknown)?.collect();
        if addresses.is_empty() { Err(unknown(io::ErrorKind::NotFound.into())) } else { Ok(addresses) }
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        Self::parse(text, &["mqtt", "tcp"], DEFAULT_PORT).map_err(InvalidUrl)
    }
}

/// A text is no address of a broker. It is shown as the reason, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidUrl(String);

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidUrl {}

/// Without the password, so that it does not appear in logs and results.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, .. } = self;
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(place: &str, default_port: u16) -> Result<(&str, u16), String> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("no ] after an IPv6 address")?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(format!("{after:?} after an IPv6 address")),
        }
    } else {
        place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)))
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{port:?} is not a port"))?,
        None => default_port,
    };
    Ok((host, port))
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let bad = || format!("a % in {text:?} is not followed by two hexadecimal digits of UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(bad)?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(bad());
            }
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ServerUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn hosts_and_ports_are_understood() {
        for (text, shown) in [
            ("mqtt://localhost:1884", "mqtt://localhost:1884"),
            ("mqtt://localhost", "mqtt://localhost:1883"),
            ("tcp://10.0.0.1:5/", "mqtt://10.0.0.1:5"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtt://[::1]:99", "mqtt://[::1]:99"),
            ("mqtt://me:secret@broker:7", "mqtt://broker:7"),
        ] {
            assert_eq!(parsed(text).to_string(), shown);
        }
    }

    #[test]
    fn user_and_password_are_decoded_and_never_shown() {
        let url = parsed("mqtt://m%65:a%3Ab@c@h:1");
        assert_eq!((url.username(), url.password()), (Some("me"), Some("a:b@c")));
        assert!(!format!("{url} {url:?}").contains("a:b"));
        assert_eq!(parsed("mqtt://me@h").password(), None);
    }

    #[test]
    fn illegal_urls_are_refused_in_one_line() {
        for text in [
            "",
            "localhost",
            "localhost:1883",
            "http://h:1",
            "mqtts://h:1",
            "mqtt://",
            "mqtt://:1",
            "mqtt://h:0",
            "mqtt://h:65536",
            "mqtt://h:x",
            "mqtt://h:1:2",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://h/topic",
            "mqtt://a%4@h",
            "mqtt://a%+1@h",
            "mqtt://a%ff@h",
            "mqtt://a b",
        ] {
            let error = text.parse::<ServerUrl>().expect_err(text).to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn other_protocols_have_their_own_scheme_and_port() {
        let read = |text| ServerUrl::of_scheme(text, "nats", 4222);
        for (text, shown) in [("nats://me:secret@h", "nats://h:4222"), ("nats://[::1]:7", "nats://[::1]:7")] {
            assert_eq!(read(text).unwrap().to_string(), shown);
        }
        for text in ["mqtt://h", "tcp://h", "h", "nats://"] {
            assert!(read(text).expect_err(text).to_string().contains("use nats://HOST:PORT"), "{text}");
        }
    }

    #[test]
    fn addresses_resolve_without_a_name_service() {
        assert_eq!(parsed("mqtt://127.0.0.1:9").resolve().unwrap(), ["127.0.0.1:9".parse().unwrap()]);
        assert_eq!(parsed("mqtt://[::1]:9").resolve().unwrap(), ["[::1]:9".parse().unwrap()]);
    }
}

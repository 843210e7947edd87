//! Addresses of brokers as URLs: `mqtt://user:password@host:1883`, `wss://host/path`.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::error::Error;

/// The path of a WebSocket URL without one. Servers that insist on a path want this one.
const DEFAULT_PATH: &str = "/mqtt";

/// A scheme, with the port for a URL without one.
#[derive(Clone, Copy)]
struct Scheme {
    name: &'static str,
    default_port: u16,
}

const MQTT: Scheme = Scheme { name: "mqtt", default_port: 1883 };
const MQTTS: Scheme = Scheme { name: "mqtts", default_port: 8883 };
const WS: Scheme = Scheme { name: "ws", default_port: 80 };
const WSS: Scheme = Scheme { name: "wss", default_port: 443 };

/// The schemes of MQTT by all names that are in use.
const SCHEMES: [(&str, Scheme); 8] = [
    ("mqtt", MQTT),
    ("mqtts", MQTTS),
    ("ws", WS),
    ("wss", WSS),
    ("tcp", MQTT),
    ("ssl", MQTTS),
    ("tls", MQTTS),
    ("mqtt+ssl", MQTTS),
];

/// The address of a broker, with the user to connect as. Exists only if legal.
///
/// The scheme names the transport: `mqtt` (also `tcp`) on port 1883, `mqtts` (also `ssl`, `tls`) on 8883, `ws` on 80,
/// `wss` on 443. The path of a WebSocket is `/mqtt` unless the URL has one.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    scheme: &'static str,
    host: String,
    port: u16,
    path: String,
    username: Option<String>,
    password: Option<String>,
}

impl ServerUrl {
    /// Reads an address of the same form for another protocol than MQTT: `SCHEME://[USER[:PASSWORD]@]HOST[:PORT]`.
    ///
    /// # Errors
    /// When the text is no such address.
    pub fn of_scheme(text: &str, scheme: &'static str, default_port: u16) -> Result<Self, InvalidUrl> {
        Self::parse(text, &[(scheme, Scheme { name: scheme, default_port })])
    }

    /// Reads an address with one of these schemes.
    fn parse(text: &str, schemes: &[(&'static str, Scheme)]) -> Result<Self, InvalidUrl> {
        let invalid = |fault| InvalidUrl { fault, scheme: schemes[0].1.name };
        let Some((given, rest)) = text.split_once("://") else { return Err(invalid(Fault::NoScheme)) };
        let Some((_, scheme)) = schemes.iter().find(|(name, _)| name.eq_ignore_ascii_case(given)) else {
            return Err(invalid(Fault::Scheme(given.to_owned())));
        };
        // Under a scheme that the URL standard has no rules for: its rules for ws would change hosts and paths.
        let url = Url::parse(&format!("mqtt://{rest}")).map_err(|error| invalid(Fault::Grammar(error)))?;
        let has_path = !matches!(url.path(), "" | "/") || url.query().is_some();
        if url.fragment().is_some() || (has_path && !scheme.is_websocket()) {
            return Err(invalid(Fault::More));
        }
        let path = match (url.path(), url.query()) {
            _ if !scheme.is_websocket() => String::new(),
            ("", None) => DEFAULT_PATH.to_owned(),
            (path, None) => path.to_owned(),
            (path, Some(query)) => format!("{}?{query}", if path.is_empty() { "/" } else { path }),
        };
        let decoded = |text: &str| percent_decoded(text).ok_or_else(|| invalid(Fault::Encoding));
        let host = match url.host() {
            Some(Host::Domain(name)) => decoded(name)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        };
        if host.is_empty() {
            return Err(invalid(Fault::NoHost));
        }
        let port = url.port().unwrap_or(scheme.default_port);
        if port == 0 {
            return Err(invalid(Fault::PortZero));
        }
        let password = url.password().map(decoded).transpose()?;
        let has_user = password.is_some() || !url.username().is_empty();
        let username = has_user.then(|| decoded(url.username())).transpose()?;
        Ok(Self { scheme: scheme.name, host, port, path, username, password })
    }

    /// The host: a name or an address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the scheme asks for TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        [MQTTS.name, WSS.name].contains(&self.scheme)
    }

    /// Whether the scheme asks for WebSocket.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        [WS.name, WSS.name].contains(&self.scheme)
    }

    /// The path of the WebSocket.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The host with its port, as in `host:1883` and `[::1]:1883`.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
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

impl Scheme {
    fn is_websocket(self) -> bool {
        [WS.name, WSS.name].contains(&self.name)
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        Self::parse(text, &SCHEMES)
    }
}

/// A text is no address of a broker. It is shown as the reason, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidUrl {
    fault: Fault,
    /// The scheme that was expected.
    scheme: &'static str,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Fault {
    NoScheme,
    Scheme(String),
    Grammar(url::ParseError),
    /// There is a path, a query or a fragment.
    More,
    NoHost,
    PortZero,
    /// A part has a wrong percent-encoding. It is not kept, since it may be the password.
    Encoding,
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::NoScheme => f.write_str("no scheme")?,
            Fault::Scheme(scheme) => write!(f, "unknown scheme {scheme}://")?,
            Fault::Grammar(error) => error.fmt(f)?,
            Fault::More => f.write_str("there is more than a host and a port")?,
            Fault::NoHost => f.write_str("no host")?,
            Fault::PortZero => f.write_str("0 is not a port")?,
            Fault::Encoding => f.write_str("a % is not followed by two hexadecimal digits of UTF-8")?,
        }
        write!(f, ", use {}://HOST:PORT", self.scheme)
    }
}

impl std::error::Error for InvalidUrl {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Grammar(error) => Some(error),
            _ => None,
        }
    }
}

/// Without the password, so that it does not appear in logs and results.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, path, .. } = self;
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

/// The decoding of a URL's part. None if a `%` stands alone, which the standard would leave as it is: here it is most likely
/// part of a password that was not encoded.
fn percent_decoded(text: &str) -> Option<String> {
    let is_encoded = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_encoded) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
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
            ("MQTT://broker", "mqtt://broker:1883"),
            ("mqtts://broker", "mqtts://broker:8883"),
            ("ssl://broker:7", "mqtts://broker:7"),
            ("tls://broker", "mqtts://broker:8883"),
            ("ws://broker", "ws://broker:80/mqtt"),
            ("ws://Broker:9001/", "ws://Broker:9001/"),
            ("wss://me:secret@[::1]/a/b?c=d", "wss://[::1]:443/a/b?c=d"),
            ("wss://10.0.0.1?c", "wss://10.0.0.1:443/?c"),
        ] {
            assert_eq!(parsed(text).to_string(), shown);
            assert_eq!(parsed(shown).to_string(), shown);
        }
    }

    #[test]
    fn user_and_password_are_decoded_and_never_shown() {
        let url = parsed("mqtt://m%65:a%3Ab@c@h:1");
        assert_eq!((url.username(), url.password()), (Some("me"), Some("a:b@c")));
        assert!(!format!("{url} {url:?}").contains("a:b"));
        assert_eq!(parsed("mqtt://me@h").password(), None);
        let error = "mqtt://me:secret%@h".parse::<ServerUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn illegal_urls_are_refused_in_one_line() {
        for text in [
            "",
            "localhost",
            "localhost:1883",
            "http://h:1",
            "mqttss://h:1",
            "mqtts://h:1/path",
            "ws://h:1/path#fragment",
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
            "mqtt://h?x",
            "mqtt://h#x",
            "mqtt://me@",
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

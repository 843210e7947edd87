//! The broker to drive, as a URL: `mqtt://host:1883`, `wss://host/mqtt`, `nats://host:4222`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use wisp_client::{Error, InvalidUrl, ServerUrl, TlsOptions, Transport};

/// The port of NATS, as registered with IANA.
const NATS_PORT: u16 = 4222;

/// A broker, and the protocol it speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A broker of MQTT: `mqtt://`, `mqtts://`, `ws://` or `wss://`.
    Mqtt(ServerUrl),
    /// A server of core NATS: `nats://`.
    Nats(NatsUrl),
}

impl Target {
    /// The protocol's name, as results have it: `mqtt` or `nats`.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Mqtt(_) => "mqtt",
            Self::Nats(_) => "nats",
        }
    }

    /// The transport's name, as results have it: `tcp`, `tls`, `websocket` or `websocket-tls`.
    #[must_use]
    pub fn transport_name(&self) -> &'static str {
        match self {
            Self::Mqtt(url) => match (url.is_websocket(), url.is_secure()) {
                (false, false) => "tcp",
                (false, true) => "tls",
                (true, false) => "websocket",
                (true, true) => "websocket-tls",
            },
            Self::Nats(_) => "tcp",
        }
    }

    /// The transport of all connections.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn transport(&self, tls: &TlsOptions) -> Result<Transport, Error> {
        match self {
            Self::Mqtt(url) => Transport::of(url, tls),
            Self::Nats(_) if tls.is_set() => Err(Error::Usage("NATS servers are driven without TLS".to_owned())),
            Self::Nats(_) => Ok(Transport::default()),
        }
    }

    /// The addresses the host's name stands for, to be tried in this order; never an empty list.
    ///
    /// # Errors
    /// When the name is unknown.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        match self {
            Self::Mqtt(url) => url.resolve(),
            Self::Nats(url) => url.0.resolve(),
        }
    }
}

/// Why a text is no address of a broker. Shown in one line.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum InvalidTarget {
    /// It has no scheme.
    #[error("no scheme, use mqtt://HOST:PORT, mqtts://, ws://, wss:// or nats://")]
    NoScheme,
    /// Its scheme is another protocol's.
    #[error("unknown scheme {0}://, use mqtt://HOST:PORT, mqtts://, ws://, wss:// or nats://")]
    Scheme(String),
    /// The rest of it is no address.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        match text.split_once("://") {
            Some(("mqtt" | "mqtts" | "tcp" | "ssl" | "ws" | "wss", _)) => Ok(Self::Mqtt(text.parse()?)),
            Some(("nats", _)) => Ok(Self::Nats(text.parse()?)),
            Some((scheme, _)) => Err(InvalidTarget::Scheme(scheme.to_owned())),
            None => Err(InvalidTarget::NoScheme),
        }
    }
}

/// Without the password, so that it does not land in logs and results.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mqtt(url) => url.fmt(f),
            Self::Nats(url) => url.fmt(f),
        }
    }
}

/// The address of a NATS server with its credentials: `nats://[USER:PASSWORD@]HOST[:4222]`, or with a token
/// `nats://TOKEN@HOST`. Exists only if legal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatsUrl(ServerUrl);

/// The credentials for a NATS server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credentials<'a> {
    None,
    Token(&'a str),
    User { name: &'a str, password: &'a str },
}

impl NatsUrl {
    pub(crate) fn credentials(&self) -> Credentials<'_> {
        match (self.0.username(), self.0.password()) {
            (Some(name), Some(password)) => Credentials::User { name, password },
            (Some(token), None) => Credentials::Token(token),
            (None, _) => Credentials::None,
        }
    }
}

impl FromStr for NatsUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        ServerUrl::of_scheme(text, "nats", NATS_PORT).map(Self)
    }
}

/// Without the password, as with [`Target`].
impl fmt::Display for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_tells_the_protocol() {
        for (text, protocol, shown) in [
            ("mqtt://localhost", "mqtt", "mqtt://localhost:1883"),
            ("tcp://10.0.0.1:5", "mqtt", "mqtt://10.0.0.1:5"),
            ("mqtts://localhost", "mqtt", "mqtts://localhost:8883"),
            ("wss://me:secret@localhost:8084/mqtt", "mqtt", "wss://localhost:8084/mqtt"),
            ("nats://localhost", "nats", "nats://localhost:4222"),
            ("nats://me:secret@[::1]:9/", "nats", "nats://[::1]:9"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.protocol(), target.to_string().as_str()), (protocol, shown));
            assert_eq!(shown.parse::<Target>().unwrap().to_string(), shown);
            assert!(!format!("{target:?}").contains("secret"));
        }
        for text in ["localhost", "http://h", "nats://", "nats://h:0", "tls://h:4222"] {
            let error = text.parse::<Target>().expect_err(text).to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_alone_is_a_token() {
        let credentials = |text: &str, expected: Credentials<'_>| {
            assert!(text.parse::<NatsUrl>().unwrap().credentials() == expected, "{text}");
        };
        credentials("nats://h", Credentials::None);
        credentials("nats://s3cr%40t@h", Credentials::Token("s3cr@t"));
        credentials("nats://me:pass@h", Credentials::User { name: "me", password: "pass" });
    }
}

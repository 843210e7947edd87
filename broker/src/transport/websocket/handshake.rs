//! The opening handshake of WebSocket (RFC 6455, section 4.2): a request of HTTP in, the answer out.

use std::fmt::Write;

use httparse::{Error, Header, Request, Status};
use tungstenite::handshake::derive_accept_key;

/// Longest request, with its headers.
pub(super) const REQUEST_BYTES_MAX: usize = 8 * 1024;

const HEADERS_MAX: usize = 64;

/// The subprotocols of MQTT: 3.1.1 and later [MQTT-6.0.0-3], and 3.1.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// The requests that a listener accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocketSettings {
    /// The paths; none for all.
    pub paths: Vec<String>,
    /// The origins of the pages that may connect, as in `https://example.org`; none for all. A client that is not a
    /// browser sends no origin, and may connect.
    pub origins: Vec<String>,
}

/// The outcome of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// The request has not ended yet.
    Incomplete,
    /// The length of the request, and the answer to it.
    Accepted(usize, Vec<u8>),
    /// The answer, and the reason for the log.
    Refused(Vec<u8>, &'static str),
}

impl WebSocketSettings {
    /// Answers a request, of which `bytes` are the first.
    pub(super) fn answer(&self, bytes: &[u8]) -> Handshake {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(Status::Complete(length)) if length <= REQUEST_BYTES_MAX => match self.accept(&request) {
                Ok(answer) => Handshake::Accepted(length, answer),
                Err((status, reason)) => refuse(status, reason),
            },
            Ok(Status::Partial) if bytes.len() < REQUEST_BYTES_MAX => Handshake::Incomplete,
            Ok(_) | Err(Error::TooManyHeaders) => {
                refuse("431 Request Header Fields Too Large", "the client's WebSocket request is longer than allowed")
            }
            Err(_) => refuse(
                "400 Bad Request",
                "the client sent no HTTP request, and the listener has WebSocket: use ws or wss",
            ),
        }
    }

    /// The answer that accepts a request, or the status that refuses it and the reason.
    fn accept(&self, request: &Request<'_, '_>) -> Result<Vec<u8>, (&'static str, &'static str)> {
        let headers: &[Header<'_>] = request.headers;
        let path = request.path.unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        if !self.paths.is_empty() && !self.paths.iter().any(|allowed| allowed == path) {
            return Err(("404 Not Found", "the client's WebSocket request has another path than the listener's"));
        }
        if request.method != Some("GET") || request.version != Some(1) {
            return Err(("405 Method Not Allowed", "the client's request is not a GET of HTTP/1.1"));
        }
        let is_upgrade = has_token(headers, "connection", "upgrade") && has_token(headers, "upgrade", "websocket");
        if !is_upgrade {
            return Err(("426 Upgrade Required", "the client sent an HTTP request without an upgrade to WebSocket"));
        }
        if value(headers, "sec-websocket-version") != Some("13") {
            return Err(("426 Upgrade Required", "the client's version of WebSocket is not 13"));
        }
        let key = value(headers, "sec-websocket-key").filter(|key| key.len() == 24 && key.ends_with("=="));
        let Some(key) = key.filter(|_| value(headers, "host").is_some()) else {
            return Err(("400 Bad Request", "the client's WebSocket request has no host or key"));
        };
        match value(headers, "origin") {
            Some(origin) if !self.origins.is_empty() && !self.origins.iter().any(|one| one == origin) => {
                return Err((
                    "403 Forbidden",
                    "the client's WebSocket request is from a page of an origin that is not allowed",
                ));
            }
            _ => {}
        }
        let asked =
            tokens(headers, "sec-websocket-protocol").find_map(|asked| PROTOCOLS.iter().find(|one| **one == asked));
        let Some(protocol) = asked else {
            return Err((
                "400 Bad Request",
                "the client's WebSocket request does not ask for the subprotocol mqtt [MQTT-6.0.0-3]",
            ));
        };
        let mut answer =
            String::from("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
        let accept = derive_accept_key(key.as_bytes());
        write!(answer, "Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n")
            .expect("a string takes all that is written");
        Ok(answer.into_bytes())
    }
}

fn refuse(status: &str, reason: &'static str) -> Handshake {
    let more = if status.starts_with("426") {
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close\r\n"
    } else {
        "Connection: close\r\n"
    };
    let length = reason.len() + 1;
    let answer = format!(
        "HTTP/1.1 {status}\r\n{more}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{reason}\n"
    );
    Handshake::Refused(answer.into_bytes(), reason)
}

fn value<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok().map(str::trim)
}

/// The parts of all headers of a name, which are separated by commas.
fn tokens<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    let headers = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    headers
        .filter_map(|header| std::str::from_utf8(header.value).ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

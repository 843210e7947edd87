//! The handshake of WebSocket: an HTTP request, and an answer that agrees to it.

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use wisp_wire::ProtocolVersion;

use crate::error::{Error, Fault};
use crate::url::ServerUrl;

/// The longest answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The most lines in its header.
const FIELDS_MAX: usize = 64;

/// The parts of the request that a URL determines.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    url: String,
    authority: String,
    path: String,
}

impl Request {
    pub(crate) fn of(url: &ServerUrl) -> Result<Self, Error> {
        let path = url.path();
        if path.bytes().any(|byte| !(0x21..0x7F).contains(&byte)) {
            return Err(Error::Usage(format!("the path {path:?} has characters that a URL cannot have")));
        }
        Ok(Self { url: url.to_string(), authority: url.authority(), path: path.to_owned() })
    }
}

/// A handshake under way.
pub(super) struct Upgrade {
    url: String,
    request: String,
    /// The answer that proves that a WebSocket server read the request.
    accepted_key: String,
    protocol: &'static str,
    answer: Vec<u8>,
}

impl Upgrade {
    pub(super) fn new(request: &Request, version: ProtocolVersion) -> Self {
        let Request { url, authority, path } = request;
        let protocol = if version == ProtocolVersion::Mqtt31 { "mqttv3.1" } else { "mqtt" };
        let key = generate_key();
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        let accepted_key = derive_accept_key(key.as_bytes());
        Self { url: url.clone(), request: text, accepted_key, protocol, answer: Vec::new() }
    }

    pub(super) fn request(&self) -> &str {
        &self.request
    }

    /// Takes received bytes. Returns the bytes after the answer, once it is complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.answer.extend_from_slice(bytes);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&self.answer) {
            Ok(httparse::Status::Complete(length)) => {
                self.check(&response)?;
                Ok(Some(self.answer[length..].to_vec()))
            }
            Ok(httparse::Status::Partial) if self.answer.len() < ANSWER_BYTES_MAX => Ok(None),
            Ok(httparse::Status::Partial) => Err(self.broker("its answer has no end")),
            Err(_) if self.answer.first() == Some(&0x15) => {
                let text = format!("{} answers in TLS: use wss://", self.url);
                Err(Error::WebSocket { fault: Fault::Caller, text })
            }
            Err(_) => Err(self.caller("its answer is not HTTP: if the port is for MQTT alone, use mqtt://")),
        }
    }

    fn check(&self, response: &httparse::Response<'_, '_>) -> Result<(), Error> {
        let field = |name: &str| {
            let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            found.map(|field| String::from_utf8_lossy(field.value).trim().to_owned())
        };
        match response.code {
            Some(101) => {}
            Some(code @ (404 | 400 | 403)) => {
                return Err(self.caller(&format!("it answers with HTTP {code}: is the path right?")));
            }
            Some(code) => return Err(self.broker(&format!("it answers with HTTP {code}"))),
            None => return Err(self.broker("its answer has no status")),
        }
        if !field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
            return Err(self.broker("its answer does not name WebSocket"));
        }
        if field("sec-websocket-accept").as_deref() != Some(&self.accepted_key) {
            return Err(self.broker("its answer has another key than this request"));
        }
        if field("sec-websocket-extensions").is_some() {
            return Err(self.broker("it uses an extension that was not offered"));
        }
        match field("sec-websocket-protocol") {
            Some(protocol) if protocol != self.protocol => {
                Err(self.broker(&format!("it speaks {:?} over WebSocket, and not {}", protocol, self.protocol)))
            }
            // A server that names none may be one of MQTT all the same.
            _ => Ok(()),
        }
    }

    /// The error of a connection that ended before the answer.
    pub(super) fn ended(&self) -> Error {
        self.caller("it closed without an answer: if the port is for MQTT alone, use mqtt://; if for TLS, wss://")
    }

    fn broker(&self, reason: &str) -> Error {
        Error::WebSocket { fault: Fault::Broker, text: format!("no WebSocket at {}: {reason}", self.url) }
    }

    fn caller(&self, reason: &str) -> Error {
        Error::WebSocket { fault: Fault::Caller, text: format!("no WebSocket at {}: {reason}", self.url) }
    }
}

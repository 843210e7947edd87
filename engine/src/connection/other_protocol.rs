//! Protocols that clients speak by mistake to a port of MQTT.

/// A protocol other than MQTT, known by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherProtocol {
    /// A TLS handshake.
    Tls,
    /// A request of HTTP.
    Http,
    /// A request of HTTP for an upgrade to WebSocket.
    WebSocket,
}

const TLS_HANDSHAKE: u8 = 22;
const TLS_MAJOR_VERSION: u8 = 3;

const HTTP_METHODS: [&[u8]; 10] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI"];

/// Most bytes of a request in which the header for an upgrade is looked for.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

impl OtherProtocol {
    /// The protocol that `bytes`, the first of a connection, belong to. They are not MQTT.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[TLS_HANDSHAKE, TLS_MAJOR_VERSION]) {
            return Some(Self::Tls);
        }
        let request = &bytes[..bytes.len().min(REQUEST_BYTES_MAX)];
        let method = request.split(|byte| *byte == b' ').next()?;
        if !HTTP_METHODS.contains(&method) {
            return None;
        }
        let mut lines = request.split(|byte| *byte == b'\n');
        Some(if lines.any(asks_for_web_socket) { Self::WebSocket } else { Self::Http })
    }

    /// The first message of the protocol.
    pub(super) fn opening(self) -> &'static str {
        match self {
            Self::Tls => "a TLS hello",
            Self::Http => "an HTTP request",
            Self::WebSocket => "a WebSocket upgrade",
        }
    }
}

fn asks_for_web_socket(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
    name.eq_ignore_ascii_case(b"upgrade") && value.eq_ignore_ascii_case(b"websocket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_known_by_its_first_bytes() {
        let cases: [(&[u8], Option<OtherProtocol>); 9] = [
            (b"\x16\x03\x01\x02\x00\x01", Some(OtherProtocol::Tls)),
            (b"\x16\x03\x03\x00\x7a\x01", Some(OtherProtocol::Tls)),
            (b"\x17\x03\x03\x00\x7a\x01", None),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(OtherProtocol::Http)),
            (b"GET / HTTP/1.1\r\nHost: a\r\nUPGRADE:websocket \r\n\r\n", Some(OtherProtocol::WebSocket)),
            (b"GET /upgrade:websocket HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", Some(OtherProtocol::Http)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(OtherProtocol::Http)),
            (b"GETTING", None),
            (b"", None),
        ];
        for (bytes, protocol) in cases {
            assert_eq!(OtherProtocol::of(bytes), protocol, "{}", bytes.escape_ascii());
        }
    }
}

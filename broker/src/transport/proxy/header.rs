//! The header of the PROXY protocol, versions 1 and 2: the address of the client, which the proxy sends before the client's bytes.
//!
//! No byte behind the header is received with it, so that the layers above get the socket as it is.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};

/// Longest header. The addresses take 232 bytes at most; the rest is for the proxy's notes about TLS and the like.
const BYTES_MAX: usize = 4096;

/// The beginning of version 1, a line of text.
const TEXT: &[u8] = b"PROXY ";
/// The longest line, its end included.
const TEXT_BYTES_MAX: usize = 107;

/// The beginning of version 2.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of version 2 without the addresses. Its last two bytes have the length of the rest.
const BINARY_BYTES_MIN: usize = 16;

/// The shortest header of both versions: `PROXY UNKNOWN` and the end of the line.
const BYTES_MIN: usize = 15;

const PARSE: ParseConfig = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };

/// The part of a header that was received.
#[derive(Debug, Default)]
pub(crate) struct Header(Vec<u8>);

/// The client of a complete header: its address, or `None` if the proxy speaks for itself or does not tell.
pub(crate) type Client = Option<SocketAddr>;

impl Header {
    /// The number of bytes received.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many bytes to receive next at most. At least one.
    pub(crate) fn missing(&self) -> usize {
        let have = self.0.len();
        if have < BYTES_MIN {
            BYTES_MIN - have
        } else if self.0.starts_with(BINARY) {
            self.binary_len().unwrap_or(BINARY_BYTES_MIN) - have
        } else {
            1
        }
    }

    /// Adds received bytes, no more than are [missing](Self::missing). `None` if the header is not complete yet.
    ///
    /// # Errors
    /// The reason why it is none, for the log.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<Option<Client>, &'static str> {
        self.0.extend_from_slice(bytes);
        let begins = |start: &[u8]| self.0.iter().zip(start).all(|(byte, wanted)| byte == wanted);
        if !begins(TEXT) && !begins(BINARY) {
            return Err(
                "the connection does not begin with a PROXY header, and the listener has proxy-protocol: connect to the \
                        proxy, and have it send the header (haproxy: send-proxy-v2)",
            );
        }
        let is_complete = match self.binary_len() {
            Some(len) if len > BYTES_MAX => return Err("the PROXY header is longer than allowed"),
            Some(len) => self.0.len() == len,
            None => self.0.starts_with(TEXT) && (self.0.contains(&b'\n') || self.0.len() >= TEXT_BYTES_MAX),
        };
        if !is_complete {
            return Ok(None);
        }
        match ProxyHeader::parse(&self.0, PARSE) {
            Ok((header, len)) if len == self.0.len() => {
                Ok(Some(header.proxied_address().map(|address| address.source)))
            }
            _ => Err("the PROXY header is malformed"),
        }
    }

    /// The length of a header of version 2, once its beginning is there.
    fn binary_len(&self) -> Option<usize> {
        let rest: [u8; 2] = self.0.get(BINARY_BYTES_MIN - 2..BINARY_BYTES_MIN)?.try_into().ok()?;
        self.0.starts_with(BINARY).then(|| BINARY_BYTES_MIN + usize::from(u16::from_be_bytes(rest)))
    }
}

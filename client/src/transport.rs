//! The transport between the socket and the protocol state: plain TCP, TLS, WebSocket, or WebSocket over TLS.
//!
//! ```text
//!   socket  <->  TLS records  <->  WebSocket frames  <->  bytes of MQTT
//! ```
//!
//! Each layer is a [`ByteStream`] over the one below. A connection gets its layers when it is made, so plain TCP costs
//! one comparison for each call of the host.

mod layer;
#[cfg(feature = "tls")]
mod tls;
mod tls_options;
#[cfg(feature = "websocket")]
mod websocket;

use std::fmt;
use std::io;

use wisp_net::Stream;
use wisp_wire::ProtocolVersion;

use crate::error::Error;
use crate::url::ServerUrl;
pub(crate) use layer::Layer;
pub use layer::{ByteStream, Read};
pub use tls_options::{TlsOptions, TlsSession};

/// The transport of a connection, chosen by the scheme of a URL. The default is plain TCP.
#[derive(Clone, Default)]
pub struct Transport {
    #[cfg(feature = "tls")]
    tls: Option<tls::Settings>,
    #[cfg(feature = "websocket")]
    websocket: Option<websocket::Request>,
}

impl Transport {
    /// The transport that the scheme names: `mqtt`, `mqtts`, `ws` or `wss`. Reads the certificates, so connections that
    /// share a clone of it read them once, and resume TLS sessions of each other.
    ///
    /// # Errors
    /// When the certificates cannot be used, or this build lacks the transport.
    pub fn of(url: &ServerUrl, options: &TlsOptions) -> Result<Self, Error> {
        let mut transport = Self::default();
        if url.is_secure() {
            transport.add_tls(url, options)?;
        } else if options.is_set() {
            let secure = if url.is_websocket() { "wss" } else { "mqtts" };
            return Err(Error::Usage(format!("certificates need {secure}://, and {url} is not encrypted")));
        }
        if url.is_websocket() {
            transport.add_websocket(url)?;
        }
        Ok(transport)
    }

    #[cfg(feature = "tls")]
    fn add_tls(&mut self, url: &ServerUrl, options: &TlsOptions) -> Result<(), Error> {
        self.tls = Some(tls::Settings::of(url, options)?);
        Ok(())
    }

    #[cfg(not(feature = "tls"))]
    fn add_tls(&mut self, url: &ServerUrl, _: &TlsOptions) -> Result<(), Error> {
        Err(Error::Usage(format!("{url}: this program was built without TLS")))
    }

    #[cfg(feature = "websocket")]
    fn add_websocket(&mut self, url: &ServerUrl) -> Result<(), Error> {
        self.websocket = Some(websocket::Request::of(url)?);
        Ok(())
    }

    #[cfg(not(feature = "websocket"))]
    fn add_websocket(&mut self, url: &ServerUrl) -> Result<(), Error> {
        Err(Error::Usage(format!("{url}: this program was built without WebSocket")))
    }

    /// Whether there is no layer above the socket.
    pub(crate) fn is_plain(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return false;
        }
        #[cfg(feature = "websocket")]
        if self.websocket.is_some() {
            return false;
        }
        true
    }

    /// Puts the layers on a new connection, which may still be connecting.
    pub(crate) fn start<S: Stream>(&self, socket: S, version: ProtocolVersion) -> Result<TransportStream<S>, Error> {
        let _ = version;
        #[cfg(all(feature = "tls", feature = "websocket"))]
        if let (Some(settings), Some(request)) = (&self.tls, &self.websocket) {
            let stream = websocket::WebSocket::start(tls::TlsStream::start(socket, settings)?, request, version);
            return Ok(TransportStream { layers: Layers::SecureWebSocket(Box::new(stream)) });
        }
        #[cfg(feature = "tls")]
        if let Some(settings) = &self.tls {
            return Ok(TransportStream { layers: Layers::Tls(Box::new(tls::TlsStream::start(socket, settings)?)) });
        }
        #[cfg(feature = "websocket")]
        if let Some(request) = &self.websocket {
            let stream = websocket::WebSocket::start(socket, request, version);
            return Ok(TransportStream { layers: Layers::WebSocket(Box::new(stream)) });
        }
        Ok(TransportStream::plain(socket))
    }
}

/// Without certificates and keys.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Transport");
        #[cfg(feature = "tls")]
        shown.field("tls", &self.tls.is_some());
        #[cfg(feature = "websocket")]
        shown.field("websocket", &self.websocket.is_some());
        shown.finish()
    }
}

/// A connection with its transport: the bytes of MQTT go in and come out.
pub struct TransportStream<S: Stream> {
    layers: Layers<S>,
}

enum Layers<S: Stream> {
    Plain(S),
    #[cfg(feature = "tls")]
    Tls(Box<tls::TlsStream<S>>),
    #[cfg(feature = "websocket")]
    WebSocket(Box<websocket::WebSocket<S>>),
    #[cfg(all(feature = "tls", feature = "websocket"))]
    SecureWebSocket(Box<websocket::WebSocket<tls::TlsStream<S>>>),
}

macro_rules! uppermost {
    ($layers:expr, $layer:ident => $call:expr) => {
        match $layers {
            Layers::Plain($layer) => $call,
            #[cfg(feature = "tls")]
            Layers::Tls($layer) => $call,
            #[cfg(feature = "websocket")]
            Layers::WebSocket($layer) => $call,
            #[cfg(all(feature = "tls", feature = "websocket"))]
            Layers::SecureWebSocket($layer) => $call,
        }
    };
}

impl<S: Stream> TransportStream<S> {
    /// Plain TCP.
    pub fn plain(socket: S) -> Self {
        Self { layers: Layers::Plain(socket) }
    }

    /// The socket below all layers, to register it with a poller.
    pub fn socket(&self) -> &S {
        uppermost!(&self.layers, layer => layer.socket())
    }

    /// The socket below all layers, to register it with a poller.
    pub fn socket_mut(&mut self) -> &mut S {
        uppermost!(&mut self.layers, layer => layer.socket_mut())
    }

    /// Goes on with the handshakes of all layers as far as the socket allows. Returns whether they are complete.
    pub(crate) fn open(&mut self) -> io::Result<bool> {
        uppermost!(&mut self.layers, layer => layer.open())
    }

    /// The facts of TLS, once its handshake is complete.
    #[must_use]
    pub fn tls_session(&self) -> Option<TlsSession> {
        uppermost!(&self.layers, layer => layer.tls_session())
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn finish_writing(&mut self) {
        uppermost!(&mut self.layers, layer => layer.finish_writing());
    }
}

impl<S: Stream> ByteStream for TransportStream<S> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        uppermost!(&mut self.layers, layer => layer.read(buffer))
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        uppermost!(&mut self.layers, layer => layer.write(bytes))
    }

    #[inline]
    fn unsent_bytes(&self) -> usize {
        uppermost!(&self.layers, layer => layer.unsent_bytes())
    }
}

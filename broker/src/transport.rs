//! The door between a socket and the engine: the peer's bytes to MQTT's bytes, and back.
//!
//! A receive says by itself whether more may come, since a short read of the socket says nothing about a decrypted record; and
//! only a [transparent](Transport::is_transparent) transport sends packets from where they lie.
//!
//! ```text
//! socket -- proxy.rs, if so configured -- lower.rs: as it is, or tls.rs -- websocket.rs, if so configured -- engine
//!        '- admin.rs: HTTP, answered here                                                                      |
//! program -- crate::in_process: no socket --------------------------------------------------------------------'
//! ```

#[cfg(feature = "admin")]
mod admin;
mod lower;
#[cfg(feature = "proxy-protocol")]
mod proxy;
#[cfg(feature = "tls")]
mod tls;
mod turn;
#[cfg(feature = "websocket")]
mod websocket;

use std::io;
use std::net::{Shutdown, SocketAddr};

use wisp_engine::{Origin, Received};
use wisp_net::{Stream, Token};

#[cfg(feature = "admin")]
use self::admin::Admin;
pub(crate) use self::lower::Lower;
#[cfg(feature = "proxy-protocol")]
use self::proxy::ProxyGate;
pub(crate) use self::turn::Turn;
#[cfg(feature = "websocket")]
use self::websocket::WebSocket;
#[cfg(feature = "websocket")]
pub use self::websocket::WebSocketSettings;
#[cfg(feature = "in-process")]
use crate::in_process::BrokerHalf;
#[cfg(test)]
use crate::simulation::transport::{Network, Splitting};

/// The transport for the connections of a listener: MQTT over TCP, with the layers between them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TransportKind {
    /// Each connection begins with a PROXY header.
    #[cfg(feature = "proxy-protocol")]
    pub(crate) has_proxy_header: bool,
    /// The proxies that may send it; all, if there are none.
    #[cfg(feature = "proxy-protocol")]
    pub(crate) proxies: std::sync::Arc<[crate::network::Network]>,
    /// TLS.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<std::sync::Arc<crate::tls::Tls>>,
    /// WebSocket, over TLS if both are there.
    #[cfg(feature = "websocket")]
    pub(crate) web_socket: Option<std::sync::Arc<WebSocketSettings>>,
    /// HTTP for the operator, and no MQTT.
    #[cfg(feature = "admin")]
    pub(crate) admin: Option<std::sync::Arc<crate::admin::Pages>>,
    /// Splits and delays bytes.
    #[cfg(test)]
    pub(crate) splitting: Option<std::sync::Arc<Network>>,
}

impl TransportKind {
    /// Whether the listener is the admin listener.
    pub(crate) fn is_admin(&self) -> bool {
        #[cfg(feature = "admin")]
        return self.admin.is_some();
        #[cfg(not(feature = "admin"))]
        false
    }

    /// Whether the listener has TLS.
    pub(crate) fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Whether the listener has WebSocket.
    pub(crate) fn has_web_socket(&self) -> bool {
        #[cfg(feature = "websocket")]
        return self.web_socket.is_some();
        #[cfg(not(feature = "websocket"))]
        false
    }

    /// Whether each connection begins with a header of a proxy.
    pub(crate) fn has_proxy_protocol(&self) -> bool {
        #[cfg(feature = "proxy-protocol")]
        return self.has_proxy_header;
        #[cfg(not(feature = "proxy-protocol"))]
        false
    }

    /// Whether the listener is for certain proxies alone.
    pub(crate) fn has_proxies(&self) -> bool {
        #[cfg(feature = "proxy-protocol")]
        return !self.proxies.is_empty();
        #[cfg(not(feature = "proxy-protocol"))]
        false
    }

    /// Whether a connection from this address is accepted. One whose address the host does not know is not from a certain proxy.
    #[cfg_attr(not(feature = "proxy-protocol"), expect(unused_variables, reason = "only proxies are told apart"))]
    pub(crate) fn accepts(&self, peer: Option<SocketAddr>) -> bool {
        #[cfg(feature = "proxy-protocol")]
        if self.has_proxies() {
            return peer.is_some_and(|peer| self.proxies.iter().any(|proxies| proxies.contains(peer.ip())));
        }
        true
    }

    /// The origin of a new connection, without the address of the socket if a header is to tell the client's.
    pub(crate) fn origin(&self, accepted: Origin) -> Origin {
        #[cfg(feature = "proxy-protocol")]
        if self.has_proxy_header {
            return Origin { peer: None, ..accepted };
        }
        accepted
    }
}

/// The bytes of one connection. Any thread may send while its owner receives.
#[derive(Debug)]
pub(crate) enum Transport<S> {
    /// MQTT over TCP or TLS.
    Lower(Lower<S>),
    /// MQTT over WebSocket.
    #[cfg(feature = "websocket")]
    WebSocket(Box<WebSocket<S>>),
    /// One of these behind a PROXY header.
    #[cfg(feature = "proxy-protocol")]
    Proxied(Box<Proxied<S>>),
    /// HTTP for the operator.
    #[cfg(feature = "admin")]
    Admin(Box<Admin<S>>),
    /// A client in the process, without a socket.
    #[cfg(feature = "in-process")]
    InProcess(Box<BrokerHalf>),
    /// Splits and delays bytes.
    #[cfg(test)]
    Splitting(Splitting<S>),
}

/// A transport behind a PROXY header.
#[cfg(feature = "proxy-protocol")]
#[derive(Debug)]
pub(crate) struct Proxied<S> {
    gate: ProxyGate,
    transport: Transport<S>,
}

impl<S: Stream> Transport<S> {
    /// A transport over a socket that was just accepted from `peer` and is registered under `token`.
    ///
    /// # Errors
    /// If the host has no randomness for TLS.
    #[cfg_attr(
        not(feature = "proxy-protocol"),
        expect(unused_variables, reason = "only a header is from another peer")
    )]
    pub(crate) fn new(kind: &TransportKind, stream: S, peer: Option<SocketAddr>, token: Token) -> io::Result<Self> {
        let transport = Self::without_header(kind, stream, token)?;
        #[cfg(feature = "proxy-protocol")]
        if kind.has_proxy_header {
            return Ok(Self::Proxied(Box::new(Proxied { gate: ProxyGate::new(peer), transport })));
        }
        Ok(transport)
    }

    #[cfg_attr(not(test), expect(unused_variables, reason = "the transport in tests asks for events"))]
    fn without_header(kind: &TransportKind, stream: S, token: Token) -> io::Result<Self> {
        #[cfg(test)]
        if let Some(network) = &kind.splitting {
            return Ok(Self::Splitting(Splitting::new(stream, token, network)));
        }
        #[cfg(feature = "admin")]
        if let Some(pages) = &kind.admin {
            return Ok(Self::Admin(Box::new(Admin::new(stream, pages))));
        }
        #[cfg(feature = "tls")]
        let lower = match &kind.tls {
            Some(tls) => Lower::tls(stream, tls, kind.has_web_socket())?,
            None => Lower::Plain(stream),
        };
        #[cfg(not(feature = "tls"))]
        let lower = Lower::Plain(stream);
        #[cfg(feature = "websocket")]
        if let Some(settings) = &kind.web_socket {
            return Ok(Self::WebSocket(Box::new(WebSocket::new(lower, settings))));
        }
        Ok(Self::Lower(lower))
    }

    /// The socket below the transport, if there is one.
    pub(crate) fn stream(&self) -> Option<&S> {
        Some(match self {
            Self::Lower(lower) => lower.stream(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(web_socket) => web_socket.stream(),
            #[cfg(feature = "proxy-protocol")]
            Self::Proxied(proxied) => return proxied.transport.stream(),
            #[cfg(feature = "admin")]
            Self::Admin(admin) => admin.stream(),
            #[cfg(feature = "in-process")]
            Self::InProcess(_) => return None,
            #[cfg(test)]
            Self::Splitting(splitting) => splitting.stream(),
        })
    }

    /// Receives once into `buffer`, which must not be empty.
    pub(crate) fn receive(&self, buffer: &mut [u8], turn: &mut Turn) -> Received {
        match self {
            Self::Lower(lower) => lower.receive(buffer, turn),
            #[cfg(feature = "websocket")]
            Self::WebSocket(web_socket) => web_socket.receive(buffer, turn),
            #[cfg(feature = "proxy-protocol")]
            Self::Proxied(proxied) if !proxied.gate.is_open() => {
                let stream = proxied.transport.stream();
                stream.map_or(Received::Failed, |stream| proxied.gate.receive(stream, turn))
            }
            #[cfg(feature = "proxy-protocol")]
            Self::Proxied(proxied) => proxied.transport.receive(buffer, turn),
            #[cfg(feature = "admin")]
            Self::Admin(admin) => admin.receive(buffer, turn),
            #[cfg(feature = "in-process")]
            Self::InProcess(half) => half.receive(buffer),
            #[cfg(test)]
            Self::Splitting(splitting) => splitting.receive(buffer),
        }
    }

    /// Sends a prefix of `bytes` and returns its length. It is shorter than `bytes` only if the socket is full; an
    /// event announces when it is writable. The next call begins with the bytes that were not sent.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full: an event announces when it is writable. Others end the connection.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Lower(lower) => lower.send(bytes),
            #[cfg(feature = "websocket")]
            Self::WebSocket(web_socket) => web_socket.send(bytes),
            #[cfg(feature = "proxy-protocol")]
            Self::Proxied(proxied) => proxied.transport.send(bytes),
            // No client is connected, so the engine has nothing to send but the reason of the end.
            #[cfg(feature = "admin")]
            Self::Admin(_) => Ok(bytes.len()),
            #[cfg(feature = "in-process")]
            Self::InProcess(half) => half.send(bytes),
            #[cfg(test)]
            Self::Splitting(splitting) => splitting.send(bytes),
        }
    }

    /// Handles the event that the socket is writable.
    pub(crate) fn writable(&self) {
        match self {
            Self::Lower(lower) => lower.writable(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(web_socket) => web_socket.writable(),
            #[cfg(feature = "proxy-protocol")]
            Self::Proxied(proxied) => proxied.transport.writable(),
            #[cfg(feature = "admin")]
            Self::Admin(_) => {}
            #[cfg(feature = "in-process")]
            Self::InProcess(_) => {}
            #[cfg(test)]
            Self::Splitting(_) => {}
        }
    }

    /// Shuts down one or both directions after the bytes sent so far.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Lower(lower) => lower.shutdown(how),
            #[cfg(feature = "websocket")]
            Self::WebSocket(web_socket) => web_socket.shutdown(how),
            #[cfg(feature = "proxy-protocol")]
            Self::Proxied(proxied) => proxied.transport.shutdown(how),
            #[cfg(feature = "admin")]
            Self::Admin(admin) => admin.shutdown(how),
            #[cfg(feature = "in-process")]
            Self::InProcess(half) => {
                half.shutdown();
                Ok(())
            }
            #[cfg(test)]
            Self::Splitting(splitting) => splitting.stream().shutdown(how),
        }
    }

    /// Tells the peer that nothing follows, if the transport has words for it. The socket is closed next.
    pub(crate) fn end(&self) {
        match self {
            Self::Lower(lower) => lower.end(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(web_socket) => web_socket.end(),
            #[cfg(feature = "proxy-protocol")]
            Self::Proxied(proxied) if !proxied.gate.is_open() => {}
            #[cfg(feature = "proxy-protocol")]
            Self::Proxied(proxied) => proxied.transport.end(),
            #[cfg(feature = "admin")]
            Self::Admin(_) => {}
            #[cfg(feature = "in-process")]
            Self::InProcess(half) => half.end(),
            #[cfg(test)]
            Self::Splitting(_) => {}
        }
    }

    /// Whether its peer's requests are answered when it is read, so that it is read again when the socket has room.
    pub(crate) fn answers_itself(&self) -> bool {
        #[cfg(feature = "admin")]
        return matches!(self, Self::Admin(_));
        #[cfg(not(feature = "admin"))]
        false
    }

    /// Whether the socket carries the bytes as they are, so that packets may be sent from where they lie.
    pub(crate) fn is_transparent(&self) -> bool {
        match self {
            #[cfg(feature = "proxy-protocol")]
            Self::Proxied(proxied) => proxied.transport.is_transparent(),
            #[cfg(feature = "in-process")]
            Self::InProcess(_) => true,
            _ => matches!(self, Self::Lower(Lower::Plain(_))),
        }
    }
}

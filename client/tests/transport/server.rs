//! A small broker behind real TLS and WebSocket, made of rustls and tungstenite: it returns every message to its sender.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::Message;
use wisp_wire::{ConnAck, List, Packet, Properties, ProtocolVersion, PubAck, Publish, ReasonCode, SubAck};

const VERSION: ProtocolVersion = ProtocolVersion::Mqtt5;
/// Far longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// The layers of a server.
#[derive(Clone, Default)]
pub(crate) struct Layers {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) websocket: bool,
}

/// Serves `connections` clients, one after the other. The thread returns the result of each.
pub(crate) fn serve(layers: Layers, connections: usize) -> (SocketAddr, JoinHandle<Vec<io::Result<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let serve_next = |_| {
            let (socket, _) = listener.accept()?;
            socket.set_read_timeout(Some(PATIENCE))?;
            serve_one(socket, &layers)
        };
        (0..connections).map(serve_next).collect()
    });
    (address, thread)
}

fn serve_one(socket: TcpStream, layers: &Layers) -> io::Result<usize> {
    match &layers.tls {
        None => serve_over(socket, layers.websocket),
        Some(config) => {
            let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            serve_over(StreamOwned::new(tls, socket), layers.websocket)
        }
    }
}

fn serve_over(stream: impl Read + Write, websocket: bool) -> io::Result<usize> {
    if !websocket {
        return serve_mqtt(stream);
    }
    #[allow(clippy::result_large_err, reason = "the type is tungstenite's")]
    let answer = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/mqtt");
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        response.headers_mut().insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let websocket = tungstenite::accept_hdr(stream, answer).map_err(|error| io::Error::other(error.to_string()))?;
    serve_mqtt(Frames { websocket, unread: Vec::new(), written: 0 })
}

/// The bytes in the frames of a WebSocket connection.
struct Frames<S> {
    websocket: tungstenite::WebSocket<S>,
    unread: Vec<u8>,
    written: usize,
}

impl<S: Read + Write> Read for Frames<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.unread.is_empty() {
            match self.websocket.read() {
                Ok(Message::Binary(bytes)) => self.unread = bytes.to_vec(),
                Ok(Message::Close(_)) => return Ok(0),
                Ok(_) => {}
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        let bytes = self.unread.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&self.unread[..bytes]);
        self.unread.drain(..bytes);
        Ok(bytes)
    }
}

impl<S: Read + Write> Write for Frames<S> {
    /// Frames end within packets, and control frames come between them.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += 1;
        let piece = bytes.len().min(if self.written.is_multiple_of(3) { 5 } else { 30_000 });
        let send = |websocket: &mut tungstenite::WebSocket<S>| {
            websocket.send(Message::Ping(b"ping"[..].into()))?;
            websocket.send(Message::Binary(bytes[..piece].to_vec().into()))
        };
        send(&mut self.websocket).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the number of messages, once the client has disconnected.
fn serve_mqtt(mut stream: impl Read + Write) -> io::Result<usize> {
    let (mut input, mut messages, mut buffer) = (Vec::new(), 0, vec![0; 100_000]);
    loop {
        let mut answer = Vec::new();
        let mut used = 0;
        while let Some((packet, length)) = wisp_wire::decode(&input[used..], VERSION, u32::MAX).unwrap() {
            used += length;
            match packet {
                Packet::Connect(_) => {
                    let ack =
                        ConnAck { session_present: false, code: ReasonCode::Success, properties: Properties::EMPTY };
                    Packet::ConnAck(ack).encode(VERSION, &mut answer).unwrap();
                }
                Packet::Subscribe(subscribe) => {
                    let codes = [ReasonCode::Success];
                    let (packet_id, codes) = (subscribe.packet_id, List::from_slice(&codes));
                    let ack = SubAck { packet_id, properties: Properties::EMPTY, codes };
                    Packet::SubAck(ack).encode(VERSION, &mut answer).unwrap();
                }
                Packet::Publish(publish) => {
                    messages += 1;
                    if let Some(packet_id) = publish.packet_id {
                        Packet::PubAck(PubAck::new(packet_id)).encode(VERSION, &mut answer).unwrap();
                    }
                    let returned = Publish::new(publish.topic.unwrap(), publish.payload);
                    Packet::Publish(returned).encode(VERSION, &mut answer).unwrap();
                }
                Packet::Disconnect(_) => return Ok(messages),
                other => panic!("{other:?}"),
            }
        }
        input.drain(..used);
        stream.write_all(&answer)?;
        stream.flush()?;
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => input.extend_from_slice(&buffer[..bytes]),
        }
    }
}

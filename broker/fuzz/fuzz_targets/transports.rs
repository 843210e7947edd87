//! A connection over each transport of a listener: TLS, WebSocket, both, and a PROXY header before them. The transports have no
//! sockets of their own, so they are compiled from the broker's files as they are, over a socket in memory.
//!
//! A real client of TLS takes part in the handshakes; its bytes are cut, delayed and changed, and the broker sends while its
//! socket is full. Whatever comes, the bytes that reach the engine are the ones that the client sent, in their order, and a turn ends.

#![no_main]

#[path = "../../src"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "no broker is started")]
mod src {
    pub(crate) mod network;
    pub(crate) mod stamps;
    pub(crate) mod tls;
    pub(crate) mod transport;
    pub(crate) mod watch;
}

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use libfuzzer_sys::fuzz_target;
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
// By the names that the modules have for each other.
use src::{network, stamps, tls, transport, watch};
use transport::{Transport, TransportKind, Turn, WebSocketSettings};
use wisp_engine::Received;
use wisp_net::{Stream, Token};

const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x12\x67\x07\x5b";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
/// More than the longest handshake, request and header together.
const HELD_BYTES_MAX: usize = 80 * 1024;
/// Far more than the bytes of an input need.
const TURNS_MAX: usize = 20_000;

struct Tls {
    server: Arc<tls::Tls>,
    client: Arc<ClientConfig>,
}

static TLS: LazyLock<Tls> = LazyLock::new(|| {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let [chain, key] = ["chain", "key"].map(|name| folder.path().join(name));
    std::fs::write(&chain, made.cert.pem()).expect("the temporary folder can be written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("the temporary folder can be written");
    let server = tls::Tls::load(tls::TlsSettings::new(chain, key)).expect("the files are right");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("it can be trusted");
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Tls { server, client: Arc::new(client) }
});

/// The broker's end of a socket.
#[derive(Debug, Default)]
struct Socket {
    incoming: Mutex<VecDeque<u8>>,
    outgoing: Mutex<Vec<u8>>,
    /// How many bytes it takes before it is full.
    room: AtomicUsize,
    is_closed: std::sync::atomic::AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream for Socket {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty());
        match locked(&self.incoming).read(buffer)? {
            0 if self.is_closed.load(Ordering::Relaxed) => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room.load(Ordering::Relaxed).min(bytes.len());
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room.fetch_sub(room, Ordering::Relaxed);
        locked(&self.outgoing).extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        Ok(())
    }

    fn set_nodelay(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A client, and the broker's transport.
struct Pair {
    transport: Transport<Socket>,
    client: Option<ClientConnection>,
    /// Sent by the client and still under way.
    under_way: Vec<u8>,
    /// The bytes that the client has sent to the engine, and the ones that have reached it.
    sent: Vec<u8>,
    received: Vec<u8>,
    /// Nobody has changed a byte, and the client keeps the rules.
    is_clean: bool,
    end: Option<Received>,
}

impl Pair {
    fn new(kind: u8) -> Self {
        let (has_tls, has_web_socket, has_header) = (kind & 1 != 0, kind & 2 != 0, kind & 4 != 0);
        let settings = TransportKind {
            has_proxy_header: has_header,
            tls: has_tls.then(|| Arc::clone(&TLS.server)),
            web_socket: has_web_socket.then(|| Arc::new(WebSocketSettings::default())),
            ..TransportKind::default()
        };
        let socket = Socket { room: usize::MAX.into(), ..Socket::default() };
        let transport = Transport::new(&settings, socket, None, Token(1)).expect("there is randomness");
        let name = "localhost".try_into().expect("a name");
        let mut client =
            has_tls.then(|| ClientConnection::new(Arc::clone(&TLS.client), name).expect("the settings are complete"));
        // Bytes written before the end of the handshake wait.
        client.iter_mut().for_each(|client| client.set_buffer_limit(None));
        let under_way = if has_header { HEADER.to_vec() } else { Vec::new() };
        let mut pair =
            Self { transport, client, under_way, sent: Vec::new(), received: Vec::new(), is_clean: true, end: None };
        if has_web_socket {
            pair.write(REQUEST);
        }
        pair
    }

    /// The client sends bytes above TLS.
    fn write(&mut self, bytes: &[u8]) {
        match &mut self.client {
            Some(client) => drop(client.writer().write_all(bytes)),
            None => self.under_way.extend_from_slice(bytes),
        }
    }

    /// The client sends a message of this many bytes.
    fn send_message(&mut self, length: usize, has_web_socket: bool) {
        let payload: Vec<u8> = (0..length).map(|number| (self.sent.len() + number) as u8).collect();
        if has_web_socket {
            // With a mask of zeros.
            let mut frame = vec![0x82, 0x80 | 126];
            frame.extend((length as u16).to_be_bytes());
            frame.extend([0; 4]);
            if length < 126 {
                frame = vec![0x82, 0x80 | length as u8, 0, 0, 0, 0];
            }
            frame.extend_from_slice(&payload);
            self.write(&frame);
        } else {
            self.write(&payload);
        }
        self.sent.extend(payload);
    }

    /// Puts the bytes that the client has sealed under way.
    fn flush(&mut self) {
        while let Some(client) = self.client.as_mut().filter(|client| client.wants_write()) {
            client.write_tls(&mut self.under_way).expect("a vector takes it");
        }
    }

    /// Lets some bytes arrive at the broker, which reads them; the client reads the answers.
    fn deliver(&mut self, count: usize) {
        let count = count.min(self.under_way.len());
        locked(&self.transport.stream().incoming).extend(self.under_way.drain(..count));
        self.receive();
        let answers = std::mem::take(&mut *locked(&self.transport.stream().outgoing));
        if let Some(client) = &mut self.client {
            let mut rest = &answers[..];
            while !rest.is_empty() && client.read_tls(&mut rest).is_ok_and(|count| count > 0) {
                if client.process_new_packets().is_err() {
                    assert!(!self.is_clean, "the broker breaks the rules of TLS");
                    break;
                }
                // The broker's answer does not matter here.
                let _ = io::copy(&mut client.reader(), &mut io::sink());
            }
        }
    }

    fn receive(&mut self) {
        let (mut turn, mut buffer) = (Turn::default(), [0; 1500]);
        for _ in 0..TURNS_MAX {
            turn.begin();
            let received = self.transport.receive(&mut buffer, &mut turn);
            if let Some(note) = turn.note.take() {
                assert!(note.held_bytes <= HELD_BYTES_MAX, "{note:?}");
            }
            let again = std::mem::take(&mut turn.again);
            match received {
                Received::Bytes { count, more } => {
                    assert!(count > 0 && count <= buffer.len() && self.end.is_none());
                    self.received.extend_from_slice(&buffer[..count]);
                    if !more && !again {
                        return;
                    }
                }
                Received::WouldBlock if again => {}
                Received::WouldBlock => return,
                end => {
                    assert!(!self.is_clean || matches!(end, Received::Closed), "{end:?}");
                    self.end = Some(end);
                    return;
                }
            }
        }
        panic!("a turn does not end");
    }
}

fuzz_target!(|input: (u8, Vec<(u8, u16)>)| {
    let (kind, steps) = input;
    let (has_web_socket, mut pair) = (kind & 2 != 0, Pair::new(kind));
    for (step, number) in steps {
        let number = usize::from(number);
        if pair.end.is_some() {
            break;
        }
        match step % 12 {
            0 | 1 => {
                pair.flush();
                pair.deliver(number);
            }
            2 | 3 => {
                pair.flush();
                pair.deliver(usize::MAX);
            }
            4 | 5 => pair.send_message(number % 40_000, has_web_socket),
            6 => {
                pair.flush();
                if let Some(byte) = pair.under_way.get_mut(number) {
                    *byte ^= 1 << (number % 8);
                    pair.is_clean = false;
                }
            }
            7 => {
                let garbage: Vec<u8> = (0..number % 5_000).map(|at| (at * number >> 3) as u8).collect();
                pair.under_way.extend(garbage);
                pair.is_clean = false;
            }
            8 => {
                let bytes = vec![7; number];
                if let Ok(sent) = pair.transport.send(&bytes) {
                    assert!(sent <= bytes.len());
                }
                // Bytes that are not sent again would break the contract.
                pair.is_clean = false;
            }
            9 => pair.transport.stream().room.store(if number == 0 { usize::MAX } else { number }, Ordering::Relaxed),
            10 => pair.transport.writable(),
            _ => match number % 3 {
                0 => pair.transport.stream().is_closed.store(true, Ordering::Relaxed),
                1 => {
                    drop(pair.transport.shutdown(Shutdown::Write));
                    // In debug builds rustls asserts that nothing is wrong behind its own close.
                    break;
                }
                _ => {
                    if let Some(client) = &mut pair.client {
                        // In a handshake it breaks the rules.
                        pair.is_clean &= !client.is_handshaking();
                        client.send_close_notify();
                    }
                }
            },
        }
    }
    pair.transport.stream().room.store(usize::MAX, Ordering::Relaxed);
    pair.transport.writable();
    if pair.is_clean {
        // Both ends need several flights.
        for _ in 0..8 {
            if pair.end.is_none() {
                pair.flush();
                pair.deliver(usize::MAX);
                pair.transport.writable();
            }
        }
        assert!(pair.sent.starts_with(&pair.received), "other bytes reach the engine than were sent");
        assert!(pair.end.is_some() || pair.received.len() == pair.sent.len(), "bytes do not arrive");
    }
    pair.transport.end();
});

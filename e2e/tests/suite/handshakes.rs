//! Handshakes of TLS, WebSocket and the PROXY header that are cut at every place, too long, or never end: they leave no descriptor
//! and no memory.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::certificates::Authority;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::mosquitto::run_publisher;
use wisp_e2e::packet::{Connect, Publish};
use wisp_e2e::wait::{TIMEOUT, wait_or_report, wait_until};

use crate::config::ConfigFile;
use crate::tls::read_to_end;

/// TLS, WebSocket, the PROXY header, and WebSocket over TLS.
const KINDS: usize = 4;
/// Handshakes of each kind in a round.
const EACH: usize = 60;
/// After these the memory of the broker is what it takes for a round.
const ROUNDS_BEFORE: usize = 3;
const ROUNDS: usize = 6;
/// Less than two kilobytes for each handshake that did not end well; the state of one takes more than ten.
const GROWTH_BYTES_MAX: u64 = 4 * 1024 * 1024;

const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x12\x67\x07\x5b";

struct Listeners {
    broker: Broker,
    authority: Authority,
    tls: SocketAddr,
    web_socket: SocketAddr,
    secure_web_socket: SocketAddr,
    proxy: SocketAddr,
    client: Arc<ClientConfig>,
    _file: ConfigFile,
}

impl Listeners {
    fn start(name: &str) -> Listeners {
        let authority = Authority::new();
        let server = authority.server(&["localhost"]);
        let identity = format!("tls.certificate = \"{}\"\ntls.key = \"{}\"\n", server.certificate, server.key);
        let [tls, web_socket, secure_web_socket, proxy] = [(); 4].map(|()| free_addr());
        let listener = |addr: SocketAddr, lines: &str| format!("[[listener]]\naddress = \"{addr}\"\n{lines}\n");
        let text = [
            listener(tls, &identity),
            listener(web_socket, "protocol = \"websocket\""),
            listener(secure_web_socket, &format!("protocol = \"websocket\"\n{identity}")),
            listener(proxy, "proxy-protocol = true"),
        ];
        let file = ConfigFile::new(name, &text.concat());
        let broker = Broker::start_with(&["--config", file.path(), "--connect-timeout-ms", "1000"]);
        let mut roots = RootCertStore::empty();
        let pem = fs::read(authority.file()).expect("the authority has a certificate");
        roots.add(CertificateDer::from_pem_slice(&pem).expect("it is PEM")).expect("it can be trusted");
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for both versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Arc::new(client);
        Listeners { broker, authority, tls, web_socket, secure_web_socket, proxy, client, _file: file }
    }

    fn session(&self) -> ClientConnection {
        let name = "localhost".try_into().expect("a name");
        ClientConnection::new(Arc::clone(&self.client), name).expect("the settings are complete")
    }

    /// The first flight of a client of TLS.
    fn hello(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.session().write_tls(&mut bytes).expect("a vector takes it");
        bytes
    }

    /// Connections that have sent a part of their handshake, or too much, and go on no further.
    fn open_all(&self) -> Vec<TcpStream> {
        let hello = self.hello();
        let mut streams = Vec::new();
        for number in 0..EACH {
            // From nothing to all of it.
            let part = |whole: &[u8]| whole[..whole.len() * number / (EACH - 1)].to_vec();
            streams.push(open(self.tls, &part(&hello)));
            streams.push(open(self.web_socket, &part(REQUEST)));
            streams.push(open(self.proxy, &part(HEADER)));
            streams.push(self.open_secure(&part(REQUEST)));
        }
        streams.push(open(self.tls, &long_hello()));
        streams.push(open(self.web_socket, &[b"GET /mqtt HTTP/1.1\r\nX-Long: ", &[b'x'; 9_000][..]].concat()));
        streams.push(open(self.proxy, &[&HEADER[..14], &[0xff; 6_000][..]].concat()));
        streams
    }

    /// A complete handshake of TLS, and the beginning of another one above it.
    fn open_secure(&self, bytes: &[u8]) -> TcpStream {
        let (mut session, mut stream) = (self.session(), open(self.secure_web_socket, b""));
        Stream::new(&mut session, &mut stream).write_all(bytes).expect("the broker reads");
        stream
    }

    /// Opens them all, and waits for their end.
    fn round(&self) {
        // One half of each kind goes, the other half waits until the broker ends the connection.
        let (left, waiting): (Vec<_>, Vec<_>) =
            self.open_all().into_iter().enumerate().partition(|(index, _)| (index / KINDS).is_multiple_of(2));
        drop(left);
        waiting.into_iter().for_each(|(_, mut stream)| drop(read_to_end(&mut stream)));
    }
}

/// A socket that has sent these bytes, unless the broker ended the connection meanwhile.
fn open(addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("the broker accepts connections");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time limit can be set");
    let _ = stream.write_all(bytes);
    stream
}

/// The beginning of a hello of 16 MB, in records of 16 KiB.
fn long_hello() -> Vec<u8> {
    let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let mut bytes = record.clone();
    record[5..9].fill(0);
    bytes.extend(record.repeat(7));
    bytes
}

#[test]
fn handshakes_that_are_cut_too_long_or_never_end_leave_no_descriptor_and_no_memory() {
    if cannot(Ability::Wisp) {
        return;
    }
    let listeners = Listeners::start("handshakes-cut");
    let broker = &listeners.broker;
    let ca = listeners.authority.file();
    let publish = || run_publisher(listeners.tls, Version::V5, &["--cafile", &ca, "-t", "t", "-q", "1", "-n"], b"");
    assert!(publish().status.success(), "{:?}", broker.log());
    broker.wait_log("connection ended");
    let descriptors = broker.descriptors();
    (0..ROUNDS_BEFORE).for_each(|_| listeners.round());
    wait_until("the end of all connections", || broker.descriptors() <= descriptors);
    let resident = broker.resident_bytes();
    (0..ROUNDS).for_each(|_| listeners.round());
    wait_until("the end of all connections", || broker.descriptors() <= descriptors);
    let most = resident + GROWTH_BYTES_MAX;
    let come = || (broker.resident_bytes() <= most).then_some(());
    wait_or_report("their memory to be free", come, || {
        format!("{} bytes, and {most} at most", broker.resident_bytes())
    });
    assert!(publish().status.success(), "{:?}", broker.log());
}

/// A frame of WebSocket with a mask of zeros.
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_be_bytes();
    [&[0x82, 0x80 | 127], &length[..], &[0; 4], payload].concat()
}

#[test]
fn long_packets_over_web_socket_and_tls_are_handled_without_more_bytes_behind_them() {
    if cannot(Ability::Wisp) {
        return;
    }
    let listeners = Listeners::start("handshakes-long");
    let mut session = listeners.session();
    let mut socket = open(listeners.secure_web_socket, b"");
    let mut stream = Stream::new(&mut session, &mut socket);
    let mut expect = |bytes: &[u8], answer: &[u8]| {
        stream.write_all(bytes).expect("the broker reads");
        let mut received = Vec::new();
        while !received.ends_with(answer) {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the broker answers");
            received.push(byte[0]);
        }
    };
    expect(REQUEST, b"\r\n\r\n");
    expect(&frame(&Connect::new(Version::V311, "records").encode()), &[0x20, 2, 0, 0]);
    // A long packet is received into a buffer of its own, which ends where the packet does. The headers of its frames fill a part of
    // the buffer, so the end of the packet is behind it, in the same record.
    for length in (66_000..2_000_000).step_by(71_717) {
        let publish = Publish::new("t", &vec![b'x'; length]).qos(1).encode(Version::V311, 7);
        expect(&publish.chunks(9_999).flat_map(frame).collect::<Vec<_>>(), &[0x40, 2, 0, 7]);
    }
}

#[test]
fn a_server_that_has_answered_a_hello_keeps_nothing_when_the_client_is_silent() {
    if cannot(Ability::Wisp) {
        return;
    }
    let listeners = Listeners::start("handshakes-silent");
    let mut stream = open(listeners.tls, &listeners.hello());
    let mut first = [0; 5];
    stream.read_exact(&mut first).expect("the broker answers");
    assert_eq!(first[0], 22, "a record of the handshake");
    // Until CONNECT is overdue.
    read_to_end(&mut stream);
    listeners.broker.wait_log("connection ended");
}

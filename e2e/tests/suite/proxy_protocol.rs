//! Listeners behind a proxy that sends the PROXY header: the bytes that haproxy sends, and what others send instead.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::host::{Ability, Host, cannot};
use wisp_e2e::mosquitto::run_publisher;
use wisp_e2e::packet::Connect;
use wisp_e2e::peer::paho;
use wisp_e2e::program::Program;
use wisp_e2e::raw::RawClient;
use wisp_e2e::wait::wait_until;

use crate::config::ConfigFile;
use crate::tls::{exchange, read_to_end, secured};

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 4711);

fn text(client: SocketAddrV4) -> Vec<u8> {
    format!("PROXY TCP4 {} 127.0.0.1 {} 1883\r\n", client.ip(), client.port()).into_bytes()
}

fn binary(client: SocketAddrV4) -> Vec<u8> {
    let [source, port] = [client.ip().octets().to_vec(), client.port().to_be_bytes().to_vec()];
    // A note without meaning behind the addresses, as haproxy sends for alignment.
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f".to_vec(), source, vec![127, 0, 0, 1], port, vec![7, 91, 4, 0, 0]].concat()
}

/// A broker with a listener behind a proxy, and with a plain one.
fn behind(name: &str, flags: &[&str], lines: &str) -> (Broker, SocketAddr, ConfigFile) {
    let addr = free_addr();
    let file = ConfigFile::new(name, &format!("[[listener]]\naddress = \"{addr}\"\nproxy-protocol = true\n{lines}\n"));
    (Broker::start_with(&[&["--config", file.path()], flags].concat()), addr, file)
}

#[test]
fn the_address_in_the_header_is_the_clients_however_the_bytes_come() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, addr, _file) = behind("proxy-address", &["--log", "debug"], "");
    for (index, header) in [text(CLIENT), binary(CLIENT)].into_iter().enumerate() {
        let whole = format!("whole-{index}");
        let mut client = RawClient::open(addr, Version::V5);
        client.send(&[header.clone(), Connect::new(Version::V5, &whole).encode()].concat());
        assert_eq!(client.read_packet().conn_ack(Version::V5).code, 0);
        let mut pieces = RawClient::open(addr, Version::V5);
        let split = format!("split-{index}");
        for byte in [header, Connect::new(Version::V5, &split).encode()].concat() {
            pieces.send(&[byte]);
            thread::yield_now();
        }
        assert_eq!(pieces.read_packet().conn_ack(Version::V5).code, 0);
        for id in [whole, split] {
            let line = broker.wait_log(&format!("client connected client=\"{id}\""));
            assert!(line.contains(&format!("peer={CLIENT}")), "{line}");
        }
        pieces.subscribe(&["t"]);
        client.publish("t", b"through the proxy");
        assert_eq!(pieces.read_message("t"), b"through the proxy");
    }
}

#[test]
fn a_connection_without_the_header_is_refused_and_named_once() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, addr, _file) = behind("proxy-without", &[], "");
    let connect = Connect::new(Version::V311, "direct").encode();
    for bytes in [&connect[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\xfc\x01", b"PROXY\r\n"] {
        let mut stream = TcpStream::connect(addr).expect("the broker accepts connections");
        stream.write_all(bytes).expect("the broker reads");
        assert_eq!(read_to_end(&mut stream), b"", "{bytes:?}");
    }
    let text = "does not begin with a proxy header";
    let line = broker.wait_log(text);
    assert!(Host::current() != Host::Native || line.contains("peer=127.0.0.1:"), "{line}");
    assert_eq!(broker.log().iter().filter(|line| line.to_lowercase().contains(text)).count(), 1, "{:?}", broker.log());
    RawClient::connect(broker.addr(), Version::V311, "plain").ping();
}

#[test]
fn with_a_list_of_proxies_a_header_from_elsewhere_is_not_read() {
    if cannot(Ability::Wisp) {
        return;
    }
    let trusted = "proxy-protocol-from = [\"::1\", \"127.0.0.0/8\"]";
    if Host::current() == Host::Wasmtime {
        // The broker does not learn where connections come from.
        let text = format!("[[listener]]\naddress = \"{}\"\nproxy-protocol = true\n{trusted}\n", free_addr());
        let file = ConfigFile::new("proxy-list", &text);
        let refused = Program::run(Host::current().command(free_addr(), &["--config", file.path()]), b"");
        assert_eq!(refused.status.code(), Some(2), "{:?}", refused.stderr);
        assert!(refused.stderr.iter().any(|line| line.contains("remove proxy-protocol-from")), "{:?}", refused.stderr);
        return;
    }
    let (_broker, addr, _file) = behind("proxy-trusted", &[], trusted);
    let mut client = RawClient::open(addr, Version::V5);
    client.send(&[binary(CLIENT), Connect::new(Version::V5, "trusted").encode()].concat());
    assert_eq!(client.read_packet().conn_ack(Version::V5).code, 0);

    let (broker, addr, _file) = behind("proxy-stranger", &[], "proxy-protocol-from = \"192.0.2.0/24\"");
    for _ in 0..3 {
        let mut stream = TcpStream::connect(addr).expect("the broker accepts connections");
        // Claims to be a client behind the proxy.
        let _ = stream.write_all(&[binary(CLIENT), Connect::new(Version::V5, "stranger").encode()].concat());
        assert_eq!(read_to_end(&mut stream), b"");
    }
    let line = broker.wait_log("it comes from no proxy of proxy-protocol-from");
    assert!(line.contains("peer=127.0.0.1:"), "{line}");
    assert_eq!(
        broker.log().iter().filter(|line| line.contains("comes from no proxy")).count(),
        1,
        "{:?}",
        broker.log()
    );
    RawClient::connect(broker.addr(), Version::V311, "plain").ping();
}

#[test]
fn a_header_that_does_not_end_is_ended_and_leaves_nothing() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, addr, _file) = behind("proxy-half", &["--connect-timeout-ms", "1000"], "");
    let header = binary(CLIENT);
    let open = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(addr).expect("the broker accepts connections");
        stream.write_all(bytes).expect("the broker reads");
        stream
    };
    // Once a connection was handled, the start is over, with the descriptors that it takes.
    assert_eq!(read_to_end(&mut open(&header)), b"");
    let before = broker.descriptors();
    let mut streams: Vec<TcpStream> = (0..header.len()).map(|length| open(&header[..length])).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(read_to_end(stream), b""));
    (0..header.len()).for_each(|length| drop(open(&header[..length])));
    // Only the header, and then nothing.
    assert_eq!(read_to_end(&mut open(&header)), b"");
    wait_until("the end of all connections", || broker.descriptors() <= before);
}

#[test]
fn the_limit_for_an_address_counts_the_clients_and_not_the_proxys() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (_broker, addr, _file) = behind("proxy-limit", &["--unauthenticated-per-address-max", "2"], "");
    let open = |header: Vec<u8>| {
        let mut client = RawClient::open(addr, Version::V311);
        client.send(&header);
        client
    };
    // Without the header none of them counts for an address.
    let _silent: Vec<RawClient> = (0..5).map(|_| open(Vec::new())).collect();
    let streams: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).expect("the broker accepts connections");
            stream.write_all(&text(CLIENT)).expect("the broker reads");
            stream.set_nonblocking(true).expect("the mode can be set");
            stream
        })
        .collect();
    let is_closed = |stream: &&TcpStream| match stream.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    wait_until("the end of one", || streams.iter().filter(is_closed).count() == 1);
    let other = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 8), 4711);
    let mut client = open([binary(other), Connect::new(Version::V311, "other").encode()].concat());
    assert_eq!(client.read_packet().conn_ack(Version::V311).code, 0);
    assert_eq!(streams.iter().filter(is_closed).count(), 1);
}

/// A proxy in front of a listener.
struct Proxy {
    addr: SocketAddr,
    is_done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    fn start(to: SocketAddr, header: Vec<u8>) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let addr = listener.local_addr().expect("it has an address");
        let is_done = Arc::<AtomicBool>::default();
        let done = Arc::clone(&is_done);
        let thread = thread::spawn(move || {
            for client in listener.incoming().take_while(|_| !done.load(Ordering::Relaxed)) {
                let client = client.expect("a connection can be accepted");
                let mut broker = TcpStream::connect(to).expect("the broker accepts connections");
                broker.write_all(&header).expect("the broker reads");
                pass(&client, &broker);
                pass(&broker, &client);
            }
        });
        Proxy { addr, is_done, thread: Some(thread) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
        // Wakes the thread.
        drop(TcpStream::connect(self.addr));
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported.
            drop(thread.join());
        }
    }
}

/// Passes one direction on, until it ends.
fn pass(from: &TcpStream, to: &TcpStream) {
    let copy = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
    let (mut from, mut to) = (copy(from), copy(to));
    thread::spawn(move || {
        // The test sees what did not arrive.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[test]
fn the_header_comes_before_tls_and_web_socket() {
    if cannot(Ability::Wisp) {
        return;
    }
    let secured = secured("proxy-tls", &["--log", "debug"], |_| "proxy-protocol = true".to_owned());
    let proxy = Proxy::start(secured.addr, binary(CLIENT));
    let arguments = ["--cafile", &secured.authority.file(), "-t", "t", "-i", "secure", "-q", "1", "-s"];
    let finished = run_publisher(proxy.addr, Version::V5, &arguments, b"x");
    assert!(finished.status.success(), "{:?}", finished.stderr);
    let line = secured.broker.wait_log("client connected client=\"secure\"");
    assert!(line.contains(&format!("peer={CLIENT}")), "{line}");
    assert!(!secured.publish(Version::V5, &[], "t", b"x").status.success(), "without the header");

    let (_broker, addr, _file) = behind("proxy-ws", &[], "protocol = \"websocket\"");
    let proxy = Proxy::start(addr, text(CLIENT));
    exchange(paho, proxy.addr, &[("WISP_E2E_SCHEME", "ws")]);
}

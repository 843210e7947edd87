//! Checks from inside the process of a host's promises besides carrying bytes: capabilities, kinds of
//! errors, time limits of waits, wake-ups, registrations from other threads.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use wisp_net::{Capabilities, Event, Host, Listener, Poller, Registrar, Stream, Token};

/// The limit for each expected event; a wait that lasts this long has missed its end.
const TIMEOUT: Duration = Duration::from_secs(20);
const LISTENER: Token = Token(1);
const OURS: Token = Token(2);
const THEIRS: Token = Token(3);

/// Runs every check that the host's capabilities allow. `addr` is the address to listen on, with a free
/// port or 0.
///
/// # Panics
/// If the host does not keep a promise.
pub(crate) fn all<H: Host>(host: &H, addr: SocketAddr) {
    let capabilities = host.capabilities();
    assert!(capabilities.recv_bytes >= 4096 && capabilities.recv_bytes <= 1 << 20);
    memory_is_told(host);
    wait_ends_in_time(host);
    wake_ends_a_wait(host, capabilities);
    let listener = host.listen(addr).expect("listens");
    match listener.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        _ => panic!("accept says would-block when no connection is pending"),
    }
    if !capabilities.listen {
        expect_kind(host.listen(addr).map(drop), ErrorKind::Unsupported);
        return;
    }
    let addr = listener.local_addr().expect("knows its address");
    expect_kind(host.listen(addr).map(drop), ErrorKind::AddrInUse);
    if capabilities.connect {
        dropped_stream_sends_its_last_bytes(host, &listener, addr);
        connection_carries_bytes_and_its_end(host, listener, addr);
        refused_connection_is_reported(host, addr);
        if capabilities.threads {
            registration_reaches_a_blocked_wait(host, addr);
        }
    }
}

/// Where it is told at all, it is no less than the process has in use.
fn memory_is_told<H: Host>(host: &H) {
    const BYTES: usize = 32 << 20;
    let bytes = std::hint::black_box(vec![1_u8; BYTES]);
    let told = host.memory_bytes();
    assert!(told.is_some() || !cfg!(target_arch = "wasm32"), "a module knows its memory");
    if let Some(told) = told {
        assert!(told >= bytes.len() as u64 && told < 1 << 40, "{told}");
    }
}

fn wait_ends_in_time<H: Host>(host: &H) {
    let (mut poller, mut events) = (host.poller().expect("a poller"), Vec::new());
    for timeout in [Duration::ZERO, Duration::from_millis(30)] {
        let start = Instant::now();
        poller.wait(&mut events, Some(timeout)).expect("waits");
        assert!(events.is_empty(), "there is nothing to report");
        assert!(start.elapsed() + Duration::from_millis(2) >= timeout, "came back after {:?}", start.elapsed());
        assert!(start.elapsed() < TIMEOUT);
    }
}

fn wake_ends_a_wait<H: Host>(host: &H, capabilities: Capabilities) {
    let (mut poller, mut events) = (host.poller().expect("a poller"), Vec::new());
    let registrar = poller.registrar();
    assert_eq!(registrar.wake(), capabilities.wake);
    if !capabilities.wake {
        return;
    }
    let start = Instant::now();
    // A wake-up before the wait ends it too.
    poller.wait(&mut events, Some(TIMEOUT)).expect("waits");
    for _ in 0..100 {
        let registrar = registrar.clone();
        let waker = std::thread::spawn(move || registrar.wake());
        poller.wait(&mut events, Some(TIMEOUT)).expect("waits");
        assert!(waker.join().expect("does not panic"));
    }
    assert!(start.elapsed() < TIMEOUT, "a wake-up was missed");
}

fn connection_carries_bytes_and_its_end<H: Host>(host: &H, mut listener: H::Listener, addr: SocketAddr) {
    let mut watch = Watch::new(host.poller().expect("a poller"));
    let registrar = watch.poller.registrar();
    registrar.add_listener(&mut listener, LISTENER).expect("registers");
    let mut ours = host.connect(addr).expect("connects");
    registrar.add(&mut ours, OURS).expect("registers");
    watch.wait_for(|event| event.token == LISTENER && event.readable);
    let (mut theirs, peer) = listener.accept().expect("a connection is pending");
    assert_eq!(peer.is_some(), host.capabilities().peer_address);
    theirs.set_nodelay().expect("sends at once, or says it does");
    registrar.add(&mut theirs, THEIRS).expect("registers");
    watch.wait_for(|event| event.token == OURS && event.writable);

    expect_kind(theirs.recv(&mut [0; 16]), ErrorKind::WouldBlock);
    assert_eq!(ours.send(b"hello").expect("has room"), 5);
    assert_eq!(watch.recv(&theirs, THEIRS), b"hello");
    ours.shutdown(Shutdown::Write).expect("shuts down");
    assert_eq!(watch.recv(&theirs, THEIRS), b"");
    assert_eq!(theirs.send(b"bye").expect("the other half is open"), 3);
    assert_eq!(watch.recv(&ours, OURS), b"bye");
    registrar.remove(&ours).expect("was registered");
    drop(ours);
    registrar.remove(&theirs).expect("was registered");
}

/// No buffer on the way has room when the stream is dropped. The drop must not wait for the peer, which is
/// this thread.
fn dropped_stream_sends_its_last_bytes<H: Host>(host: &H, listener: &H::Listener, addr: SocketAddr) {
    let mut poller = host.poller().expect("a poller");
    let registrar = poller.registrar();
    let mut ours = host.connect(addr).expect("connects");
    registrar.add(&mut ours, OURS).expect("registers");
    let mut theirs = accept(listener);
    registrar.add(&mut theirs, THEIRS).expect("registers");
    let (mut sent, start) = (0, Instant::now());
    // Until no buffer takes a byte for a while: some grow only when they are full.
    let mut full_since = Instant::now();
    while full_since.elapsed() < Duration::from_millis(200) {
        match theirs.send(&[1; 64 * 1024]) {
            Ok(len) => {
                sent += len;
                full_since = Instant::now();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                poller.wait(&mut Vec::new(), Some(Duration::from_millis(10))).expect("waits");
            }
        }
        assert!(start.elapsed() < TIMEOUT, "a peer that does not read takes no end of bytes");
    }
    registrar.remove(&theirs).expect("was registered");
    drop(theirs);

    let (mut received, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        match ours.recv(&mut buffer) {
            Ok(0) => break,
            Ok(len) => received += len,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                poller.wait(&mut Vec::new(), Some(Duration::from_secs(1))).expect("waits");
            }
        }
        assert!(start.elapsed() < TIMEOUT, "{received} of {sent} bytes arrived");
    }
    assert_eq!(received, sent);
    registrar.remove(&ours).expect("was registered");
}

fn accept<L: Listener>(listener: &L) -> L::Stream {
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => return stream,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        assert!(start.elapsed() < TIMEOUT, "no connection arrived");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The listener on `addr` is closed by now.
fn refused_connection_is_reported<H: Host>(host: &H, addr: SocketAddr) {
    let mut stream = match host.connect(addr) {
        Ok(stream) => stream,
        Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}"),
    };
    let mut poller = host.poller().expect("a poller");
    poller.registrar().add(&mut stream, OURS).expect("registers");
    let start = Instant::now();
    loop {
        match stream.recv(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return expect_kind(result, ErrorKind::ConnectionRefused),
        }
        assert!(start.elapsed() < TIMEOUT, "no failure was reported");
        poller.wait(&mut Vec::new(), Some(TIMEOUT)).expect("waits");
    }
}

fn registration_reaches_a_blocked_wait<H: Host>(host: &H, addr: SocketAddr) {
    let listener = host.listen(addr).expect("the address is free again");
    let mut watch = Watch::new(host.poller().expect("a poller"));
    let registrar = watch.poller.registrar();
    let owner = std::thread::spawn(move || watch.wait_for(|event| event.token == THEIRS));
    let _ours = host.connect(addr).expect("connects");
    let mut theirs = accept(&listener);
    registrar.add(&mut theirs, THEIRS).expect("registers");
    owner.join().expect("the event came");
}

/// A poller, and reported events that no check has asked for yet.
struct Watch<P> {
    poller: P,
    seen: Vec<Event>,
}

impl<P: Poller> Watch<P> {
    fn new(poller: P) -> Watch<P> {
        Watch { poller, seen: Vec::new() }
    }

    fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) {
        let (start, mut events) = (Instant::now(), Vec::new());
        loop {
            if let Some(index) = self.seen.iter().position(&wanted) {
                self.seen.remove(index);
                return;
            }
            assert!(start.elapsed() < TIMEOUT, "the event did not come");
            self.poller.wait(&mut events, Some(TIMEOUT)).expect("waits");
            self.seen.append(&mut events);
        }
    }

    /// Waits for a readable event and returns the bytes it announced.
    fn recv(&mut self, stream: &P::Stream, token: Token) -> Vec<u8>
    where
        P::Stream: Stream,
    {
        let mut buffer = [0; 16];
        loop {
            self.wait_for(|event| event.token == token && event.readable);
            match stream.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return buffer[..result.expect("bytes have arrived")].to_vec(),
            }
        }
    }
}

fn expect_kind<T>(result: io::Result<T>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("expected {kind:?}, and it succeeded"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

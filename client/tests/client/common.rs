//! A broker that does what a test tells it to, packet by packet, on the in-memory host.

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wisp_client::{Client, ConnectOptions, Error, ProtocolVersion, ReasonCode};
use wisp_net::memory::{MemoryHost, MemoryListener, MemoryStream};
use wisp_net::{Host, Listener, Stream};
use wisp_wire::{ConnAck, List, Packet, Properties, Publish, SubAck, TopicName};

/// Far longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `script` as the broker of one connection, and gives the client's side of it.
pub(crate) fn broker<T: Send + 'static>(
    host: &MemoryHost,
    version: ProtocolVersion,
    script: impl FnOnce(&mut Peer) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = host.listen("10.0.0.1:1883".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || script(&mut Peer::accept(&listener, version)));
    (address, thread)
}

/// Connects to a broker that welcomes its client and then follows `script`.
pub(crate) fn connected<T: Send + 'static>(
    options: ConnectOptions,
    script: impl FnOnce(&mut Peer) -> T + Send + 'static,
) -> (Client<MemoryHost>, JoinHandle<T>) {
    let host = MemoryHost::new();
    let (address, thread) = broker(&host, options.version, |peer| {
        peer.welcome();
        script(peer)
    });
    (Client::connect_on(&host, address, options).unwrap(), thread)
}

pub(crate) fn options(version: ProtocolVersion) -> ConnectOptions {
    let mut options = ConnectOptions::new(version);
    options.answer_timeout = PATIENCE;
    options
}

/// What the client gets in the end, when the broker has closed: the error of `recv`.
pub(crate) fn final_error(client: &mut Client<MemoryHost>) -> Error {
    client.recv(PATIENCE).expect_err("the connection has ended")
}

/// The broker's side of a connection.
pub(crate) struct Peer {
    stream: MemoryStream,
    input: Vec<u8>,
    pub(crate) version: ProtocolVersion,
}

impl Peer {
    fn accept(listener: &MemoryListener, version: ProtocolVersion) -> Self {
        let (stream, _) = patiently(|| listener.accept());
        Self { stream, input: Vec::new(), version }
    }

    /// Takes the next packet and gives what `look` makes of it.
    pub(crate) fn take<T>(&mut self, look: impl FnOnce(Packet<'_>) -> T) -> T {
        loop {
            if let Some((packet, length)) = wisp_wire::decode(&self.input, self.version, u32::MAX).unwrap() {
                let seen = look(packet);
                self.input.drain(..length);
                return seen;
            }
            let mut buffer = [0; 4096];
            let received = patiently(|| self.stream.recv(&mut buffer));
            assert!(received > 0, "the client closed though a packet was expected");
            self.input.extend_from_slice(&buffer[..received]);
        }
    }

    /// Takes a PUBLISH and gives its topic and payload.
    pub(crate) fn take_message(&mut self) -> (String, Vec<u8>) {
        self.take(|packet| match packet {
            Packet::Publish(publish) => (publish.topic.unwrap().as_str().to_owned(), publish.payload.to_vec()),
            other => panic!("expected PUBLISH: {other:?}"),
        })
    }

    /// Takes a SUBSCRIBE, sends `before`, and grants the subscription.
    pub(crate) fn take_subscribe(&mut self, before: &[(&str, &[u8])]) {
        let (packet_id, filters) = self.take(|packet| match packet {
            Packet::Subscribe(subscribe) => (subscribe.packet_id, subscribe.filters.iter().count()),
            other => panic!("expected SUBSCRIBE: {other:?}"),
        });
        for (topic, payload) in before {
            self.send_message(topic, payload);
        }
        let codes = vec![ReasonCode::Success; filters];
        let codes = List::from_slice(&codes);
        self.send(&Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, codes }));
    }

    /// Takes CONNECT and accepts it.
    pub(crate) fn welcome(&mut self) {
        self.answer_connect(Properties::EMPTY, ReasonCode::Success, false);
    }

    pub(crate) fn answer_connect(&mut self, properties: Properties<'_>, code: ReasonCode, session_present: bool) {
        self.take(|packet| assert!(matches!(packet, Packet::Connect(_)), "{packet:?}"));
        self.send(&Packet::ConnAck(ConnAck { session_present, code, properties }));
    }

    pub(crate) fn send_message(&mut self, topic: &str, payload: &[u8]) {
        self.send(&Packet::Publish(Publish::new(TopicName::new(topic).unwrap(), payload)));
    }

    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).unwrap();
        self.send_bytes(&bytes);
    }

    pub(crate) fn send_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let sent = patiently(|| self.stream.send(bytes));
            bytes = &bytes[sent..];
        }
    }

    /// What the client has sent by now and nobody took, without waiting for more.
    pub(crate) fn waiting_bytes(&mut self) -> usize {
        let mut buffer = [0; 4096];
        while let Ok(received @ 1..) = self.stream.recv(&mut buffer) {
            self.input.extend_from_slice(&buffer[..received]);
        }
        self.input.len()
    }

    /// Waits until the client has closed its side.
    pub(crate) fn wait_for_end(&mut self) {
        let mut buffer = [0; 4096];
        while patiently(|| self.stream.recv(&mut buffer)) > 0 {}
    }

    pub(crate) fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// Repeats a non-blocking call until it does not say "would block".
fn patiently<T>(mut call: impl FnMut() -> std::io::Result<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(Instant::now() < deadline, "nothing happened for {PATIENCE:?}");
                thread::sleep(Duration::from_millis(1));
            }
            result => return result.unwrap(),
        }
    }
}

//! A broker of a thread per connection, which forwards by exact topic, and does on purpose what brokers must not do.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use wisp_wire::{ConnAck, Disconnect, List, Packet, Properties, ProtocolVersion, Publish, ReasonCode, SubAck};

/// What it does wrong, counted over all messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// Forgets every so manieth message.
    Drop(u64),
    /// Sends every so manieth message twice.
    Duplicate(u64),
    /// Sends every so manieth message after the one that follows it.
    Reorder(u64),
    /// Changes the length of every so manieth message.
    Corrupt(u64),
    /// Closes all connections after so many messages; MQTT 5 clients are told why.
    Die(u64),
    /// Does not let anybody subscribe.
    Refuse,
}

/// Listens, and serves as long as the process lives.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let broker =
        Arc::new(Broker { fault, counted: AtomicU64::new(0), topics: Mutex::default(), everybody: Mutex::default() });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, broker) = (stream.unwrap(), Arc::clone(&broker));
            thread::spawn(move || Connection::new(stream, &broker).serve());
        }
    });
    address
}

struct Broker {
    fault: Fault,
    counted: AtomicU64,
    topics: Mutex<HashMap<String, Arc<Subscriber>>>,
    everybody: Mutex<Vec<(TcpStream, ProtocolVersion)>>,
}

/// Who gets a topic's messages. One lock for a message, so that no two mix.
struct Subscriber {
    version: ProtocolVersion,
    stream: Mutex<(TcpStream, Option<Vec<u8>>)>,
}

impl Broker {
    fn forward(&self, publish: &Publish<'_>) {
        let number = self.counted.fetch_add(1, Ordering::Relaxed) + 1;
        let is_hit = |every: u64| number.is_multiple_of(every);
        let topic = publish.topic.unwrap().as_str();
        let Some(subscriber) = self.topics.lock().unwrap().get(topic).cloned() else { return };
        let mut publish = *publish;
        if matches!(self.fault, Fault::Corrupt(every) if is_hit(every)) {
            publish.payload = &publish.payload[..publish.payload.len() - 1];
        }
        let mut bytes = Vec::new();
        publish.encode(subscriber.version, &mut bytes).unwrap();
        let mut held = subscriber.stream.lock().unwrap();
        match self.fault {
            Fault::Drop(every) if is_hit(every) => return,
            Fault::Duplicate(every) if is_hit(every) => bytes = bytes.repeat(2),
            Fault::Reorder(every) if is_hit(every) && held.1.is_none() => {
                held.1 = Some(bytes);
                return;
            }
            Fault::Die(after) if number >= after => return self.die(),
            _ => {}
        }
        bytes.extend(held.1.take().unwrap_or_default());
        // A receiver that has gone needs nothing.
        let _ = held.0.write_all(&bytes);
    }

    fn die(&self) {
        for (stream, version) in &mut *self.everybody.lock().unwrap() {
            if version.is_v5() {
                let packet = Disconnect { code: ReasonCode::ServerShuttingDown, properties: Properties::EMPTY };
                let mut bytes = Vec::new();
                packet.encode(*version, &mut bytes).unwrap();
                let _ = stream.write_all(&bytes);
            }
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

struct Connection<'a> {
    broker: &'a Broker,
    stream: TcpStream,
    version: ProtocolVersion,
    input: Vec<u8>,
}

impl<'a> Connection<'a> {
    fn new(stream: TcpStream, broker: &'a Broker) -> Self {
        Self { broker, stream, version: ProtocolVersion::Mqtt311, input: Vec::new() }
    }

    fn serve(mut self) {
        while self.serve_some() {}
        // Others may hold the socket, so that dropping it here would not close it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// False when the client has gone, in whatever way: what that means is for the run to find.
    fn serve_some(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let Ok(received @ 1..) = self.stream.read(&mut buffer) else { return false };
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(&buffer[..received]);
        let mut used = 0;
        while let Some((packet, length)) = wisp_wire::decode(&input[used..], self.version, 1 << 28).unwrap() {
            used += length;
            if !self.handle(&packet) {
                return false;
            }
        }
        input.drain(..used);
        self.input = input;
        true
    }

    /// False when the client has said goodbye.
    fn handle(&mut self, packet: &Packet<'_>) -> bool {
        let properties = Properties::EMPTY;
        let answer = match packet {
            Packet::Connect(connect) => {
                self.version = connect.version;
                self.broker.everybody.lock().unwrap().push((self.stream.try_clone().unwrap(), self.version));
                Packet::ConnAck(ConnAck { session_present: false, code: ReasonCode::Success, properties })
            }
            Packet::Subscribe(subscribe) => {
                let (filter, _) = subscribe.filters.iter().next().unwrap();
                let stream = Mutex::new((self.stream.try_clone().unwrap(), None));
                let subscriber = Arc::new(Subscriber { version: self.version, stream });
                self.broker.topics.lock().unwrap().insert(filter.as_str().to_owned(), subscriber);
                let codes = match self.broker.fault {
                    Fault::Refuse => &[ReasonCode::UnspecifiedError],
                    _ => &[ReasonCode::Success],
                };
                Packet::SubAck(SubAck { packet_id: subscribe.packet_id, properties, codes: List::from_slice(codes) })
            }
            Packet::Publish(publish) => {
                self.broker.forward(publish);
                return true;
            }
            Packet::PingReq => Packet::PingResp,
            _ => return false,
        };
        let mut bytes = Vec::new();
        answer.encode(self.version, &mut bytes).unwrap();
        let _ = self.stream.write_all(&bytes);
        true
    }
}

//! A broker of a thread per connection, which forwards by exact topic at any QoS, and does on purpose what brokers must
//! not do.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wisp_wire::{
    ConnAck, Disconnect, List, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec,
    PubRel, Publish, QoS, ReasonCode, SubAck,
};

/// What it does wrong, counted over all messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// Forgets every so manieth message.
    Drop(u64),
    /// Sends every so manieth message twice.
    Duplicate(u64),
    /// Sends every so manieth message twice under one identifier, which at QoS 2 is right.
    Repeat(u64),
    /// Sends every so manieth message after the one that follows it.
    Reorder(u64),
    /// Changes the length of every so manieth message.
    Corrupt(u64),
    /// Closes all connections after so many messages; MQTT 5 clients are told why.
    Die(u64),
    /// Does nothing for so long when this message comes, once.
    Stall {
        at: u64,
        ms: u64,
    },
    /// Does not let anybody subscribe.
    Refuse,
    /// Grants QoS 0 to everybody.
    Downgrade,
    /// Acknowledges only when so many messages of a sender wait for it; says to MQTT 5 clients that it takes `receive_max`
    /// at once. Not wrong, as long as it is told of enough.
    Reluctant {
        batch: usize,
        receive_max: u16,
    },
    /// Acknowledges every so manieth message twice.
    AcknowledgeTwice(u64),
    /// Does not take every so manieth message, which MQTT 5 clients are told.
    NotTaken(u64),
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

/// What is written to a connection, whole packets at a time.
type Output = Arc<Mutex<TcpStream>>;

/// Who gets a topic's messages.
struct Subscriber {
    version: ProtocolVersion,
    output: Output,
    state: Mutex<Deliveries>,
}

#[derive(Default)]
struct Deliveries {
    last_id: u16,
    held: Option<Vec<u8>>,
}

impl Deliveries {
    /// The message under a fresh identifier, if it needs one.
    fn encode(&mut self, publish: &Publish<'_>, version: ProtocolVersion) -> Vec<u8> {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let packet_id = PacketId::new(self.last_id).filter(|_| publish.qos > QoS::AtMostOnce);
        let mut bytes = Vec::new();
        Packet::Publish(Publish { packet_id, ..*publish }).encode(version, &mut bytes).unwrap();
        bytes
    }
}

impl Broker {
    /// Counts a message, forwards it, and says which it was.
    fn forward(&self, publish: &Publish<'_>) -> u64 {
        let number = self.counted.fetch_add(1, Ordering::Relaxed) + 1;
        let is_hit = |every: u64| number.is_multiple_of(every);
        let topic = publish.topic.unwrap().as_str();
        let Some(subscriber) = self.topics.lock().unwrap().get(topic).cloned() else { return number };
        let mut publish = *publish;
        if matches!(self.fault, Fault::Corrupt(every) if is_hit(every)) {
            publish.payload = &publish.payload[..publish.payload.len() - 1];
        }
        let Subscriber { version, output, state } = &*subscriber;
        // Held until all is written, so that the order is that of the messages.
        let mut state = state.lock().unwrap();
        if let Fault::Stall { at, ms } = self.fault
            && number == at
        {
            thread::sleep(Duration::from_millis(ms));
        }
        let mut bytes = state.encode(&publish, *version);
        match self.fault {
            Fault::Drop(every) if is_hit(every) => return number,
            Fault::Duplicate(every) if is_hit(every) => bytes.extend(state.encode(&publish, *version)),
            Fault::Repeat(every) if is_hit(every) => bytes = bytes.repeat(2),
            Fault::Reorder(every) if is_hit(every) && state.held.is_none() => {
                state.held = Some(bytes);
                return number;
            }
            Fault::Die(after) if number >= after => {
                self.die();
                return number;
            }
            _ => {}
        }
        bytes.extend(state.held.take().unwrap_or_default());
        // A receiver that has gone needs nothing.
        let _ = output.lock().unwrap().write_all(&bytes);
        number
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
    output: Output,
    version: ProtocolVersion,
    input: Vec<u8>,
    /// Acknowledgements of messages, held back.
    waiting: Vec<Vec<u8>>,
}

impl<'a> Connection<'a> {
    fn new(stream: TcpStream, broker: &'a Broker) -> Self {
        let output = Arc::new(Mutex::new(stream.try_clone().unwrap()));
        let (version, input) = (ProtocolVersion::Mqtt311, Vec::new());
        Self { broker, stream, output, version, input, waiting: Vec::new() }
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
        match packet {
            Packet::Connect(connect) => {
                self.version = connect.version;
                self.welcome();
            }
            Packet::Subscribe(subscribe) => {
                let (filter, options) = subscribe.filters.iter().next().unwrap();
                let (version, output) = (self.version, Arc::clone(&self.output));
                let subscriber = Arc::new(Subscriber { version, output, state: Mutex::default() });
                self.broker.topics.lock().unwrap().insert(filter.as_str().to_owned(), subscriber);
                let code = match self.broker.fault {
                    Fault::Refuse => ReasonCode::UnspecifiedError,
                    Fault::Downgrade => ReasonCode::Success,
                    _ => ReasonCode::try_from(options.qos as u8).unwrap(),
                };
                let (packet_id, properties) = (subscribe.packet_id, Properties::EMPTY);
                self.send(&Packet::SubAck(SubAck { packet_id, properties, codes: List::from_slice(&[code]) }));
            }
            Packet::Publish(publish) => {
                let number = self.broker.forward(publish);
                self.acknowledge(publish, number);
            }
            Packet::PubRec(ack) => self.send(&Packet::PubRel(PubRel::new(ack.packet_id))),
            Packet::PubRel(ack) => self.send(&Packet::PubComp(PubComp::new(ack.packet_id))),
            Packet::PubAck(_) | Packet::PubComp(_) => {}
            Packet::PingReq => self.send(&Packet::PingResp),
            _ => return false,
        }
        true
    }

    fn welcome(&mut self) {
        self.broker.everybody.lock().unwrap().push((self.stream.try_clone().unwrap(), self.version));
        let limit = match self.broker.fault {
            Fault::Reluctant { receive_max, .. } if self.version.is_v5() => NonZeroU16::new(receive_max),
            _ => None,
        };
        let properties = limit.map(Property::ReceiveMaximum);
        let properties = Properties::from_slice(properties.as_slice());
        self.send(&Packet::ConnAck(ConnAck { session_present: false, code: ReasonCode::Success, properties }));
    }

    fn acknowledge(&mut self, publish: &Publish<'_>, number: u64) {
        let Some(packet_id) = publish.packet_id else { return };
        let code = match self.broker.fault {
            Fault::NotTaken(every) if number.is_multiple_of(every) => ReasonCode::QuotaExceeded,
            _ => ReasonCode::Success,
        };
        let properties = Properties::EMPTY;
        let ack = match publish.qos {
            QoS::ExactlyOnce => Packet::PubRec(PubRec { packet_id, code, properties }),
            _ => Packet::PubAck(PubAck { packet_id, code, properties }),
        };
        let mut bytes = Vec::new();
        ack.encode(self.version, &mut bytes).unwrap();
        self.waiting.push(bytes);
        let batch = match self.broker.fault {
            Fault::Reluctant { batch, .. } => batch,
            Fault::AcknowledgeTwice(every) if number.is_multiple_of(every) => {
                self.waiting.extend_from_within(..);
                1
            }
            _ => 1,
        };
        if self.waiting.len() >= batch {
            let all = std::mem::take(&mut self.waiting).concat();
            let _ = self.output.lock().unwrap().write_all(&all);
        }
    }

    fn send(&self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).unwrap();
        // A client that has gone needs nothing.
        let _ = self.output.lock().unwrap().write_all(&bytes);
    }
}

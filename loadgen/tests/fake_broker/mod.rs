//! A broker with a thread per connection. It forwards at any QoS, also to groups, from queues and by filters with `+`,
//! and misbehaves on purpose.

mod routing;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wisp_wire::{
    ConnAck, Disconnect, List, Packet, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec, PubRel, Publish,
    QoS, ReasonCode, SubAck,
};

use routing::{Routes, Subscriber};

/// A fault, counted over all deliveries, or over all messages where it concerns the sender.
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
    /// Changes a byte in the middle of every so manieth message.
    Flip(u64),
    /// Delivers every so manieth message as if it were of another topic.
    Misroute(u64),
    /// Gives every so manieth message to two of a group.
    ShareTwice(u64),
    /// Closes all connections after this number of messages; MQTT 5 clients are told why.
    Die(u64),
    /// Does nothing for so long when this message comes, once.
    Stall {
        at: u64,
        ms: u64,
    },
    /// Answers this number of CONNECTs, and no more.
    Mute(u64),
    /// Never answers SUBSCRIBE.
    NoSubAck,
    /// Stops reading from a client that has published.
    NoRead,
    /// Orders a keep-alive of this many seconds from MQTT 5 clients, and closes the connection of a client that is
    /// silent for one and a half times as long.
    Impatient(u16),
    /// Does not let anybody subscribe.
    Refuse,
    /// Lets nobody subscribe whose session ends with the connection.
    RefuseUnkept,
    /// Grants QoS 0 to everybody.
    Downgrade,
    /// Acknowledges only when this many messages of a sender are waiting; tells MQTT 5 clients a Receive Maximum of
    /// `receive_max`. This is correct behaviour, as long as enough messages arrive.
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
    let (messages, connects) = (AtomicU64::new(0), AtomicU64::new(0));
    let broker = Arc::new(Broker { fault, messages, connects, routes: Routes::default(), everybody: Mutex::default() });
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
    messages: AtomicU64,
    connects: AtomicU64,
    routes: Routes,
    everybody: Mutex<Vec<(TcpStream, ProtocolVersion)>>,
}

/// The output of a connection; whole packets are written at a time.
type Output = Arc<Mutex<TcpStream>>;

impl Broker {
    /// Counts a message, forwards it, and says which it was.
    fn forward(&self, publish: &Publish<'_>) -> u64 {
        let number = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fault {
            Fault::Die(after) if number >= after => self.die(),
            fault => self.routes.deliver(publish, fault),
        }
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
    /// Itself as a receiver, once it has subscribed.
    /// Whether its session outlives the connection.
    is_kept: bool,
    subscriber: Option<Arc<Subscriber>>,
    /// Acknowledgements of messages, held back.
    waiting: Vec<Vec<u8>>,
}

impl<'a> Connection<'a> {
    fn new(stream: TcpStream, broker: &'a Broker) -> Self {
        let output = Arc::new(Mutex::new(stream.try_clone().unwrap()));
        let (version, input) = (ProtocolVersion::Mqtt311, Vec::new());
        Self { broker, stream, output, version, input, is_kept: false, subscriber: None, waiting: Vec::new() }
    }

    fn serve(mut self) {
        while self.serve_some() {}
        // Others may hold the socket, so that dropping it here would not close it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// False when the client has gone in any way; the run has to find the meaning.
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
                let expires = |property: Property<'_>| matches!(property, Property::SessionExpiryInterval(1..));
                self.is_kept = !connect.clean_start
                    && (self.version != ProtocolVersion::Mqtt5 || connect.properties.iter().any(expires));
                let before = self.broker.connects.fetch_add(1, Ordering::Relaxed);
                if !matches!(self.broker.fault, Fault::Mute(after) if before >= after) {
                    self.welcome();
                }
            }
            Packet::Subscribe(_) if self.broker.fault == Fault::NoSubAck => {}
            Packet::Subscribe(subscribe) => {
                let (version, output) = (self.version, Arc::clone(&self.output));
                let new = || Arc::new(Subscriber::new(version, output));
                let subscriber = Arc::clone(self.subscriber.get_or_insert_with(new));
                let mut codes = Vec::new();
                for (filter, options) in subscribe.filters.iter() {
                    self.broker.routes.add(filter.as_str(), Arc::clone(&subscriber));
                    codes.push(match self.broker.fault {
                        Fault::Refuse => ReasonCode::UnspecifiedError,
                        Fault::RefuseUnkept if !self.is_kept => ReasonCode::UnspecifiedError,
                        Fault::Downgrade => ReasonCode::Success,
                        _ => ReasonCode::try_from(options.qos as u8).unwrap(),
                    });
                }
                let (packet_id, properties) = (subscribe.packet_id, Properties::EMPTY);
                self.send(&Packet::SubAck(SubAck { packet_id, properties, codes: List::from_slice(&codes) }));
            }
            Packet::Publish(_) if self.broker.fault == Fault::NoRead => loop {
                thread::park();
            },
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
        let properties = match self.broker.fault {
            Fault::Reluctant { receive_max, .. } if self.version.is_v5() => {
                NonZeroU16::new(receive_max).map(Property::ReceiveMaximum)
            }
            Fault::Impatient(seconds) if self.version.is_v5() => {
                let silence_max = Duration::from_secs(seconds.into()) * 3 / 2;
                self.stream.set_read_timeout(Some(silence_max)).unwrap();
                Some(Property::ServerKeepAlive(seconds))
            }
            _ => None,
        };
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

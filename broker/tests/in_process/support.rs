//! A broker on a real socket, clients of it, and waits with a generous limit.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use wisp_broker::{
    Broker, ClientOptions, ClientOptionsBuilder, Config, ConfigBuilder, InProcessClient, Limits, Message, Publication,
    QoS, StallPolicy, Subscription,
};
use wisp_wire::{
    Connect, List, Packet, PacketId, Properties, ProtocolVersion, PubAck, PubComp, PubRec, PubRel, Publish, Subscribe,
    SubscriptionOptions, TopicFilter, TopicName, decode, packet_len,
};

/// Longer than any wait here takes on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const V5: ProtocolVersion = ProtocolVersion::Mqtt5;
const ANY_LENGTH: u32 = wisp_broker::PACKET_BYTES_CEILING;

/// The defaults, except that senders wait for receivers, since a test's receiver may not be scheduled for a moment.
pub(crate) const PATIENT: Limits = {
    let mut limits = Limits::DEFAULT;
    limits.stall_policy = StallPolicy::Hold;
    limits.stall_ms_max = Some(120_000);
    limits.queue_bytes_max = QUEUE_BYTES;
    limits
};

/// Most bytes that wait for a receiver of these tests.
pub(crate) const QUEUE_BYTES: usize = 1 << 20;

/// A configuration with a listener on a free port, and two workers.
pub(crate) fn config() -> ConfigBuilder {
    Config::builder().listener((Ipv4Addr::LOCALHOST, 0)).workers(NonZeroUsize::new(2)).limits(PATIENT)
}

pub(crate) fn start() -> Broker {
    Broker::start(config().build().unwrap()).unwrap()
}

pub(crate) fn client(broker: &Broker, id: &str) -> InProcessClient {
    client_with(broker, ClientOptions::builder(id))
}

pub(crate) fn client_with(broker: &Broker, options: ClientOptionsBuilder) -> InProcessClient {
    broker.client(&options.build().unwrap()).unwrap()
}

pub(crate) fn subscribe(client: &InProcessClient, filter: &str, qos: QoS) {
    let codes = client.subscribe(&[Subscription::new(filter, qos)]).unwrap();
    assert_eq!(codes.iter().map(|code| *code as u8).collect::<Vec<_>>(), [qos as u8]);
}

pub(crate) fn receive(client: &InProcessClient) -> Message {
    client.messages().recv_timeout(PATIENCE).unwrap()
}

/// The payload of the next message, as text.
pub(crate) fn text(client: &InProcessClient) -> String {
    String::from_utf8(receive(client).payload().to_vec()).unwrap()
}

/// A message with `number` in front.
pub(crate) fn numbered(topic: &str, number: u32, len: usize, qos: QoS) -> Publication {
    let mut payload = vec![0; len.max(4)];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    Publication::new(topic, payload).qos(qos)
}

/// Publishes a message and waits until the broker has acknowledged it.
pub(crate) fn deliver(client: &InProcessClient, publication: &Publication) {
    client.publish(publication).unwrap().wait().unwrap();
}

/// The number in front of a payload.
pub(crate) fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a receiver is full of messages that are shorter than 100,000 bytes.
pub(crate) fn wait_until_full(broker: &Broker) {
    wait_until("a full receiver", || broker.stats().buffered_bytes as usize > QUEUE_BYTES - 100_000);
}

/// A client of MQTT 5 on a socket.
pub(crate) struct Peer {
    stream: TcpStream,
    incoming: Vec<u8>,
    next_id: u16,
}

/// A message that a peer has received.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) content_type: Option<String>,
    pub(crate) correlation_data: Option<Vec<u8>>,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr, id: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut peer = Self { stream, incoming: Vec::new(), next_id: 0 };
        let connect = Connect {
            version: V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: id,
            properties: Properties::EMPTY,
            will: None,
            username: None,
            password: None,
        };
        peer.send(&connect.into());
        assert_eq!(peer.packet().unwrap()[0], 0x20);
        peer
    }

    pub(crate) fn of(broker: &Broker, id: &str) -> Self {
        Self::connect(broker.local_addrs()[0], id)
    }

    fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(V5, &mut bytes).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    fn id(&mut self) -> PacketId {
        self.next_id = self.next_id % u16::MAX + 1;
        PacketId::new(self.next_id).unwrap()
    }

    /// The next packet; `None` at the end of the connection.
    fn packet(&mut self) -> Option<Vec<u8>> {
        loop {
            let len = packet_len(&self.incoming, ANY_LENGTH).unwrap().filter(|len| *len <= self.incoming.len());
            if let Some(len) = len {
                return Some(self.incoming.drain(..len).collect());
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.incoming.extend_from_slice(&buffer[..count]),
                Err(error) => panic!("nothing comes: {error}"),
            }
        }
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) {
        let filters = [(TopicFilter::new(filter).unwrap(), SubscriptionOptions::new(qos))];
        let packet_id = self.id();
        let filters = List::from_slice(&filters);
        self.send(&Subscribe { packet_id, properties: Properties::EMPTY, filters }.into());
        assert_eq!(self.packet().unwrap()[0], 0x90);
    }

    /// Publishes and waits for the acknowledgements.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS) {
        let mut publish = Publish::new(TopicName::new(topic).unwrap(), payload);
        publish.qos = qos;
        publish.packet_id = (qos != QoS::AtMostOnce).then(|| self.id());
        self.send(&publish.into());
        let Some(id) = publish.packet_id else { return };
        let answer = self.packet().unwrap();
        if qos == QoS::ExactlyOnce {
            assert_eq!(answer[0], 0x50);
            self.send(&PubRel::new(id).into());
            assert_eq!(self.packet().unwrap()[0], 0x70);
        } else {
            assert_eq!(answer[0], 0x40);
        }
    }

    /// The next message, which is acknowledged.
    pub(crate) fn message(&mut self) -> Received {
        loop {
            let bytes = self.packet().expect("a message, not the end");
            match decode(&bytes, V5, ANY_LENGTH).unwrap().unwrap().0 {
                Packet::Publish(publish) => {
                    match (publish.qos, publish.packet_id) {
                        (QoS::AtLeastOnce, Some(id)) => self.send(&PubAck::new(id).into()),
                        (QoS::ExactlyOnce, Some(id)) => self.send(&PubRec::new(id).into()),
                        _ => {}
                    }
                    return Received {
                        topic: publish.topic.unwrap().as_str().to_owned(),
                        payload: publish.payload.to_vec(),
                        qos: publish.qos,
                        retain: publish.retain,
                        content_type: publish.properties.content_type().map(str::to_owned),
                        correlation_data: publish.properties.correlation_data().map(<[u8]>::to_vec),
                    };
                }
                Packet::PubRel(release) => self.send(&PubComp::new(release.packet_id).into()),
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    /// The reason code of the DISCONNECT at the end of the connection.
    pub(crate) fn end(mut self) -> Option<u8> {
        let mut last = None;
        while let Some(packet) = self.packet() {
            last = Some(packet);
        }
        last.filter(|packet| packet[0] == 0xe0).map(|packet| packet.get(2).copied().unwrap_or(0))
    }
}

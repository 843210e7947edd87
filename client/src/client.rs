//! The client as its callers see it, one call at a time.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use wisp_net::{Host, SysHost};
use wisp_wire::{
    Connect, List, Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode, Subscribe,
    SubscriptionOptions, TopicFilter, TopicName, Unsubscribe,
};

use crate::connection::{Connection, Parts};
use crate::incoming::{Ack, ConnAnswer, Incoming};
use crate::keep_alive::KeepAlive;
use crate::{ConnectOptions, Error, Message};

/// What `publish` collects before it sends by itself: enough that a system call carries many messages.
const OUTPUT_BYTES_MAX: usize = 128 * 1024;

/// A connected MQTT client that blocks, with QoS 0.
///
/// Once the connection has ended, every call says why; messages that came before are still received. Dropping
/// the client closes the connection without DISCONNECT, and loses what was not flushed.
///
/// ```no_run
/// use std::time::Duration;
/// use wisp_client::{Client, ConnectOptions, ProtocolVersion};
///
/// let address = "127.0.0.1:1883".parse().expect("an address");
/// let mut client = Client::connect(address, ConnectOptions::new(ProtocolVersion::Mqtt5))?;
/// client.subscribe(&["sensors/+"])?;
/// client.publish_now("sensors/door", b"open", false)?;
/// if let Some(message) = client.recv(Duration::from_secs(1))? {
///     println!("{}: {} bytes", message.topic, message.payload.len());
/// }
/// client.disconnect()?;
/// # Ok::<(), wisp_client::Error>(())
/// ```
pub struct Client<H: Host = SysHost> {
    connection: Connection<H>,
    version: ProtocolVersion,
    client_id: String,
    session_present: bool,
    last_packet_id: u16,
}

impl Client<SysHost> {
    /// Connects over the host this program was compiled for, and waits for the broker's CONNACK.
    ///
    /// # Errors
    /// When no connection can be made in time, or the broker refuses it.
    pub fn connect(address: SocketAddr, options: ConnectOptions) -> Result<Self, Error> {
        Self::connect_on(&SysHost, address, options)
    }
}

impl<H: Host> Client<H> {
    /// Connects over `host`, and waits for the broker's CONNACK.
    ///
    /// # Errors
    /// When no connection can be made in time, or the broker refuses it.
    pub fn connect_on(host: &H, address: SocketAddr, options: ConnectOptions) -> Result<Self, Error> {
        let mut connection = Connection::open(host, address, &options)?;
        let answer = handshake(&mut connection, &options).map_err(|error| match error {
            // Not a word of MQTT came back, so it is the address that the reader needs to know.
            Error::Transport(cause) => Error::Connect { address, cause },
            error => error,
        })?;
        connection.prefer_latency();
        connection.send_bytes_max = answer.packet_bytes_max.unwrap_or(u32::MAX);
        let keep_alive_s = answer.server_keep_alive_s.unwrap_or(options.keep_alive_s);
        connection.keep_alive = KeepAlive::new(keep_alive_s, options.answer_timeout, Instant::now());
        Ok(Self {
            connection,
            version: options.version,
            client_id: answer.assigned_client_id.unwrap_or(options.client_id),
            session_present: answer.session_present,
            last_packet_id: 0,
        })
    }

    /// The version that is spoken.
    #[must_use]
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// The client's name, which may be one that the broker gave it.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Whether the broker had kept a session of this client.
    #[must_use]
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// The longest silence, in seconds, that the broker puts up with; 0 for any.
    #[must_use]
    pub fn keep_alive_s(&self) -> u16 {
        self.connection.keep_alive.interval_s()
    }

    /// Publishes a message. It may stay in a buffer until [`flush`](Self::flush), or any call that waits, or
    /// until enough has come together.
    ///
    /// # Errors
    /// When the topic is illegal, the message larger than the broker takes, or the connection has ended; or when
    /// a full buffer could not be sent in time, in which case the message is in the buffer all the same.
    pub fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), Error> {
        let topic = TopicName::new(topic).map_err(|error| Error::Usage(format!("topic {topic:?}: {error}")))?;
        self.connection.queue(&Packet::Publish(Publish { retain, ..Publish::new(topic, payload) }))?;
        if self.connection.queued_bytes() >= OUTPUT_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Publishes a message and flushes.
    ///
    /// # Errors
    /// As [`publish`](Self::publish) and [`flush`](Self::flush).
    pub fn publish_now(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), Error> {
        self.publish(topic, payload, retain)?;
        self.flush()
    }

    /// Hands everything that is buffered to the host's socket.
    ///
    /// # Errors
    /// When the broker takes nothing for too long, or the connection has ended.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.connection.flush()
    }

    /// Subscribes with QoS 0 and gives the broker's code for each filter, in order: a success or a refusal.
    ///
    /// # Errors
    /// When a filter is illegal, the broker does not answer in time, the inbox is full, or the connection has
    /// ended.
    pub fn subscribe(&mut self, filters: &[&str]) -> Result<Vec<ReasonCode>, Error> {
        let options = SubscriptionOptions::new(QoS::AtMostOnce);
        let parsed: Vec<_> = parse_filters(filters)?.into_iter().map(|filter| (filter, options)).collect();
        let packet_id = self.take_packet_id();
        let packet = Subscribe { packet_id, properties: Properties::EMPTY, filters: List::from_slice(&parsed) };
        self.connection.queue(&Packet::Subscribe(packet))?;
        let ack = self.connection.await_ack("for the broker to answer SUBSCRIBE", |incoming| match incoming {
            Incoming::SubAck(ack) if ack.packet_id == packet_id => Some(ack),
            _ => None,
        })?;
        self.checked_codes(ack, filters.len())
    }

    /// Unsubscribes and gives the broker's code for each filter, in order. MQTT 3.1 and 3.1.1 have no codes here,
    /// so that all are successes.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<Vec<ReasonCode>, Error> {
        let parsed = parse_filters(filters)?;
        let packet_id = self.take_packet_id();
        let packet = Unsubscribe { packet_id, properties: Properties::EMPTY, filters: List::from_slice(&parsed) };
        self.connection.queue(&Packet::Unsubscribe(packet))?;
        let mut ack = self.connection.await_ack("for the broker to answer UNSUBSCRIBE", |incoming| match incoming {
            Incoming::UnsubAck(ack) if ack.packet_id == packet_id => Some(ack),
            _ => None,
        })?;
        if !self.version.is_v5() {
            ack.codes = vec![ReasonCode::Success; filters.len()];
        }
        self.checked_codes(ack, filters.len())
    }

    /// The next message, or `None` when none came in this time. Sends what is buffered, and pings, while it
    /// waits. With a timeout of zero it only looks what is there; with [`Duration::MAX`] it waits for ever.
    ///
    /// # Errors
    /// When the connection has ended, after the last message that came before.
    pub fn recv(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(message) = self.connection.inbox.take() {
                return Ok(Some(message));
            }
            while let Some(incoming) = self.connection.next_packet() {
                if let Some(Incoming::Message(message)) = self.connection.absorb(incoming) {
                    return Ok(Some(message));
                }
            }
            if !self.connection.turn(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Sends what is buffered and DISCONNECT, and closes the connection once the broker has it all. Messages that
    /// were not received are thrown away.
    ///
    /// # Errors
    /// When something could not be sent, or the connection had ended before.
    pub fn disconnect(self) -> Result<(), Error> {
        self.connection.close()
    }

    /// Takes the client apart, for a program that drives many connections from a loop of its own.
    ///
    /// # Errors
    /// When something that was published cannot be flushed.
    pub fn into_parts(mut self) -> Result<Parts<H::Stream>, Error> {
        self.flush()?;
        Ok(self.connection.into_parts())
    }

    fn take_packet_id(&mut self) -> PacketId {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.last_packet_id).expect("counts from 1 to 65535 and around")
    }

    fn checked_codes(&mut self, ack: Ack, filters: usize) -> Result<Vec<ReasonCode>, Error> {
        if ack.codes.len() == filters {
            return Ok(ack.codes);
        }
        let error = format!("it answered {filters} filters with {} codes", ack.codes.len());
        Err(self.connection.violated(Error::Protocol(error), ReasonCode::ProtocolError))
    }
}

/// Sends CONNECT and waits for the answer, which is a success.
fn handshake<H: Host>(connection: &mut Connection<H>, options: &ConnectOptions) -> Result<ConnAnswer, Error> {
    let is_limited = options.version.is_v5() && options.packet_bytes_max < ConnectOptions::PACKET_BYTES_MAX;
    let limit = NonZeroU32::new(options.packet_bytes_max).filter(|_| is_limited).map(Property::MaximumPacketSize);
    connection.queue(&Packet::Connect(Connect {
        version: options.version,
        clean_start: options.clean_start,
        keep_alive_s: options.keep_alive_s,
        client_id: &options.client_id,
        properties: Properties::from_slice(limit.as_slice()),
        will: None,
        username: options.username.as_deref(),
        password: options.password.as_deref(),
    }))?;
    let deadline = Instant::now().checked_add(options.connect_timeout);
    loop {
        match connection.next_packet() {
            Some(Incoming::ConnAck(answer)) if answer.code == ReasonCode::Success => return Ok(answer),
            Some(Incoming::ConnAck(ConnAnswer { code, reason, .. })) => return Err(Error::Refused { code, reason }),
            Some(incoming) => {
                if connection.absorb(incoming).is_some() {
                    let error = Error::Protocol("it sent something before CONNACK [MQTT-3.2.0-1]".to_owned());
                    return Err(connection.violated(error, ReasonCode::ProtocolError));
                }
            }
            None => {
                connection.turn_before(deadline, options.connect_timeout, "for the broker to answer CONNECT")?;
            }
        }
    }
}

fn parse_filters<'a>(filters: &[&'a str]) -> Result<Vec<TopicFilter<'a>>, Error> {
    if filters.is_empty() {
        return Err(Error::Usage("no topic filter was given".to_owned()));
    }
    let parse = |filter: &&'a str| {
        TopicFilter::new(filter).map_err(|error| Error::Usage(format!("topic filter {filter:?}: {error}")))
    };
    filters.iter().map(parse).collect()
}

//! The client as its callers see it, one call at a time.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::{Duration, Instant};

use wisp_net::{Host, SysHost};
use wisp_wire::{
    Connect, List, Packet, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode, Subscribe, SubscriptionId,
    SubscriptionOptions, TopicFilter, TopicName, Unsubscribe,
};

use crate::aliases::SentAliases;
use crate::connection::{Connection, Parts};
use crate::incoming::{Ack, ConnAnswer, Incoming, Receipt};
use crate::keep_alive::KeepAlive;
use crate::{ConnectOptions, Error, Message, PublishOptions, Will};

/// What `publish` collects before it sends by itself: enough that a system call carries many messages.
const OUTPUT_BYTES_MAX: usize = 128 * 1024;

/// A connected MQTT client that blocks.
///
/// Once the connection has ended, every call says why; messages that came before are still received. Dropping
/// the client closes the connection without DISCONNECT, and loses what was not flushed.
///
/// The broker may keep a session after the connection; the client keeps nothing. A message that was not acknowledged
/// by then is not published again, and one that the broker delivers again by a new connection is received again.
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
        connection.limits = answer.limits;
        if options.use_topic_aliases {
            connection.sent_aliases = SentAliases::new(answer.limits.topic_alias_max);
        }
        connection.send_bytes_max = answer.packet_bytes_max.unwrap_or(u32::MAX);
        let keep_alive_s = answer.server_keep_alive_s.unwrap_or(options.keep_alive_s);
        connection.keep_alive = KeepAlive::new(keep_alive_s, options.answer_timeout, Instant::now());
        Ok(Self {
            connection,
            version: options.version,
            client_id: answer.assigned_client_id.unwrap_or(options.client_id),
            session_present: answer.session_present,
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

    /// How many messages with QoS 1 and 2 the broker takes before it has acknowledged them.
    #[must_use]
    pub fn receive_max(&self) -> u16 {
        self.connection.limits.receive_max
    }

    /// The highest QoS the broker takes.
    #[must_use]
    pub fn qos_max(&self) -> QoS {
        self.connection.limits.qos_max
    }

    /// Publishes a message with QoS 0. It may stay in a buffer until [`flush`](Self::flush), or any call that waits, or
    /// until enough has come together.
    ///
    /// # Errors
    /// When the topic is illegal, the message larger than the broker takes, or the connection has ended; or when
    /// a full buffer could not be sent in time, in which case the message is in the buffer all the same.
    pub fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), Error> {
        let topic = parse_topic(topic)?;
        self.connection.queue_message(&Publish { retain, ..Publish::new(topic, payload) }, topic)?;
        if self.connection.queued_bytes() >= OUTPUT_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Publishes a message, and with QoS 1 and 2 waits until the broker has taken it over. Gives the broker's code, which
    /// at QoS 0 is always success.
    ///
    /// # Errors
    /// When the topic is illegal, or the broker does not take such messages; when it does not take this one
    /// ([`Error::NotTaken`]). When it does not answer in time, the inbox is full, or the connection has ended, the message
    /// may have been published all the same.
    pub fn publish_with(&mut self, topic: &str, payload: &[u8], options: PublishOptions) -> Result<ReasonCode, Error> {
        let PublishOptions { qos, retain } = options;
        let limits = self.connection.limits;
        if qos > limits.qos_max {
            return Err(Error::Usage(format!("the broker takes QoS {} at most", limits.qos_max as u8)));
        }
        if retain && !limits.retain_available {
            return Err(Error::Usage("the broker does not retain messages".to_owned()));
        }
        if qos == QoS::AtMostOnce {
            return self.publish(topic, payload, retain).map(|()| ReasonCode::Success);
        }
        let topic = parse_topic(topic)?;
        // Only calls that gave up waiting leave messages that take up room.
        if self.connection.delivery.unsettled() >= usize::from(limits.receive_max) {
            return Err(Error::Usage("the broker takes no more messages before it has acknowledged some".to_owned()));
        }
        let packet_id = self.connection.delivery.take_id();
        let publish = Publish { qos, retain, packet_id: Some(packet_id), ..Publish::new(topic, payload) };
        self.connection.queue_message(&publish, topic)?;
        self.connection.delivery.published(packet_id, qos);
        let waiting = "for the broker to acknowledge a message";
        let receipt = self.connection.await_answer(waiting, |incoming| match incoming {
            Incoming::Settled(receipt) if receipt.packet_id == packet_id => Some(receipt),
            _ => None,
        })?;
        let Receipt { code, reason, .. } = receipt;
        if code.is_error() { Err(Error::NotTaken { code, reason }) } else { Ok(code) }
    }

    /// Publishes a message with QoS 0 and flushes.
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
        let filters: Vec<_> = filters.iter().map(|filter| (*filter, options)).collect();
        self.subscribe_with(&filters, None)
    }

    /// Subscribes to each filter with its options. The identifier comes back with each message that the subscriptions
    /// deliver (MQTT 5 only, as is every option but the QoS).
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with(
        &mut self,
        filters: &[(&str, SubscriptionOptions)],
        id: Option<SubscriptionId>,
    ) -> Result<Vec<ReasonCode>, Error> {
        let is_plain = |options: &SubscriptionOptions| *options == SubscriptionOptions::new(options.qos);
        if !self.version.is_v5() && (id.is_some() || !filters.iter().all(|(_, options)| is_plain(options))) {
            return Err(Error::Usage(format!("{} subscribes with a QoS and nothing else", self.version)));
        }
        let names: Vec<_> = filters.iter().map(|(filter, _)| *filter).collect();
        let options = filters.iter().map(|(_, options)| *options);
        let parsed: Vec<_> = parse_filters(&names)?.into_iter().zip(options).collect();
        let packet_id = self.connection.delivery.take_id();
        let id = id.map(Property::SubscriptionIdentifier);
        let properties = Properties::from_slice(id.as_slice());
        let packet = Subscribe { packet_id, properties, filters: List::from_slice(&parsed) };
        self.connection.queue(&Packet::Subscribe(packet))?;
        let ack = self.connection.await_answer("for the broker to answer SUBSCRIBE", |incoming| match incoming {
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
        let packet_id = self.connection.delivery.take_id();
        let packet = Unsubscribe { packet_id, properties: Properties::EMPTY, filters: List::from_slice(&parsed) };
        self.connection.queue(&Packet::Unsubscribe(packet))?;
        let mut ack =
            self.connection.await_answer("for the broker to answer UNSUBSCRIBE", |incoming| match incoming {
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
    /// A message with QoS 1 or 2 counts as received when this gives it; the broker hears that with whatever is sent next,
    /// at the latest by the next call that waits.
    ///
    /// # Errors
    /// When the connection has ended, after the last message that came before.
    pub fn recv(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(message) = self.connection.inbox.take() {
                return Ok(Some(self.connection.hand_over(message)));
            }
            while let Some(incoming) = self.connection.next_packet() {
                if let Some(Incoming::Message(message)) = self.connection.absorb(incoming) {
                    return Ok(Some(self.connection.hand_over(message)));
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
        let mut messages = Vec::new();
        while let Some(message) = self.connection.inbox.take() {
            messages.push(self.connection.hand_over(message));
        }
        // May keep further messages, which nobody has received then.
        self.flush()?;
        while let Some(message) = self.connection.inbox.take() {
            messages.push(message.message);
        }
        Ok(self.connection.into_parts(messages))
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
    let properties = connect_properties(options)?;
    let delay_s = options.will.as_ref().map(|will| will.delay_s).filter(|delay_s| *delay_s > 0);
    let delay = delay_s.map(Property::WillDelayInterval);
    let will = options.will.as_ref().map(|will| wire_will(will, delay.as_slice())).transpose()?;
    connection.queue(&Packet::Connect(Connect {
        version: options.version,
        clean_start: options.clean_start,
        keep_alive_s: options.keep_alive_s,
        client_id: &options.client_id,
        properties: Properties::from_slice(&properties),
        will,
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

/// The properties of CONNECT: what differs from what their absence means.
fn connect_properties(options: &ConnectOptions) -> Result<Vec<Property<'static>>, Error> {
    let mut properties = Vec::new();
    if options.session_expiry_s > 0 {
        properties.push(Property::SessionExpiryInterval(options.session_expiry_s));
    }
    if options.receive_max < u16::MAX {
        let receive_max = NonZeroU16::new(options.receive_max);
        let illegal = || Error::Usage("at least one message has to be on its way at once".to_owned());
        properties.push(Property::ReceiveMaximum(receive_max.ok_or_else(illegal)?));
    }
    if options.topic_alias_max > 0 {
        properties.push(Property::TopicAliasMaximum(options.topic_alias_max));
    }
    let is_delayed = options.will.as_ref().is_some_and(|will| will.delay_s > 0);
    if !options.version.is_v5() && (is_delayed || !properties.is_empty()) {
        let version = options.version;
        return Err(Error::Usage(format!(
            "{version} has no session expiry, receive maximum, topic aliases or will delay"
        )));
    }
    let limit =
        NonZeroU32::new(options.packet_bytes_max).filter(|limit| limit.get() < ConnectOptions::PACKET_BYTES_MAX);
    // Before MQTT 5 the broker does not hear of the limit, which holds all the same.
    properties.extend(limit.filter(|_| options.version.is_v5()).map(Property::MaximumPacketSize));
    Ok(properties)
}

fn wire_will<'a>(will: &'a Will, properties: &'a [Property<'a>]) -> Result<wisp_wire::Will<'a>, Error> {
    Ok(wisp_wire::Will {
        topic: parse_topic(&will.topic)?,
        payload: &will.payload,
        qos: will.qos,
        retain: will.retain,
        properties: Properties::from_slice(properties),
    })
}

fn parse_topic(topic: &str) -> Result<TopicName<'_>, Error> {
    TopicName::new(topic).map_err(|error| Error::Usage(format!("topic {topic:?}: {error}")))
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

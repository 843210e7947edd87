//! The client that blocks, one call at a time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wisp_net::{Host, SysHost};
use wisp_wire::{ProtocolVersion, QoS, ReasonCode, SubscriptionId, SubscriptionOptions};

use crate::blocking::{Driver, Parts};
use crate::error::Error;
use crate::message::Message;
use crate::options::{ConnectOptions, PublishOptions};
use crate::protocol::Event;
use crate::transport::TlsSession;
use crate::url::ServerUrl;

/// `publish` sends once this many bytes are queued: enough that one system call carries many messages.
const OUTPUT_BYTES_MAX: usize = 128 * 1024;

/// A connected MQTT client that blocks.
///
/// Once the connection has ended, every call returns the reason, after the messages that arrived before. Dropping the
/// client closes the connection without DISCONNECT, and loses the bytes that were not flushed.
///
/// The broker may keep a session after the connection; the client keeps nothing. It does not publish an unacknowledged
/// message again, and it receives a message again that the broker delivers again on a new connection.
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
    driver: Driver<H>,
}

impl Client<SysHost> {
    /// Connects over the host that this program was compiled for, and waits for the broker's CONNACK.
    ///
    /// # Errors
    /// When no connection is made in time, or the broker refuses it.
    pub fn connect(address: SocketAddr, options: ConnectOptions) -> Result<Self, Error> {
        Self::connect_on(&SysHost, address, options)
    }

    /// Connects to the first address of the URL's host that answers. User and transport are the ones of the options,
    /// which [`ConnectOptions::over`] takes from the URL.
    ///
    /// ```no_run
    /// use wisp_client::{Client, ConnectOptions, ProtocolVersion, ServerUrl, TlsOptions};
    ///
    /// let url: ServerUrl = "mqtts://broker.example".parse().expect("a URL");
    /// let options = ConnectOptions::new(ProtocolVersion::Mqtt5).over(&url, &TlsOptions::default())?;
    /// let mut client = Client::connect_to(&url, options)?;
    /// # Ok::<(), wisp_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the name is unknown, no address answers in time, or the broker refuses the connection.
    pub fn connect_to(url: &ServerUrl, options: ConnectOptions) -> Result<Self, Error> {
        let mut last = None;
        for address in url.resolve()? {
            match Self::connect(address, options.clone()) {
                Err(error @ Error::Connect { .. }) => last = Some(error),
                connected => return connected,
            }
        }
        Err(last.expect("resolve gives one address at least"))
    }
}

impl<H: Host> Client<H> {
    /// Connects over `host`, and waits for the broker's CONNACK.
    ///
    /// # Errors
    /// When no connection is made in time, or the broker refuses it.
    pub fn connect_on(host: &H, address: SocketAddr, options: ConnectOptions) -> Result<Self, Error> {
        Ok(Self { driver: Driver::connect(host, address, &options)? })
    }

    /// The MQTT version of the connection.
    #[must_use]
    pub fn version(&self) -> ProtocolVersion {
        self.driver.protocol.version()
    }

    /// The client identifier. In MQTT 5 the broker may have assigned it.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.driver.protocol.client_id()
    }

    /// Whether the broker resumed a session of this client.
    #[must_use]
    pub fn session_present(&self) -> bool {
        self.driver.protocol.session_present()
    }

    /// The longest silence of the client, in seconds, that the broker allows; 0 for any.
    #[must_use]
    pub fn keep_alive_s(&self) -> u16 {
        self.driver.protocol.keep_alive_s()
    }

    /// The number of messages with QoS 1 and 2 that may be unacknowledged by the broker at one time.
    #[must_use]
    pub fn receive_max(&self) -> u16 {
        self.driver.protocol.receive_max()
    }

    /// The highest QoS that the broker accepts.
    #[must_use]
    pub fn qos_max(&self) -> QoS {
        self.driver.protocol.qos_max()
    }

    /// The facts of TLS, if the transport has it.
    #[must_use]
    pub fn tls_session(&self) -> Option<TlsSession> {
        self.driver.tls_session()
    }

    /// Publishes a message with QoS 0. It stays in a buffer until the buffer is full, or until the next
    /// [`flush`](Self::flush) or any call that waits.
    ///
    /// # Errors
    /// When the topic is illegal, the message exceeds a limit of the broker, or the connection has ended; or when a
    /// full buffer could not be sent in time, and then the message is in the buffer all the same.
    pub fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), Error> {
        self.driver.protocol.publish(topic, payload, PublishOptions { retain, ..PublishOptions::default() })?;
        if self.driver.protocol.unsent_bytes() >= OUTPUT_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Publishes a message. With QoS 1 and 2 it waits until the broker has taken the message over, and returns the
    /// broker's code; with QoS 0 the code is always success.
    ///
    /// # Errors
    /// When the topic is illegal, the message exceeds a limit of the broker, or the broker refuses it
    /// ([`Error::NotTaken`]). When the broker does not answer in time, the inbox is full, or the connection has ended,
    /// the message may have been published all the same.
    pub fn publish_with(&mut self, topic: &str, payload: &[u8], options: PublishOptions) -> Result<ReasonCode, Error> {
        if options.qos == QoS::AtMostOnce {
            return self.publish(topic, payload, options.retain).map(|()| ReasonCode::Success);
        }
        let sent_id = self.driver.protocol.publish(topic, payload, options)?;
        let waiting = "for the broker to acknowledge a message";
        let (code, reason) = self.driver.await_answer(waiting, |event| match event {
            Event::Published { packet_id, code, reason } if Some(packet_id) == sent_id => Some((code, reason)),
            _ => None,
        })?;
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

    /// Sends all buffered bytes to the host's socket.
    ///
    /// # Errors
    /// When the broker accepts no byte for too long, or the connection has ended.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.driver.flush()
    }

    /// Subscribes with QoS 0 and returns the broker's code for each filter, in order: a success or a refusal.
    ///
    /// # Errors
    /// When a filter is illegal, the broker does not answer in time, the inbox is full, or the connection has
    /// ended.
    pub fn subscribe(&mut self, filters: &[&str]) -> Result<Vec<ReasonCode>, Error> {
        let options = SubscriptionOptions::new(QoS::AtMostOnce);
        let filters: Vec<_> = filters.iter().map(|filter| (*filter, options)).collect();
        self.subscribe_with(&filters, None)
    }

    /// Subscribes to each filter with its options. Each message that the subscriptions deliver carries the identifier
    /// (MQTT 5 only, as is every option but the QoS).
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with(
        &mut self,
        filters: &[(&str, SubscriptionOptions)],
        id: Option<SubscriptionId>,
    ) -> Result<Vec<ReasonCode>, Error> {
        let sent_id = self.driver.protocol.subscribe(filters, id)?;
        self.driver.await_answer("for the broker to answer SUBSCRIBE", |event| match event {
            Event::Subscribed { packet_id, codes } if packet_id == sent_id => Some(codes),
            _ => None,
        })
    }

    /// Unsubscribes and returns the broker's code for each filter, in order. MQTT 3.1 and 3.1.1 have no codes here:
    /// all are successes.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<Vec<ReasonCode>, Error> {
        let sent_id = self.driver.protocol.unsubscribe(filters)?;
        self.driver.await_answer("for the broker to answer UNSUBSCRIBE", |event| match event {
            Event::Unsubscribed { packet_id, codes } if packet_id == sent_id => Some(codes),
            _ => None,
        })
    }

    /// The next message, or `None` when none arrives within the timeout. Sends buffered bytes and pings while it waits.
    /// A timeout of zero only looks for a message that is there; [`Duration::MAX`] waits for ever.
    ///
    /// A message with QoS 1 or 2 counts as received when this returns it. The acknowledgement goes with the next bytes
    /// that are sent, at the latest in the next call that waits.
    ///
    /// # Errors
    /// When the connection has ended, after the last message before the end.
    pub fn recv(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(delivered) = self.driver.inbox.pop() {
                return Ok(Some(self.driver.protocol.acknowledge(delivered)));
            }
            while let Some(event) = self.driver.next_event() {
                if let Event::Message(delivered) = event {
                    return Ok(Some(self.driver.protocol.acknowledge(delivered)));
                }
            }
            if !self.driver.turn(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Sends the buffered bytes and DISCONNECT, and closes the connection once the broker has them all. Messages that
    /// were not received are dropped.
    ///
    /// # Errors
    /// When some bytes could not be sent, or the connection had ended before.
    pub fn disconnect(self) -> Result<(), Error> {
        self.driver.close()
    }

    /// Gives the connection up to a program that drives many connections from a loop of its own.
    ///
    /// # Errors
    /// When the published messages cannot be flushed.
    pub fn into_parts(mut self) -> Result<Parts<H::Stream>, Error> {
        let mut messages = Vec::new();
        while let Some(delivered) = self.driver.inbox.pop() {
            messages.push(self.driver.protocol.acknowledge(delivered));
        }
        self.flush()?;
        // Further messages have arrived meanwhile. The broker may wait for their acknowledgements before it sends more.
        while let Some(delivered) = self.driver.inbox.pop() {
            messages.push(self.driver.protocol.acknowledge(delivered));
        }
        Ok(self.driver.into_parts(messages))
    }
}

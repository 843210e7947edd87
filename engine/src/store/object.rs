//! The objects that outlive the process, and their encoding.
//!
//! Numbers are little-endian. A text has its length in bytes, as 2 bytes, before it. A kind names a layout: a changed layout gets a new
//! kind, so that a body says by its kind how to read it. The *tail*, the rest of the body, is in the memory of the message and is not
//! copied.
//!
//! | kind | object | head | tail |
//! |---|---|---|---|
//! | 1 | session | expiry interval in s: 4; away since, in Unix ms, 0 for connected: 8; client identifier: text; flags: 1 (1: user, 2: will); user: text; will: version 1, delay in s 4 | the will's PUBLISH |
//! | 2 | subscription | session: 8; options as in SUBSCRIBE of MQTT 5: 1; identifier, 0 for none: 4; filter: text | |
//! | 3 | message | QoS: 1; retain: 1; expires at, in Unix ms, 0 for never: 8; length of properties: 4; topic: text; properties | payload |
//! | 4 | waiting message | session: 8; message, 0 for none: 8; QoS: 1; retain: 1; state: 1 (0 pending, 1 sent, 2 released); packet identifier, 0 for none: 2; number of identifiers: 2; identifiers of subscriptions: 4 each | |
//! | 5 | packet identifier received | session: 8; packet identifier: 2 | |
//! | 6 | retained message | sender: text; then as a message | payload |
//! | 7 | message in a queue | message: 8; deliveries: 2; name of the queue, `$queue/NAME` or `$share/GROUP/FILTER`: text; on loan: 1 (0 no, 1 yes); then the loan: session, 0 for one that is not kept: 8; QoS: 1; retain: 1; packet identifier: 2; number of identifiers: 2; identifiers of subscriptions: 4 each | |

use std::borrow::Cow;
use std::fmt;

use wisp_wire::{
    Packet, PacketId, Properties, PropertyOwner, ProtocolVersion, QoS, RetainHandling, SubscriptionId,
    SubscriptionOptions, TopicFilter, TopicName, decode,
};

use super::key::Key;

/// An object that outlives the process. It may refer to one other object: a waiting or queued message to its message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Object<'a> {
    /// A session that outlives its connection.
    Session {
        /// The client identifier.
        client_id: &'a str,
        /// The session expiry interval in seconds; the maximum for ever.
        expiry_s: u32,
        /// When the client left, in Unix milliseconds. `None` while it is connected.
        away_since_ms: Option<u64>,
        /// The user whose rights the client has.
        user: Option<&'a str>,
        /// The will, unless it was published or dropped.
        will: Option<WillObject<'a>>,
    },
    /// A subscription.
    Subscription {
        /// The session.
        session: Key,
        /// The filter.
        filter: &'a str,
        /// The options.
        options: SubscriptionOptions,
        /// The subscription identifier.
        id: Option<SubscriptionId>,
    },
    /// A message that waits for sessions, is unacknowledged, or is in queues. It goes when nothing refers to it any more.
    Message(MessageObject<'a>),
    /// A message that waits for one session or is unacknowledged there.
    Waiting {
        /// The session.
        session: Key,
        /// The message. `None` when only its packet identifier is still in use.
        message: Option<Key>,
        /// The lower QoS of the message's and the subscription's.
        qos: QoS,
        /// RETAIN as it is sent.
        retain: bool,
        /// The identifiers of the subscriptions that it matched.
        subscription_ids: Cow<'a, [SubscriptionId]>,
        /// How far it is.
        state: WaitingState,
    },
    /// The packet identifier of a message at QoS 2 that a client has sent and not released yet.
    Incoming {
        /// The session of the sender.
        session: Key,
        /// The packet identifier.
        packet_id: PacketId,
    },
    /// The retained message of a topic.
    Retained {
        /// The client that sent it.
        sender: &'a str,
        /// The message.
        message: MessageObject<'a>,
    },
    /// A message in a topic queue or in the queue of a shared subscription group, or on loan from it.
    Queued {
        /// The queue: `$queue/NAME` or `$share/GROUP/FILTER`.
        queue: &'a str,
        /// The message.
        message: Key,
        /// How often it was sent to a client.
        deliveries: u16,
        /// The loan, if the end of the broker does not simply return it to the queue.
        loan: Option<LoanObject<'a>>,
    },
}

/// A loan of a queued message to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoanObject<'a> {
    /// The session. `None` for one that ends with its connection.
    pub session: Option<Key>,
    /// The lower QoS of the message's and the subscription's.
    pub qos: QoS,
    /// RETAIN as it is sent.
    pub retain: bool,
    /// The packet identifier with which it was sent, or is about to be.
    pub packet_id: PacketId,
    /// The identifiers of the subscription.
    pub subscription_ids: Cow<'a, [SubscriptionId]>,
}

/// The content of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageObject<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// The properties that are forwarded, as in a PUBLISH of MQTT 5.
    pub properties: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS at which it was published.
    pub qos: QoS,
    /// Whether it was published with RETAIN.
    pub retain: bool,
    /// When it expires, in Unix milliseconds.
    pub expires_ms: Option<u64>,
}

/// A will, as the PUBLISH that it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WillObject<'a> {
    /// The client's version.
    pub version: ProtocolVersion,
    /// Seconds between the end of the connection and the will's publication.
    pub delay_s: u32,
    /// The PUBLISH.
    pub packet: &'a [u8],
}

impl<'a> WillObject<'a> {
    /// The topic name. `None` if the packet is no PUBLISH with one.
    pub fn topic(&self) -> Option<TopicName<'a>> {
        match decode(self.packet, self.version, u32::MAX) {
            Ok(Some((Packet::Publish(publish), len))) if len == self.packet.len() => publish.topic,
            _ => None,
        }
    }
}

/// How far a waiting message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingState {
    /// It was not sent.
    Pending,
    /// It was sent, or is about to be, with this packet identifier.
    Sent(PacketId),
    /// The client has it (PUBREC), and the packet identifier is in use until PUBCOMP.
    Released(PacketId),
}

/// An object that cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadObject {
    /// Its key.
    pub key: Key,
    /// Its kind.
    pub kind: u8,
    /// The fault.
    pub fault: ObjectFault,
}

/// A fault of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectFault {
    /// A later version of the broker may know the kind.
    UnknownKind,
    /// The body ends too early.
    TooShort,
    /// There are bytes behind the end.
    TooLong,
    /// A value is not legal.
    Illegal(&'static str),
}

impl fmt::Display for BadObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stored object {} of kind {} ", self.key, self.kind)?;
        match self.fault {
            ObjectFault::UnknownKind => write!(f, "is of a kind that this version does not know"),
            ObjectFault::TooShort => write!(f, "ends too early"),
            ObjectFault::TooLong => write!(f, "has bytes behind its end"),
            ObjectFault::Illegal(what) => write!(f, "has an illegal {what}"),
        }
    }
}

impl std::error::Error for BadObject {}

const SESSION: u8 = 1;
const SUBSCRIPTION: u8 = 2;
const MESSAGE: u8 = 3;
const WAITING: u8 = 4;
const INCOMING: u8 = 5;
const RETAINED: u8 = 6;
const QUEUED: u8 = 7;

const HAS_USER: u8 = 1;
const HAS_WILL: u8 = 2;

impl<'a> Object<'a> {
    /// A packet identifier that waits for PUBCOMP: the client has the message, or the message has returned to its queue.
    pub(crate) fn released(session: Key, packet_id: PacketId) -> Self {
        Self::Waiting {
            session,
            message: None,
            qos: QoS::ExactlyOnce,
            retain: false,
            subscription_ids: Cow::Borrowed(&[]),
            state: WaitingState::Released(packet_id),
        }
    }

    /// The number that names the kind of object and the layout of its body.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Session { .. } => SESSION,
            Self::Subscription { .. } => SUBSCRIPTION,
            Self::Message(_) => MESSAGE,
            Self::Waiting { .. } => WAITING,
            Self::Incoming { .. } => INCOMING,
            Self::Retained { .. } => RETAINED,
            Self::Queued { .. } => QUEUED,
        }
    }

    /// The object that it refers to.
    pub fn refers_to(&self) -> Option<Key> {
        match self {
            Self::Waiting { message, .. } => *message,
            Self::Queued { message, .. } => Some(*message),
            _ => None,
        }
    }

    /// Whether it goes when no object refers to it any more.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Message(_))
    }

    /// The end of the body.
    pub fn tail(&self) -> &'a [u8] {
        match self {
            Self::Session { will: Some(will), .. } => will.packet,
            Self::Message(message) | Self::Retained { message, .. } => message.payload,
            _ => &[],
        }
    }

    /// Appends the body up to its [tail](Self::tail).
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        match self {
            Self::Session { client_id, expiry_s, away_since_ms, user, will } => {
                out.extend(expiry_s.to_le_bytes());
                out.extend(away_since_ms.unwrap_or(0).to_le_bytes());
                put_text(client_id, out);
                let bit = |is_there: bool, flag| if is_there { flag } else { 0 };
                out.push(bit(user.is_some(), HAS_USER) | bit(will.is_some(), HAS_WILL));
                if let Some(user) = user {
                    put_text(user, out);
                }
                if let Some(will) = will {
                    out.push(version_byte(will.version));
                    out.extend(will.delay_s.to_le_bytes());
                }
            }
            Self::Subscription { session, filter, options, id } => {
                out.extend(session.get().to_le_bytes());
                out.push(options_byte(*options));
                out.extend(id.map_or(0, SubscriptionId::get).to_le_bytes());
                put_text(filter, out);
            }
            Self::Message(message) => message.encode_head(out),
            Self::Waiting { session, message, qos, retain, subscription_ids, state } => {
                out.extend(session.get().to_le_bytes());
                out.extend(message.map_or(0, Key::get).to_le_bytes());
                let (state, packet_id) = match state {
                    WaitingState::Pending => (0, 0),
                    WaitingState::Sent(id) => (1, id.get()),
                    WaitingState::Released(id) => (2, id.get()),
                };
                out.extend([*qos as u8, u8::from(*retain), state]);
                out.extend(packet_id.to_le_bytes());
                put_ids(subscription_ids, out);
            }
            Self::Incoming { session, packet_id } => {
                out.extend(session.get().to_le_bytes());
                out.extend(packet_id.get().to_le_bytes());
            }
            Self::Retained { sender, message } => {
                put_text(sender, out);
                message.encode_head(out);
            }
            Self::Queued { queue, message, deliveries, loan } => {
                out.extend(message.get().to_le_bytes());
                out.extend(deliveries.to_le_bytes());
                put_text(queue, out);
                out.push(u8::from(loan.is_some()));
                if let Some(LoanObject { session, qos, retain, packet_id, subscription_ids }) = loan {
                    out.extend(session.map_or(0, Key::get).to_le_bytes());
                    out.extend([*qos as u8, u8::from(*retain)]);
                    out.extend(packet_id.get().to_le_bytes());
                    put_ids(subscription_ids, out);
                }
            }
        }
    }

    /// The object with this body.
    ///
    /// # Errors
    /// If the kind is unknown, or the bytes are no legal body of its kind.
    pub fn decode(key: Key, kind: u8, body: &'a [u8]) -> Result<Self, BadObject> {
        let mut reader = Reader(body);
        let object = Self::read(kind, &mut reader);
        let object = object.and_then(|object| if reader.0.is_empty() { Ok(object) } else { Err(ObjectFault::TooLong) });
        object.map_err(|fault| BadObject { key, kind, fault })
    }

    fn read(kind: u8, reader: &mut Reader<'a>) -> Result<Self, ObjectFault> {
        match kind {
            SESSION => read_session(reader),
            SUBSCRIPTION => read_subscription(reader),
            MESSAGE => Ok(Self::Message(MessageObject::read(reader)?)),
            WAITING => read_waiting(reader),
            INCOMING => Ok(Self::Incoming { session: reader.key()?, packet_id: reader.packet_id()? }),
            RETAINED => Ok(Self::Retained { sender: reader.text()?, message: MessageObject::read(reader)? }),
            QUEUED => read_queued(reader),
            _ => Err(ObjectFault::UnknownKind),
        }
    }
}

impl<'a> MessageObject<'a> {
    fn encode_head(&self, out: &mut Vec<u8>) {
        out.extend([self.qos as u8, u8::from(self.retain)]);
        out.extend(self.expires_ms.unwrap_or(0).to_le_bytes());
        out.extend((self.properties.len() as u32).to_le_bytes());
        put_text(self.topic, out);
        out.extend(self.properties);
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, ObjectFault> {
        let (qos, retain) = (reader.qos()?, reader.bool()?);
        let expires_ms = reader.u64()?;
        let properties_len = reader.u32()? as usize;
        let topic = reader.text()?;
        TopicName::new(topic).map_err(|_| ObjectFault::Illegal("topic name"))?;
        let properties = reader.bytes(properties_len)?;
        if Properties::from_bytes(properties, PropertyOwner::Publish).is_err() {
            return Err(ObjectFault::Illegal("list of properties"));
        }
        let expires_ms = (expires_ms > 0).then_some(expires_ms);
        Ok(Self { topic, properties, payload: reader.rest(), qos, retain, expires_ms })
    }
}

fn read_session<'a>(reader: &mut Reader<'a>) -> Result<Object<'a>, ObjectFault> {
    let expiry_s = reader.u32()?;
    let away_since_ms = reader.u64()?;
    let client_id = reader.text()?;
    let flags = reader.u8()?;
    if flags & !(HAS_USER | HAS_WILL) != 0 {
        return Err(ObjectFault::Illegal("flag"));
    }
    let user = if flags & HAS_USER != 0 { Some(reader.text()?) } else { None };
    let mut will = None;
    if flags & HAS_WILL != 0 {
        let version = reader.version()?;
        will = Some(WillObject { version, delay_s: reader.u32()?, packet: reader.rest() });
        if will.is_some_and(|will| will.topic().is_none()) {
            return Err(ObjectFault::Illegal("will"));
        }
    }
    let away_since_ms = (away_since_ms > 0).then_some(away_since_ms);
    Ok(Object::Session { client_id, expiry_s, away_since_ms, user, will })
}

fn read_subscription<'a>(reader: &mut Reader<'a>) -> Result<Object<'a>, ObjectFault> {
    let session = reader.key()?;
    let options = options_of(reader.u8()?)?;
    let id = match reader.u32()? {
        0 => None,
        number => Some(SubscriptionId::new(number).ok_or(ObjectFault::Illegal("subscription identifier"))?),
    };
    let filter = reader.text()?;
    TopicFilter::new(filter).map_err(|_| ObjectFault::Illegal("filter"))?;
    Ok(Object::Subscription { session, filter, options, id })
}

fn read_waiting<'a>(reader: &mut Reader<'a>) -> Result<Object<'a>, ObjectFault> {
    let (session, message) = (reader.key()?, Key::new(reader.u64()?));
    let (qos, retain, state) = (reader.qos()?, reader.bool()?, reader.u8()?);
    if qos == QoS::AtMostOnce {
        return Err(ObjectFault::Illegal("QoS"));
    }
    let packet_id = PacketId::new(reader.u16()?);
    let state = match (state, packet_id, message) {
        (0, None, Some(_)) => WaitingState::Pending,
        (1, Some(id), Some(_)) => WaitingState::Sent(id),
        (2, Some(id), None) if qos == QoS::ExactlyOnce => WaitingState::Released(id),
        _ => return Err(ObjectFault::Illegal("state")),
    };
    let subscription_ids = reader.subscription_ids()?.into();
    Ok(Object::Waiting { session, message, qos, retain, subscription_ids, state })
}

fn read_queued<'a>(reader: &mut Reader<'a>) -> Result<Object<'a>, ObjectFault> {
    let (message, deliveries, queue) = (reader.key()?, reader.u16()?, reader.text()?);
    TopicFilter::new(queue).map_err(|_| ObjectFault::Illegal("queue"))?;
    let mut loan = None;
    if reader.bool()? {
        let (session, qos, retain) = (Key::new(reader.u64()?), reader.qos()?, reader.bool()?);
        if qos == QoS::AtMostOnce {
            return Err(ObjectFault::Illegal("QoS"));
        }
        let (packet_id, subscription_ids) = (reader.packet_id()?, reader.subscription_ids()?.into());
        loan = Some(LoanObject { session, qos, retain, packet_id, subscription_ids });
    }
    Ok(Object::Queued { queue, message, deliveries, loan })
}

fn put_ids(ids: &[SubscriptionId], out: &mut Vec<u8>) {
    let ids = &ids[..ids.len().min(usize::from(u16::MAX))];
    out.extend((ids.len() as u16).to_le_bytes());
    ids.iter().for_each(|id| out.extend(id.get().to_le_bytes()));
}

/// A text has at most 65535 bytes in MQTT.
fn put_text(text: &str, out: &mut Vec<u8>) {
    debug_assert!(text.len() <= usize::from(u16::MAX), "MQTT cannot carry the text");
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.as_bytes());
}

fn version_byte(version: ProtocolVersion) -> u8 {
    match version {
        ProtocolVersion::Mqtt31 => 3,
        ProtocolVersion::Mqtt311 => 4,
        ProtocolVersion::Mqtt5 => 5,
    }
}

fn options_byte(options: SubscriptionOptions) -> u8 {
    let SubscriptionOptions { qos, no_local, retain_as_published, retain_handling } = options;
    qos as u8 | u8::from(no_local) << 2 | u8::from(retain_as_published) << 3 | (retain_handling as u8) << 4
}

fn options_of(byte: u8) -> Result<SubscriptionOptions, ObjectFault> {
    let illegal = ObjectFault::Illegal("option");
    let retain_handling = match byte >> 4 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(illegal),
    };
    Ok(SubscriptionOptions {
        qos: QoS::new(byte & 3).ok_or(illegal)?,
        no_local: byte & 4 != 0,
        retain_as_published: byte & 8 != 0,
        retain_handling,
    })
}

/// The bytes that were not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], ObjectFault> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(ObjectFault::TooShort)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], ObjectFault> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(ObjectFault::TooShort)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, ObjectFault> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, ObjectFault> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, ObjectFault> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ObjectFault> {
        self.array().map(u64::from_le_bytes)
    }

    fn bool(&mut self) -> Result<bool, ObjectFault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ObjectFault::Illegal("flag")),
        }
    }

    fn qos(&mut self) -> Result<QoS, ObjectFault> {
        QoS::new(self.u8()?).ok_or(ObjectFault::Illegal("QoS"))
    }

    fn key(&mut self) -> Result<Key, ObjectFault> {
        Key::new(self.u64()?).ok_or(ObjectFault::Illegal("key"))
    }

    fn packet_id(&mut self) -> Result<PacketId, ObjectFault> {
        PacketId::new(self.u16()?).ok_or(ObjectFault::Illegal("packet identifier"))
    }

    fn text(&mut self) -> Result<&'a str, ObjectFault> {
        let len = usize::from(self.u16()?);
        str::from_utf8(self.bytes(len)?).map_err(|_| ObjectFault::Illegal("text"))
    }

    fn subscription_ids(&mut self) -> Result<Vec<SubscriptionId>, ObjectFault> {
        let count = self.u16()?;
        let illegal = ObjectFault::Illegal("subscription identifier");
        (0..count).map(|_| SubscriptionId::new(self.u32()?).ok_or(illegal)).collect()
    }

    fn version(&mut self) -> Result<ProtocolVersion, ObjectFault> {
        match self.u8()? {
            3 => Ok(ProtocolVersion::Mqtt31),
            4 => Ok(ProtocolVersion::Mqtt311),
            5 => Ok(ProtocolVersion::Mqtt5),
            _ => Err(ObjectFault::Illegal("version")),
        }
    }
}

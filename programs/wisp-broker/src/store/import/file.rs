//! mosquitto's persistence file in format version 6, as mosquitto 2.0 and 2.1 write it: bytes in, records out, no I/O.
//!
//! | offset | bytes | contents |
//! |---|---|---|
//! | 0 | 15 | 0, B5, 0, `mosquitto db` |
//! | 15 | 4 | 0 (room for a checksum) |
//! | 19 | 4 | version of the format |
//! | 23 | | chunks: kind, 4 bytes; length of the rest, 4 bytes; fixed part; texts |
//!
//! | kind | chunk | fixed part | then |
//! |---|---|---|---|
//! | 1 | configuration | last store id: 8; written at mosquitto's end: 1; bytes of a store id: 1; unused: 6 | |
//! | 2 | message | store id: 8; expires at: 8; length of payload: 4; sender's packet identifier: 2; lengths of client identifier, user, topic: 2 each; port: 2; QoS: 1; RETAIN: 1 | sender's client identifier, user, topic, payload, properties |
//! | 3 | message of a client | store id: 8; packet identifier: 2; length of client identifier: 2; QoS: 1; state: 1; RETAIN and DUP: 4 bits each; direction: 1 (0 from the client, 1 to it) | client identifier, properties |
//! | 4 | retained message | store id: 8 | |
//! | 5 | subscription | identifier: 4; lengths of client identifier and filter: 2 each; QoS: 1; options: 1; unused: 2 | client identifier, filter |
//! | 6 | client | ends at: 8; expiry interval: 4; last packet identifier: 2; length of client identifier: 2; port: 2; length of user: 2; unused: 4 | client identifier, user |
//!
//! Numbers are big-endian, but for store ids and times, which have the byte order of the machine: little-endian here. Times are in Unix
//! seconds, 0 for never. Properties are as in a PUBLISH, with their length, or missing.

use std::fmt::{self, Display, Formatter};

use wisp_wire::{
    PacketId, Properties, PropertyOwner, QoS, RetainHandling, SubscriptionId, SubscriptionOptions, TopicFilter,
    TopicName,
};

const MAGIC: &[u8; 15] = b"\0\xB5\0mosquitto db";
const SQLITE: &[u8] = b"SQLite format 3\0";
const VERSION: u32 = 6;
const STORE_ID_BYTES: u8 = 8;

/// Later times, in the year 36812 and behind, are none that a clock had.
const TIME_MAX: u64 = 1 << 40;

/// Why a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFault {
    /// It is something else.
    Foreign,
    /// It belongs to mosquitto's plugin persist-sqlite.
    Sqlite,
    /// It has another version of the format.
    Version(u32),
    /// It ends too early, or has a value that mosquitto does not write.
    Damaged { offset: u64, what: &'static str },
}

impl Display for FileFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("not a persistence file of mosquitto: offset 0 has another text than such files begin with"),
            Self::Sqlite => f.write_str(
                "a database of mosquitto's plugin persist-sqlite, which cannot be imported: only the file that `persistence true` \
                 writes can be",
            ),
            Self::Version(found) => {
                write!(f, "format version {found} at offset 19: only version {VERSION}, of mosquitto 2.0 and 2.1, can be imported")?;
                if *found < VERSION {
                    f.write_str(". Start mosquitto 2.0 or 2.1 with the file and stop it: it writes the file anew")?;
                }
                Ok(())
            }
            Self::Damaged { offset, what } => write!(f, "damaged at offset {offset}: {what}"),
        }
    }
}

/// A chunk of the file.
#[derive(Clone, Debug)]
pub(crate) enum Record<'a> {
    /// Facts about the whole file.
    Configuration {
        /// Whether mosquitto wrote the file when it ended, so that nothing came after.
        is_final: bool,
    },
    Message(MessageRecord<'a>),
    ClientMessage(ClientMessage<'a>),
    /// A message is the retained one of its topic.
    Retained {
        store_id: u64,
    },
    Subscription(SubscriptionRecord<'a>),
    Client(ClientRecord<'a>),
    /// A kind that no version up to 2.1 writes.
    Unknown {
        kind: u32,
    },
}

/// The content of a message.
#[derive(Clone, Debug)]
pub(crate) struct MessageRecord<'a> {
    pub(crate) store_id: u64,
    pub(crate) expires_s: Option<u64>,
    /// The client identifier of the sender. Empty for mosquitto itself.
    pub(crate) sender: &'a str,
    pub(crate) topic: TopicName<'a>,
    pub(crate) payload: &'a [u8],
    pub(crate) properties: Properties<'a>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

/// A message that waits for a client, or is between two packets of an exchange with it.
#[derive(Clone, Debug)]
pub(crate) struct ClientMessage<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) store_id: u64,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: Properties<'a>,
    pub(crate) progress: Progress,
}

/// How far a client's message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It was not sent to the client.
    Pending,
    /// It was sent to the client, or was about to be.
    Sent(PacketId),
    /// The client has it, and the exchange has not ended.
    Released(PacketId),
    /// The client has sent it and not released it. mosquitto delivers it when the client does.
    Received(PacketId),
    /// The client has released it. mosquitto has delivered it.
    Completing(PacketId),
    /// No state that mosquitto 2.0 or 2.1 writes.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct SubscriptionRecord<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) filter: TopicFilter<'a>,
    pub(crate) options: SubscriptionOptions,
    pub(crate) id: Option<SubscriptionId>,
}

/// A client's session.
#[derive(Clone, Debug)]
pub(crate) struct ClientRecord<'a> {
    pub(crate) client_id: &'a str,
    /// The user. mosquitto 2.0 up to 2.0.11 writes any bytes for some clients without one.
    pub(crate) user: &'a [u8],
    /// When the session ends, unless it is for ever or the client was connected.
    pub(crate) ends_s: Option<u64>,
    /// The expiry interval; the maximum for ever, 0 for the end of the connection.
    pub(crate) expiry_s: u32,
    /// The port on which the client has connected since mosquitto's start. Bridges have none.
    pub(crate) port: u16,
}

/// The records of a file, each with its offset. The first fault is the last item.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Records<'a> {
    /// The records of a file with these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, FileFault> {
        if bytes.starts_with(SQLITE) {
            return Err(FileFault::Sqlite);
        }
        let too_short = |offset| FileFault::Damaged { offset, what: TOO_SHORT };
        if bytes.len() < MAGIC.len() && MAGIC.starts_with(bytes) {
            return Err(too_short(0));
        }
        let mut fields = Fields(bytes.strip_prefix(MAGIC).ok_or(FileFault::Foreign)?);
        let version = fields.u32().and_then(|_checksum| fields.u32()).map_err(|_| too_short(MAGIC.len() as u64))?;
        match version {
            VERSION => Ok(Self { offset: (bytes.len() - fields.0.len()) as u64, rest: fields.0 }),
            other => Err(FileFault::Version(other)),
        }
    }

    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let mut fields = Fields(self.rest);
        let (kind, length) = (fields.u32()?, fields.u32()?);
        let content = fields.bytes(length as usize)?;
        let record = read_chunk(kind, Fields(content))?;
        self.offset += (self.rest.len() - fields.0.len()) as u64;
        self.rest = fields.0;
        Ok(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(u64, Record<'a>), FileFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = self.offset;
        let read = self.read();
        Some(read.map(|record| (offset, record)).map_err(|what| {
            self.rest = &[];
            FileFault::Damaged { offset, what }
        }))
    }
}

const TOO_SHORT: &str = "the file ends too early, or a length in it is wrong";

fn read_chunk<'a>(kind: u32, mut fields: Fields<'a>) -> Result<Record<'a>, &'static str> {
    let record = match kind {
        1 => read_configuration(&mut fields)?,
        2 => Record::Message(read_message(&mut fields)?),
        3 => Record::ClientMessage(read_client_message(&mut fields)?),
        4 => Record::Retained { store_id: fields.native_u64()? },
        5 => Record::Subscription(read_subscription(&mut fields)?),
        6 => Record::Client(read_client(&mut fields)?),
        kind => return Ok(Record::Unknown { kind }),
    };
    if fields.0.is_empty() { Ok(record) } else { Err("a chunk is longer than its contents") }
}

fn read_configuration<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, &'static str> {
    let _last_store_id = fields.native_u64()?;
    let (is_final, store_id_bytes) = (fields.u8()? != 0, fields.u8()?);
    fields.bytes(6)?;
    if store_id_bytes != STORE_ID_BYTES {
        return Err("store ids have another length than 8 bytes");
    }
    Ok(Record::Configuration { is_final })
}

fn read_message<'a>(fields: &mut Fields<'a>) -> Result<MessageRecord<'a>, &'static str> {
    let (store_id, expires_s) = (fields.native_u64()?, fields.time()?);
    let payload_len = fields.u32()?;
    let _packet_id = fields.u16()?;
    let (sender_len, user_len, topic_len, _port) = (fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?);
    let (qos, retain) = (fields.qos()?, fields.u8()? != 0);
    let sender = fields.text(sender_len)?;
    fields.bytes(usize::from(user_len))?;
    let topic = TopicName::new(fields.text(topic_len)?).map_err(|_| "a topic name is not legal")?;
    let payload = fields.bytes(payload_len as usize)?;
    let properties = fields.properties()?;
    Ok(MessageRecord { store_id, expires_s, sender, topic, payload, properties, qos, retain })
}

fn read_client_message<'a>(fields: &mut Fields<'a>) -> Result<ClientMessage<'a>, &'static str> {
    let (store_id, packet_id, client_id_len) = (fields.native_u64()?, fields.u16()?, fields.u16()?);
    let (qos, state, flags, direction) = (fields.qos()?, fields.u8()?, fields.u8()?, fields.u8()?);
    let progress = progress(direction, state, qos, packet_id)?;
    let client_id = fields.client_id(client_id_len)?;
    let properties = fields.properties()?;
    Ok(ClientMessage { client_id, store_id, qos, retain: flags >> 4 != 0, properties, progress })
}

fn progress(direction: u8, state: u8, qos: QoS, packet_id: u16) -> Result<Progress, &'static str> {
    const TO_CLIENT: u8 = 1;
    const FROM_CLIENT: u8 = 0;
    let packet_id = || PacketId::new(packet_id).ok_or("a packet identifier is 0");
    Ok(match (direction, state) {
        // At QoS 0, or queued.
        (TO_CLIENT, 1 | 11) => Progress::Pending,
        // To be sent, and sent: before PUBACK, or before PUBREC.
        (TO_CLIENT, 2..=5) => Progress::Sent(packet_id()?),
        // Before PUBREL, and before PUBCOMP.
        (TO_CLIENT, 6 | 9) if qos == QoS::ExactlyOnce => Progress::Released(packet_id()?),
        // After PUBREC, before PUBREC, and queued.
        (FROM_CLIENT, 7 | 10 | 11) if qos == QoS::ExactlyOnce => Progress::Received(packet_id()?),
        (FROM_CLIENT, 8) => Progress::Completing(packet_id()?),
        _ => Progress::Unknown,
    })
}

fn read_subscription<'a>(fields: &mut Fields<'a>) -> Result<SubscriptionRecord<'a>, &'static str> {
    let (id, client_id_len, filter_len) = (fields.u32()?, fields.u16()?, fields.u16()?);
    let (qos, options) = (fields.qos()?, fields.u8()?);
    fields.bytes(2)?;
    let id = match id {
        0 => None,
        id => Some(SubscriptionId::new(id).ok_or("a subscription identifier is not legal")?),
    };
    let client_id = fields.client_id(client_id_len)?;
    let filter = TopicFilter::new(fields.text(filter_len)?).map_err(|_| "a topic filter is not legal")?;
    // mosquitto 2.0 does not write the last one, which counts at SUBSCRIBE only.
    let retain_handling = match options >> 4 & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err("the options of a subscription are not legal"),
    };
    let (no_local, retain_as_published) = (options & 4 != 0, options & 8 != 0);
    let options = SubscriptionOptions { qos, no_local, retain_as_published, retain_handling };
    Ok(SubscriptionRecord { client_id, filter, options, id })
}

fn read_client<'a>(fields: &mut Fields<'a>) -> Result<ClientRecord<'a>, &'static str> {
    let (ends_s, expiry_s) = (fields.time()?, fields.u32()?);
    let (_last_packet_id, client_id_len, port, user_len) = (fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?);
    fields.bytes(4)?;
    let client_id = fields.client_id(client_id_len)?;
    let user = fields.bytes(usize::from(user_len))?;
    Ok(ClientRecord { client_id, user, ends_s, expiry_s, port })
}

/// The bytes of a chunk that were not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], &'static str> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, &'static str> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        self.array().map(u32::from_be_bytes)
    }

    fn native_u64(&mut self) -> Result<u64, &'static str> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Result<Option<u64>, &'static str> {
        match self.native_u64()? {
            0 => Ok(None),
            time if time < TIME_MAX => Ok(Some(time)),
            _ => Err("no clock had such a time: damaged, or written on a machine with another byte order"),
        }
    }

    fn qos(&mut self) -> Result<QoS, &'static str> {
        QoS::new(self.u8()?).ok_or("a QoS is not 0, 1 or 2")
    }

    /// A text of MQTT.
    fn text(&mut self, len: u16) -> Result<&'a str, &'static str> {
        let text = str::from_utf8(self.bytes(usize::from(len))?).ok();
        text.filter(|text| !text.contains('\0')).ok_or("a text is not UTF-8, or contains U+0000")
    }

    fn client_id(&mut self, len: u16) -> Result<&'a str, &'static str> {
        Some(self.text(len)?).filter(|id| !id.is_empty()).ok_or("a client identifier is empty")
    }

    /// The rest.
    fn properties(&mut self) -> Result<Properties<'a>, &'static str> {
        if self.0.is_empty() {
            return Ok(Properties::EMPTY);
        }
        let (mut len, mut shift) = (0, 0);
        loop {
            let byte = self.u8()?;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
            if shift > 21 {
                return Err("the length of properties is not legal");
            }
        }
        let bytes = self.bytes(len)?;
        Properties::from_bytes(bytes, PropertyOwner::Publish).map_err(|_| "properties are not legal")
    }
}

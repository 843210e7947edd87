//! Packets for tests. A seed owns the strings and numbers of a packet, so that proptest can generate and shrink it;
//! `with_packet` builds the packet as a view over the seed.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(dead_code, reason = "each test program uses its share")]

use std::num::{NonZeroU16, NonZeroU32};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wisp_wire::*;

/// The properties that each packet may carry, by identifier: the tables of MQTT 5, chapter 3, packet by packet.
pub(crate) const PROPERTIES: [(PropertyOwner, &[u8]); 14] = [
    (PropertyOwner::Connect, &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27]),
    (
        PropertyOwner::ConnAck,
        &[0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A],
    ),
    (PropertyOwner::Publish, &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26]),
    (PropertyOwner::Will, &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26]),
    (PropertyOwner::PubAck, &[0x1F, 0x26]),
    (PropertyOwner::PubRec, &[0x1F, 0x26]),
    (PropertyOwner::PubRel, &[0x1F, 0x26]),
    (PropertyOwner::PubComp, &[0x1F, 0x26]),
    (PropertyOwner::Subscribe, &[0x0B, 0x26]),
    (PropertyOwner::SubAck, &[0x1F, 0x26]),
    (PropertyOwner::Unsubscribe, &[0x26]),
    (PropertyOwner::UnsubAck, &[0x1F, 0x26]),
    (PropertyOwner::Disconnect, &[0x11, 0x1C, 0x1F, 0x26]),
    (PropertyOwner::Auth, &[0x15, 0x16, 0x1F, 0x26]),
];

pub(crate) fn properties_of(owner: PropertyOwner) -> &'static [u8] {
    PROPERTIES.iter().find(|(candidate, _)| *candidate == owner).unwrap().1
}

/// The raw material of one property value of any type.
#[derive(Clone, Debug)]
pub(crate) struct PropertySeed {
    pub(crate) which: usize,
    pub(crate) number: u32,
    pub(crate) text: String,
    pub(crate) other: String,
    pub(crate) topic: String,
}

/// The property with this identifier, with a value from the seed.
pub(crate) fn property(id: u8, seed: &PropertySeed) -> Property<'_> {
    let PropertySeed { number, text, other, topic, .. } = seed;
    let (flag, short) = (number % 2 == 1, *number as u16);
    match id {
        0x01 => Property::PayloadFormatIndicator(flag),
        0x02 => Property::MessageExpiryInterval(*number),
        0x03 => Property::ContentType(text),
        0x08 => Property::ResponseTopic(TopicName::new(topic).unwrap()),
        0x09 => Property::CorrelationData(text.as_bytes()),
        0x0B => Property::SubscriptionIdentifier(SubscriptionId::new(number % 268_435_455 + 1).unwrap()),
        0x11 => Property::SessionExpiryInterval(*number),
        0x12 => Property::AssignedClientIdentifier(text),
        0x13 => Property::ServerKeepAlive(short),
        0x15 => Property::AuthenticationMethod(text),
        0x16 => Property::AuthenticationData(text.as_bytes()),
        0x17 => Property::RequestProblemInformation(flag),
        0x18 => Property::WillDelayInterval(*number),
        0x19 => Property::RequestResponseInformation(flag),
        0x1A => Property::ResponseInformation(text),
        0x1C => Property::ServerReference(text),
        0x1F => Property::ReasonString(text),
        0x21 => Property::ReceiveMaximum(NonZeroU16::new(short.max(1)).unwrap()),
        0x22 => Property::TopicAliasMaximum(short),
        0x23 => Property::TopicAlias(NonZeroU16::new(short.max(1)).unwrap()),
        0x24 => Property::MaximumQoS(if flag { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
        0x25 => Property::RetainAvailable(flag),
        0x26 => Property::UserProperty((text, other)),
        0x27 => Property::MaximumPacketSize(NonZeroU32::new((*number).max(1)).unwrap()),
        0x28 => Property::WildcardSubscriptionAvailable(flag),
        0x29 => Property::SubscriptionIdentifierAvailable(flag),
        0x2A => Property::SharedSubscriptionAvailable(flag),
        _ => unreachable!("there are 27 properties"),
    }
}

/// The properties of the seeds that may occur together in `owner`.
fn properties(seeds: &[PropertySeed], owner: PropertyOwner) -> Vec<Property<'_>> {
    let legal = properties_of(owner);
    let mut chosen: Vec<Property<'_>> = Vec::new();
    for seed in seeds {
        let id = legal[seed.which % legal.len()];
        let repeats = id == 0x26 || id == 0x0B && owner == PropertyOwner::Publish;
        if repeats || chosen.iter().all(|property| property.id() != id) {
            chosen.push(property(id, seed));
        }
    }
    let has = |id: u8| chosen.iter().any(|property| property.id() == id);
    if (has(0x16) || owner == PropertyOwner::Auth) && !has(0x15) {
        chosen.push(Property::AuthenticationMethod("SCRAM"));
    }
    chosen
}

#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) version: ProtocolVersion,
    pub(crate) packet: PacketType,
    pub(crate) number: u16,
    pub(crate) flags: u8,
    pub(crate) topic: String,
    pub(crate) filters: Vec<String>,
    pub(crate) text: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) username: Option<String>,
    pub(crate) properties: Vec<PropertySeed>,
}

pub(crate) const PACKET_TYPES: [PacketType; 15] = [
    PacketType::Connect,
    PacketType::ConnAck,
    PacketType::Publish,
    PacketType::PubAck,
    PacketType::PubRec,
    PacketType::PubRel,
    PacketType::PubComp,
    PacketType::Subscribe,
    PacketType::SubAck,
    PacketType::Unsubscribe,
    PacketType::UnsubAck,
    PacketType::PingReq,
    PacketType::PingResp,
    PacketType::Disconnect,
    PacketType::Auth,
];

pub(crate) fn topic() -> impl Strategy<Value = String> {
    "[a-c/$ é€😀]{1,24}"
}

/// Legal topic filters, including shared ones.
pub(crate) fn filter() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "", "+", "$SYS", "é"]);
    (option::weighted(0.2, "[a-c$]{1,3}"), vec(level, 0..4), any::<bool>()).prop_map(|(share, mut levels, hash)| {
        if hash || levels.is_empty() {
            levels.push("#");
        }
        let mut filter = levels.join("/");
        if filter.is_empty() {
            filter.push('+');
        }
        share.map_or(filter.clone(), |share| format!("$share/{share}/{filter}"))
    })
}

fn text() -> impl Strategy<Value = String> {
    "[^\u{0}]{0,12}"
}

fn property_seed() -> impl Strategy<Value = PropertySeed> {
    (any::<usize>(), any::<u32>(), text(), text(), topic())
        .prop_map(|(which, number, text, other, topic)| PropertySeed { which, number, text, other, topic })
}

pub(crate) fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop::sample::select(ProtocolVersion::ALL.to_vec())
}

pub(crate) fn seed() -> impl Strategy<Value = Seed> {
    let head = (version(), prop::sample::select(PACKET_TYPES.to_vec()), 1..=u16::MAX, any::<u8>());
    let strings = (topic(), vec(filter(), 1..4), text(), option::of(text()));
    (head, strings, vec(any::<u8>(), 0..200), vec(property_seed(), 0..5)).prop_map(
        |((version, packet, number, flags), (topic, filters, text, username), payload, properties)| {
            // AUTH is the only packet that exists in one version only.
            let version = if packet == PacketType::Auth { ProtocolVersion::Mqtt5 } else { version };
            Seed { version, packet, number, flags, topic, filters, text, payload, username, properties }
        },
    )
}

/// A reason code that `packet` may carry in this version.
fn code(seed: &Seed, index: usize) -> ReasonCode {
    let legal: Vec<ReasonCode> = match (seed.packet, seed.version) {
        (packet, ProtocolVersion::Mqtt5) => {
            ReasonCode::ALL.iter().copied().filter(|code| code.is_legal_in(packet)).collect()
        }
        (PacketType::ConnAck, _) => (0..=5).filter_map(ReasonCode::from_connect_return_code).collect(),
        (PacketType::SubAck, _) => vec![
            ReasonCode::GRANTED_QOS0,
            ReasonCode::GrantedQoS1,
            ReasonCode::GrantedQoS2,
            ReasonCode::UnspecifiedError,
        ],
        _ => vec![ReasonCode::Success],
    };
    legal[(usize::from(seed.flags) + index) % legal.len()]
}

fn options(seed: &Seed, index: usize, filter: TopicFilter<'_>) -> SubscriptionOptions {
    let bits = seed.flags.rotate_left(index as u32);
    let qos = QoS::new(bits & 3).unwrap_or_default();
    if !seed.version.is_v5() {
        return SubscriptionOptions::new(qos);
    }
    SubscriptionOptions {
        qos,
        no_local: bits & 4 != 0 && filter.shared().is_none(),
        retain_as_published: bits & 8 != 0,
        retain_handling: match bits >> 4 & 3 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DoNotSend,
        },
    }
}

/// Calls `check` with the packet of the seed, which is legal in the seed's version and round-trips in it.
pub(crate) fn with_packet(seed: &Seed, check: impl FnOnce(&Packet<'_>)) {
    let owned = |owner| if seed.version.is_v5() { properties(&seed.properties, owner) } else { Vec::new() };
    let filters: Vec<TopicFilter<'_>> = seed.filters.iter().map(|filter| TopicFilter::new(filter).unwrap()).collect();
    let packet_id = PacketId::new(seed.number).unwrap();
    macro_rules! acknowledgement {
        ($name:ident) => {{
            let list = owned(PropertyOwner::$name);
            let properties = Properties::from_slice(&list);
            check(&Packet::$name($name { packet_id, code: code(seed, 0), properties }));
        }};
    }
    macro_rules! codes {
        ($name:ident) => {{
            let list = owned(PropertyOwner::$name);
            let has_codes = seed.version.is_v5() || seed.packet == PacketType::SubAck;
            let count = if has_codes { filters.len() } else { 0 };
            let codes: Vec<ReasonCode> = (0..count).map(|index| code(seed, index)).collect();
            let codes = List::from_slice(&codes);
            check(&Packet::$name($name { packet_id, properties: Properties::from_slice(&list), codes }));
        }};
    }
    match seed.packet {
        PacketType::Connect => connect(seed, check),
        PacketType::ConnAck => {
            let list = owned(PropertyOwner::ConnAck);
            let code = code(seed, 0);
            let session_present = seed.flags & 1 != 0 && !code.is_error() && seed.version != ProtocolVersion::Mqtt31;
            check(&Packet::ConnAck(ConnAck { session_present, code, properties: Properties::from_slice(&list) }));
        }
        PacketType::Publish => publish(seed, check),
        PacketType::PubAck => acknowledgement!(PubAck),
        PacketType::PubRec => acknowledgement!(PubRec),
        PacketType::PubRel => acknowledgement!(PubRel),
        PacketType::PubComp => acknowledgement!(PubComp),
        PacketType::Subscribe => {
            let list = owned(PropertyOwner::Subscribe);
            let filters: Vec<_> =
                filters.iter().enumerate().map(|(index, filter)| (*filter, options(seed, index, *filter))).collect();
            let filters = List::from_slice(&filters);
            check(&Packet::Subscribe(Subscribe { packet_id, properties: Properties::from_slice(&list), filters }));
        }
        PacketType::SubAck => codes!(SubAck),
        PacketType::Unsubscribe => {
            let list = owned(PropertyOwner::Unsubscribe);
            let filters = List::from_slice(&filters);
            check(&Packet::Unsubscribe(Unsubscribe { packet_id, properties: Properties::from_slice(&list), filters }));
        }
        PacketType::UnsubAck => codes!(UnsubAck),
        PacketType::PingReq => check(&Packet::PingReq),
        PacketType::PingResp => check(&Packet::PingResp),
        PacketType::Disconnect => {
            let list = owned(PropertyOwner::Disconnect);
            check(&Packet::Disconnect(Disconnect { code: code(seed, 0), properties: Properties::from_slice(&list) }));
        }
        PacketType::Auth => {
            let list = owned(PropertyOwner::Auth);
            check(&Packet::Auth(Auth { code: code(seed, 0), properties: Properties::from_slice(&list) }));
        }
    }
}

fn connect(seed: &Seed, check: impl FnOnce(&Packet<'_>)) {
    let v5 = seed.version.is_v5();
    let list = if v5 { properties(&seed.properties, PropertyOwner::Connect) } else { Vec::new() };
    let will_list = if v5 { properties(&seed.properties, PropertyOwner::Will) } else { Vec::new() };
    let will = (seed.flags & 4 != 0).then(|| Will {
        topic: TopicName::new(&seed.topic).unwrap(),
        payload: &seed.payload,
        qos: QoS::new(seed.flags >> 3 & 3).unwrap_or_default(),
        retain: seed.flags & 32 != 0,
        properties: Properties::from_slice(&will_list),
    });
    let username = seed.username.as_deref();
    check(&Packet::Connect(Connect {
        version: seed.version,
        clean_start: seed.flags & 2 != 0,
        keep_alive_s: seed.number,
        client_id: if seed.text.is_empty() && !v5 { "client" } else { &seed.text },
        properties: Properties::from_slice(&list),
        will,
        username,
        password: (seed.flags & 64 != 0 && (v5 || username.is_some())).then_some(&seed.payload),
    }));
}

fn publish(seed: &Seed, check: impl FnOnce(&Packet<'_>)) {
    let list = if seed.version.is_v5() { properties(&seed.properties, PropertyOwner::Publish) } else { Vec::new() };
    let properties = Properties::from_slice(&list);
    let alias_alone = properties.topic_alias().is_some() && seed.flags & 16 != 0;
    let qos = QoS::new(seed.flags >> 1 & 3).unwrap_or_default();
    check(&Packet::Publish(Publish {
        dup: seed.flags & 8 != 0 && qos != QoS::AtMostOnce,
        qos,
        retain: seed.flags & 1 != 0,
        topic: (!alias_alone).then(|| TopicName::new(&seed.topic).unwrap()),
        packet_id: PacketId::new(seed.number).filter(|_| qos != QoS::AtMostOnce),
        properties,
        payload: &seed.payload,
    }));
}

/// Reads every part of a packet, for tests that watch the reading.
pub(crate) fn read_all(packet: &Packet<'_>) -> usize {
    let properties = |properties: &Properties<'_>| properties.iter().map(|property| usize::from(property.id())).sum();
    match packet {
        Packet::Connect(packet) => {
            let will: usize = packet.will.map_or(0, |will| properties(&will.properties));
            will + properties(&packet.properties)
        }
        Packet::ConnAck(packet) => properties(&packet.properties),
        Packet::Publish(packet) => properties(&packet.properties) + usize::from(packet.payload_keeps_format()),
        Packet::PubAck(packet) => properties(&packet.properties),
        Packet::PubRec(packet) => properties(&packet.properties),
        Packet::PubRel(packet) => properties(&packet.properties),
        Packet::PubComp(packet) => properties(&packet.properties),
        Packet::Subscribe(packet) => properties(&packet.properties) + packet.filters.iter().count(),
        Packet::SubAck(packet) => properties(&packet.properties) + packet.codes.iter().count(),
        Packet::Unsubscribe(packet) => properties(&packet.properties) + packet.filters.iter().count(),
        Packet::UnsubAck(packet) => properties(&packet.properties) + packet.codes.iter().count(),
        Packet::PingReq | Packet::PingResp => 0,
        Packet::Disconnect(packet) => properties(&packet.properties),
        Packet::Auth(packet) => properties(&packet.properties),
    }
}

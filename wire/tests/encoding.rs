//! The exact bytes of encoded packets, and the packets that are refused.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use wisp_wire::*;

const V31: ProtocolVersion = ProtocolVersion::Mqtt31;
const V311: ProtocolVersion = ProtocolVersion::Mqtt311;
const V5: ProtocolVersion = ProtocolVersion::Mqtt5;

fn bytes_of(packet: impl Into<Packet<'static>>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    packet.into().encode(version, &mut bytes).unwrap();
    bytes.split_off(b"before".len())
}

fn refused(packet: impl Into<Packet<'static>>, version: ProtocolVersion) -> EncodeError {
    let mut bytes = b"before".to_vec();
    let packet = packet.into();
    let error = packet.encode(version, &mut bytes).unwrap_err();
    assert_eq!(bytes, b"before", "an error leaves the output as it was");
    assert_eq!(packet.encoded_len(version), Err(error));
    error
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn connect(version: ProtocolVersion) -> Connect<'static> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: "ab",
        properties: Properties::EMPTY,
        will: None,
        username: None,
        password: None,
    }
}

fn publish() -> Publish<'static> {
    Publish::new(TopicName::new("a/b").unwrap(), b"hi")
}

#[test]
fn connect_is_written_in_its_own_version() {
    assert_eq!(bytes_of(connect(V31), V5), b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x3C\x00\x02ab");
    assert_eq!(bytes_of(connect(V311), V5), b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x3C\x00\x02ab");
    assert_eq!(bytes_of(connect(V5), V311), b"\x10\x0F\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x02ab");

    let will = Will {
        topic: TopicName::new("w").unwrap(),
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Properties::from_slice(&[Property::WillDelayInterval(5)]),
    };
    let full = Connect {
        clean_start: false,
        properties: Properties::from_slice(&[Property::SessionExpiryInterval(10)]),
        will: Some(will),
        username: Some("u"),
        password: Some(b"p"),
        ..connect(V5)
    };
    let expected = b"\x10\x29\x00\x04MQTT\x05\xEC\x00\x3C\x05\x11\x00\x00\x00\x0A\x00\x02ab\
        \x05\x18\x00\x00\x00\x05\x00\x01w\x00\x04gone\x00\x01u\x00\x01p";
    assert_eq!(bytes_of(full, V5), expected);
}

#[test]
fn publish_is_written_byte_for_byte() {
    assert_eq!(bytes_of(publish(), V311), b"\x30\x07\x00\x03a/bhi");
    assert_eq!(bytes_of(publish(), V5), b"\x30\x08\x00\x03a/b\x00hi");
    let retained = Publish { dup: true, qos: QoS::ExactlyOnce, retain: true, packet_id: Some(id(0x102)), ..publish() };
    assert_eq!(bytes_of(retained, V31), b"\x3D\x09\x00\x03a/b\x01\x02hi");
    let alias = Property::TopicAlias(7.try_into().unwrap());
    let list: &'static [Property<'static>] = Box::leak(Box::new([alias]));
    let aliased = Publish { topic: None, properties: Properties::from_slice(list), ..publish() };
    assert_eq!(bytes_of(aliased, V5), b"\x30\x08\x00\x00\x03\x23\x00\x07hi");
}

#[test]
fn a_large_publish_has_a_longer_length() {
    let payload: &'static [u8] = Box::leak(vec![b'x'; 20_000].into_boxed_slice());
    let bytes = bytes_of(Publish { payload, ..publish() }, V311);
    assert_eq!(&bytes[..6], b"\x30\xA5\x9C\x01\x00\x03");
    assert_eq!(bytes.len(), 4 + 5 + 20_000);
}

#[test]
fn success_and_empty_properties_are_omitted() {
    assert_eq!(bytes_of(PubAck::new(id(1)), V5), b"\x40\x02\x00\x01");
    assert_eq!(bytes_of(PubRec { code: ReasonCode::QuotaExceeded, ..PubRec::new(id(1)) }, V5), b"\x50\x03\x00\x01\x97");
    assert_eq!(bytes_of(PubRel::new(id(1)), V311), b"\x62\x02\x00\x01");
    let why = Properties::from_slice(&[Property::ReasonString("x")]);
    assert_eq!(
        bytes_of(PubComp { properties: why, ..PubComp::new(id(1)) }, V5),
        b"\x70\x08\x00\x01\x00\x04\x1F\x00\x01x"
    );
    assert_eq!(bytes_of(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION), V5), b"\xE0\x00");
    assert_eq!(bytes_of(Disconnect::new(ReasonCode::ServerShuttingDown), V5), b"\xE0\x01\x8B");
    assert_eq!(bytes_of(Auth { code: ReasonCode::Success, properties: Properties::EMPTY }, V5), b"\xF0\x00");
    assert_eq!(bytes_of(Packet::PingReq, V5), b"\xC0\x00");
    assert_eq!(bytes_of(Packet::PingResp, V311), b"\xD0\x00");
}

#[test]
fn mqtt_3_gets_neither_properties_nor_reason_codes() {
    let why = Properties::from_slice(&[Property::ReasonString("x")]);
    let refusal = ConnAck { session_present: false, code: ReasonCode::Banned, properties: why };
    assert_eq!(bytes_of(refusal, V311), b"\x20\x02\x00\x05");
    assert_eq!(bytes_of(refusal, V5), b"\x20\x07\x00\x8A\x04\x1F\x00\x01x");
    let welcome = ConnAck { session_present: true, code: ReasonCode::Success, properties: why };
    assert_eq!(bytes_of(welcome, V311), b"\x20\x02\x01\x00");
    assert_eq!(bytes_of(welcome, V31), b"\x20\x02\x00\x00");

    let codes = List::from_slice(&[ReasonCode::GrantedQoS2, ReasonCode::NotAuthorized]);
    let suback = SubAck { packet_id: id(9), properties: why, codes };
    assert_eq!(bytes_of(suback, V311), b"\x90\x04\x00\x09\x02\x80");
    assert_eq!(bytes_of(suback, V5), b"\x90\x09\x00\x09\x04\x1F\x00\x01x\x02\x87");
    let codes = List::from_slice(&[ReasonCode::NoSubscriptionExisted]);
    let unsuback = UnsubAck { packet_id: id(9), properties: Properties::EMPTY, codes };
    assert_eq!(bytes_of(unsuback, V311), b"\xB0\x02\x00\x09");
    assert_eq!(bytes_of(unsuback, V5), b"\xB0\x04\x00\x09\x00\x11");
    assert_eq!(bytes_of(PubAck { code: ReasonCode::NotAuthorized, ..PubAck::new(id(1)) }, V311), b"\x40\x02\x00\x01");
    assert_eq!(bytes_of(Disconnect { code: ReasonCode::ServerBusy, properties: why }, V311), b"\xE0\x00");
}

#[test]
fn subscriptions_are_written_with_the_options_of_their_version() {
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let filters: &'static [_] = Box::leak(Box::new([(TopicFilter::new("a/+").unwrap(), options)]));
    let subscribe = Subscribe { packet_id: id(2), properties: Properties::EMPTY, filters: List::from_slice(filters) };
    assert_eq!(bytes_of(subscribe, V5), b"\x82\x09\x00\x02\x00\x00\x03a/+\x2D");
    assert_eq!(bytes_of(subscribe, V311), b"\x82\x08\x00\x02\x00\x03a/+\x01");
    let filters: &'static [_] = Box::leak(Box::new([TopicFilter::new("#").unwrap()]));
    let unsubscribe =
        Unsubscribe { packet_id: id(2), properties: Properties::EMPTY, filters: List::from_slice(filters) };
    assert_eq!(bytes_of(unsubscribe, V5), b"\xA2\x06\x00\x02\x00\x00\x01#");
    assert_eq!(bytes_of(unsubscribe, V311), b"\xA2\x05\x00\x02\x00\x01#");
}

#[test]
fn an_illegal_packet_is_not_written() {
    use EncodeError as E;
    let long: &'static str = Box::leak("x".repeat(65_536).into_boxed_str());
    assert_eq!(refused(Connect { client_id: long, ..connect(V311) }, V311), E::FieldTooLong);
    assert_eq!(refused(Connect { client_id: "a\0", ..connect(V311) }, V311), E::Nul);
    assert_eq!(refused(Connect { client_id: "", ..connect(V31) }, V31), E::ClientIdEmpty);
    assert_eq!(refused(Connect { password: Some(b"p"), ..connect(V311) }, V311), E::PasswordWithoutUsername);
    assert_eq!(refused(Connect { password: Some(long.as_bytes()), ..connect(V5) }, V5), E::FieldTooLong);
    let connack = ConnAck { session_present: true, code: ReasonCode::ServerBusy, properties: Properties::EMPTY };
    assert_eq!(refused(connack, V5), E::SessionPresentWithError);
    let connack = ConnAck { session_present: false, code: ReasonCode::ProtocolError, ..connack };
    assert_eq!(refused(connack, V311), E::ReasonCode);
    assert_eq!(refused(ConnAck { code: ReasonCode::SessionTakenOver, ..connack }, V5), E::ReasonCode);
    assert_eq!(refused(Publish { packet_id: Some(id(1)), ..publish() }, V5), E::PacketIdUnexpected);
    assert_eq!(refused(Publish { qos: QoS::AtLeastOnce, ..publish() }, V5), E::PacketIdMissing);
    assert_eq!(refused(Publish { dup: true, ..publish() }, V5), E::DupWithoutQos);
    assert_eq!(refused(Publish { topic: None, ..publish() }, V5), E::TopicMissing);
    assert_eq!(refused(Publish { topic: None, ..publish() }, V311), E::TopicMissing);
    let subscribe = Subscribe { packet_id: id(1), properties: Properties::EMPTY, filters: List::from_slice(&[]) };
    assert_eq!(refused(subscribe, V311), E::NoFilters);
    let suback = SubAck { packet_id: id(1), properties: Properties::EMPTY, codes: List::from_slice(&[]) };
    assert_eq!(refused(suback, V311), E::NoReasonCodes);
    let codes = List::from_slice(&[ReasonCode::PacketTooLarge]);
    assert_eq!(refused(SubAck { codes, ..suback }, V5), E::ReasonCode);
    let auth = Auth { code: ReasonCode::ContinueAuthentication, properties: Properties::EMPTY };
    assert_eq!(refused(auth, V5), E::AuthenticationMethodMissing);
    assert_eq!(refused(auth, V311), E::NotInVersion);

    let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() };
    let filters: &'static [_] = Box::leak(Box::new([(TopicFilter::new("$share/g/a").unwrap(), options)]));
    assert_eq!(refused(Subscribe { filters: List::from_slice(filters), ..subscribe }, V5), E::NoLocalShared);
}

#[test]
fn illegal_properties_are_not_written() {
    use EncodeError as E;
    let with = |list: &'static [Property<'static>]| Publish { properties: Properties::from_slice(list), ..publish() };
    assert_eq!(refused(with(&[Property::ServerKeepAlive(1)]), V5), E::PropertyMisplaced);
    assert_eq!(refused(with(&[Property::ContentType("a"), Property::ContentType("b")]), V5), E::PropertyDuplicate);
    assert_eq!(refused(with(&[Property::UserProperty(("a", "\0"))]), V5), E::Nul);
    let connack = ConnAck {
        session_present: false,
        code: ReasonCode::Success,
        properties: Properties::from_slice(&[Property::MaximumQoS(QoS::ExactlyOnce)]),
    };
    assert_eq!(refused(connack, V5), E::PropertyValue);

    // A block that was checked for one packet is checked again for another.
    let will = Properties::from_bytes(b"\x18\x00\x00\x00\x01", PropertyOwner::Will).unwrap();
    assert_eq!(refused(Publish { properties: will, ..publish() }, V5), E::PropertyMisplaced);
    let will = Properties::from_bytes(b"\x01\x01", PropertyOwner::Will).unwrap();
    assert_eq!(bytes_of(Publish { properties: will, ..publish() }, V5), b"\x30\x0A\x00\x03a/b\x02\x01\x01hi");
}

#[test]
fn a_packet_longer_than_its_length_field_allows_is_not_written() {
    let payload: &'static [u8] = Box::leak(vec![0; 268_435_456].into_boxed_slice());
    assert_eq!(refused(Publish { payload, ..publish() }, V311), EncodeError::PacketTooLong);
}

//! The table of malformed packets: the bytes that a connected client sends, the rule that they break, and the
//! reason codes that MQTT 5 has for it. Where the standard allows Malformed Packet, Protocol Error or a code
//! for the field, all of them are accepted.

use wisp_e2e::Version::{self, V5, V31, V311};
use wisp_e2e::packet::{field, packet, properties, publish_with, subscribe, unsubscribe, variable_integer};

/// Malformed Packet.
const MALFORMED: u8 = 0x81;
/// Protocol Error.
const PROTOCOL: u8 = 0x82;
/// Topic Filter invalid.
const FILTER: u8 = 0x8F;
/// Topic Name invalid.
const NAME: u8 = 0x90;

/// A packet that no client may send.
pub(crate) struct Case {
    /// The broken rule.
    pub(crate) rule: &'static str,
    pub(crate) version: Version,
    pub(crate) bytes: Vec<u8>,
    /// The codes that a DISCONNECT of MQTT 5 may have. Older versions have none.
    pub(crate) codes: &'static [u8],
}

/// Strings that the standards call ill-formed UTF-8.
const ILL_FORMED: [(&str, &[u8]); 6] = [
    ("U+0000", b"a\0b"),
    ("a stray continuation byte", b"a\x80b"),
    ("an overlong slash", b"a\xC0\xAFb"),
    ("a surrogate", b"a\xED\xA0\x80b"),
    ("past U+10FFFF", b"a\xF4\x90\x80\x80b"),
    ("a character cut short", b"ab\xE2\x82"),
];

pub(crate) fn after_connect() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in Version::ALL {
        let mut add = |rule, bytes, codes| {
            cases.push(Case { rule, version, bytes, codes });
        };
        fixed_headers(&mut add);
        publishes(version, &mut add);
        subscriptions(version, &mut add);
    }
    let mut add = |rule, bytes, codes| {
        cases.push(Case { rule, version: V5, bytes, codes });
    };
    properties_of_publish(&mut add);
    packets_of_mqtt_5(&mut add);
    // Before MQTT 5 there is no AUTH, and DISCONNECT is two bytes long.
    for version in [V31, V311] {
        cases.push(Case { rule: "AUTH is of MQTT 5", version, bytes: packet(0xF0, &[]), codes: &[] });
        cases.push(Case { rule: "DISCONNECT is empty", version, bytes: packet(0xE0, &[0]), codes: &[] });
    }
    cases
}

type Add<'a> = &'a mut dyn FnMut(&'static str, Vec<u8>, &'static [u8]);

fn fixed_headers(add: Add<'_>) {
    add("type 0 is reserved", packet(0x00, &[]), &[MALFORMED, PROTOCOL]);
    add("flags of PINGREQ are reserved", packet(0xC1, &[]), &[MALFORMED]);
    add("flags of DISCONNECT are reserved", packet(0xE2, &[]), &[MALFORMED]);
    add("flags of SUBSCRIBE are 2", packet(0x80, &[0, 1, 0, 0, 1, b'a', 0]), &[MALFORMED]);
    add("flags of UNSUBSCRIBE are 2", packet(0xA0, &[0, 1, 0, 0, 1, b'a']), &[MALFORMED]);
    add("a length has four bytes at most", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], &[MALFORMED]);
    add("PINGREQ is empty", packet(0xC0, &[0]), &[MALFORMED, PROTOCOL]);
    add("CONNACK is for clients", packet(0x20, &[0, 0, 0]), &[MALFORMED, PROTOCOL]);
    add("SUBACK is for clients", packet(0x90, &[0, 1, 0, 0]), &[MALFORMED, PROTOCOL]);
    add("UNSUBACK is for clients", packet(0xB0, &[0, 1, 0, 0]), &[MALFORMED, PROTOCOL]);
    add("PINGRESP is for clients", packet(0xD0, &[]), &[MALFORMED, PROTOCOL]);
}

fn publishes(version: Version, add: Add<'_>) {
    let named = |topic: &[u8]| publish_with(version, 0, topic, None, &[], b"x");
    add("QoS 3", publish_with(version, 0b0110, b"a", Some(1), &[], b"x"), &[MALFORMED]);
    add("DUP at QoS 0", publish_with(version, 0b1000, b"a", None, &[], b"x"), &[MALFORMED, PROTOCOL]);
    add("a topic name is not empty", named(b""), &[PROTOCOL, MALFORMED, NAME]);
    add("+ in a topic name", named(b"a/+"), &[NAME, MALFORMED, PROTOCOL]);
    add("# in a topic name", named(b"#"), &[NAME, MALFORMED, PROTOCOL]);
    for (rule, topic) in ILL_FORMED {
        add(rule, named(topic), &[MALFORMED, NAME]);
    }
    add("an empty PUBLISH", packet(0x30, &[]), &[MALFORMED]);
    add("half a topic length", packet(0x30, &[0]), &[MALFORMED]);
    add("a topic longer than its packet", packet(0x30, &[0, 9, b'a']), &[MALFORMED]);
}

fn subscriptions(version: Version, add: Add<'_>) {
    let none = properties(version, &[]);
    let with_id = |id: u16, rest: &[u8]| [&id.to_be_bytes()[..], &none, rest].concat();
    let filter = |filter: &[u8], options: u8| with_id(1, &[field(filter), vec![options]].concat());
    add("SUBSCRIBE without packet id", packet(0x82, &[]), &[MALFORMED]);
    add("SUBSCRIBE with packet id 0", subscribe(version, 0, &[("a", 0)]), &[PROTOCOL, MALFORMED]);
    add("UNSUBSCRIBE with packet id 0", unsubscribe(version, 0, &["a"]), &[PROTOCOL, MALFORMED]);
    add("SUBSCRIBE without filter", packet(0x82, &with_id(1, &[])), &[PROTOCOL, MALFORMED]);
    add("UNSUBSCRIBE without filter", packet(0xA2, &with_id(1, &[])), &[PROTOCOL, MALFORMED]);
    add("a filter without options", packet(0x82, &with_id(1, &field(b"a"))), &[MALFORMED]);
    add("half a filter", packet(0x82, &with_id(1, &[0, 5, b'a'])), &[MALFORMED]);
    add("QoS 3 for a filter", packet(0x82, &filter(b"a", 3)), &[PROTOCOL, MALFORMED]);
    add("reserved options", packet(0x82, &filter(b"a", 0x80)), &[MALFORMED, PROTOCOL]);
    for (rule, text) in ILL_FORMED {
        add(rule, packet(0x82, &filter(text, 0)), &[MALFORMED, FILTER]);
        add(rule, packet(0xA2, &with_id(1, &field(text))), &[MALFORMED, FILTER]);
    }
    for bad in ["", "#/a", "a#", "a/#/b", "a+", "+a/b", "a/+b"] {
        add("an illegal filter", subscribe(version, 1, &[(bad, 0)]), &[FILTER, MALFORMED, PROTOCOL]);
    }
}

fn properties_of_publish(add: Add<'_>) {
    let with = |content: &[u8]| publish_with(V5, 0, b"a", None, content, b"x");
    add("payload format comes once", with(&[0x01, 0, 0x01, 0]), &[PROTOCOL]);
    add("content type comes once", with(&[0x03, 0, 0, 0x03, 0, 0]), &[PROTOCOL]);
    add("payload format is 0 or 1", with(&[0x01, 2]), &[PROTOCOL, MALFORMED]);
    add("no such property", with(&[0x7F, 0]), &[MALFORMED, PROTOCOL]);
    add("session expiry is not of PUBLISH", with(&[0x11, 0, 0, 0, 1]), &[MALFORMED, PROTOCOL]);
    add("subscription ids come from the broker", with(&[0x0B, 1]), &[PROTOCOL, MALFORMED]);
    add("a response topic is a topic name", with(&[0x08, 0, 1, b'#']), &[PROTOCOL, MALFORMED, NAME]);
    add("a property cut short", with(&[0x02, 0, 0]), &[MALFORMED]);
    add("a user property without value", with(&[0x26, 0, 1, b'k']), &[MALFORMED]);
    add("ill-formed UTF-8 in a user property", with(&[0x26, 0, 1, 0xFF, 0, 0]), &[MALFORMED]);
    let too_long = [&[0, 1, b'a'][..], &variable_integer(200), &[0x01, 0]].concat();
    add("properties longer than their packet", packet(0x30, &too_long), &[MALFORMED]);
    let no_end = [0, 1, b'a', 0x80, 0x80, 0x80, 0x80, 0x01];
    add("a property length of five bytes", packet(0x30, &no_end), &[MALFORMED]);
}

fn packets_of_mqtt_5(add: Add<'_>) {
    let filter = |options: u8| subscribe(V5, 1, &[("a", options)]);
    add("retain handling 3", filter(0x30), &[PROTOCOL, MALFORMED]);
    add("reserved subscription options", filter(0x40), &[MALFORMED, PROTOCOL]);
    let id_0 = [&[0, 1, 2, 0x0B, 0][..], &field(b"a"), &[0]].concat();
    add("subscription id 0", packet(0x82, &id_0), &[PROTOCOL, MALFORMED]);
    add("AUTH without a method", packet(0xF0, &[0x18, 0]), &[PROTOCOL, MALFORMED]);
    add("no such code of DISCONNECT", packet(0xE0, &[0x01, 0]), &[MALFORMED, PROTOCOL]);
    let expiry = [0, 5, 0x11, 0, 0, 0, 9];
    add("a session without expiry gets none at the end", packet(0xE0, &expiry), &[PROTOCOL]);
}

/// First packets that are not a legal CONNECT. The broker may answer them or not.
pub(crate) fn in_place_of_connect() -> Vec<(&'static str, Vec<u8>)> {
    let v311 = |flags: u8, rest: &[u8]| packet(0x10, &[&field(b"MQTT"), &[4, flags, 0, 0][..], rest].concat());
    let v5 = |flags: u8, property_content: &[u8], rest: &[u8]| {
        let head = [field(b"MQTT"), vec![5, flags, 0, 0], properties(V5, property_content)].concat();
        packet(0x10, &[&head[..], rest].concat())
    };
    let id = field(b"id");
    vec![
        ("an empty CONNECT", packet(0x10, &[])),
        ("flags of CONNECT are reserved", packet(0x11, &[&field(b"MQTT"), &[4, 2, 0, 0][..], &id].concat())),
        ("a length of five bytes", vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ("no such protocol", packet(0x10, &[&field(b"MQTX"), &[4, 2, 0, 0][..], &id].concat())),
        ("the reserved connect flag", v311(0x03, &id)),
        ("will QoS without a will", v311(0x0A, &id)),
        ("will retain without a will", v311(0x22, &id)),
        ("will QoS 3", v311(0x1E, &[&id[..], &field(b"t"), &field(b"m")].concat())),
        ("a password without a user before MQTT 5", v311(0x42, &[&id[..], &field(b"p")].concat())),
        ("no client id", v311(0x02, &[])),
        ("a user name that is missing", v311(0x82, &id)),
        ("bytes after the end", v311(0x02, &[&id[..], b"more"].concat())),
        ("U+0000 in the client id", v311(0x02, &field(b"i\0d"))),
        ("ill-formed UTF-8 in the client id", v311(0x02, &field(b"i\xFFd"))),
        ("a will topic with a wildcard", v311(0x06, &[&id[..], &field(b"a/#"), &field(b"m")].concat())),
        ("receive maximum 0", v5(2, &[0x21, 0, 0], &id)),
        ("maximum packet size 0", v5(2, &[0x27, 0, 0, 0, 0], &id)),
        ("a property twice", v5(2, &[0x21, 0, 9, 0x21, 0, 9], &id)),
        ("a property of PUBLISH", v5(2, &[0x23, 0, 1], &id)),
        ("authentication data without a method", v5(2, &[0x16, 0, 1, 7], &id)),
        ("request problem information 2", v5(2, &[0x17, 2], &id)),
        ("properties longer than the packet", packet(0x10, &[&field(b"MQTT"), &[5, 2, 0, 0, 99][..]].concat())),
    ]
}

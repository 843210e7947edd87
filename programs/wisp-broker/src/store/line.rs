//! The line for an object.
//!
//! Texts are quoted and escaped as in Rust, so that no control character reaches a terminal. Times are in Unix milliseconds.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::io::{self, Write};

use wisp_broker::{BadObject, Key, LoanObject, MessageObject, Object, WaitingState, WillObject};
use wisp_store::Live;

/// The longest payload that is shown.
const PAYLOAD_BYTES_MAX: usize = 80;

/// Writes the line for an object. `clients` has the client identifiers of the sessions before it.
pub(super) fn write<'a>(live: &'a Live, clients: &mut HashMap<Key, &'a str>, out: &mut impl Write) -> io::Result<()> {
    let Live { key: number, kind, body, .. } = live;
    let decoded = Key::new(*number).map(|key| (key, Object::decode(key, *kind, body)));
    match decoded {
        Some((key, Ok(object))) => {
            if let Object::Session { client_id, .. } = &object {
                clients.insert(key, client_id);
            }
            writeln!(out, "{}", Line { key, object: &object, clients })
        }
        Some((_, Err(error))) => {
            writeln!(out, "undecodable key={number} kind={kind} bytes={}: {}", body.len(), fault(&error))
        }
        None => writeln!(out, "undecodable key=0 kind={kind} bytes={}: has no legal key", body.len()),
    }
}

/// The fault of an object without its key and kind, which the line has.
fn fault(error: &BadObject) -> String {
    let text = error.to_string();
    let named = format!("the stored object {} of kind {} ", error.key, error.kind);
    text.strip_prefix(&named).unwrap_or(&text).to_owned()
}

/// A text of one's own, as a path, with control characters escaped.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        let escape = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.to_string() };
        return text.chars().map(escape).collect();
    }
    text.into()
}

struct Line<'a> {
    key: Key,
    object: &'a Object<'a>,
    clients: &'a HashMap<Key, &'a str>,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let key = self.key;
        match self.object {
            Object::Session { client_id, expiry_s, away_since_ms, user, will } => {
                write!(f, "session key={key} client={client_id:?} expiry-s={expiry_s}")?;
                part(f, "away-since", *away_since_ms)?;
                if let Some(user) = user {
                    write!(f, " user={user:?}")?;
                }
                will.as_ref().map_or(Ok(()), |will| show_will(f, will))
            }
            Object::Subscription { session, filter, options, id } => {
                write!(f, "subscription key={key}")?;
                self.session(f, *session)?;
                write!(f, " filter={filter:?} qos={}", options.qos as u8)?;
                flag(f, "no-local", options.no_local)?;
                flag(f, "retain-as-published", options.retain_as_published)?;
                write!(f, " retain-handling={}", options.retain_handling as u8)?;
                part(f, "identifier", id.map(|id| u64::from(id.get())))
            }
            Object::Message(message) => {
                write!(f, "message key={key}")?;
                show_message(f, message)
            }
            Object::Waiting { session, message, qos, retain, subscription_ids, state } => {
                write!(f, "waiting key={key}")?;
                self.session(f, *session)?;
                part(f, "message", message.map(Key::get))?;
                write!(f, " qos={}", *qos as u8)?;
                flag(f, "retain", *retain)?;
                for id in subscription_ids.iter() {
                    part(f, "identifier", Some(u64::from(id.get())))?;
                }
                match state {
                    WaitingState::Pending => write!(f, " state=pending"),
                    WaitingState::Sent(id) => write!(f, " state=sent packet-identifier={}", id.get()),
                    WaitingState::Released(id) => write!(f, " state=released packet-identifier={}", id.get()),
                }
            }
            Object::Incoming { session, packet_id } => {
                write!(f, "incoming key={key}")?;
                self.session(f, *session)?;
                write!(f, " packet-identifier={}", packet_id.get())
            }
            Object::Retained { sender, message } => {
                write!(f, "retained key={key} client={sender:?}")?;
                show_message(f, message)
            }
            Object::Queued { queue, message, deliveries, loan } => {
                write!(f, "queued key={key} queue={queue:?} message={message} deliveries={deliveries}")?;
                loan.as_ref().map_or(Ok(()), |loan| self.show_loan(f, loan))
            }
            other => write!(f, "other key={key} kind={}", other.kind()),
        }
    }
}

impl Line<'_> {
    fn show_loan(&self, f: &mut Formatter<'_>, loan: &LoanObject<'_>) -> fmt::Result {
        let LoanObject { session, qos, retain, packet_id, subscription_ids } = loan;
        write!(f, " on-loan")?;
        session.map_or(Ok(()), |session| self.session(f, session))?;
        write!(f, " qos={}", *qos as u8)?;
        flag(f, "retain", *retain)?;
        for id in subscription_ids.iter() {
            part(f, "identifier", Some(u64::from(id.get())))?;
        }
        write!(f, " packet-identifier={}", packet_id.get())
    }

    fn session(&self, f: &mut Formatter<'_>, session: Key) -> fmt::Result {
        write!(f, " session={session}")?;
        match self.clients.get(&session) {
            Some(client) => write!(f, " client={client:?}"),
            None => Ok(()),
        }
    }
}

fn part(f: &mut Formatter<'_>, name: &str, value: Option<u64>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {name}={value}"))
}

fn flag(f: &mut Formatter<'_>, name: &str, is_set: bool) -> fmt::Result {
    if is_set { write!(f, " {name}") } else { Ok(()) }
}

fn show_message(f: &mut Formatter<'_>, message: &MessageObject<'_>) -> fmt::Result {
    write!(f, " topic={:?} qos={}", message.topic, message.qos as u8)?;
    flag(f, "retain", message.retain)?;
    part(f, "expires", message.expires_ms)?;
    let properties = message.properties.len() as u64;
    part(f, "properties-bytes", (properties > 0).then_some(properties))?;
    write!(f, " payload-bytes={}", message.payload.len())?;
    let is_short = !message.payload.is_empty() && message.payload.len() <= PAYLOAD_BYTES_MAX;
    match str::from_utf8(message.payload) {
        Ok(text) if is_short => write!(f, " payload={text:?}"),
        _ => Ok(()),
    }
}

fn show_will(f: &mut Formatter<'_>, will: &WillObject<'_>) -> fmt::Result {
    if let Some(topic) = will.topic() {
        write!(f, " will-topic={:?}", topic.as_str())?;
    }
    write!(f, " will-delay-s={} will-packet-bytes={}", will.delay_s, will.packet.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body's head: numbers little-endian, texts behind their length in 2 bytes.
    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn lines(objects: &[(u64, u8, Vec<u8>)]) -> Vec<String> {
        let live = |(key, kind, body): &(u64, u8, Vec<u8>)| Live {
            key: *key,
            kind: *kind,
            refers_to: None,
            shared: false,
            body: body.clone().into(),
        };
        let live: Vec<Live> = objects.iter().map(live).collect();
        let (mut clients, mut out) = (HashMap::new(), Vec::new());
        live.iter().for_each(|object| write(object, &mut clients, &mut out).unwrap());
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    fn message(topic: &str, payload: &[u8]) -> Vec<u8> {
        [&[1, 1][..], &[0; 8], &[0; 4], &text(topic), payload].concat()
    }

    #[test]
    fn each_kind_has_its_line() {
        let will = [&[0x30, 6][..], &[0, 3], b"w/t", b"x"].concat();
        let session = [&3600u32.to_le_bytes()[..], &5u64.to_le_bytes(), &text("c1"), &[3], &text("ann"), &[4]];
        let session = [&session.concat()[..], &9u32.to_le_bytes(), &will].concat();
        let one = 1u64.to_le_bytes();
        let subscription = [&one[..], &[0b10_1101], &7u32.to_le_bytes(), &text("a/#")].concat();
        let waiting = [&one[..], &3u64.to_le_bytes(), &[1, 0, 1], &8u16.to_le_bytes(), &[1, 0], &7u32.to_le_bytes()];
        let queued = [&3u64.to_le_bytes()[..], &[2, 0], &text("$queue/q")].concat();
        let lent = [&queued[..], &[1], &one, &[2, 1, 9, 0, 1, 0], &7u32.to_le_bytes()].concat();
        let shown = lines(&[
            (1, 1, session),
            (2, 2, subscription),
            (3, 3, message("a/b", b"hello")),
            (4, 4, waiting.concat()),
            (5, 5, [&one[..], &[9, 0]].concat()),
            (6, 6, [text("c2"), message("a/c", &[0xff, 1])].concat()),
            (7, 7, [&queued[..], &[0]].concat()),
            (8, 7, lent),
        ]);
        let expected = [
            "session key=1 client=\"c1\" expiry-s=3600 away-since=5 user=\"ann\" will-topic=\"w/t\" will-delay-s=9 will-packet-bytes=8",
            "subscription key=2 session=1 client=\"c1\" filter=\"a/#\" qos=1 no-local retain-as-published retain-handling=2 identifier=7",
            "message key=3 topic=\"a/b\" qos=1 retain payload-bytes=5 payload=\"hello\"",
            "waiting key=4 session=1 client=\"c1\" message=3 qos=1 identifier=7 state=sent packet-identifier=8",
            "incoming key=5 session=1 client=\"c1\" packet-identifier=9",
            "retained key=6 client=\"c2\" topic=\"a/c\" qos=1 retain payload-bytes=2",
            "queued key=7 queue=\"$queue/q\" message=3 deliveries=2",
            "queued key=8 queue=\"$queue/q\" message=3 deliveries=2 on-loan session=1 client=\"c1\" qos=2 retain identifier=7 packet-identifier=9",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn no_control_character_is_in_a_line_and_long_payloads_are_left_out() {
        let shown = lines(&[
            (1, 3, message("a", "\u{1b}[2J\r\n\"\u{9b}\u{202e}\u{7f}\0".as_bytes())),
            (2, 3, message("a", &[b'x'; PAYLOAD_BYTES_MAX + 1])),
            (3, 3, message("a\u{85}b\u{2028}", b"")),
        ]);
        assert_eq!(shown.len(), 3);
        assert!(shown.concat().chars().all(|char| (' '..='~').contains(&char)), "{shown:?}");
        assert!(shown[0].ends_with(r#" payload="\u{1b}[2J\r\n\"\u{9b}\u{202e}\u{7f}\0""#), "{}", shown[0]);
        assert!(shown[1].ends_with(" payload-bytes=81"), "{}", shown[1]);
        assert_eq!(harmless("plain/ü"), "plain/ü");
        assert_eq!(harmless("\u{1b}[2Jx\n"), r"\u{1b}[2Jx\n");
    }

    #[test]
    fn a_body_that_is_not_legal_is_named_with_its_fault() {
        let shown = lines(&[(8, 5, vec![1]), (0, 5, vec![1])]);
        let expected =
            ["undecodable key=8 kind=5 bytes=1: ends too early", "undecodable key=0 kind=5 bytes=1: has no legal key"];
        assert_eq!(shown, expected);
    }
}

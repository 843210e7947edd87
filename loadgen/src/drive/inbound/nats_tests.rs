//! Input from a NATS server, cut into any pieces, with other operations in between.

use proptest::prelude::*;
use wisp_wire::QoS;

use super::Inbound;
use super::tests::{feed, tally};
use crate::drive::checker::{Checker, Tally};
use crate::drive::messages::Messages;
use crate::drive::nats::{NAMING, delivered};
use crate::drive::outgoing::Outgoing;
use crate::drive::pattern::{Layout, Pattern};
use crate::drive::payload::PayloadFormat;
use crate::drive::protocol::Protocol;
use crate::drive::topics::Topics;

const SIZE: usize = 40;
const QOS: QoS = QoS::AtMostOnce;
/// Of two senders together.
const MESSAGES: u64 = 60;

/// A receiver, and the messages that are for it, one by one.
fn receiver(pattern: Pattern, topics: u32) -> (Inbound, Vec<Vec<u8>>) {
    let layout = Layout::new(pattern, 2, 1, Some(topics), MESSAGES).unwrap();
    let (topics, payloads) = (Topics::new(&layout, "t", NAMING).unwrap(), PayloadFormat::new(5, SIZE));
    let template = delivered(&topics, 0, &payloads);
    let packet_bytes = template.packet_bytes();
    let mut outgoing = Outgoing::new(payloads, topics.clone(), template.clone(), packet_bytes * MESSAGES as usize);
    let whole = |sender| outgoing.next(sender, 0, usize::MAX).chunks(packet_bytes).map(<[u8]>::to_vec).collect();
    let messages = [0, 1].map(whole).into_iter().flat_map(|all: Vec<_>| all).collect();
    let checked = Messages::new(&template, payloads, topics, QOS, Checker::new(&layout, 0, None));
    (Inbound::messages(Protocol::Nats, 1000, Vec::new(), checked), messages)
}

/// A message in the form that has a subject to reply to.
fn with_reply(message: &[u8]) -> Vec<u8> {
    let size_at = message.iter().enumerate().filter(|(_, byte)| **byte == b' ').nth(2).unwrap().0;
    [&message[..size_at], b" _INBOX.x", &message[size_at..]].concat()
}

fn sender() -> Inbound {
    Inbound::acks(Protocol::Nats, 1000, Vec::new(), 0, QOS)
}

proptest! {
    #[test]
    fn pieces_and_what_is_said_in_between_do_not_matter(
        (pattern, topics) in prop_oneof![
            Just((Pattern::FanIn, 1)),
            Just((Pattern::FanOut, 12)),
            Just((Pattern::Wildcard, 12)),
        ],
        between in proptest::collection::vec(0usize..12, MESSAGES as usize),
        pieces in proptest::collection::vec(1usize..400, 1..10),
    ) {
        let (mut inbound, messages) = receiver(pattern, topics);
        prop_assert_eq!(messages.len() as u64, MESSAGES);
        let (mut stream, mut pings, mut pongs) = (Vec::new(), 0, 0);
        for (message, said) in messages.iter().zip(between) {
            match said {
                0 => stream.extend_from_slice(b"INFO {\"server_id\":\"x\",\"connect_urls\":[\"MSG a 1 5\"]}\r\n"),
                1 => { stream.extend_from_slice(b"PING\r\n"); pings += 1; }
                2 => { stream.extend_from_slice(b"pong\r\n"); pongs += 1; }
                3 => stream.extend_from_slice(b"+OK\r\n"),
                _ => {}
            }
            let is_usual = said != 4;
            stream.extend(if is_usual { message.clone() } else { with_reply(message) });
        }
        let mut rest = stream.as_slice();
        for piece in pieces.into_iter().cycle() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            feed(&mut inbound, now, usize::MAX).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(tally(&inbound), Tally { received: MESSAGES, ..Tally::default() });
        prop_assert_eq!((inbound.pongs, inbound.partial.len()), (pongs, 0));
        prop_assert_eq!(inbound.replies.into_bytes(), b"PONG\r\n".repeat(pings));
    }
}

#[test]
fn damage_and_strangers_are_found_in_every_form() {
    for form in [<[u8]>::to_vec, with_reply] {
        let (mut inbound, messages) = receiver(Pattern::FanOut, 12);
        let changed = |index: usize, change: &dyn Fn(&mut Vec<u8>)| {
            let mut message = messages[index].clone();
            change(&mut message);
            form(&message)
        };
        let payload_at = messages[0].len() - SIZE - 2;
        for bytes in [
            form(&messages[0]),
            changed(1, &|message| message[payload_at + 20] ^= 1),
            changed(2, &|message| message[payload_at + 10] ^= 1),
            // Sender 0's third message on the fifth topic.
            changed(2, &|message| message[6..8].copy_from_slice(b"04")),
            changed(3, &|message| message[payload_at..payload_at + SIZE].fill(b'x')),
            b"MSG t.00 00 5\r\nhello\r\n".to_vec(),
        ] {
            feed(&mut inbound, &bytes, 7).unwrap();
        }
        let expected = Tally { received: 1, corrupt: 3, foreign: 2, ..Tally::default() };
        assert_eq!(tally(&inbound), expected, "{}", String::from_utf8_lossy(&form(&messages[0])));
    }
}

#[test]
fn what_ends_a_run_is_said() {
    let ends = |inbound: &mut Inbound, bytes: &[u8], words: &str| {
        let error = feed(inbound, bytes, 3).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains(char::is_control), "{error:?}");
    };
    let receiver = || receiver(Pattern::FanIn, 1).0;
    ends(&mut receiver(), b"-ERR 'Slow Consumer'\r\n", "the server says: Slow Consumer");
    ends(&mut receiver(), b"-ERR \x1b[2J 'Stale\r Connection'\r\n", "Stale");
    ends(&mut receiver(), b"SUB a 1\r\n", "does not keep to NATS");
    ends(&mut receiver(), b"MSG t.0 0 2000\r\n", "2000 bytes");
    ends(&mut sender(), b"MSG t.0 0 5\r\nhello\r\n", "did not subscribe");
    ends(&mut sender(), b"-ERR 'Maximum Payload Violation'\r\n", "Maximum Payload Violation");
}

#[test]
fn a_sender_answers_pings_and_hears_that_all_is_read() {
    let mut sender = sender();
    feed(&mut sender, b"PING\r\nINFO {}\r\nPONG\r\n", 4).unwrap();
    assert_eq!((sender.pongs, sender.replies.into_bytes().as_slice()), (1, &b"PONG\r\n"[..]));
}

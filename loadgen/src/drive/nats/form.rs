//! The form of subjects and messages.
//!
//! ```text
//!   PUB loadgen.0a1b2c.0042 1024\r\n            MSG loadgen.0a1b2c.0042 0042 1024\r\n
//!                      ^^^^                                       ^^^^ ^^^^
//!                      tail                                       tail subscription
//! ```
//!
//! A receiver subscribes once for each of its topics, under the topic's number, or once for all of them by a wildcard; numbers
//! have leading zeros, so that all its messages have the same length.

use crate::drive::nats::line::PING;
use crate::drive::outgoing::Template;
use crate::drive::payload::PayloadFormat;
use crate::drive::topics::{NameError, Naming, Topics};

/// The end of a line and of a payload.
const LINE_END: &[u8] = b"\r\n";

/// As NATS does, which has no queues of its own.
pub(crate) const NAMING: Naming = Naming { separator: '.', any_level: '*', queues: None, check: check_subject };

fn check_subject(name: &str) -> Result<(), NameError> {
    if name.split('.').any(str::is_empty) {
        return Err(NameError::EmptyLevel);
    }
    match name.chars().find(|letter| matches!(letter, '*' | '>') || letter.is_whitespace() || letter.is_control()) {
        Some(letter) => Err(NameError::Letter(letter)),
        None => Ok(()),
    }
}

/// The name of subscription number `index` of `count`. All names have the same length.
pub(crate) fn sid(index: usize, count: usize) -> String {
    format!("{index:0digits$}", digits = count.saturating_sub(1).to_string().len())
}

/// The messages that senders send.
pub(crate) fn published(topics: &Topics, payloads: &PayloadFormat) -> Template {
    template("PUB ", topics, 0, "", payloads)
}

/// The messages for a subscriber of this topic.
pub(crate) fn delivered(topics: &Topics, topic: u32, payloads: &PayloadFormat) -> Template {
    let count = topics.subscriptions(0).len();
    template("MSG ", topics, topic, &format!(" {}", sid(0, count)), payloads)
}

/// A message; `subscription` stands between its subject and its size.
fn template(verb: &str, topics: &Topics, topic: u32, subscription: &str, payloads: &PayloadFormat) -> Template {
    let mut packet = format!("{verb}{}", topics.name(topic)).into_bytes();
    let tail_at = packet.len() - topics.tail_bytes();
    packet.extend_from_slice(subscription.as_bytes());
    let after_id = packet.len();
    packet.extend_from_slice(format!(" {}\r\n", payloads.size()).as_bytes());
    let header_at = packet.len();
    packet.extend_from_slice(&payloads.blank());
    packet.extend_from_slice(LINE_END);
    Template { packet, tail_at, tail_bytes: topics.tail_bytes(), id_at: None, after_id, header_at, end: PING }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::nats::line::{Operation, decode};
    use crate::drive::pattern::{Layout, Pattern};

    #[test]
    fn messages_are_lines_with_payloads() {
        let layout = Layout::new(Pattern::FanOut, 1, 2, Some(12), 100).unwrap();
        let (topics, payloads) = (Topics::new(&layout, "a.b", NAMING).unwrap(), PayloadFormat::new(1, 20));
        let published = published(&topics, &payloads);
        assert!(published.packet.starts_with(b"PUB a.b.00 20\r\n") && published.packet.ends_with(LINE_END));
        assert_eq!(published.packet.len(), 15 + 20 + 2);
        assert_eq!(published.lead(false), (&b"PUB a.b."[..], &b" 20\r\n"[..]));

        let delivered = delivered(&topics, 7, &payloads);
        assert_eq!(delivered.lead(true), (&b"MSG a.b.07"[..], &b" 20\r\n"[..]));
        let operation = Operation::Message { subject: b"a.b.07", payload: &payloads.blank() };
        assert_eq!(decode(&delivered.packet, 20), Ok(Some((operation, delivered.packet.len()))));
        assert_eq!([sid(0, 1), sid(7, 10), sid(7, 11)], ["0", "7", "07"]);
    }

    #[test]
    fn subjects_that_nobody_can_publish_to_are_refused() {
        for name in ["a", "a.b/c", "$a.B-1", "ü.x"] {
            assert_eq!(check_subject(name), Ok(()), "{name}");
        }
        for name in ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a.*", "a.>", "a\0", "a\r\nPUB b 1"] {
            assert!(!check_subject(name).expect_err(name).to_string().contains(char::is_control), "{name:?}");
        }
    }
}

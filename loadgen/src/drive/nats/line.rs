//! Cuts the output of a NATS server into operations.

use std::str;

/// The longest line: INFO lists the addresses of a whole cluster.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// The bytes shown of a line that is not understood, and of a server's message.
const SHOWN_BYTES_MAX: usize = 200;

/// The answer to the server's PING.
pub(crate) const PONG: &[u8] = b"PONG\r\n";
/// Asks the server for a PONG once it has read everything before.
pub(crate) const PING: &[u8] = b"PING\r\n";

/// An operation of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation<'a> {
    /// The server's description of itself, as JSON.
    Info(&'a [u8]),
    /// A message for a subscription.
    Message { subject: &'a [u8], payload: &'a [u8] },
    /// Asks whether the client is still there.
    Ping,
    /// It has read all that came before the PING.
    Pong,
    /// It took something, which it says to clients that want to hear it.
    Ok,
    /// The server's complaint, without quotation marks.
    Error(&'a [u8]),
}

/// Input that no server of NATS sends.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub(crate) enum NatsError {
    /// A line without an end.
    #[error("a line of {LINE_BYTES_MAX} bytes")]
    LongLine,
    /// A line that is no operation.
    #[error("what is \"{0}\"?")]
    Unknown(String),
    /// A payload that is larger than any that was sent.
    #[error("a message of {0} bytes, of which none was sent")]
    LongPayload(usize),
    /// A payload of another length than its line says.
    #[error("a payload that does not end where its line says: \"{0}\"")]
    PayloadEnd(String),
}

/// The operation at the beginning of `bytes` and its length; None if it has not come whole.
///
/// # Errors
/// When a server of NATS does not say such a thing, or its payload is larger than `payload_bytes_max`.
pub(crate) fn decode(bytes: &[u8], payload_bytes_max: usize) -> Result<Option<(Operation<'_>, usize)>, NatsError> {
    let searched = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = searched.iter().position(|byte| *byte == b'\n') else {
        return if searched.len() < LINE_BYTES_MAX { Ok(None) } else { Err(NatsError::LongLine) };
    };
    let (line, after) = (bytes[..end].trim_ascii(), end + 1);
    let verb_bytes = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let (verb, rest) = (&line[..verb_bytes], line[verb_bytes..].trim_ascii());
    let operation = match verb.to_ascii_uppercase().as_slice() {
        b"MSG" => return message(line, rest, &bytes[after..], payload_bytes_max, after),
        b"PING" if rest.is_empty() => Operation::Ping,
        b"PONG" if rest.is_empty() => Operation::Pong,
        b"+OK" if rest.is_empty() => Operation::Ok,
        b"INFO" => Operation::Info(rest),
        b"-ERR" => Operation::Error(unquoted(rest)),
        _ => return Err(NatsError::Unknown(one_line(line))),
    };
    Ok(Some((operation, after)))
}

/// `MSG subject sid [reply-to] size`, and the payload after it.
fn message<'a>(
    line: &[u8],
    fields: &'a [u8],
    after: &'a [u8],
    payload_bytes_max: usize,
    line_bytes: usize,
) -> Result<Option<(Operation<'a>, usize)>, NatsError> {
    let wrong = || NatsError::Unknown(one_line(line));
    let mut fields = fields.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty());
    let (subject, _sid, third) = (fields.next(), fields.next(), fields.next());
    let size = fields.next().or(third).filter(|size| size.iter().all(u8::is_ascii_digit));
    let size: Option<usize> = size.and_then(|size| str::from_utf8(size).ok()?.parse().ok());
    let (Some(subject), Some(size), None) = (subject, size, fields.next()) else { return Err(wrong()) };
    if size > payload_bytes_max {
        return Err(NatsError::LongPayload(size));
    }
    let Some(whole) = after.get(..size + 2) else { return Ok(None) };
    let (payload, line_end) = whole.split_at(size);
    if line_end != b"\r\n" {
        return Err(NatsError::PayloadEnd(one_line(line)));
    }
    Ok(Some((Operation::Message { subject, payload }, line_bytes + whole.len())))
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

/// A server's text, shortened and without control characters.
pub(crate) fn one_line(text: &[u8]) -> String {
    let shown = &text[..text.len().min(SHOWN_BYTES_MAX)];
    let more = if shown.len() < text.len() { "..." } else { "" };
    format!("{}{more}", String::from_utf8_lossy(shown).replace(char::is_control, " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn operations_are_told_apart() {
        for (bytes, expected) in [
            (&b"PING\r\n"[..], Operation::Ping),
            (b"pong \r\n", Operation::Pong),
            (b"+OK\r\n", Operation::Ok),
            (b"INFO {\"a\": 1} \r\n", Operation::Info(b"{\"a\": 1}")),
            (b"-ERR 'Slow Consumer'\r\n", Operation::Error(b"Slow Consumer")),
            (b"-ERR\tloud\r\n", Operation::Error(b"loud")),
            (b"MSG a.b 1 3\r\nx\r\n\r\n", Operation::Message { subject: b"a.b", payload: b"x\r\n" }),
            (b"msg  a.b\t1  reply.to 0\r\n\r\n", Operation::Message { subject: b"a.b", payload: b"" }),
        ] {
            let more = [bytes, b"PING"].concat();
            assert_eq!(decode(&more, 3), Ok(Some((expected, bytes.len()))));
            for length in 0..bytes.len() {
                assert_eq!(decode(&bytes[..length], 3), Ok(None), "{length} of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_no_server_says_is_refused_in_one_line() {
        let endless = vec![b'a'; LINE_BYTES_MAX];
        for bytes in [
            &b"\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\n",
            b"PING me\r\n",
            b"MSG\r\n",
            b"MSG a 3\r\n",
            b"MSG a 1 x\r\n",
            b"MSG a 1 -1\r\n",
            b"MSG a 1 +1\r\n",
            b"MSG a 1 r 1 1\r\n",
            b"MSG a 1 11\r\n",
            b"MSG a 1 99999999999999999999\r\n",
            b"MSG a 1 1\r\nabc",
            b"\xff\x1b[2J\rx\n",
            &endless,
        ] {
            let error = decode(bytes, 10).expect_err("is wrong").to_string();
            assert!(!error.is_empty() && !error.contains(char::is_control), "{error:?}");
        }
    }

    /// An operation of a server as bytes, and its meaning as a letter and a text.
    fn operation() -> impl Strategy<Value = (Vec<u8>, (char, Vec<u8>))> {
        let line = |text: String| text.into_bytes();
        prop_oneof![
            Just((b"PING\r\n".to_vec(), ('?', vec![]))),
            Just((b"PONG\r\n".to_vec(), ('!', vec![]))),
            "\\{[ -~]{0,40}\\}".prop_map(move |json| (line(format!("INFO {json}\r\n")), ('i', line(json)))),
            "[a-z]([a-z ]{0,10}[a-z])?".prop_map(move |why| (line(format!("-ERR '{why}'\r\n")), ('e', line(why)))),
            ("[a-z]{1,5}(\\.[a-z0-9]{1,5}){0,3}", proptest::collection::vec(any::<u8>(), 0..60)).prop_map(
                move |(subject, payload)| {
                    let head = line(format!("MSG {subject} 1 {}\r\n", payload.len()));
                    let meaning = [subject.as_bytes(), b" ", &payload].concat();
                    ([&head, payload.as_slice(), b"\r\n"].concat(), ('m', meaning))
                }
            ),
        ]
    }

    fn meaning(operation: Operation<'_>) -> (char, Vec<u8>) {
        match operation {
            Operation::Ping => ('?', vec![]),
            Operation::Pong => ('!', vec![]),
            Operation::Ok => ('o', vec![]),
            Operation::Info(json) => ('i', json.to_vec()),
            Operation::Error(why) => ('e', why.to_vec()),
            Operation::Message { subject, payload } => ('m', [subject, b" ", payload].concat()),
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            operations in proptest::collection::vec(operation(), 0..20),
            pieces in proptest::collection::vec(1usize..50, 1..10),
        ) {
            let (stream, expected): (Vec<_>, Vec<_>) = operations.into_iter().unzip();
            let stream = stream.concat();
            let (mut waiting, mut found, mut rest) = (Vec::new(), Vec::new(), stream.as_slice());
            for piece in pieces.into_iter().cycle() {
                let (now, later) = rest.split_at(piece.min(rest.len()));
                waiting.extend_from_slice(now);
                rest = later;
                while let Some((operation, length)) = decode(&waiting, 60).unwrap() {
                    found.push(meaning(operation));
                    waiting.drain(..length);
                }
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert!(waiting.is_empty());
        }

        #[test]
        fn no_input_is_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..200), verb in "(MSG |-ERR |INFO |)") {
            let bytes = [verb.as_bytes(), &bytes].concat();
            if let Ok(Some((_, length))) = decode(&bytes, 50) {
                prop_assert!(length > 0 && length <= bytes.len());
            }
        }
    }
}

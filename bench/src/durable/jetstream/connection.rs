//! A connection to nats-server that speaks as much of its protocol as JetStream needs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the server may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"name\":\"wisp-bench\"}\r\nPING\r\n";
/// The bytes that one read takes at most.
const READ_BYTES: usize = 256 * 1024;

/// A message from the server: its subject is not needed, since each connection subscribes once.
pub(super) struct Message<'a> {
    /// Where an answer goes.
    pub(super) reply: &'a str,
    /// Whether it is a message of a stream, and no status of the server in headers.
    pub(super) is_status: bool,
    pub(super) payload: &'a [u8],
}

/// A connection with one subscription, to its own inbox.
pub(super) struct Connection {
    stream: TcpStream,
    /// Not sent yet.
    output: Vec<u8>,
    /// Received, from `taken` on not looked at.
    input: Vec<u8>,
    taken: usize,
    /// The buffer of one read.
    piece: Vec<u8>,
    inbox: String,
}

impl Connection {
    /// Connects and subscribes.
    pub(super) fn open(address: SocketAddr, name: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let inbox = format!("_INBOX.{name}");
        let mut connection =
            Self { stream, output: Vec::new(), input: Vec::new(), taken: 0, piece: vec![0; READ_BYTES], inbox };
        connection.output.extend_from_slice(CONNECT);
        let subscribe = format!("SUB {} 1\r\n", connection.inbox);
        connection.output.extend_from_slice(subscribe.as_bytes());
        Ok(connection)
    }

    /// Appends the message to the output buffer.
    pub(super) fn publish(&mut self, subject: &str, payload: &[u8]) {
        self.output.extend_from_slice(format!("PUB {subject} {}\r\n", payload.len()).as_bytes());
        self.output.extend_from_slice(payload);
        self.output.extend_from_slice(b"\r\n");
    }

    /// The same, with an answer to the inbox.
    pub(super) fn ask(&mut self, subject: &str, payload: &[u8]) {
        self.output.extend_from_slice(format!("PUB {subject} {} {}\r\n", self.inbox, payload.len()).as_bytes());
        self.output.extend_from_slice(payload);
        self.output.extend_from_slice(b"\r\n");
    }

    /// Asks the server and waits for the answer, which is JSON.
    pub(super) fn request(&mut self, subject: &str, payload: &str) -> io::Result<serde_json::Value> {
        self.ask(subject, payload.as_bytes());
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while Instant::now() < deadline {
            self.exchange()?;
            if let Some(message) = self.next()? {
                let answer: serde_json::Value = serde_json::from_slice(message.payload)?;
                if let Some(error) = answer.get("error") {
                    return Err(io::Error::other(format!("{subject}: {error}")));
                }
                return Ok(answer);
            }
            wait(&mut [self], Duration::from_millis(50))?;
        }
        Err(io::Error::new(ErrorKind::TimedOut, format!("no answer to {subject}")))
    }

    /// How many bytes wait to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Writes the output buffer once and reads once, as much as the socket takes and gives.
    pub(super) fn exchange(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.input.drain(..self.taken);
        self.taken = 0;
        match self.stream.read(&mut self.piece) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(received) => {
                self.input.extend_from_slice(&self.piece[..received]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The next received message, if it is there as a whole. Pings are answered.
    pub(super) fn next(&mut self) -> io::Result<Option<Message<'_>>> {
        loop {
            let rest = &self.input[self.taken..];
            let Some(end) = rest.windows(2).position(|bytes| bytes == b"\r\n") else { return Ok(None) };
            let line = str::from_utf8(&rest[..end]).map_err(io::Error::other)?;
            let mut words = line.split(' ');
            let verb = words.next().unwrap_or_default();
            if matches!(verb, "MSG" | "HMSG") {
                break;
            }
            match verb {
                "PING" => self.output.extend_from_slice(b"PONG\r\n"),
                "-ERR" => return Err(io::Error::other(format!("nats-server says {line}"))),
                _ => {}
            }
            self.taken += end + 2;
        }
        let rest = &self.input[self.taken..];
        let Some(frame) = Frame::of(rest)? else { return Ok(None) };
        let begin = self.taken;
        self.taken += frame.end;
        let bytes = &self.input[begin..];
        let reply = str::from_utf8(&bytes[frame.reply.0..frame.reply.1]).map_err(io::Error::other)?;
        let payload = &bytes[frame.payload.0..frame.payload.1];
        Ok(Some(Message { reply, is_status: frame.is_status, payload }))
    }
}

/// Where the parts of a message are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Frame {
    reply: (usize, usize),
    payload: (usize, usize),
    is_status: bool,
    /// The end with its line feed.
    end: usize,
}

impl Frame {
    /// Of `MSG subject sid [reply] bytes` or `HMSG subject sid [reply] header-bytes bytes`; None if it is not there as a whole.
    fn of(bytes: &[u8]) -> io::Result<Option<Self>> {
        let unknown = || io::Error::other("nats-server sends something unknown");
        let Some(line_end) = bytes.windows(2).position(|bytes| bytes == b"\r\n") else { return Ok(None) };
        let line = str::from_utf8(&bytes[..line_end]).map_err(io::Error::other)?;
        let words: Vec<&str> = line.split(' ').collect();
        let numbers = if words[0] == "HMSG" { 2 } else { 1 };
        let (reply, sizes) = match words.len().checked_sub(3 + numbers) {
            Some(0) => ((0, 0), &words[3..]),
            Some(1) => {
                let begin = words[3].as_ptr() as usize - line.as_ptr() as usize;
                ((begin, begin + words[3].len()), &words[4..])
            }
            _ => return Err(unknown()),
        };
        let size = |word: &str| word.parse::<usize>().map_err(|_| unknown());
        let headers = if numbers == 2 { size(sizes[0])? } else { 0 };
        let total = size(sizes[numbers - 1])?;
        let begin = line_end + 2;
        let end = begin + total + 2;
        if bytes.len() < end {
            return Ok(None);
        }
        Ok(Some(Self { reply, payload: (begin + headers, begin + total), is_status: numbers == 2, end }))
    }
}

/// Waits until one of the connections can go on.
pub(super) fn wait(connections: &mut [&mut Connection], timeout: Duration) -> io::Result<()> {
    let mut wanted: Vec<_> = connections
        .iter()
        .map(|connection| {
            let output = if connection.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            PollFd::new(&connection.stream, PollFlags::IN | output)
        })
        .collect();
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    match poll(&mut wanted, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_reply_and_payload() {
        let bytes = b"MSG _INBOX.a 1 $JS.ACK.x 5\r\nhello\r\nmore";
        let frame = Frame::of(bytes).unwrap().unwrap();
        assert_eq!(&bytes[frame.reply.0..frame.reply.1], b"$JS.ACK.x");
        assert_eq!(&bytes[frame.payload.0..frame.payload.1], b"hello");
        assert_eq!((&bytes[frame.end..], frame.is_status), (&b"more"[..], false));
        for short in 0..bytes.len() - 4 {
            assert_eq!(Frame::of(&bytes[..short]).unwrap(), None, "{short}");
        }
    }

    #[test]
    fn a_status_has_headers_and_none_has_a_reply() {
        let bytes = b"HMSG _INBOX.a 1 16 16\r\nNATS/1.0 404\r\n\r\n\r\n";
        let frame = Frame::of(bytes).unwrap().unwrap();
        assert!(frame.is_status && frame.reply == (0, 0) && frame.payload.0 == frame.payload.1);
        assert_eq!(frame.end, bytes.len());
        for unknown in ["MSG a\r\n", "MSG a 1 many\r\n", "MSG a 1 b c 5\r\n"] {
            assert!(Frame::of(unknown.as_bytes()).is_err(), "{unknown}");
        }
    }
}

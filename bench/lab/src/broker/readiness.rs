//! Whether a broker answers yet: asked every millisecond, so that the time it takes to start is known as exactly.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::kinds::Protocol;

/// How often to ask.
const ASK_EVERY: Duration = Duration::from_millis(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than the INFO of any NATS server.
const WORDS_BYTES_MAX: usize = 64 * 1024;

/// A CONNECT of MQTT 3.1.1: a clean session, a keep-alive of a minute (without one rumqttd does not answer), the name
/// `wisp-start`.
const MQTT_CONNECT: &[u8] = b"\x10\x16\x00\x04MQTT\x04\x02\x00\x3c\x00\x0awisp-start";
const MQTT_CONNACK_BYTES: usize = 4;
const MQTT_CONNACK: u8 = 0x20;
const MQTT_DISCONNECT: &[u8] = b"\xe0\x00";
const NATS_CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"wisp-start\"}\r\nPING\r\n";
const NATS_INFO: &[u8] = b"INFO ";

/// The result of polling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Readiness {
    /// It does not answer yet.
    NotYet,
    /// It takes clients.
    Ready,
    /// It answers, and will never take this client.
    Refused(String),
}

/// Asks a broker at its start.
#[derive(Debug)]
pub(super) struct Probe {
    address: SocketAddr,
    protocol: Protocol,
    connection: Option<TcpStream>,
    /// Bytes received on this connection.
    words: Vec<u8>,
}

impl Probe {
    pub(super) fn new(address: SocketAddr, protocol: Protocol) -> Self {
        Self { address, protocol, connection: None, words: Vec::new() }
    }

    /// Connects, or looks for the answer on the open connection. Takes about a millisecond, unless the answer comes
    /// earlier.
    pub(super) fn poll(&mut self) -> Readiness {
        if self.connection.is_none() {
            match self.connect() {
                Ok(connection) => self.connection = Some(connection),
                Err(_) => {
                    thread::sleep(ASK_EVERY);
                    return Readiness::NotYet;
                }
            }
        }
        let Some(connection) = &mut self.connection else { return Readiness::NotYet };
        let mut piece = [0; 4096];
        match connection.read(&mut piece) {
            Ok(length) if length > 0 => self.words.extend_from_slice(&piece[..length]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                return Readiness::NotYet;
            }
            // Something else may have listened before the broker does, or it takes no clients yet.
            _ => {
                self.connection = None;
                self.words.clear();
                thread::sleep(ASK_EVERY);
                return Readiness::NotYet;
            }
        }
        let answer = parse_reply(self.protocol, &self.words);
        if answer == Readiness::Ready {
            self.say_goodbye();
        }
        answer
    }

    /// Connects and sends the first packet. The other side may not read it for a while.
    fn connect(&mut self) -> io::Result<TcpStream> {
        let mut connection = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(ASK_EVERY))?;
        connection.write_all(match self.protocol {
            Protocol::Mqtt => MQTT_CONNECT,
            Protocol::Nats => NATS_CONNECT,
        })?;
        Ok(connection)
    }

    /// Ends the connection as the protocol wants it; an error does not matter any more.
    fn say_goodbye(&mut self) {
        if let (Some(mut connection), Protocol::Mqtt) = (self.connection.take(), self.protocol) {
            drop(connection.write_all(MQTT_DISCONNECT));
        }
    }
}

/// The meaning of the bytes received so far.
fn parse_reply(protocol: Protocol, words: &[u8]) -> Readiness {
    match protocol {
        Protocol::Mqtt => match words {
            [] => Readiness::NotYet,
            [MQTT_CONNACK, 2, _, 0, ..] => Readiness::Ready,
            [MQTT_CONNACK, 2, _, code, ..] => {
                Readiness::Refused(format!("it refuses clients, with return code {code}"))
            }
            [MQTT_CONNACK, 2, ..] | [MQTT_CONNACK] if words.len() < MQTT_CONNACK_BYTES => Readiness::NotYet,
            _ if words.starts_with(NATS_INFO) => Readiness::Refused("it speaks NATS, not MQTT".to_owned()),
            _ if NATS_INFO.starts_with(words) => Readiness::NotYet,
            _ => Readiness::Refused("what it answers is not MQTT".to_owned()),
        },
        Protocol::Nats => {
            let mut lines = words.split(|&byte| byte == b'\n');
            let has = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line) == b"PONG";
            if !words.starts_with(NATS_INFO) && !NATS_INFO.starts_with(words) {
                return Readiness::Refused("what it answers is not NATS".to_owned());
            }
            if words.ends_with(b"\n") && lines.clone().any(has) {
                return Readiness::Ready;
            }
            if let Some(error) = lines.find_map(|line| line.strip_prefix(b"-ERR ")) {
                return Readiness::Refused(format!("it refuses clients: {}", String::from_utf8_lossy(error).trim()));
            }
            if words.len() > WORDS_BYTES_MAX {
                return Readiness::Refused("what it answers is not NATS".to_owned());
            }
            Readiness::NotYet
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_counts_once_it_is_whole() {
        let whole = b"\x20\x02\x00\x00";
        for end in 0..4 {
            assert_eq!(parse_reply(Protocol::Mqtt, &whole[..end]), Readiness::NotYet, "{end}");
        }
        assert_eq!(parse_reply(Protocol::Mqtt, whole), Readiness::Ready);
        let whole = b"INFO {\"max_payload\":1}\r\nPONG\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse_reply(Protocol::Nats, &whole[..end]), Readiness::NotYet, "{end}");
        }
        assert_eq!(parse_reply(Protocol::Nats, whole), Readiness::Ready);
    }

    #[test]
    fn who_will_never_take_clients_is_told_with_the_reason() {
        for (protocol, words, part) in [
            (Protocol::Mqtt, &b"\x20\x02\x00\x05"[..], "return code 5"),
            (Protocol::Mqtt, b"INFO {}", "speaks NATS"),
            (Protocol::Mqtt, b"HTTP/1.1 400", "not MQTT"),
            (Protocol::Mqtt, b"\x20\x03\x00\x00", "not MQTT"),
            (Protocol::Nats, b"HTTP/1.1 400", "not NATS"),
            (Protocol::Nats, b"INFO {}\r\n-ERR 'Authorization Violation'\r\n", "'Authorization Violation'"),
        ] {
            let Readiness::Refused(why) = parse_reply(protocol, words) else { panic!("{words:?}") };
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn asking_goes_on_where_connections_are_closed_and_ends_with_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut probe = Probe::new(listener.local_addr().unwrap(), Protocol::Mqtt);
        let broker = thread::spawn(move || {
            // The first connection is closed at once, the second one answered.
            drop(listener.accept().unwrap());
            let (mut connection, _) = listener.accept().unwrap();
            let mut hello = vec![0; MQTT_CONNECT.len()];
            connection.read_exact(&mut hello).unwrap();
            connection.write_all(b"\x20\x02\x00\x00").unwrap();
            let mut goodbye = Vec::new();
            connection.read_to_end(&mut goodbye).unwrap();
            (hello, goodbye)
        });
        while probe.poll() == Readiness::NotYet {}
        let (hello, goodbye) = broker.join().unwrap();
        assert_eq!(hello[1] as usize, hello.len() - 2, "the packet's length is what it says");
        assert_eq!((hello.as_slice(), goodbye.as_slice()), (MQTT_CONNECT, MQTT_DISCONNECT));
    }
}

//! Clients of MQTT 5 that connect and then do nothing: a socket each, and nothing else of this process.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use wisp_wire::{
    Connect, Disconnect, List, Packet, PacketId, Properties, Property, ProtocolVersion, QoS, ReasonCode, Subscribe,
    SubscriptionOptions, TopicFilter,
};

/// How long the broker may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than any answer that is expected here.
const ANSWER_BYTES_MAX: usize = 4096;
const VERSION: ProtocolVersion = ProtocolVersion::Mqtt5;

/// A connected client.
#[derive(Debug)]
pub struct IdleClient(TcpStream);

impl IdleClient {
    /// Connects, with a session that stays so long. Gives also whether the broker had one.
    ///
    /// # Errors
    /// When the broker does not take it; or the system's own.
    pub fn connect(
        address: SocketAddr,
        id: &str,
        session_expiry_s: u32,
        clean_start: bool,
    ) -> io::Result<(Self, bool)> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut client = Self(stream);
        let expiry = [Property::SessionExpiryInterval(session_expiry_s)];
        client.send(&Packet::Connect(Connect {
            version: VERSION,
            clean_start,
            // It stays without a word however long the others take.
            keep_alive_s: 0,
            client_id: id,
            properties: Properties::from_slice(&expiry),
            will: None,
            username: None,
            password: None,
        }))?;
        let session_present = client.answer(|packet| match packet {
            Packet::ConnAck(ack) if ack.code == ReasonCode::Success => Some(ack.session_present),
            _ => None,
        })?;
        Ok((client, session_present))
    }

    /// Subscribes with QoS 1.
    ///
    /// # Errors
    /// When the broker does not grant it; or the system's own.
    pub fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        let filter =
            TopicFilter::new(filter).map_err(|error| io::Error::new(ErrorKind::InvalidInput, error.to_string()))?;
        let filters = [(filter, SubscriptionOptions::new(QoS::AtLeastOnce))];
        let packet_id = PacketId::new(1).expect("one is not zero");
        let (properties, filters) = (Properties::EMPTY, List::from_slice(&filters));
        self.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters }))?;
        self.answer(|packet| match packet {
            Packet::SubAck(ack) => ack.codes.iter().next().filter(|code| *code == ReasonCode::GrantedQoS1).map(drop),
            _ => None,
        })
    }

    /// Says goodbye; [`wait_for_end`](Self::wait_for_end) tells when the broker has heard it.
    ///
    /// # Errors
    /// The system's own.
    pub fn say_goodbye(&mut self) -> io::Result<()> {
        let code = ReasonCode::NORMAL_DISCONNECTION;
        self.send(&Packet::Disconnect(Disconnect { code, properties: Properties::EMPTY }))?;
        self.0.shutdown(Shutdown::Write)
    }

    /// Waits until the broker has closed the connection.
    ///
    /// # Errors
    /// When it does not, or sends something.
    pub fn wait_for_end(mut self) -> io::Result<()> {
        match self.0.read(&mut [0; 1]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(unexpected("something else than the end")),
            Err(error) => Err(error),
        }
    }

    /// Whether the broker has sent nothing and not closed the connection.
    ///
    /// # Errors
    /// The system's own.
    pub fn is_idle(&self) -> io::Result<bool> {
        self.0.set_nonblocking(true)?;
        let peeked = self.0.peek(&mut [0; 1]);
        self.0.set_nonblocking(false)?;
        Ok(peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
    }

    fn send(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        packet
            .encode(VERSION, &mut bytes)
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error.to_string()))?;
        self.0.write_all(&bytes)
    }

    /// The next packet, which has to be the one that is waited for.
    fn answer<T>(&mut self, wanted: impl Fn(Packet<'_>) -> Option<T>) -> io::Result<T> {
        let (mut buffer, mut filled) = ([0; ANSWER_BYTES_MAX], 0);
        loop {
            let decoded = wisp_wire::decode(&buffer[..filled], VERSION, u32::MAX);
            if let Some((packet, _)) = decoded.map_err(|error| unexpected(&error.to_string()))? {
                return wanted(packet).ok_or_else(|| unexpected(&format!("{packet:?}")));
            }
            match self.0.read(&mut buffer[filled..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                received => filled += received,
            }
        }
    }
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the broker sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// Serves one connection: takes a packet, sends an answer, and so on; in the end it closes.
    fn broker(answers: Vec<Vec<u8>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                assert!(stream.read(&mut [0; 1000]).unwrap() > 0);
                stream.write_all(&answer).unwrap();
            }
            let _ = stream.read(&mut [0; 1000]);
        });
        address
    }

    #[test]
    fn a_client_connects_subscribes_and_goes() {
        let address = broker(vec![vec![0x20, 3, 1, 0, 0], vec![0x90, 4, 0, 1, 0, 1]]);
        let (mut client, session_present) = IdleClient::connect(address, "a", 60, false).unwrap();
        assert!(session_present);
        client.subscribe("devices/1/commands").unwrap();
        assert!(client.is_idle().unwrap());
        client.say_goodbye().unwrap();
        client.wait_for_end().unwrap();
    }

    #[test]
    fn refusals_are_errors() {
        assert!(IdleClient::connect(broker(vec![vec![0x20, 3, 0, 0x97, 0]]), "a", 60, true).is_err());
        let address = broker(vec![vec![0x20, 3, 0, 0, 0], vec![0x90, 4, 0, 1, 0, 0]]);
        let (mut client, session_present) = IdleClient::connect(address, "a", 60, true).unwrap();
        assert!(!session_present);
        let error = client.subscribe("a").unwrap_err();
        assert!(error.to_string().contains("SubAck"), "{error}");
    }
}

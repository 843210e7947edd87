//! TLS on one connection.
//!
//! One lock covers both directions, since any worker sends. Received bytes are decrypted into the buffer of the engine. Bytes
//! to send are sealed; sealed bytes that the socket does not take are kept, and the caller presents the bytes they were made
//! of again with the next send, so that its count of unsent bytes stays exact.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::ops::Range;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, HandshakeKind, ServerConfig, ServerConnection};
use wisp_engine::sync::{Mutex, rank};
use wisp_engine::{OtherProtocol, Received, TransportNote};
use wisp_net::Stream;

use super::turn::Turn;
use crate::tls::{CertificateName, name_in};

/// Most bytes received or sealed at once.
const PIECE_BYTES: usize = 256 * 1024;

/// The least to receive at once: a record that is longer is decrypted when all of it is there.
const RECEIVE_BYTES_MIN: usize = 4 * 1024;

/// Most bytes of a client's handshake. A chain of certificates takes a few thousand.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Receives in a row that yield nothing for the engine. A client could go on for ever with records that carry nothing.
const FRUITLESS_RECEIVES_MAX: usize = 4;

/// The content type of the record that a client begins with.
const HANDSHAKE_RECORD: u8 = 22;

thread_local! {
    static RECEIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SEALED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// TLS over a socket.
pub(crate) struct TlsStream<S> {
    stream: S,
    name: Option<CertificateName>,
    state: Mutex<State, { rank::LEAF }>,
}

struct State {
    connection: ServerConnection,
    /// Received, and not decrypted yet: there was no room for it.
    incoming: Vec<u8>,
    /// Sealed, and not taken by the socket yet.
    outgoing: Vec<u8>,
    /// The number of the caller's bytes that are sealed in `outgoing`.
    accepted: usize,
    /// Bytes of the handshake so far.
    handshake_bytes: usize,
    /// How the connection ends when all that was decrypted is handed out.
    end: Option<Received>,
}

impl<S> std::fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").finish_non_exhaustive()
    }
}

impl<S: Stream> TlsStream<S> {
    pub(crate) fn new(
        stream: S,
        config: Arc<ServerConfig>,
        name: Option<CertificateName>,
    ) -> Result<Self, rustls::Error> {
        let mut connection = ServerConnection::new(config)?;
        // Sealed bytes are sent at once, and `PIECE_BYTES` bounds them.
        connection.set_buffer_limit(None);
        let state = State {
            connection,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            accepted: 0,
            handshake_bytes: 0,
            end: None,
        };
        Ok(Self { stream, name, state: Mutex::new(state) })
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    pub(crate) fn receive(&self, buffer: &mut [u8], turn: &mut Turn) -> Received {
        RECEIVED.with_borrow_mut(|scratch| {
            scratch.resize(PIECE_BYTES, 0);
            self.state.lock().receive(&self.stream, scratch, buffer, (self.name, turn))
        })
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.state.lock().send(&self.stream, bytes)
    }

    /// The socket is writable again. Sends the rest of handshakes and alerts, of which the caller knows nothing.
    pub(crate) fn writable(&self) {
        let mut state = self.state.lock();
        if state.accepted == 0 {
            // An error shows at the next receive.
            let _ = state.send_control(&self.stream);
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.close_notify();
        }
        self.stream.shutdown(how)
    }

    /// Tells the peer that nothing follows, if the socket takes it.
    pub(crate) fn close_notify(&self) {
        let mut state = self.state.lock();
        state.connection.send_close_notify();
        let _ = state.send_control(&self.stream);
    }
}

impl State {
    fn receive<S: Stream>(
        &mut self,
        stream: &S,
        scratch: &mut [u8],
        buffer: &mut [u8],
        (name, turn): (Option<CertificateName>, &mut Turn),
    ) -> Received {
        let mut staged = 0..self.incoming.len();
        scratch[staged.clone()].copy_from_slice(&self.incoming);
        self.incoming = Vec::new();
        let (mut filled, mut drained, mut receives) = (0, false, 0);
        loop {
            filled += self.read_decrypted(&mut buffer[filled..]);
            if filled == buffer.len() || self.end.is_some() {
                break;
            }
            if staged.is_empty() {
                if drained || receives > 0 && filled > 0 {
                    break;
                }
                if receives == FRUITLESS_RECEIVES_MAX {
                    turn.again = true;
                    break;
                }
                receives += 1;
                let want = (buffer.len() - filled).clamp(RECEIVE_BYTES_MIN, scratch.len());
                match stream.recv(&mut scratch[..want]) {
                    Ok(0) => self.end = Some(Received::Closed),
                    Ok(count) => {
                        drained = count < want;
                        staged = 0..count;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => drained = true,
                    Err(_) => self.end = Some(Received::Failed),
                }
            } else if self.connection.is_handshaking() {
                if !turn.take_handshake() {
                    turn.again = true;
                    break;
                }
                self.advance_handshake(scratch, &mut staged, (name, turn));
            } else {
                self.decrypt(scratch, &mut staged);
            }
        }
        self.incoming = scratch[staged].to_vec();
        if self.connection.wants_write() && self.send_control(stream).is_err() && self.end.is_none() {
            self.end = Some(Received::Failed);
        }
        match self.end {
            _ if filled > 0 => {
                // A buffer that is full may have left decrypted bytes behind, which no event announces.
                let more = filled == buffer.len() || !drained || !self.incoming.is_empty() || self.end.is_some();
                Received::Bytes { count: filled, more }
            }
            Some(end) => end,
            None => Received::WouldBlock,
        }
    }

    /// Bytes that were decrypted before, and the peer's word that no more follow.
    fn read_decrypted(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.connection.reader().read(&mut buffer[filled..]) {
                Ok(0) => {
                    self.end.get_or_insert(Received::Closed);
                    break;
                }
                Ok(count) => filled += count,
                Err(_) => break,
            }
        }
        filled
    }

    /// Decrypts a part of the received bytes.
    fn decrypt(&mut self, received: &[u8], staged: &mut Range<usize>) {
        match self.connection.read_tls(&mut &received[staged.clone()]) {
            // It reads nothing after the peer's last record.
            Ok(0) => staged.start = staged.end,
            Ok(count) => staged.start += count,
            Err(_) => self.end = Some(Received::Rejected("the client's TLS message is longer than allowed")),
        }
        if let Err(error) = self.connection.process_new_packets() {
            self.end.get_or_insert(Received::Rejected(text_of(&error)));
        }
    }

    fn advance_handshake(
        &mut self,
        received: &[u8],
        staged: &mut Range<usize>,
        (name, turn): (Option<CertificateName>, &mut Turn),
    ) {
        if self.handshake_bytes == 0 {
            // Decrypting it all the same makes an alert.
            self.end = refuse_other_protocol(&received[staged.clone()]);
        }
        let before = staged.start;
        self.decrypt(received, staged);
        self.handshake_bytes += staged.start - before;
        if self.handshake_bytes > HANDSHAKE_BYTES_MAX {
            self.end = Some(Received::Rejected("the client's TLS handshake is longer than allowed"));
        }
        let mut note = TransportNote { held_bytes: self.handshake_bytes, ..TransportNote::default() };
        if !self.connection.is_handshaking() {
            note.held_bytes = 0;
            match self.certificate_name(name) {
                Ok(name) => note.certificate_name = name,
                Err(reason) => self.end = Some(Received::Rejected(reason)),
            }
        }
        turn.note = Some(note);
    }

    fn certificate_name(&self, part: Option<CertificateName>) -> Result<Option<Box<str>>, &'static str> {
        let certificate = self.connection.peer_certificates().and_then(|chain| chain.first());
        let is_resumed = self.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        match certificate {
            Some(certificate) if part.is_some() || is_resumed => name_in(certificate, part),
            _ => Ok(None),
        }
    }

    fn send<S: Stream>(&mut self, stream: &S, bytes: &[u8]) -> io::Result<usize> {
        if self.connection.is_handshaking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut sent = 0;
        while self.flush(stream)? {
            sent += std::mem::take(&mut self.accepted);
            if sent == bytes.len() {
                return Ok(sent);
            }
            let piece = &bytes[sent..bytes.len().min(sent + PIECE_BYTES)];
            self.connection.writer().write_all(piece)?;
            self.accepted = piece.len();
            self.send_sealed(stream)?;
        }
        // The socket is full.
        if sent == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    /// Seals and sends parts of the handshake and alerts.
    fn send_control<S: Stream>(&mut self, stream: &S) -> io::Result<()> {
        if self.flush(stream)? && self.accepted == 0 {
            self.send_sealed(stream)?;
        }
        Ok(())
    }

    /// Sends the bytes that rustls has sealed, and keeps the rest if the socket is full. Nothing was kept before.
    fn send_sealed<S: Stream>(&mut self, stream: &S) -> io::Result<()> {
        SEALED.with_borrow_mut(|sealed| {
            sealed.clear();
            while self.connection.wants_write() {
                self.connection.write_tls(sealed)?;
            }
            let sent = send_some(stream, sealed)?;
            self.outgoing.extend_from_slice(&sealed[sent..]);
            Ok(())
        })
    }

    /// Sends the kept bytes. True if none are kept any more.
    fn flush<S: Stream>(&mut self, stream: &S) -> io::Result<bool> {
        let sent = send_some(stream, &self.outgoing)?;
        self.outgoing.drain(..sent);
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
        Ok(self.outgoing.is_empty())
    }
}

/// Sends a prefix of `bytes`, as much as the socket takes.
fn send_some<S: Stream>(stream: &S, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    match stream.send(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        sent => sent,
    }
}

/// The end of a connection that does not begin with TLS.
fn refuse_other_protocol(first: &[u8]) -> Option<Received> {
    /// The first byte of MQTT's CONNECT.
    const CONNECT: u8 = 0x10;
    let reason = match (first.first(), OtherProtocol::of(first)) {
        (None | Some(&HANDSHAKE_RECORD), _) => return None,
        (_, Some(_)) => "the client sent an HTTP request without TLS, and the listener has TLS: use https or wss",
        (Some(&CONNECT), _) => "the client sent MQTT without TLS, and the listener has TLS: use mqtts",
        _ => "the client sent bytes that are not TLS, and the listener has TLS",
    };
    Some(Received::Rejected(reason))
}

/// The reason for the log.
fn text_of(error: &rustls::Error) -> &'static str {
    use rustls::Error as E;
    match error {
        E::AlertReceived(AlertDescription::UnknownCA) => {
            "the client does not trust the server's certificate: give the client the certificate of the authority"
        }
        E::AlertReceived(AlertDescription::CertificateExpired) => "for the client the server's certificate has expired",
        E::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown,
        ) => "the client refused the server's certificate: is it valid for the name that the client uses?",
        E::AlertReceived(_) => "the client ended TLS with an alert",
        E::NoCertificatesPresented => "the client sent no certificate, and the listener requires one",
        E::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the client's certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the client's certificate is not valid yet"
            }
            CertificateError::Revoked => "the client's certificate is revoked",
            CertificateError::UnknownIssuer => {
                "the client's certificate is of an authority that the listener does not trust"
            }
            CertificateError::UnknownRevocationStatus => "no revocation list tells of the client's certificate",
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
                "the revocation list for the client's certificate has expired"
            }
            _ => "the client's certificate is not valid",
        },
        E::PeerIncompatible(_) => "the client has no TLS version, cipher suite or key in common with the broker",
        E::NoApplicationProtocol => "the client's TLS asks by ALPN for a protocol that the listener does not have",
        E::InvalidMessage(_) | E::DecryptError => "the client sent broken TLS",
        _ => "the client broke the rules of TLS",
    }
}

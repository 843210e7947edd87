//! TLS between the socket and the bytes of MQTT, by rustls.
//!
//! rustls works on buffers of this file: received records are decrypted where they lie in a buffer of the thread, and
//! only an incomplete record stays with its connection. So an idle connection keeps no buffer.

mod config;
mod explain;

use std::cell::RefCell;
use std::io;

use rustls::HandshakeKind;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};

use crate::error::Error;
use crate::transport::layer::{ByteStream, Layer, Pending, Read};
use crate::transport::tls_options::TlsSession;
pub(super) use config::Settings;
use explain::{Peer, explain, handshake_ended};

/// The space for one read of records.
const READ_BYTES: usize = 128 * 1024;
/// The bytes that one write encrypts before the socket is tried.
const ENCRYPT_BYTES: usize = 64 * 1024;
/// The longest payload of a record, and more than a record adds to it.
const RECORD_BYTES: usize = 16 * 1024;
const RECORD_EXTRA_BYTES: usize = 64;

type Traffic<'a> = WriteTraffic<'a, ClientConnectionData>;

thread_local! {
    static RECORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One TLS connection.
pub(super) struct TlsStream<L> {
    below: L,
    tls: UnbufferedClientConnection,
    peer: Peer,
    /// The beginning of a record, or of a handshake message of several records.
    partial: Vec<u8>,
    /// Decrypted bytes that a reader had no space for.
    decrypted: Vec<u8>,
    /// Encrypted bytes for the socket.
    output: Pending,
    is_open: bool,
    /// Whether the peer has ended the stream.
    is_ended: bool,
    /// The reason of the end, after the bytes that came before it.
    failure: Option<Error>,
}

impl<L: Layer> TlsStream<L> {
    /// Starts TLS on a connection.
    pub(super) fn start(below: L, settings: &Settings) -> Result<Self, Error> {
        let mut stream = Self {
            below,
            tls: settings.connection()?,
            peer: settings.peer.clone(),
            partial: Vec::new(),
            decrypted: Vec::new(),
            output: Pending::default(),
            is_open: false,
            is_ended: false,
            failure: None,
        };
        // Without input it makes the first message.
        stream.process(&mut [], &mut []);
        Ok(stream)
    }

    /// Receives once, decrypts the complete records into `buffer`, and keeps the rest.
    fn read_records(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        RECORDS.with_borrow_mut(|records| {
            let begun = self.partial.len();
            if records.len() < begun + READ_BYTES {
                records.resize(begun + READ_BYTES, 0);
            }
            records[..begun].copy_from_slice(&self.partial);
            let Read { bytes, more } = self.below.read(&mut records[begun..begun + READ_BYTES])?;
            if bytes == 0 {
                self.is_ended = true;
                return Ok(Read { bytes: 0, more: false });
            }
            let (used, filled) = self.process(&mut records[..begun + bytes], buffer);
            self.partial.clear();
            self.partial.extend_from_slice(&records[used..begun + bytes]);
            if self.partial.is_empty() {
                self.partial = Vec::new();
            }
            Ok(Read { bytes: filled, more })
        })
    }

    /// Processes the complete records of `input`. Returns the number of bytes used, and of bytes in `buffer`.
    fn process(&mut self, input: &mut [u8], buffer: &mut [u8]) -> (usize, usize) {
        let (mut used, mut filled) = (0, 0);
        loop {
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(&mut input[used..]);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        let fitting = record.payload.len().min(buffer.len() - filled);
                        buffer[filled..filled + fitting].copy_from_slice(&record.payload[..fitting]);
                        self.decrypted.extend_from_slice(&record.payload[fitting..]);
                        filled += fitting;
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.output.bytes, |room| data.encode(room).ok());
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.is_open = true;
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.is_ended = true;
                    true
                }
                Ok(_) => false,
                Err(error) => {
                    self.fail(&error, &mut input[used + discard..]);
                    return (input.len(), filled);
                }
            };
            used += discard;
            if !goes_on {
                return (used, filled);
            }
        }
    }

    /// Remembers the reason of the end, and queues the alert that tells the peer. Without an alert to encode, rustls would
    /// look at the input again, and it panics where it has failed before.
    fn fail(&mut self, error: &rustls::Error, mut input: &mut [u8]) {
        self.failure.get_or_insert_with(|| explain(error, &self.peer, self.is_open));
        while self.tls.wants_write() {
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(input);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            encode(&mut self.output.bytes, |room| data.encode(room).ok());
            input = &mut input[discard..];
        }
    }

    /// Calls `write` as soon as rustls is ready to send bytes of the application. rustls may refer to the incomplete
    /// record, so it gets it again.
    fn when_writable<T>(&mut self, write: impl FnOnce(Traffic<'_>, &mut Vec<u8>) -> io::Result<T>) -> io::Result<T> {
        if self.failure.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        loop {
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(&mut self.partial);
            match state {
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    let written = write(traffic, &mut self.output.bytes);
                    self.partial.drain(..discard);
                    return written;
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.output.bytes, |room| data.encode(room).ok());
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_ended = true,
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => return Err(io::Error::other(explain(&error, &self.peer, self.is_open))),
            }
            self.partial.drain(..discard);
        }
    }

    /// Encrypts bytes into the output.
    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.when_writable(|mut traffic, output| {
            let before = output.len();
            let records = bytes.len().div_ceil(RECORD_BYTES) + 1;
            output.resize(before + bytes.len() + records * RECORD_EXTRA_BYTES, 0);
            let written = traffic.encrypt(bytes, &mut output[before..]);
            output.truncate(before + *written.as_ref().unwrap_or(&0));
            written.map(|_| ()).map_err(io::Error::other)
        })
    }

    /// Moves bytes to the reader that it had no space for before.
    fn take_decrypted(&mut self, buffer: &mut [u8]) -> usize {
        let fitting = self.decrypted.len().min(buffer.len());
        buffer[..fitting].copy_from_slice(&self.decrypted[..fitting]);
        self.decrypted.drain(..fitting);
        if self.decrypted.is_empty() {
            self.decrypted = Vec::new();
        }
        fitting
    }

    /// The end of the stream, or its failure, if it has come.
    fn check_end(&mut self) -> io::Result<bool> {
        match &self.failure {
            Some(failure) => Err(io::Error::other(failure.clone())),
            None => Ok(self.is_ended),
        }
    }
}

/// Appends a message that a call of rustls writes: no handshake message is longer than a record here.
fn encode(output: &mut Vec<u8>, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
    let before = output.len();
    output.resize(before + RECORD_BYTES + RECORD_EXTRA_BYTES + 256, 0);
    let written = write(&mut output[before..]).expect("a record fits into the space of the longest record");
    output.truncate(before + written);
}

impl<L: Layer> ByteStream for TlsStream<L> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        let bytes = self.take_decrypted(buffer);
        if bytes > 0 {
            return Ok(Read { bytes, more: true });
        }
        loop {
            if self.check_end()? {
                return Ok(Read { bytes: 0, more: false });
            }
            let read = self.read_records(buffer)?;
            // An answer to a record of the peer, such as a new key. If the socket is full or broken, the next write tells.
            let _ = self.output.flush(&mut self.below);
            if read.bytes > 0 {
                // The end, if it has come, is for the next read.
                let more = read.more || !self.decrypted.is_empty() || self.is_ended || self.failure.is_some();
                return Ok(Read { more, ..read });
            }
            if !read.more && !self.is_ended && self.failure.is_none() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.output.flush(&mut self.below)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut accepted = 0;
        for piece in bytes.chunks(ENCRYPT_BYTES) {
            self.encrypt(piece)?;
            accepted += piece.len();
            if !self.output.flush(&mut self.below)? {
                break;
            }
        }
        Ok(accepted)
    }

    fn unsent_bytes(&self) -> usize {
        self.output.unsent() + self.below.unsent_bytes()
    }
}

impl<L: Layer> Layer for TlsStream<L> {
    type Socket = L::Socket;

    fn socket(&self) -> &L::Socket {
        self.below.socket()
    }

    fn socket_mut(&mut self) -> &mut L::Socket {
        self.below.socket_mut()
    }

    fn open(&mut self) -> io::Result<bool> {
        if !self.below.open()? {
            return Ok(false);
        }
        while !self.is_open {
            let is_flushed = self.output.flush(&mut self.below)?;
            self.check_end()?;
            if !is_flushed {
                return Ok(false);
            }
            match self.read_records(&mut []) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(self.handshake_broke(error)),
            }
            if self.failure.is_some() {
                // The alert tells the broker why.
                let _ = self.output.flush(&mut self.below);
            }
            if self.check_end()? && !self.is_open {
                return Err(io::Error::other(handshake_ended(&self.peer)));
            }
        }
        // What is left of the handshake need not be waited for: it goes out before the next bytes.
        self.output.flush(&mut self.below)?;
        Ok(true)
    }

    fn finish_writing(&mut self) {
        // A failure means that the connection has ended already.
        let _ = self.when_writable(|mut traffic, output| {
            encode(output, |room| traffic.queue_close_notify(room).ok());
            Ok(())
        });
        let _ = self.output.flush(&mut self.below);
        self.below.finish_writing();
    }

    fn tls_session(&self) -> Option<TlsSession> {
        Some(TlsSession {
            version: format!("{:?}", self.tls.protocol_version()?),
            suite: format!("{:?}", self.tls.negotiated_cipher_suite()?.suite()),
            is_resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }
}

impl<L> TlsStream<L> {
    /// A reset during the handshake is how many programs refuse TLS.
    fn handshake_broke(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::ConnectionReset {
            return io::Error::other(handshake_ended(&self.peer));
        }
        error
    }
}

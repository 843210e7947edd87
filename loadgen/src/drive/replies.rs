//! Acknowledgements that are to be sent: all that one read gave rise to go with one write.

use std::io;

use wisp_client::ByteStream;

/// The first byte of each acknowledgement.
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;

/// The length of an acknowledgement of success without properties, in every version.
pub(crate) const SHORT_BYTES: usize = 4;

/// The first byte and the packet identifier, if `bytes` begin with two bytes of content, as a short acknowledgement
/// does.
#[inline]
pub(crate) fn short(bytes: &[u8]) -> Option<(u8, u16)> {
    match bytes.first_chunk::<SHORT_BYTES>()? {
        [first, 2, high, low] => Some((*first, u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

/// Packets that a connection has to send besides its messages.
#[derive(Default, Debug)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    sent: usize,
}

impl Replies {
    #[inline]
    pub(crate) fn push(&mut self, first: u8, packet_id: u16) {
        let [high, low] = packet_id.to_be_bytes();
        self.bytes.extend_from_slice(&[first, 2, high, low]);
    }

    /// An answer of another form.
    pub(crate) fn push_bytes(&mut self, answer: &[u8]) {
        self.bytes.extend_from_slice(answer);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sends as much as the socket accepts; true if that is everything.
    pub(crate) fn send(&mut self, stream: &mut impl ByteStream) -> io::Result<bool> {
        let rest = &self.bytes[self.sent..];
        match stream.write(rest) {
            Ok(sent) if sent == rest.len() => {
                self.bytes.clear();
                self.sent = 0;
                Ok(true)
            }
            Ok(sent) => {
                self.sent += sent;
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    #[cfg(test)]
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

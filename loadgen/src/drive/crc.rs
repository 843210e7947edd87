//! CRC-32 of IEEE 802.3, arranged so that a message costs only the bytes in which it differs from the others.
//!
//! A CRC is linear: the contribution of a byte depends on that byte and on the number of bytes after it, and on nothing
//! else. `TABLES` holds the contributions of the last twelve bytes, so that the look-ups do not wait for each other.

/// How many bytes before the end there are tables for.
const LAST_BYTES: usize = 12;

/// The contribution of a byte, by the number of bytes after it.
static TABLES: [[u32; 256]; LAST_BYTES] = {
    let mut tables = [[0; 256]; LAST_BYTES];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut after = 1;
    while after < LAST_BYTES {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[after - 1][byte];
            tables[after][byte] = crc >> 8 ^ tables[0][(crc & 0xFF) as usize];
            byte += 1;
        }
        after += 1;
    }
    tables
};

/// The CRC of the bytes so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State(u32);

impl Default for State {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl State {
    /// With these bytes too.
    pub(crate) fn update(self, bytes: &[u8]) -> Self {
        let (pieces, rest) = bytes.as_chunks::<LAST_BYTES>();
        let state = pieces.iter().fold(self, |state, piece| Self(!state.finish_with(piece)));
        rest.iter().fold(state, |Self(crc), byte| Self(crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)]))
    }

    /// The CRC with these bytes as the last.
    #[inline]
    pub(crate) fn finish_with(self, bytes: &[u8; LAST_BYTES]) -> u32 {
        let mut bytes = *bytes;
        for (byte, state) in bytes.iter_mut().zip(self.0.to_le_bytes()) {
            *byte ^= state;
        }
        !added(&bytes)
    }
}

/// The CRC of all bytes.
pub fn of(bytes: &[u8]) -> u32 {
    !State::default().update(bytes).0
}

/// The contribution of the last bytes to a CRC that was computed with zeros in their place.
#[inline]
pub(crate) fn last_bytes(bytes: [u8; 6]) -> u32 {
    added(&bytes)
}

#[inline]
fn added<const BYTES: usize>(bytes: &[u8; BYTES]) -> u32 {
    let tables = TABLES[..BYTES].iter().rev();
    bytes.iter().zip(tables).fold(0, |crc, (byte, table)| crc ^ table[usize::from(*byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_the_catalogues() {
        // Of "123456789", in every catalogue of CRCs; and of longer texts, from zlib.
        for (text, crc) in
            [(&b"123456789"[..], 0xCBF4_3926), (b"", 0), (b"The quick brown fox jumps over the lazy dog", 0x414F_A339)]
        {
            assert_eq!(of(text), crc);
        }
    }

    #[test]
    fn pieces_and_shortcuts_give_the_same() {
        let bytes: Vec<u8> = (0..100).map(|n| (n * 37 % 251) as u8).collect();
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            let whole = State::default().update(&bytes).0;
            assert_eq!(State::default().update(head).update(tail).0, whole);
            if let Some(last) = tail.first_chunk::<LAST_BYTES>() {
                let head = State::default().update(head);
                assert_eq!(head.finish_with(last), !head.update(last).0);
                let [zeros @ .., a, b, c, d, e, f] = *last;
                let blank = [&zeros[..], &[0; 6]].concat();
                assert_eq!(!head.update(&blank).0 ^ last_bytes([a, b, c, d, e, f]), head.finish_with(last));
            }
        }
    }
}

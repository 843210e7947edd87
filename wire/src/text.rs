//! Strings on the wire: well-formed UTF-8 without U+0000, at most 65,535 bytes. Surrogates and overlong forms are
//! ill-formed UTF-8 to `core::str`, so they need no check of their own.

use alloc::vec::Vec;

use crate::{DecodeError, EncodeError};

/// The longest string or binary field: its length is two bytes.
pub(crate) const FIELD_BYTES_MAX: usize = u16::MAX as usize;

/// Checks that the bytes are a legal string.
#[inline]
pub(crate) fn check(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?;
    if contains_any(bytes, [0]) { Err(DecodeError::Nul) } else { Ok(text) }
}

/// The encoded length of `text`; an error if it is not a legal string.
#[inline]
pub(crate) fn encoded_len(text: &str) -> Result<usize, EncodeError> {
    if contains_any(text.as_bytes(), [0]) {
        return Err(EncodeError::Nul);
    }
    binary_encoded_len(text.as_bytes())
}

/// The encoded length of `bytes`; an error if they are too long.
#[inline]
pub(crate) const fn binary_encoded_len(bytes: &[u8]) -> Result<usize, EncodeError> {
    if bytes.len() > FIELD_BYTES_MAX { Err(EncodeError::FieldTooLong) } else { Ok(2 + bytes.len()) }
}

/// Appends a field whose length has been checked.
#[inline]
pub(crate) fn write_binary(bytes: &[u8], out: &mut Vec<u8>) {
    debug_assert!(bytes.len() <= FIELD_BYTES_MAX);
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Whether `bytes` contains one of `needles`. Every topic name that passes a broker is scanned, so eight bytes are
/// compared at a time. The last eight overlap the ones before; only shorter strings are scanned byte by byte.
#[inline]
pub(crate) fn contains_any<const N: usize>(bytes: &[u8], needles: [u8; N]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().any(|byte| needles.contains(byte));
    };
    bytes.as_chunks::<8>().0.iter().chain([last]).any(|chunk| word_contains_any(u64::from_ne_bytes(*chunk), needles))
}

/// The classical test for a zero byte in a word, applied to the difference between the word and each needle.
#[inline]
fn word_contains_any<const N: usize>(word: u64, needles: [u8; N]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let zeroes = needles.iter().fold(0, |zeroes, &needle| {
        let difference = word ^ (ONES * u64::from(needle));
        zeroes | (difference.wrapping_sub(ONES) & !difference)
    });
    zeroes & HIGHS != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_at_every_place_of_every_short_string() {
        for len in 0..40 {
            let mut bytes = [0x80u8; 40];
            assert!(!contains_any(&bytes[..len], [0, b'+', b'#']));
            for place in 0..len {
                for needle in [0, b'+', b'#'] {
                    bytes[place] = needle;
                    assert!(contains_any(&bytes[..len], [0, b'+', b'#']), "{needle} at {place} of {len}");
                    bytes[place] = needle.wrapping_add(1).max(0x24);
                }
            }
        }
    }

    #[test]
    fn ill_formed_text_is_refused() {
        let surrogate: &[u8] = &[0xED, 0xA0, 0x80];
        let overlong: &[u8] = &[0xC0, 0x80];
        let too_high: &[u8] = &[0xF4, 0x90, 0x80, 0x80];
        for bytes in [surrogate, overlong, too_high, &[0xFF], &[0xC3]] {
            assert_eq!(check(bytes), Err(DecodeError::Utf8));
        }
        assert_eq!(check(b"a\0b"), Err(DecodeError::Nul));
        assert_eq!(check("\u{FEFF}x".as_bytes()), Ok("\u{FEFF}x"));
    }
}

//! Variable byte integers: seven bits a byte, least significant first, at most four bytes.

use alloc::vec::Vec;

use crate::DecodeError;

/// The largest value of four bytes; also the longest remaining length.
pub(crate) const VARINT_MAX: u32 = 268_435_455;

/// A decoded integer and its length in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Varint {
    pub(crate) value: u32,
    pub(crate) len: usize,
    /// Whether a shorter form exists, which MQTT 5 forbids and MQTT 3 does not.
    pub(crate) padded: bool,
}

/// Reads the integer at the front of `input`; `None` while its last byte is missing.
#[inline]
pub(crate) fn read(input: &[u8]) -> Result<Option<Varint>, DecodeError> {
    match input {
        [byte, ..] if *byte < 0x80 => Ok(Some(Varint { value: u32::from(*byte), len: 1, padded: false })),
        _ => read_long(input),
    }
}

fn read_long(input: &[u8]) -> Result<Option<Varint>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in input.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            return Ok(Some(Varint { value, len: index + 1, padded: index > 0 && byte == 0 }));
        }
    }
    if input.len() >= 4 { Err(DecodeError::LengthTooLong) } else { Ok(None) }
}

/// The number of bytes that `value` takes.
#[inline]
pub(crate) const fn encoded_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends `value`, which must not exceed [`VARINT_MAX`].
#[inline]
pub(crate) fn write(mut value: u32, out: &mut Vec<u8>) {
    debug_assert!(value <= VARINT_MAX);
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_boundary_survives_the_round_trip() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VARINT_MAX] {
            let mut bytes = Vec::new();
            write(value, &mut bytes);
            assert_eq!(bytes.len(), encoded_len(value));
            let varint = read(&bytes).unwrap().unwrap();
            assert_eq!((varint.value, varint.len, varint.padded), (value, bytes.len(), false));
            for cut in 0..bytes.len() {
                assert!(read(&bytes[..cut]).unwrap().is_none());
            }
        }
    }

    #[test]
    fn a_fourth_continuation_bit_is_refused_at_once() {
        assert_eq!(read(&[0xFF, 0xFF, 0xFF, 0xFF]).err(), Some(DecodeError::LengthTooLong));
    }

    #[test]
    fn padding_is_reported() {
        assert!(read(&[0x80, 0x00]).unwrap().unwrap().padded);
        assert!(read(&[0xFF, 0x80, 0x00]).unwrap().unwrap().padded);
    }
}

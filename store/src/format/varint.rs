//! Numbers of seven bits a byte, the low ones first. The eighth bit says that another byte follows.

/// The most bytes of a number.
const BYTES_MAX: usize = 10;

/// Appends a number.
pub(super) fn write(out: &mut Vec<u8>, mut value: u64) {
    let mut bytes = [0; BYTES_MAX];
    let mut length = 0;
    loop {
        bytes[length] = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            break;
        }
        bytes[length] |= 0x80;
        length += 1;
    }
    out.extend_from_slice(&bytes[..=length]);
}

/// Takes a number from the front of `bytes`. `None`: there is none, or it has more than 64 bits.
pub(super) fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(BYTES_MAX) {
        let bits = u64::from(byte & 0x7F);
        let shift = 7 * place as u32;
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            *bytes = &bytes[place + 1..];
            return Some(value);
        }
    }
    None
}

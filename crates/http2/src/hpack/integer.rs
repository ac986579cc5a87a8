//! Integers with a prefix (RFC 7541 5.1).

use super::Error;

/// The continuation bytes that a valid integer has at most. Four carry 28 bits, far more than a block can be long.
const CONTINUATION_MAX: u32 = 5;

/// Reads an integer whose first byte, `first`, has already been read; only its low `prefix` bits count. `at` is the
/// position after it and is moved past what is read.
#[inline]
pub(super) fn decode(first: u8, prefix: u32, block: &[u8], at: &mut usize) -> Result<usize, Error> {
    let mask = (1_u32 << prefix) - 1;
    let start = u32::from(first) & mask;
    if start < mask {
        return Ok(start as usize);
    }
    continuation(start, block, at)
}

fn continuation(start: u32, block: &[u8], at: &mut usize) -> Result<usize, Error> {
    let mut value = u64::from(start);
    for step in 0..CONTINUATION_MAX {
        let byte = *block.get(*at).ok_or(Error::Truncated)?;
        *at += 1;
        value += u64::from(byte & 0x7f) << (7 * step);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| Error::Integer)?;
            return usize::try_from(value).map_err(|_| Error::Integer);
        }
    }
    Err(Error::Integer)
}

/// Writes `value` with a prefix of `prefix` bits below the bits of `pattern`.
#[inline]
pub(super) fn encode(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(prefix: u32, value: usize) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, 0, prefix, value);
        let mut at = 1;
        assert_eq!(decode(out[0], prefix, &out, &mut at), Ok(value));
        assert_eq!(at, out.len());
        out
    }

    #[test]
    fn examples_of_the_rfc() {
        // RFC 7541 C.1.1 to C.1.3.
        assert_eq!(round(5, 10), [0b01010]);
        assert_eq!(round(5, 1337), [0b11111, 0b1001_1010, 0b0000_1010]);
        assert_eq!(round(8, 42), [42]);
    }

    #[test]
    fn every_edge_survives() {
        for prefix in 4..=8 {
            let mask = (1 << prefix) - 1;
            for value in [0, mask - 1, mask, mask + 1, mask + 127, mask + 128, 16_383, 65_535, u32::MAX as usize] {
                round(prefix, value);
            }
        }
    }

    #[test]
    fn too_large_or_cut_off() {
        let read = |bytes: &[u8]| decode(bytes[0], 7, bytes, &mut 1);
        assert_eq!(read(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f]), Err(Error::Integer));
        assert_eq!(read(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(Error::Integer));
        assert_eq!(read(&[0x7f, 0x80, 0x80]), Err(Error::Truncated));
        assert_eq!(read(&[0x7f]), Err(Error::Truncated));
        // Zeros at the end lengthen an integer and do not change it.
        assert_eq!(read(&[0x7f, 0x80, 0x80, 0x00]), Ok(127));
    }
}

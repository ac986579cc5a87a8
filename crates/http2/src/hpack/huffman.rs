//! The Huffman code of RFC 7541 Appendix B.
//!
//! The code is canonical: sorted by length and then by symbol, each code is the one before plus one. The lengths are
//! therefore the whole code, and every table here is computed from them while compiling.

use super::Error;

/// The symbol that ends a string and must not be in one.
const EOS: usize = 256;

/// The number of bits of each byte's code; that of EOS, 30 bits, is not in it.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26,
];

const LENGTH_MAX: usize = 30;
/// Bits by which the first table is entered: two codes of the commonest bytes, or any one of up to ten bits.
const FAST_BITS: u32 = 12;

const fn length(symbol: usize) -> usize {
    if symbol == EOS { LENGTH_MAX } else { LENGTHS[symbol] as usize }
}

/// The code as lists by length: what decoding of long codes needs.
struct Canonical {
    /// The symbols, sorted by their codes.
    symbols: [u16; 257],
    /// For each length, the first code of that length...
    first: [u32; LENGTH_MAX + 1],
    /// ... how many there are ...
    count: [u32; LENGTH_MAX + 1],
    /// ... and where they start in `symbols`.
    offset: [u32; LENGTH_MAX + 1],
}

const fn canonical() -> Canonical {
    let mut all = Canonical {
        symbols: [0; 257],
        first: [0; LENGTH_MAX + 1],
        count: [0; LENGTH_MAX + 1],
        offset: [0; LENGTH_MAX + 1],
    };
    let mut placed = 0;
    let mut code: u32 = 0;
    let mut bits = 1;
    while bits <= LENGTH_MAX {
        code <<= 1;
        all.first[bits] = code;
        all.offset[bits] = placed as u32;
        let mut symbol = 0;
        while symbol <= EOS {
            if length(symbol) == bits {
                all.symbols[placed] = symbol as u16;
                placed += 1;
                code += 1;
            }
            symbol += 1;
        }
        all.count[bits] = placed as u32 - all.offset[bits];
        bits += 1;
    }
    all
}

static CANONICAL: Canonical = canonical();

/// The code of each byte, right-aligned.
static CODES: [u32; 256] = {
    let all = canonical();
    let mut codes = [0; 256];
    let mut bits = 1;
    while bits <= LENGTH_MAX {
        let mut nth = 0;
        while nth < all.count[bits] {
            let symbol = all.symbols[(all.offset[bits] + nth) as usize] as usize;
            if symbol != EOS {
                codes[symbol] = all.first[bits] + nth;
            }
            nth += 1;
        }
        bits += 1;
    }
    codes
};

/// What the next `FAST_BITS` bits begin with: one or two whole codes, or none.
#[derive(Clone, Copy)]
struct Fast {
    symbols: [u8; 2],
    /// Bits of the codes together.
    bits: u8,
    /// How many codes.
    count: u8,
}

/// The byte whose whole code the next `FAST_BITS` bits begin with, and the bits of the code; none if it is longer.
static SINGLE: [(u8, u8); 1 << FAST_BITS] = {
    let mut table = [(0, 0); 1 << FAST_BITS];
    let all = canonical();
    let mut bits = 1;
    while bits <= FAST_BITS as usize {
        let mut nth = 0;
        while nth < all.count[bits] {
            let symbol = all.symbols[(all.offset[bits] + nth) as usize] as u8;
            let spread = FAST_BITS as usize - bits;
            let from = ((all.first[bits] + nth) as usize) << spread;
            let mut slot = from;
            while slot < from + (1 << spread) {
                table[slot] = (symbol, bits as u8);
                slot += 1;
            }
            nth += 1;
        }
        bits += 1;
    }
    table
};

static FAST: [Fast; 1 << FAST_BITS] = {
    let mut table = [Fast { symbols: [0, 0], bits: 0, count: 0 }; 1 << FAST_BITS];
    let mut slot = 0;
    while slot < table.len() {
        let (symbol, bits) = SINGLE[slot];
        if bits > 0 {
            table[slot] = Fast { symbols: [symbol, 0], bits, count: 1 };
            let (next, next_bits) = SINGLE[(slot << bits) & (table.len() - 1)];
            if next_bits > 0 && (bits + next_bits) as u32 <= FAST_BITS {
                table[slot] = Fast { symbols: [symbol, next], bits: bits + next_bits, count: 2 };
            }
        }
        slot += 1;
    }
    table
};

/// The number of bytes that `text` has as Huffman code.
#[inline]
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&byte| usize::from(LENGTHS[usize::from(byte)])).sum();
    bits.div_ceil(8)
}

/// Appends `text` as Huffman code, padded with ones; `length` is its [`encoded_len`].
pub(super) fn encode(text: &[u8], length: usize, out: &mut Vec<u8>) {
    let from = out.len();
    out.resize(from + length, 0);
    let code = out.get_mut(from..).unwrap_or_default();
    let mut at = 0;
    let mut waiting: u64 = 0;
    let mut bits = 0;
    for &byte in text {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        waiting = waiting << length | u64::from(CODES[usize::from(byte)]);
        bits += length;
        if bits >= 32 {
            bits -= 32;
            if let Some(word) = code.get_mut(at..at + 4) {
                word.copy_from_slice(&((waiting >> bits) as u32).to_be_bytes());
            }
            at += 4;
        }
    }
    let padded = (waiting << (32 - bits)) as u32 | u32::MAX.checked_shr(bits).unwrap_or(0);
    for (last, byte) in code.iter_mut().skip(at).zip(padded.to_be_bytes()) {
        *last = byte;
    }
}

/// Appends what `code` stands for.
pub(super) fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let from = out.len();
    // The shortest code has five bits, and every step writes two bytes, of which the second may not count.
    out.resize(from + code.len() * 8 / 5 + 2, 0);
    let length = decode_into(code, out.get_mut(from..).unwrap_or_default())?;
    out.truncate(from + length);
    Ok(())
}

fn decode_into(code: &[u8], text: &mut [u8]) -> Result<usize, Error> {
    // The unread bits, left-aligned; below the `bits` that are there it holds zeros.
    let mut window: u64 = 0;
    let mut bits: u32 = 0;
    let mut rest = code;
    let mut at = 0;
    loop {
        if bits <= 32
            && let Some((word, after)) = rest.split_first_chunk::<4>()
        {
            window |= u64::from(u32::from_be_bytes(*word)) << (32 - bits);
            bits += 32;
            rest = after;
        } else {
            while bits <= 56 {
                let Some((&byte, after)) = rest.split_first() else { break };
                window |= u64::from(byte) << (56 - bits);
                bits += 8;
                rest = after;
            }
        }
        if bits < LENGTH_MAX as u32 {
            return tail(window, bits, text, at);
        }
        while bits >= LENGTH_MAX as u32 {
            let mut fast = FAST[(window >> (64 - FAST_BITS)) as usize];
            if fast.count == 0 {
                let (symbol, length) = long(window, bits).ok_or(Error::Huffman)?;
                fast = Fast { symbols: [symbol, 0], bits: length as u8, count: 1 };
            }
            if let Some(room) = text.get_mut(at..at + 2) {
                room.copy_from_slice(&fast.symbols);
            }
            at += usize::from(fast.count);
            window <<= fast.bits;
            bits -= u32::from(fast.bits);
        }
    }
}

/// The last codes, of fewer bits than the longest has, and the padding after them.
fn tail(mut window: u64, mut bits: u32, text: &mut [u8], mut at: usize) -> Result<usize, Error> {
    loop {
        let (first, first_bits) = SINGLE[(window >> (64 - FAST_BITS)) as usize];
        let (symbol, used) = if first_bits > 0 && u32::from(first_bits) <= bits {
            (first, u32::from(first_bits))
        } else if let Some(found) = long(window, bits) {
            found
        } else {
            // Padding is the beginning of EOS, all ones, and shorter than a byte (RFC 7541 5.2).
            let ones = bits < 8 && window == !(u64::MAX >> bits);
            return if ones { Ok(at) } else { Err(Error::Huffman) };
        };
        if let Some(room) = text.get_mut(at) {
            *room = symbol;
        }
        at += 1;
        window <<= used;
        bits -= used;
    }
}

/// A code of more than `FAST_BITS` bits at the front of `window`, of which `bits` are there.
fn long(window: u64, bits: u32) -> Option<(u8, u32)> {
    for length in FAST_BITS + 1..=bits.min(LENGTH_MAX as u32) {
        let code = (window >> (64 - length)) as u32;
        let at = length as usize;
        let nth = code.wrapping_sub(CANONICAL.first[at]);
        if nth < CANONICAL.count[at] {
            let symbol = CANONICAL.symbols[(CANONICAL.offset[at] + nth) as usize];
            // EOS does not fit: it must not occur.
            return u8::try_from(symbol).ok().map(|symbol| (symbol, length));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(code: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        decode(code, &mut out).map(|()| out)
    }

    #[test]
    fn the_code_is_complete() {
        // The last code of the longest length is all ones, so every sequence of bits begins with one code.
        let last = CANONICAL.first[LENGTH_MAX] + CANONICAL.count[LENGTH_MAX] - 1;
        assert_eq!(last, (1 << LENGTH_MAX) - 1);
        assert_eq!(CANONICAL.symbols[256] as usize, EOS);
        assert_eq!((CODES[usize::from(b'0')], CODES[usize::from(b'~')], CODES[255]), (0, 0x1ffd, 0x3ff_ffee));
    }

    #[test]
    fn every_byte_in_every_position_survives() {
        for byte in 0..=255_u8 {
            for before in 0..9 {
                for after in 0..6 {
                    let text = [vec![b'0'; before], vec![byte], vec![b'X'; after]].concat();
                    let mut code = Vec::new();
                    encode(&text, encoded_len(&text), &mut code);
                    assert_eq!(decoded(&code).unwrap(), text);
                }
            }
        }
    }

    #[test]
    fn padding_and_eos() {
        // 'a' is 00011.
        assert_eq!(decoded(&[0b0001_1111]).unwrap(), b"a");
        assert_eq!(decoded(&[0b0001_1110]), Err(Error::Huffman), "padding that is not all ones");
        assert_eq!(decoded(&[0b0001_1000]), Err(Error::Huffman), "padding of zeros");
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(Error::Huffman), "padding of eleven bits");
        assert_eq!(decoded(&[0xff]), Err(Error::Huffman), "padding of eight bits");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(Error::Huffman), "EOS");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), Err(Error::Huffman), "EOS, and padding of zeros");
        assert_eq!(decoded(&[0xff; 40]), Err(Error::Huffman), "EOS again and again");
        assert_eq!(decoded(&[]).unwrap(), b"");
    }
}

//! Numbers in hexadecimal, as request ids are written.

/// The sixteen digits of `bits`, all at once: each byte of the words holds one digit.
pub(crate) fn hexadecimal(bits: u64) -> [u8; 16] {
    const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    // Spreads the nibbles of half the bits over eight bytes, the first digit in the lowest.
    let spread = |half: u32| {
        let mut digits = u64::from(half);
        digits = (digits | (digits << 16)) & 0x0000_ffff_0000_ffff;
        digits = (digits | (digits << 8)) & 0x00ff_00ff_00ff_00ff;
        digits = (digits | (digits << 4)) & LOW;
        digits.swap_bytes()
    };
    // Digits above nine carry into the upper half of their byte when six is added.
    let letters = |digits: u64| {
        let above_nine = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        digits + 0x3030_3030_3030_3030 + above_nine * u64::from(b'a' - b'0' - 10)
    };
    let mut text = [0; 16];
    text[..8].copy_from_slice(&letters(spread((bits >> 32) as u32)).to_le_bytes());
    text[8..].copy_from_slice(&letters(spread(bits as u32)).to_le_bytes());
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_hexadecimal() {
        for bits in [0, 1, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX, 0x9999_aaaa_0f0f_f0f0] {
            assert_eq!(super::hexadecimal(bits), *format!("{bits:016x}").as_bytes());
        }
    }
}

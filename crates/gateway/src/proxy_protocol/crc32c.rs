//! CRC-32C (RFC 3720, appendix B.4), bit by bit: headers that carry one are short and come once a connection.

/// The polynomial, with its bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The sum over the parts, one after another.
pub(super) fn sum(parts: &[&[u8]]) -> u32 {
    let mut sum = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        sum ^= u32::from(*byte);
        for _bit in 0..8 {
            let carries = sum & 1 == 1;
            sum >>= 1;
            if carries {
                sum ^= POLYNOMIAL;
            }
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_standard() {
        assert_eq!(sum(&[b"123456789"]), 0xE306_9283);
        assert_eq!(sum(&[&[0; 32]]), 0x8A91_36AA);
        assert_eq!(sum(&[&[0xFF; 32]]), 0x62A8_AB43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(sum(&[&rising[..7], &rising[7..]]), 0x46DD_794E);
        assert_eq!(sum(&[]), 0);
    }
}

//! Secrets that this program makes: tokens, cookies, what guards a session's changes. Kept as SHA-256 of 256 random bits, which
//! nobody can guess, so that no slow hash is needed.

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What a token begins with, so that people and scanners recognise one.
pub const TOKEN_PREFIX: &str = "mst_";

/// There is no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no randomness")]
pub struct NoRandomness;

/// 256 random bits as text, after `prefix`.
///
/// # Errors
/// If the system has no randomness.
pub fn make(prefix: &str) -> Result<String, NoRandomness> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_unspecified| NoRandomness)?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// What is kept of a secret: SHA-256 in hexadecimal.
pub fn digest(secret: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, secret).as_ref())
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub fn same(left: &str, right: &str) -> bool {
    constant_time::verify_slices_are_equal(left.as_bytes(), right.as_bytes()).is_ok()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_one_and_long() {
        let (one, other) = (make(TOKEN_PREFIX).expect("random"), make(TOKEN_PREFIX).expect("random"));
        assert_ne!(one, other);
        assert_eq!((one.len(), one.starts_with("mst_")), (47, true));
        assert!(same(&digest(one.as_bytes()), &digest(one.as_bytes())));
        assert!(!same(&digest(one.as_bytes()), &digest(other.as_bytes())));
        // FIPS 180-2, appendix B.1.
        assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}

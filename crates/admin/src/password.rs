//! Passwords of users: kept as argon2id hashes, compared in the time that a hash takes.

use std::ops::RangeInclusive;
use std::sync::OnceLock;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

/// Characters of a password.
pub const CHARS: RangeInclusive<usize> = 12..=256;

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Its length.
    #[error("a password has {} to {} characters", CHARS.start(), CHARS.end())]
    Length,
    /// There is no randomness for the salt, or no memory.
    #[error("the password could not be hashed")]
    Unhashed,
}

/// The hash of a password, with its salt and its cost.
///
/// # Errors
/// If it is too short or too long, or the system has no randomness.
pub fn hash(password: &str) -> Result<String, PasswordError> {
    if !CHARS.contains(&password.chars().count()) {
        return Err(PasswordError::Length);
    }
    let hashed = Argon2::default().hash_password(password.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|_why| PasswordError::Unhashed)
}

/// Whether a password is the one that was hashed. Without a hash it is not, and that takes as long, so that nobody learns
/// which users there are.
pub fn is_right(password: &str, hashed: Option<&str>) -> bool {
    static NOBODY: OnceLock<String> = OnceLock::new();
    let is_known = hashed.is_some();
    let hashed = hashed.unwrap_or_else(|| NOBODY.get_or_init(|| hash("nobody has this password").unwrap_or_default()));
    // Longer ones are nobody's, and would only cost time.
    let given = if password.chars().count() > *CHARS.end() { "" } else { password };
    Argon2::default().verify_password(given.as_bytes(), hashed).is_ok() && is_known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_one_is_right() {
        let hashed = hash("correct horse battery").expect("long enough");
        assert!(hashed.starts_with("$argon2id$") && !hashed.contains("horse"), "{hashed}");
        assert_ne!(hashed, hash("correct horse battery").expect("long enough"), "salted");
        assert!(is_right("correct horse battery", Some(&hashed)));
        assert!(!is_right("correct horse batterY", Some(&hashed)));
        assert!(!is_right("nobody has this password", None));
        assert!(!is_right("correct horse battery", Some("no hash")));
        assert_eq!(hash("short"), Err(PasswordError::Length));
    }
}

//! Tokens that let one node in, once, for a while. The text is shown to one person; what the cluster keeps of it is the hash
//! of its secret.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ClusterId, Fingerprint, IdentityError, hex, random, sha256};
use crate::peer::NodeId;

/// What the text begins with, so that it is recognised wherever it turns up.
const PREFIX: &str = "mainstay-join-1.";
/// Characters of a token's text, at most.
const TEXT_MAX: usize = 4096;
/// Addresses in a token, at most.
const ADDRESSES_MAX: usize = 16;

/// A token's public half, by which its record is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(String);

impl TokenId {
    /// As text: 16 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it looks as one does; a stranger may have sent anything.
    pub fn is_plain(&self) -> bool {
        self.0.len() == 16 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// Everything that a new node needs to come in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Where to ask, HOST:PORT; any of them will do.
    pub addresses: Vec<String>,
    /// The cluster.
    pub cluster: ClusterId,
    /// Of the cluster's authority, so that the new node knows whom it talks to.
    pub authority: Fingerprint,
    /// Its public half.
    pub id: TokenId,
    /// Its secret half.
    secret: [u8; 32],
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is wrong with a token's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It is something else.
    #[error("this is not a join token: it begins with `{PREFIX}`")]
    NotOne,
    /// It was cut or changed.
    #[error("the token is damaged: was it copied whole?")]
    Damaged,
}

impl JoinToken {
    /// A new token for a cluster whose nodes are at `addresses`.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new(cluster: ClusterId, authority: Fingerprint, mut addresses: Vec<String>) -> Result<Self, IdentityError> {
        addresses.truncate(ADDRESSES_MAX);
        Ok(Self { addresses, cluster, authority, id: TokenId(hex(&random::<8>()?)), secret: random()? })
    }

    /// The text that is given to the new node's operator. A secret.
    pub fn text(&self) -> String {
        // Plain data without maps of foreign keys always has a MessagePack form.
        let bytes = rmp_serde::to_vec(self).unwrap_or_default();
        let check = sha256(&bytes);
        let whole: Vec<u8> = bytes.into_iter().chain(check[..4].iter().copied()).collect();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(whole))
    }

    /// Reads the text again.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::NotOne)?;
        if encoded.len() > TEXT_MAX {
            return Err(TokenError::Damaged);
        }
        let whole = URL_SAFE_NO_PAD.decode(encoded).map_err(|_damaged| TokenError::Damaged)?;
        let (bytes, check) = whole.split_last_chunk::<4>().ok_or(TokenError::Damaged)?;
        if sha256(bytes)[..4] != *check {
            return Err(TokenError::Damaged);
        }
        let token: Self = rmp_serde::from_slice(bytes).map_err(|_damaged| TokenError::Damaged)?;
        let is_plain = token.id.is_plain()
            && ClusterId::parse(token.cluster.as_str()).is_some()
            && (1..=ADDRESSES_MAX).contains(&token.addresses.len());
        is_plain.then_some(token).ok_or(TokenError::Damaged)
    }

    /// The secret half, as it is sent to the cluster.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// What the cluster keeps of it.
    pub fn record(&self, grant: Grant, now: SystemTime, life: Duration) -> TokenRecord {
        let until = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_add(life);
        TokenRecord { hash: SecretHash(sha256(&self.secret)), expires_unix_seconds: until.as_secs(), grant }
    }
}

/// The hash of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHash([u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Whether the node may vote, and gets the authority's key.
    pub voter: bool,
    /// The name that the node must have; any if there is none.
    pub name: Option<String>,
    /// The node whose place it takes.
    pub replaces: Option<NodeId>,
}

/// What the cluster keeps of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    hash: SecretHash,
    /// When it ends.
    pub expires_unix_seconds: u64,
    /// What it allows.
    pub grant: Grant,
}

impl TokenRecord {
    /// Whether `secret` is the token's. Takes the same time for all wrong ones.
    pub fn is_secret(&self, secret: &[u8]) -> bool {
        verify_slices_are_equal(&sha256(secret), &self.hash.0).is_ok()
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() >= self.expires_unix_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        let addresses = vec!["10.0.1.1:7946".to_owned(), "10.0.1.2:7946".to_owned()];
        JoinToken::new(ClusterId::new().unwrap(), Fingerprint([7; 32]), addresses).unwrap()
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = token();
        assert_eq!(JoinToken::parse(&format!(" {}\n", token.text())), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("secret"), "its secret is never shown");
    }

    #[test]
    fn damaged_texts_are_refused() {
        let text = token().text();
        assert_eq!(JoinToken::parse("hello"), Err(TokenError::NotOne));
        for cut in PREFIX.len()..text.len() {
            assert_eq!(JoinToken::parse(&text[..cut]), Err(TokenError::Damaged), "{cut}");
        }
        let mut changed = text.into_bytes();
        for at in PREFIX.len()..changed.len() {
            let before = changed[at];
            changed[at] = if before == b'A' { b'B' } else { b'A' };
            assert!(JoinToken::parse(std::str::from_utf8(&changed).unwrap()).is_err(), "{at}");
            changed[at] = before;
        }
    }

    #[test]
    fn only_the_right_secret_opens_and_only_in_time() {
        let (one, other, now) = (token(), token(), SystemTime::now());
        let grant = Grant { voter: true, name: None, replaces: None };
        let record = one.record(grant, now, Duration::from_secs(60));
        assert!(record.is_secret(one.secret()));
        assert!(!record.is_secret(other.secret()));
        assert!(!record.is_secret(&[]));
        assert!(!record.has_expired(now + Duration::from_secs(58)));
        assert!(record.has_expired(now + Duration::from_secs(60)));
        assert_ne!(record.hash.0, *one.secret());
    }
}
